//! Where the mounts of a member come from, in the engine's mount namespace.
//!
//! A host path means the caller's view: podctl opens it (open_tree(2)) and passes the descriptor; it is attached below
//! the member's run directory. Where no descriptor came (a restart by policy, a caller without the right) the path is
//! looked up in the view this shim inherited from whoever started it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};
use proto::{
    Refusal,
    record::ContainerRecord,
    refusal::Result,
    wire::{Mount, mount},
};

use super::record::make_dir;
use crate::{bundle::BoundMount, sys, volume::Volumes};

/// What the caller has opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Bind sources, by destination.
    binds: HashMap<String, OwnedFd>,
    /// The container's standard streams, by the names its monitor knows them by.
    pub(super) streams: Vec<(String, OwnedFd)>,
}

/// What podmon calls the streams of the caller.
const STREAMS: [&str; 3] = ["caller-stdin", "caller-stdout", "caller-stderr"];

/// Assigns `fds` to the binds of `mounts`, in order (the order podctl opened them in); the last three are the streams of
/// a container that writes past its monitor.
pub(super) fn assign<'a>(
    mounts: impl Iterator<Item = &'a Mount>,
    passes_through: bool,
    mut fds: Vec<OwnedFd>,
) -> Opened {
    let streams = if passes_through && fds.len() >= STREAMS.len() {
        STREAMS.map(str::to_owned).into_iter().zip(fds.split_off(fds.len() - STREAMS.len())).collect()
    } else {
        Vec::new()
    };
    let binds = mounts
        .filter(|mount| mount.kind() == mount::Kind::Bind)
        .zip(fds)
        .map(|(mount, fd)| (mount.destination.clone(), fd))
        .collect();
    Opened { binds, streams }
}

/// Makes every mount of `record` available in the engine's mount namespace.
///
/// # Errors
/// When a source is missing or a volume cannot be made, naming the mount.
pub(super) fn bind(
    record: &ContainerRecord,
    opened: &mut Opened,
    volumes: &Volumes,
    run_dir: &Path,
    rootfs: &Path,
) -> Result<Vec<BoundMount>> {
    let mut bound = Vec::with_capacity(record.mounts.len());
    for (number, mount) in record.mounts.iter().enumerate() {
        let source = match mount.kind() {
            mount::Kind::Bind => match opened.binds.remove(&mount.destination) {
                Some(tree) => attach(&tree, &run_dir.join("binds"), number).map_err(|error| refuse(mount, error))?,
                None => look_up(mount)?,
            },
            mount::Kind::Volume => {
                let anonymous = record.anonymous_volumes.contains(&mount.source);
                volumes.ensure(&mount.source, anonymous)?;
                if !mount.options.iter().any(|option| option == "nocopy") {
                    volumes.copy_up(&mount.source, rootfs, &mount.destination)?;
                }
                volumes.data(&mount.source)
            }
            mount::Kind::Tmpfs | mount::Kind::Devpts | mount::Kind::Image => PathBuf::new(),
        };
        bound.push(BoundMount { mount: mount.clone(), source });
    }
    Ok(bound)
}

fn refuse(mount: &Mount, error: io::Error) -> Refusal {
    Refusal::internal(format!("-v {}:{}", mount.source, mount.destination), error)
}

/// Attaches an opened tree as `dir/number`: a file onto a file, a directory onto a directory.
fn attach(tree: &OwnedFd, dir: &Path, number: usize) -> io::Result<PathBuf> {
    make_dir(dir)?;
    let target = dir.join(number.to_string());
    let stat = nix::sys::stat::fstat(tree)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        make_dir(&target)?;
    } else {
        File::create(&target)?;
    }
    sys::mount::attach_tree(tree.as_fd(), &target)?;
    Ok(target)
}

fn look_up(mount: &Mount) -> Result<PathBuf> {
    let path = PathBuf::from(&mount.source);
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && mount.create_source => {
            fs::create_dir_all(&path).map_err(|error| refuse(mount, error))?;
            Ok(path)
        }
        Err(error) => Err(Refusal::invalid(format!("statfs {}: {}", mount.source, words(&error))).about(&mount.source)),
    }
}

/// The kernel's words without Rust's "(os error 2)".
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Detaches what [`bind`] attached.
pub(super) fn release(run_dir: &Path) {
    for entry in fs::read_dir(run_dir.join("binds")).into_iter().flatten().flatten() {
        // Not mounted is as good as unmounted; the caller removes the directory.
        let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
}
