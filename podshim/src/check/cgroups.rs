//! Control groups that bear this engine's mark and belong to no pod that is up.

use std::{collections::BTreeSet, path::PathBuf};

use proto::{Id, Kind, Refusal, alive::Lock};

use super::Scene;
use crate::{cgroup, finding::Finding};

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    let parents: BTreeSet<&str> = scene
        .pods
        .iter()
        .filter_map(|pod| Some(pod.record.as_ref().ok()?.config.cgroup_parent.as_str()))
        .chain([""])
        .collect();
    let mut found = Vec::new();
    for parent in parents {
        for (id, path) in cgroup::marked(parent, &roots.run) {
            let up = scene.pod(&id).is_some_and(|pod| pod.up().is_some()) || roots.pod_state(&id).exists();
            if up || scene.is_live(&id) {
                continue;
            }
            found.push(finding(path, roots.pod_lock(&id), id, roots.run.clone()));
        }
    }
    found
}

fn finding(path: String, lock: PathBuf, id: Id, run: PathBuf) -> Finding {
    let free = move || match Lock::is_held(&lock) {
        true => Err(Refusal::new(Kind::TimedOut, format!("pod {id} is in use by somebody else now"))),
        false => Ok(()),
    };
    match cgroup::pids(&path).first() {
        None => {
            let own = path.clone();
            let problem = "is the control group of a pod that is not up";
            Finding::repair("cgroup", path, problem, "removes it", move || {
                free()?;
                cgroup::remove(&own)?;
                cgroup::remove_parents(&own, &run);
                Ok(())
            })
        }
        Some(pid) => {
            let own = path.clone();
            let problem = format!("is the control group of a pod that is not up, and process {pid} is in it");
            Finding::force("cgroup", path, problem, "ends what is in it and removes it", move || {
                free()?;
                cgroup::kill(&own)?;
                cgroup::remove(&own)?;
                cgroup::remove_parents(&own, &run);
                Ok(())
            })
        }
    }
}
