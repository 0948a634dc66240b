//! An image's content into a new volume, once.
//!
//! The content is copied beside the volume's data and moved in by renames when it is complete: a copy that fails leaves the
//! volume empty, one that was cut off is finished by the next container.

use proto::failpoint::{self, Point};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{self, OFlag, RenameFlags},
    sys::stat::{self, Mode},
    unistd::{self, UnlinkatFlags},
};

use super::tree;
use crate::sys::beneath;

const DATA: &CStr = c"_data";
/// An unfinished copy.
const PART: &CStr = c"_copy.part";
/// A complete copy, on its way into the data.
const COPY: &CStr = c"_copy";

/// Whether another image may still fill the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something is in it now.
    ChanceGone,
    /// The image had nothing for it.
    ChanceLeft,
}

/// Copies `destination` of `rootfs` into the volume at `dir`, whose lock is held.
pub(super) fn run(dir: &OwnedFd, rootfs: &Path, destination: &str) -> io::Result<Outcome> {
    let data = open(dir.as_fd(), DATA)?;
    match open(dir.as_fd(), COPY) {
        Ok(copy) => return move_in(dir, &data, &copy),
        Err(error) if is(&error, Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    beneath::remove_tree(dir, PART)?;
    if !beneath::is_empty(&data)? {
        return Ok(Outcome::ChanceGone);
    }
    let root = beneath::directory(rootfs)?;
    let source = match beneath::in_root(&root, Path::new(destination), OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(source) => source,
        // Not there, no directory, or a link that leads nowhere inside: the image has nothing for this volume.
        Err(error)
            if [Errno::ENOENT, Errno::ENOTDIR, Errno::ELOOP, Errno::EXDEV].iter().any(|kind| is(&error, *kind)) =>
        {
            return Ok(Outcome::ChanceLeft);
        }
        Err(error) => return Err(error),
    };
    if beneath::is_empty(&source)? {
        // A volume that some container has made its own keeps its owner, empty or not.
        if is_untouched(&data)? {
            tree::attributes(&source, &data)?;
        }
        return Ok(Outcome::ChanceLeft);
    }
    copy(dir, &source).inspect_err(|_| {
        // The cause is reported; a leftover is removed by the next attempt.
        let _ = beneath::remove_tree(dir, PART);
    })?;
    let copy = open(dir.as_fd(), COPY)?;
    move_in(dir, &data, &copy)
}

/// The whole of `source` as `_copy`.
fn copy(dir: &OwnedFd, source: &OwnedFd) -> io::Result<()> {
    stat::mkdirat(dir, PART, Mode::S_IRWXU)?;
    let part = open(dir.as_fd(), PART)?;
    tree::copy(source.as_fd(), part.as_fd())?;
    failpoint::check(Point::VolumePart)?;
    fcntl::renameat(dir, PART, dir, COPY)?;
    Ok(())
}

/// Moves what is in `copy` into `data`, which takes its owner and mode last.
fn move_in(dir: &OwnedFd, data: &OwnedFd, copy: &OwnedFd) -> io::Result<Outcome> {
    for name in beneath::names(copy)? {
        match fcntl::renameat2(copy, name.as_c_str(), data, name.as_c_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {}
            // A container that runs with the volume was faster: what it wrote stays.
            Err(Errno::EEXIST) => beneath::remove_tree(copy, &name)?,
            Err(error) => return Err(error.into()),
        }
    }
    failpoint::check(Point::VolumeMoved)?;
    tree::attributes(copy, data)?;
    unistd::unlinkat(dir, COPY, UnlinkatFlags::RemoveDir)?;
    Ok(Outcome::ChanceGone)
}

/// Owner and mode are those it was made with.
fn is_untouched(data: &OwnedFd) -> io::Result<bool> {
    let status = stat::fstat(data)?;
    Ok(status.st_uid == 0 && status.st_gid == 0 && status.st_mode & 0o7777 == 0o755)
}

fn open(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    beneath::no_links(dir, beneath::path(name), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

fn is(error: &io::Error, kind: Errno) -> bool {
    error.raw_os_error() == Some(kind as i32)
}
