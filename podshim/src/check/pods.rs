//! `pods/`: what a removal was cut off from, directories without a record, and records that cannot be read.

use std::{fs, path::PathBuf};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    failpoint::{self, Point},
    record::{self, Durability, ExitRecord, SCHEMA},
    refusal::Result,
};

use super::{Scene, entries, mounts, remove_all};
use crate::{
    cgroup,
    finding::{Finding, Mend, shown},
    index,
    namespace::infra,
    network,
    pod::{intent, record as records, remove::finish_buried},
};

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    let mut found = Vec::new();
    for name in entries(&roots.pods()) {
        let path = roots.pods().join(&name);
        if let Some(id) = name.strip_prefix(records::TOMBSTONE).and_then(|id| id.parse().ok()) {
            if !scene.is_held(&id) {
                found.push(remains(path, roots, &id));
            }
        } else if let Ok(id) = name.parse() {
            pod(scene, &id, &mut found);
        }
    }
    found
}

/// Something that is dead under whatever name: it goes, unless somebody has taken it in hand meanwhile.
fn remains(path: PathBuf, roots: &Roots, pod: &Id) -> Finding {
    let lock = roots.pod_lock(pod);
    Finding::repair("remains", shown(&path), "are what a removal has left", "removes them", move || {
        if Lock::is_held(&lock) { Ok(()) } else { remove_all(&path) }
    })
}

fn pod(scene: &Scene<'_>, id: &Id, found: &mut Vec<Finding>) {
    let roots = scene.engine.roots.clone();
    match scene.pod(id) {
        // It has just been removed.
        None if !roots.pod(id).exists() || roots.pod_record(id).exists() || scene.is_held(id) => {}
        None => {
            let members = entries(&roots.containers(id)).iter().filter(|name| name.parse::<Id>().is_ok()).count();
            let (path, id) = (roots.pod(id), id.clone());
            if members == 0 {
                let problem = "is a pod's directory without a record";
                found.push(Finding::repair("pod", shown(&path), problem, "removes it", move || bury(&roots, &id)));
            } else {
                let problem = format!("has lost its record, and with it its {members} container(s)");
                let verb = "ends and removes them";
                found.push(Finding::force("pod", shown(&path), problem, verb, move || bury(&roots, &id)));
            }
        }
        Some(pod) => {
            match &pod.record {
                Ok(record) if record.schema > SCHEMA => found.push(newer("pod", &record.name)),
                Ok(_) => {}
                Err(_) if scene.is_held(id) => found.push(Finding::new(
                    "pod",
                    id,
                    "has a record that cannot be read, and runs",
                    Mend::User(format!("end it with podctl pod rm -f {}", id.short())),
                )),
                Err(_) => {
                    let id = id.clone();
                    let problem = "has a record that cannot be read";
                    let verb = "ends and removes it";
                    let (roots, id) = (roots.clone(), id.clone());
                    found.push(Finding::force("pod", id.clone(), problem, verb, move || bury(&roots, &id)));
                }
            }
            temporaries(scene, id, &scene.engine.roots.pod(id), found);
            if pod.hidden() && pod.containers.is_empty() && !scene.is_held(id) {
                let (path, id) = (roots.pod(id), id.clone());
                let problem = "is what a container without a pod has left";
                found.push(Finding::repair("pod", shown(&path), problem, "removes it", move || {
                    let is_empty = index::pod(&roots, &id).is_some_and(|pod| pod.containers.is_empty());
                    if is_empty { bury(&roots, &id) } else { Ok(()) }
                }));
            }
            for name in entries(&scene.engine.roots.containers(id)) {
                member(scene, pod, &name, found);
            }
        }
    }
}

/// Records that were being written when their writer was killed.
fn temporaries(scene: &Scene<'_>, pod: &Id, dir: &std::path::Path, found: &mut Vec<Finding>) {
    if scene.is_held(pod) {
        return;
    }
    for name in entries(dir).into_iter().filter(|name| name.starts_with('.') && name.ends_with(".tmp")) {
        let (path, lock) = (dir.join(name), scene.engine.roots.pod_lock(pod));
        let problem = "is a record that was being written when its writer was killed";
        found.push(Finding::repair("remains", shown(&path), problem, "removes it", move || {
            match if Lock::is_held(&lock) { Ok(()) } else { fs::remove_file(&path) } {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Refusal::internal(path.display(), error))
                }
                _ => Ok(()),
            }
        }));
    }
}

fn newer(kind: &'static str, name: &str) -> Finding {
    let way = "install that version again, or remove it with rm -f".to_owned();
    Finding::new(kind, name, "was written by a newer podctl", Mend::User(way))
}

