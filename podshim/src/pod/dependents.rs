//! Containers that need another one: they live in its namespaces, use its volumes, or require it.
//!
//! Whoever needs a container leaves a file called like its own id in `dependents/` beside the other's record, before its
//! own record is written: so the other is not removed while it is needed, whichever pods the two are in, and looking
//! costs one directory. A file whose container has gone, or was never made, says nothing.

use std::{fs, io, path::Path};

use proto::{
    Id, Kind, Refusal, Roots,
    layout::Target,
    refusal::Result,
    wire::{ContainerConfig, Mount, PodConfig, mount},
};

use super::record;
use crate::index;

/// The containers that `config` names: those of its namespaces, those of its volumes, and those it requires.
pub(super) fn needed(config: &ContainerConfig, pod: &PodConfig) -> Vec<String> {
    let modes = [&config.pid_mode, &config.ipc_mode, &config.uts_mode, &config.cgroupns_mode];
    let networks = [&config.network, &pod.network].into_iter().flatten().map(|network| &network.mode);
    let joined = modes.into_iter().chain(networks).filter_map(|mode| mode.strip_prefix("container:"));
    let mut names: Vec<String> = joined.map(str::to_owned).collect();
    names.extend(config.volumes_from.iter().chain(&config.requires).map(|source| name_of(source).to_owned()));
    names.sort();
    names.dedup();
    names
}

/// `db` of `db:ro,z`.
pub(super) fn name_of(source: &str) -> &str {
    source.split_once(':').map_or(source, |(name, _)| name)
}

/// What `name` is.
fn find(roots: &Roots, name: &str) -> Result<Target> {
    match roots.resolve(name)? {
        Some(target @ (Target::Container { .. } | Target::Infra(_))) => Ok(target),
        _ => Err(Refusal::no_such_container(name)),
    }
}

/// Notes that `dependent` needs the containers `names`.
///
/// # Errors
/// When one of them is not there.
pub(super) fn hold(roots: &Roots, names: &[String], dependent: &Id) -> Result<()> {
    for name in names {
        let dir = roots.dependents(&find(roots, name)?);
        // Whoever else needed it may take the directory away in between, but not again and again.
        let note = || note(&dir, dependent);
        note().or_else(|_| note()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::no_such_container(name),
            _ => Refusal::internal(format!("container {name}: noting who needs it"), error),
        })?;
    }
    Ok(())
}

fn note(dir: &Path, dependent: &Id) -> io::Result<()> {
    // Not with its parents: a container that has just been removed must not come back as a directory.
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::write(dir.join(dependent.as_str()), b""),
    }
}

/// Takes it back. What is not there any more is fine.
pub(super) fn release(roots: &Roots, names: &[String], dependent: &Id) {
    for target in names.iter().filter_map(|name| find(roots, name).ok()) {
        let dir = roots.dependents(&target);
        let _ = fs::remove_file(dir.join(dependent.as_str()));
        // The last one; others may still be in it.
        let _ = fs::remove_dir(dir);
    }
}

/// The containers that need `target` and are there.
fn dependents(roots: &Roots, target: &Target) -> Vec<Id> {
    let target_of =
        |id: &Id| fs::read_link(roots.names().join(id.as_str())).ok().and_then(|link| Target::from_link(&link));
    // One that is being made counts; one whose maker was killed has a name and nothing else.
    let is_there = |id: &Id| target_of(id).is_some_and(|target| record::is_there(roots, &target));
    index::dependents(roots, target).into_iter().filter(is_there).collect()
}

/// Refuses to remove the container `id` of `pod` while others need it; those of the pod itself do not count where the
/// whole pod goes.
///
/// # Errors
/// [`Kind::InUse`], in podman's words.
pub(super) fn check(roots: &Roots, pod: &Id, id: &Id, whole_pod: bool) -> Result<()> {
    let target = Target::Container { pod: pod.clone(), container: id.clone() };
    refuse(roots, &target, id, pod, whole_pod)
}

/// The same for the infra of `pod`.
///
/// # Errors
/// [`Kind::InUse`], in podman's words.
pub(super) fn check_infra(roots: &Roots, pod: &Id, infra: &Id) -> Result<()> {
    refuse(roots, &Target::Infra(pod.clone()), infra, pod, true)
}

fn refuse(roots: &Roots, target: &Target, id: &Id, pod: &Id, whole_pod: bool) -> Result<()> {
    let inside = |id: &Id| roots.resolve(id.as_str()).ok().flatten().is_some_and(|found| found.pod() == pod);
    let needed: Vec<String> = dependents(roots, target)
        .into_iter()
        .filter(|dependent| !(whole_pod && inside(dependent)))
        .map(String::from)
        .collect();
    if needed.is_empty() {
        return Ok(());
    }
    let words = format!(
        "container {id} has dependent containers which must be removed before it: {}: container already exists",
        needed.join(", ")
    );
    Err(Refusal::new(Kind::InUse, words).about(id.as_str()))
}

