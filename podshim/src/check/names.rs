//! `names/`: claims of nobody, and objects without their claims.

use std::fs;

use proto::{Refusal, Roots, layout::Target, record::ContainerRecord, refusal::Result};

use super::{Scene, entries};
use crate::{
    finding::{Finding, Mend},
    pod::record,
};

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    let wanted = wanted(scene);
    let mut found = Vec::new();
    for name in entries(&roots.names()) {
        let link = fs::read_link(roots.names().join(&name)).ok();
        match link.as_deref().and_then(Target::from_link) {
            // Gone since it was listed.
            None if fs::symlink_metadata(roots.names().join(&name)).is_err() => {}
            None => found.push(strange(roots, &name)),
            Some(target) if scene.is_held(target.pod()) => {}
            Some(target) if !roots.is_recorded(&target) => {
                found.push(stale(roots, &name, target, "stands for nothing that is there"));
            }
            Some(target) => {
                let known = wanted.iter().any(|(wanted, of)| *wanted == name && *of == target);
                // What an unreadable record is called is not known.
                if !known && wanted.iter().any(|(_, of)| *of == target) {
                    found.push(stale(roots, &name, target, "is not what its object is called"));
                }
            }
        }
    }
    found.extend(wanted.into_iter().filter_map(|(name, target)| missing(roots, name, target)));
    found
}

/// Every name that should be there, and what it stands for.
fn wanted(scene: &Scene<'_>) -> Vec<(String, Target)> {
    let mut wanted = Vec::new();
    for pod in &scene.pods {
        if let Ok(record) = &pod.record {
            let target = Target::Pod(record.id.clone());
            wanted.push((record.id.to_string(), target.clone()));
            if record.name != record.id.as_str() {
                wanted.push((record.name.clone(), target));
            }
            if let Some(infra) = &record.infra {
                let target = Target::Infra(record.id.clone());
                wanted.push((infra.to_string(), target.clone()));
                wanted.push((record.infra_name(), target));
            }
        }
        for record in pod.containers.iter().filter_map(|container| container.record.as_ref().ok()) {
            let ContainerRecord { pod, id: container, .. } = record.clone();
            let target = Target::Container { pod, container };
            wanted.push((record.id.to_string(), target.clone()));
            wanted.push((record.name.clone(), target));
        }
    }
    // A hidden pod has the name of its id, and no claim.
    wanted.retain(|(name, target)| match target {
        Target::Pod(id) => name != id.as_str() || scene.pod(id).is_some_and(|pod| !pod.hidden()),
        _ => proto::name::is_valid(name) || name.len() == proto::id::LENGTH,
    });
    wanted
}

fn strange(roots: &Roots, name: &str) -> Finding {
    let path = roots.names().join(name);
    Finding::repair("name", name, "is no name of this engine", "removes it", move || {
        fs::remove_file(&path).map_err(|error| Refusal::internal(path.display(), error))
    })
}

fn stale(roots: &Roots, name: &str, target: Target, problem: &str) -> Finding {
    let (roots, own) = (roots.clone(), name.to_owned());
    Finding::repair("name", name, problem, "frees it", move || {
        if !proto::alive::Lock::is_held(&roots.pod_lock(target.pod())) {
            record::release(&roots, &own, &target);
        }
        Ok(())
    })
}

fn missing(roots: &Roots, name: String, target: Target) -> Option<Finding> {
    let link = fs::read_link(roots.names().join(&name)).ok().and_then(|link| Target::from_link(&link));
    match link {
        Some(there) if there == target => None,
        Some(there) if roots.is_recorded(&there) => {
            let problem = format!("is claimed for another object, though {} has it", object(&target));
            Some(Finding::new("name", &name, problem, Mend::User("rename one of them".to_owned())))
        }
        _ => {
            let roots = roots.clone();
            let problem = format!("of {} is missing, by which it is found", object(&target));
            Some(Finding::repair("name", name.clone(), problem, "claims it again", move || {
                claim(&roots, &name, &target)
            }))
        }
    }
}

fn claim(roots: &Roots, name: &str, target: &Target) -> Result<()> {
    if roots.is_recorded(target) { record::claim(roots, name, target) } else { Ok(()) }
}

fn object(target: &Target) -> String {
    match target {
        Target::Pod(pod) => format!("pod {}", pod.short()),
        Target::Infra(pod) => format!("the infra of pod {}", pod.short()),
        Target::Container { container, .. } => format!("container {}", container.short()),
    }
}
