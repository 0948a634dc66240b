//! `cp`: trees of files in and out of a root that somebody hostile may hold, as tar.
//!
//! Both sides of a copy are the same code: a root directory (a container's, or the caller's) as a descriptor, and one end
//! of a pipe. A path is resolved once, by the kernel inside that root ([`locate()`]); what is below is opened by openat2(2)
//! without following any link ([`pack()`], [`unpack()`]), so that a container that swaps its directories meanwhile changes
//! what of its own is copied and nothing else. Nothing of a container is run, loaded or decompressed here.
//!
//! Device nodes are not made, sockets are left out, extended attributes stay behind.

mod locate;
mod pack;
mod unpack;

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat},
};

pub use locate::{Located, locate};
pub use pack::pack;
pub use unpack::{Target, unpack};

use crate::sys::beneath;

/// A directory without its content, or a file, itself.
const ITSELF: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW);
/// A directory to read.
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

/// Opens `path`, a located one, below `root`.
fn below_root(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    beneath::in_root_and_mounts(root, path, flags)
}

/// Opens the directory at the located `path` below `root`.
///
/// # Errors
/// Those of openat2(2).
pub fn directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    below_root(root, path, DIRECTORY)
}

/// Opens the place at `path` inside `root` for a mount; it and the directories above it are made where they are missing.
///
/// # Errors
/// Those of the file system.
pub fn place(root: impl AsFd, path: &Path, file: bool) -> io::Result<OwnedFd> {
    let root = root.as_fd();
    let mut sofar = PathBuf::from("/");
    let parts: Vec<_> = path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    for (number, part) in parts.iter().enumerate() {
        let parent = below_root(root, &sofar, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        sofar.push(part);
        match below_root(root, &sofar, OFlag::O_PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => {
                found?;
                continue;
            }
        }
        if file && number + 1 == parts.len() {
            let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            nix::fcntl::openat(&parent, part.as_os_str(), create, Mode::from_bits_truncate(0o644))?;
        } else {
            mkdirat(&parent, part.as_os_str(), Mode::from_bits_truncate(0o755))?;
        }
    }
    below_root(root, &sofar, OFlag::O_PATH)
}

/// Opens the regular file `name` in `dir` with its status. It is looked at before it is opened: no device is touched, no
/// FIFO waited for.
fn regular(dir: impl AsFd, name: &Path, how: OFlag) -> io::Result<(File, FileStat)> {
    let itself = beneath::no_links_but_mounts(dir, name, ITSELF)?;
    let status = fstat(&itself)?;
    if beneath::kind(&status) != SFlag::S_IFREG {
        return Err(Errno::ESTALE.into());
    }
    let path = format!("/proc/self/fd/{}", itself.as_raw_fd());
    let file = nix::fcntl::open(Path::new(&path), how | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok((File::from(file), status))
}

/// The kernel's words, without Rust's "(os error 2)".
pub fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_lowercase())
}

#[cfg(test)]
mod tests;
