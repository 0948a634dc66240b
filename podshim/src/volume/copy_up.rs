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
    sys::{
        stat::{self, Mode},
        statvfs::{FsFlags, fstatvfs},
    },
    unistd::{self, UnlinkatFlags},
};

use super::tree;
use crate::sys::beneath;

const DATA: &CStr = c"_data";

/// Where an image's content goes.
#[derive(Debug)]
pub(super) struct Place {
    /// What containers see.
    pub(super) data: OwnedFd,
    /// Where it is copied first: a directory of the same file system.
    beside: OwnedFd,
    /// An unfinished copy.
    part: &'static CStr,
    /// A complete copy, on its way into the data.
    copy: &'static CStr,
}

impl Place {
    /// The data of the volume at `dir`.
    pub(super) fn of_volume(dir: &Path) -> io::Result<Place> {
        let beside = beneath::directory(dir)?;
        Ok(Place { data: open(beside.as_fd(), DATA)?, beside, part: c"_copy.part", copy: c"_copy" })
    }

    /// What a volume has mounted at `dir`; `None` where it cannot be written to. It is copied in it, under names that
    /// are nobody else's.
    pub(super) fn mounted(dir: &Path) -> io::Result<Option<Place>> {
        let data = beneath::directory(dir)?;
        if fstatvfs(&data)?.flags().contains(FsFlags::ST_RDONLY) {
            return Ok(None);
        }
        let beside = data.try_clone()?;
        Ok(Some(Place { data, beside, part: c".podctl-copy.part", copy: c".podctl-copy" }))
    }
}

/// Whether another image may still fill the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something is in it now.
    ChanceGone,
    /// The image had nothing for it.
    ChanceLeft,
}

/// Copies `destination` of `rootfs` to `place`. The lock of the volume is held.
pub(super) fn run(place: &Place, rootfs: &Path, destination: &str) -> io::Result<Outcome> {
    let Place { data, beside, part, copy } = place;
    match open(beside.as_fd(), copy) {
        Ok(whole) => return move_in(place, &whole),
        Err(error) if is(&error, Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    beneath::remove_tree(beside, part)?;
    if !beneath::is_empty(data)? {
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
        if is_untouched(data)? {
            tree::attributes(&source, data)?;
        }
        return Ok(Outcome::ChanceLeft);
    }
    copy_beside(place, &source).inspect_err(|_| {
        // The cause is reported; a leftover is removed by the next attempt.
        let _ = beneath::remove_tree(beside, part);
    })?;
    move_in(place, &open(beside.as_fd(), copy)?)
}

/// The whole of `source` under the name of a complete copy.
fn copy_beside(place: &Place, source: &OwnedFd) -> io::Result<()> {
    let Place { beside, part, copy, .. } = place;
    stat::mkdirat(beside, *part, Mode::S_IRWXU)?;
    let target = open(beside.as_fd(), part)?;
    tree::copy(source.as_fd(), target.as_fd())?;
    failpoint::check(Point::VolumePart)?;
    fcntl::renameat(beside, *part, beside, *copy)?;
    Ok(())
}

/// Moves what is in the complete copy `whole` into the data, which takes its owner and mode last.
fn move_in(place: &Place, whole: &OwnedFd) -> io::Result<Outcome> {
    let Place { data, beside, copy, .. } = place;
    for name in beneath::names(whole)? {
        match fcntl::renameat2(whole, name.as_c_str(), data, name.as_c_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {}
            // A container that runs with the volume was faster: what it wrote stays.
            Err(Errno::EEXIST) => beneath::remove_tree(whole, &name)?,
            Err(error) => return Err(error.into()),
        }
    }
    failpoint::check(Point::VolumeMoved)?;
    tree::attributes(whole, data)?;
    unistd::unlinkat(beside, *copy, UnlinkatFlags::RemoveDir)?;
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