/// The mounts of the containers `sources` (`--volumes-from`), as they have them but for the access asked for; of two at
/// one place the later source's.
///
/// # Errors
/// When one of them is not there.
pub fn volumes(roots: &Roots, sources: &[String]) -> Result<Vec<Mount>> {
    let mut all: Vec<Mount> = Vec::new();
    for source in sources {
        let (name, options) = source.split_once(':').unwrap_or((source, ""));
        let mounts = match find(roots, name)? {
            Target::Container { pod, container } => {
                let found = index::container(roots, &pod, &container).and_then(|found| found.record.ok());
                found.ok_or_else(|| Refusal::no_such_container(name))?.mounts
            }
            Target::Pod(pod) | Target::Infra(pod) => {
                let found = index::pod(roots, &pod).and_then(|found| found.record.ok());
                found.ok_or_else(|| Refusal::no_such_container(name))?.config.mounts
            }
        };
        for mut mount in mounts {
            // The volume is the source's to keep or lose, and is there.
            (mount.from_image, mount.create_source) = (false, false);
            for access in options.split(',').filter(|option| matches!(*option, "ro" | "rw")) {
                mount.options.retain(|option| !matches!(option.as_str(), "ro" | "rw"));
                mount.options.push(access.to_owned());
            }
            all.retain(|other| other.destination != mount.destination);
            all.push(mount);
        }
    }
    Ok(all)
}

/// Adds the mounts of `sources` to `own` where nothing is yet.
///
/// # Errors
/// Like [`volumes`].
pub fn add_volumes(roots: &Roots, sources: &[String], own: &mut Vec<Mount>) -> Result<()> {
    for mount in volumes(roots, sources)? {
        if mount.kind() != mount::Kind::Devpts && own.iter().all(|other| other.destination != mount.destination) {
            own.push(mount);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proto::alive::Lock;

    use super::*;
    use crate::pod::record::make_dir;

    #[test]
    fn who_is_needed_stays_until_nobody_is_left_who_needs_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().into(), run: dir.path().into() };
        make_dir(&roots.names()).expect("names");
        let [pod, source, other, dependent] = [(); 4].map(|()| Id::random().expect("id"));
        let target = Target::Container { pod: pod.clone(), container: source.clone() };
        let names = [source.to_string()];
        assert_eq!(hold(&roots, &names, &dependent).expect_err("nobody").kind, Kind::NoSuchContainer);
        symlink(target.link(), roots.names().join(source.as_str())).expect("link");
        assert_eq!(hold(&roots, &names, &dependent).expect_err("no directory").kind, Kind::NoSuchContainer);
        let written = |pod: &Id, container: &Id| {
            make_dir(&roots.container(pod, container)).expect("directory");
            fs::write(roots.container_record(pod, container), "").expect("record");
        };
        written(&pod, &source);
        hold(&roots, &names, &dependent).expect("held");
        check(&roots, &pod, &source, false).expect("who needs it is not there yet");
        let of = Target::Container { pod: other.clone(), container: dependent.clone() };
        symlink(of.link(), roots.names().join(dependent.as_str())).expect("link");
        check(&roots, &pod, &source, false).expect("who would have needed it was never made");
        written(&other, &dependent);
        let refusal = check(&roots, &pod, &source, true).expect_err("needed");
        assert_eq!(refusal.kind, Kind::InUse);
        assert!(refusal.message.contains(dependent.as_str()), "{}", refusal.message);
        let _shim = Lock::try_take(&roots.pod_lock(&other)).expect("lock").expect("free");
        record::bury(&roots.containers(&other), dependent.as_str()).expect("buried");
        check(&roots, &pod, &source, false).expect("who needed it has been removed");
        release(&roots, &names, &dependent);
        check(&roots, &pod, &source, false).expect("free");
        assert!(!roots.dependents(&target).exists(), "nothing says so any more");
    }

    #[test]
    fn what_is_needed() {
        let config = ContainerConfig {
            pid_mode: "container:a".into(),
            ipc_mode: "container:a".into(),
            uts_mode: "host".into(),
            volumes_from: vec!["b:ro".into()],
            requires: vec!["c:started".into()],
            ..Default::default()
        };
        assert_eq!(needed(&config, &PodConfig::default()), ["a", "b", "c"]);
    }
}
