//! `$RUN`: directories of pods that are gone or down, and what OCI runtimes remember.

use std::{fs, path::PathBuf};

use proto::{
    Id,
    alive::{self, Lock, Process},
    record::{self, MAX},
};
use serde_json::Value;

use super::{Scene, entries, pods::bury, remove_all};
use crate::{
    finding::{Finding, Mend, shown},
    pod::record::TOMBSTONE,
};

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    let mut found = Vec::new();
    for name in entries(&roots.run_pods()) {
        let path = roots.run_pods().join(&name);
        if name.starts_with(TOMBSTONE) {
            if !Lock::is_held(&path.join("lock")) {
                found.push(remains(path));
            }
        } else if let Ok(id) = name.parse() {
            found.extend(directory(scene, id));
        }
    }
    for name in entries(&roots.run.join("runtime")) {
        if let Ok(id) = name.parse() {
            found.extend(runtime(scene, &id));
        }
    }
    found
}

fn remains(path: PathBuf) -> Finding {
    Finding::repair("remains", shown(&path), "are what a pod has left that is down", "removes them", move || {
        remove_all(&path)
    })
}

/// `$RUN/pods/ID` while nobody holds the lock in it.
fn directory(scene: &Scene<'_>, id: Id) -> Option<Finding> {
    let roots = scene.engine.roots.clone();
    let path = roots.run_pod(&id);
    if scene.is_held(&id) || !path.exists() {
        return None;
    }
    let Some(pod) = scene.pod(&id) else {
        // Its directory in the store is told of by itself.
        let gone = !roots.pod(&id).exists();
        let problem = "is the run directory of a pod that is gone";
        return gone
            .then(|| Finding::repair("run directory", shown(&path), problem, "removes it", move || bury(&roots, &id)));
    };
    let record = pod.record.as_ref().ok()?;
    let lives = pod.containers.iter().any(|container| container.init().is_some());
    let problem = if lives { "runs without its shim, which was killed" } else { "was up when its shim was killed" };
    Some(Finding::new("pod", &record.name, problem, Mend::Shim(id)))
}

/// What a runtime remembers of a container that is not up.
fn runtime(scene: &Scene<'_>, id: &Id) -> Option<Finding> {
    let roots = &scene.engine.roots;
    let owner = scene.pods.iter().find(|pod| pod.containers.iter().any(|container| container.id() == id));
    if owner.is_some_and(|pod| scene.is_live(pod.id()) || roots.run_pod(pod.id()).exists()) {
        return None;
    }
    let path = roots.run.join("runtime").join(id.as_str());
    if let Some(init) = init_of(&path) {
        let problem = format!("is a container's that is gone, and its process {} lives", init.pid);
        return Some(Finding::force("runtime state", shown(&path), problem, "ends it", move || {
            if let Ok(pidfd) = init.pidfd() {
                // It has ended meanwhile: fine.
                let _ = alive::pidfd_signal(&pidfd, nix::libc::SIGKILL);
            }
            remove_all(&path)
        }));
    }
    let problem = "is what the OCI runtime remembers of a container that is gone";
    Some(Finding::repair("runtime state", shown(&path), problem, "removes it", move || remove_all(&path)))
}

/// The container's first process by crun's `status`, while it lives.
fn init_of(path: &std::path::Path) -> Option<Process> {
    let file = path.join("status");
    if fs::metadata(&file).ok()?.len() > MAX {
        return None;
    }
    let status: Value = record::read(&file).ok()?;
    let pid = u32::try_from(status["pid"].as_u64()?).ok()?;
    Process::of(pid).filter(|init| Some(init.start_time) == status["process-start-time"].as_u64() && init.is_alive())
}