fn member(scene: &Scene<'_>, pod: &index::Pod, name: &str, found: &mut Vec<Finding>) {
    let roots = &scene.engine.roots;
    let path = roots.containers(pod.id()).join(name);
    if name.starts_with(records::TOMBSTONE) {
        if !scene.is_held(pod.id()) {
            found.push(remains(path, roots, pod.id()));
        }
        return;
    }
    let Ok(id) = name.parse::<Id>() else { return };
    let Some(container) = pod.containers.iter().find(|container| *container.id() == id) else {
        if path.exists() && !roots.container_record(pod.id(), &id).exists() && !scene.is_held(pod.id()) {
            let (roots, pod) = (roots.clone(), pod.id().clone());
            let problem = "is a container's directory without a record";
            found.push(Finding::repair("container", shown(&path), problem, "removes it", move || {
                if Lock::is_held(&roots.pod_lock(&pod)) || roots.container_record(&pod, &id).exists() {
                    return Ok(());
                }
                let _ = cgroup_of(&roots, &pod).map(|path| cgroup::kill(&cgroup::container_path(&path, &id)));
                remove_all(&path)
            }));
        }
        return;
    };
    temporaries(scene, pod.id(), &path, found);
    match &container.record {
        Ok(record) if record.schema > SCHEMA => found.push(newer("container", &record.name)),
        Ok(record) => exit(scene, &record.name, container, found),
        Err(_) => {
            found.push(Finding::new("container", &id, "has a record that cannot be read", Mend::Remove(id.clone())))
        }
    }
}

/// An exit record that cannot be read: nobody knows any more how the container ended.
fn exit(scene: &Scene<'_>, name: &str, container: &index::Container, found: &mut Vec<Finding>) {
    let path = scene.engine.roots.exit_record(container.pod(), container.id());
    let broken = record::read::<ExitRecord>(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
    if !broken || scene.is_live(container.pod()) {
        return;
    }
    let problem = "has an exit code that cannot be read";
    found.push(Finding::repair("container", name, problem, "notes that it is unknown", move || {
        let exit = ExitRecord {
            schema: SCHEMA,
            status: proto::exit::unknown(proto::time::now()),
            started_at: 0,
            restart_count: 0,
            error: String::new(),
            log_dropped: 0,
            stopped_by_user: false,
            init: None,
        };
        record::write(&path, &exit, Durability::Durable).map_err(|error| Refusal::internal(path.display(), error))
    }));
}

/// The control group a pod had when it was up, or has by default.
fn cgroup_of(roots: &Roots, pod: &Id) -> Result<String> {
    let state = record::read::<record::PodState>(&roots.pod_state(pod)).ok();
    match state.filter(|state| !state.cgroup.is_empty()) {
        Some(state) => Ok(state.cgroup),
        None => cgroup::pod_path(pod, ""),
    }
}

/// Ends and removes all that bears the id of a pod nobody has in hand, record or not.
///
/// # Errors
/// When somebody has it in hand now, and those of the kernel and the file system.
pub(super) fn bury(roots: &Roots, pod: &Id) -> Result<()> {
    let run = roots.run_pod(pod);
    let broken = |error: std::io::Error| Refusal::internal(format!("pod {pod}"), error);
    let Some(lock) = intent::lock(roots, pod).map_err(broken)? else {
        return Err(Refusal::new(Kind::TimedOut, format!("pod {pod} is in use by somebody else now")));
    };
    mounts::none_below(&run).and_then(|()| mounts::none_below(&roots.pod(pod)))?;
    let path = cgroup_of(roots, pod)?;
    cgroup::kill(&path)?;
    infra::end_of(pod, roots);
    failpoint::refuse(Point::BuryKilled)?;
    network::take_down_now(&network::Networks::open(roots), pod)?;
    cgroup::remove(&path)?;
    cgroup::remove_parents(&path, &roots.run);
    for name in entries(&roots.names()) {
        let link = fs::read_link(roots.names().join(&name)).ok();
        if let Some(target) =
            link.and_then(|link| proto::layout::Target::from_link(&link)).filter(|one| one.pod() == pod)
        {
            records::release(roots, &name, &target);
        }
    }
    failpoint::refuse(Point::BuryNames)?;
    finish_buried(roots, pod)?;
    records::bury(&roots.pods(), pod.as_str()).map_err(broken)?;
    remove_all(&records::pod_tombstone(roots, pod))?;
    intent::leave(roots, pod);
    drop(lock);
    Ok(())
}
