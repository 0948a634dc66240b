//! Mounts of another mount namespace.

use std::{
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx},
    mount::{OpenTreeFlags, open_tree},
};

const FLAGS: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_RECURSIVE);

/// A detached copy of what is at `path` in the mount namespace of the process `pid`, as seen from its root there.
///
/// # Errors
/// Those of setns(2) and open_tree(2); `NotFound` where the process or the path is not there.
pub fn clone_from(pid: u32, path: &Path) -> io::Result<OwnedFd> {
    there(pid, path, |path| Ok(open_tree(CWD, path, FLAGS | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?))
}

/// The same, of something that is mounted at `path` itself; `None` where nothing is.
///
/// # Errors
/// As [`clone_from`], but for `NotFound`.
pub fn clone_mounted(pid: u32, path: &Path) -> io::Result<Option<OwnedFd>> {
    let found = there(pid, path, |path| {
        let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
        if !status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(None);
        }
        Ok(Some(open_tree(CWD, path, FLAGS | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?))
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

/// What `look` finds in the mount namespace of the process `pid`.
fn there<T: Send + 'static>(pid: u32, path: &Path, look: fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let path = path.to_owned();
    // A thread of its own: it never comes back from there.
    let thread = thread::Builder::new().spawn(move || -> io::Result<T> {
        // The threads of a process share root and working directory, which setns(2) refuses to change for all.
        unshare(CloneFlags::CLONE_FS)?;
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        look(&path)
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looks there broke off")))
}

/// A detached copy of what is mounted at the file or directory `at`, of this mount namespace.
///
/// # Errors
/// Those of open_tree(2).
pub fn clone_at(at: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(open_tree(at, "", FLAGS | OpenTreeFlags::AT_EMPTY_PATH)?)
}
