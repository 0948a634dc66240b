//! What volumes mount, for the containers that use them.
//!
//! Each use is a mount of its own below the container's run directory, and all are of one file system: the first user
//! mounts it, every other takes a copy of the mount of one that is there. So nobody has to count, and what a shim that was
//! killed has mounted goes with the run directory of its container.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use proto::{
    Id, Kind, Refusal, Roots,
    record::ContainerRecord,
    refusal::Result,
    wire::{Mount, mount},
};

use super::{record::make_dir, sources::BINDS};
use crate::{
    index,
    namespace::tree,
    sys,
    volume::{Mounting, Volumes},
};

/// What a volume has mounted for one use of it.
#[derive(Clone, Debug)]
pub(super) struct Mounted {
    /// Where.
    pub(super) path: PathBuf,
    flags: Vec<&'static str>,
}

impl Mounted {
    /// The options of the mount in the container: those asked for, but for what the volume does not allow.
    pub(super) fn options(&self, asked: &[String]) -> Vec<String> {
        let allowed = |option: &&String| {
            !self.flags.iter().any(|flag| flag.strip_prefix("no") == Some(option) || (*flag == "ro" && *option == "rw"))
        };
        let mut options: Vec<String> = asked.iter().filter(allowed).cloned().collect();
        for flag in &self.flags {
            if !options.iter().any(|option| option == flag) {
                options.push((*flag).to_owned());
            }
        }
        options
    }
}

/// Where its `number`th mount of a container has what the volume mounts.
fn place(run_dir: &Path, number: usize) -> PathBuf {
    run_dir.join(BINDS).join(format!("{number}-volume"))
}

/// The mounts of `record` that are of volumes, by their number.
fn uses(record: &ContainerRecord) -> impl Iterator<Item = (usize, &Mount)> {
    record.mounts.iter().enumerate().filter(|(_, mount)| mount.kind() == mount::Kind::Volume)
}

/// What the volume of `mount` mounts. One that is not there yet is made later, and mounts nothing.
fn mounting(volumes: &Volumes, mount: &Mount) -> Option<Mounting> {
    Mounting::of(&volumes.get(&mount.source).ok()?)
}

/// Whether any volume of `record` mounts something.
pub(super) fn any(volumes: &Volumes, record: &ContainerRecord) -> bool {
    uses(record).any(|(_, mount)| mounting(volumes, mount).is_some())
}

/// Mounts what the volumes of `record` mount, below its run directory `run_dir` in our mount namespace. The answer is
/// where, by the number of the container's mount. Blocks: a server may have to be asked.
///
/// # Errors
/// In the words of mount(8); with the name of a container that has one of the volumes and cannot share it now.
pub(super) fn provide(
    roots: &Roots,
    volumes: &Volumes,
    record: &ContainerRecord,
    run_dir: &Path,
) -> Result<HashMap<usize, Mounted>> {
    let mut provided = HashMap::new();
    for (number, mount) in uses(record) {
        let Some(mounting) = mounting(volumes, mount) else { continue };
        let failed = |error: io::Error| Refusal::internal(format!("mounting volume {}", mount.source), error);
        let _lock = volumes.lock(&mount.source)?;
        let target = place(run_dir, number);
        make_dir(&target).map_err(failed)?;
        match find(roots, volumes, &mount.source, Some(&record.pod))? {
            Some(tree) => sys::mount::attach_tree(tree.as_fd(), &target).map_err(failed)?,
            None => mounting.mount(&target)?,
        }
        provided.insert(number, Mounted { path: target, flags: mounting.flags().collect() });
    }
    Ok(provided)
}

/// A copy of the mount that somebody has of what the volume `name` mounts: a container, or the host. `ours` is the pod
/// whose mount namespace we are in.
///
/// # Errors
/// When a container has it that cannot be asked now.
pub fn find(roots: &Roots, volumes: &Volumes, name: &str, ours: Option<&Id>) -> Result<Option<OwnedFd>> {
    let failed = |error: io::Error| Refusal::internal(format!("looking for who has mounted volume {name}"), error);
    for pod in index::pods(roots).map_err(failed)? {
        for container in &pod.containers {
            let Ok(record) = &container.record else { continue };
            let run_dir = roots.run_container(pod.id(), &record.id);
            for (number, _) in uses(record).filter(|(_, mount)| mount.source == name) {
                let path = place(&run_dir, number);
                // The directory is seen from everywhere, what is mounted on it is not.
                if !path.exists() {
                    continue;
                }
                let Some(pid) = keeper(&pod, ours) else {
                    if container.init().is_none() {
                        continue;
                    }
                    let words =
                        format!("volume {name} is mounted in container {}, whose pod has no shim now", record.name);
                    return Err(Refusal::new(Kind::Gone, format!("{words}: try again")).about(name));
                };
                if let Some(tree) = tree::clone_mounted(pid, &path).map_err(failed)? {
                    return Ok(Some(tree));
                }
            }
        }
    }
    for pid in [std::process::id(), 1] {
        // The first process may be out of reach, in a container of somebody else.
        if let Ok(Some(tree)) = tree::clone_mounted(pid, &volumes.data(name)) {
            return Ok(Some(tree));
        }
    }
    Ok(None)
}

/// A process that lives in the engine's mount namespace of `pod`.
fn keeper(pod: &index::Pod, ours: Option<&Id>) -> Option<u32> {
    if ours == Some(pod.id()) {
        return Some(std::process::id());
    }
    let monitors = pod.containers.iter().filter_map(|container| container.monitor.as_ref()).map(|found| &found.monitor);
    let shim = pod.state.as_ref().map(|state| &state.shim);
    monitors.chain(shim).find(|process| process.is_alive()).map(|process| process.pid)
}

/// Mounts what the volume `name` mounts on its data directory, in our mount namespace. The answer is that directory, also
/// of a volume that mounts nothing.
///
/// # Errors
/// `NoSuchVolume`, and as [`provide`].
pub fn mount_on_host(roots: &Roots, volumes: &Volumes, name: &str) -> Result<PathBuf> {
    let record = volumes.get(name)?;
    let data = volumes.data(name);
    if let Some(mounting) = Mounting::of(&record) {
        let _lock = volumes.lock(name)?;
        match find(roots, volumes, name, None)? {
            Some(tree) => sys::mount::attach_tree(tree.as_fd(), &data)
                .map_err(|error| Refusal::internal(format!("mounting volume {name}"), error))?,
            None => mounting.mount(&data)?,
        }
    }
    Ok(data)
}

/// Takes back one [`mount_on_host`].
///
/// # Errors
/// `NoSuchVolume`, and those of umount2(2).
pub fn unmount_on_host(volumes: &Volumes, name: &str) -> Result<PathBuf> {
    volumes.get(name)?;
    let data = volumes.data(name);
    if volumes.host_mounts(name) > 0 {
        let _lock = volumes.lock(name)?;
        sys::mount::detach(&data).map_err(|error| Refusal::internal(format!("unmounting volume {name}"), error))?;
    }
    Ok(data)
}

/// Lets go of what a new mount namespace of ours has got of the host's mounts of volumes: whoever unmounts them there
/// means it.
pub fn forget_host_mounts(roots: &Roots) {
    let volumes = roots.volumes();
    for point in sys::mount::points().iter().rev().filter(|point| point.starts_with(&volumes) && **point != volumes) {
        // What the host has unmounted meanwhile, and shares with us, is gone here, too.
        let _ = sys::mount::detach(point);
    }
}
