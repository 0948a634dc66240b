//! Paths inside directories that somebody hostile may have filled: opened by openat2(2), never by name, and removed without
//! following anything.
//!
//! A path from an image or a container is only ever resolved here. The kernel does it in one go, so nothing can be swapped
//! between a check and its use.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag},
    sys::stat::{self, FileStat, Mode, SFlag},
    unistd::{self, UnlinkatFlags},
};

/// openat2(2) answers EAGAIN when something was renamed meanwhile and it cannot tell whether the path stayed inside.
const ATTEMPTS: usize = 128;

/// Directories open at a time while a tree is removed; what is deeper is moved up first.
const MAX_DEPTH: usize = 32;

/// Opens `path` as if `root` were `/`: links, absolute ones and `..` too, end inside it. Other mounts, and links of /proc
/// that are no paths, are refused.
///
/// # Errors
/// Those of openat2(2): `EXDEV` for another mount, `ELOOP` for such a link.
pub fn in_root(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    open(root.as_fd(), path, flags, ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_XDEV)
}

/// Opens the relative `path` below `dir` without following any link.
///
/// # Errors
/// Those of openat2(2): `ELOOP` for a link, `EXDEV` for another mount.
pub fn no_links(dir: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    open(dir.as_fd(), path, flags | OFlag::O_NOFOLLOW, resolve)
}

/// [`in_root`] over other mounts, too: the root of a container with all that is mounted in it.
///
/// # Errors
/// Those of openat2(2): `ELOOP` for a link that is no path.
pub fn in_root_and_mounts(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    open(root.as_fd(), path, flags, ResolveFlag::RESOLVE_IN_ROOT)
}

/// [`no_links`] over other mounts, too.
///
/// # Errors
/// Those of openat2(2): `ELOOP` for a link.
pub fn no_links_but_mounts(dir: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    open(dir.as_fd(), path, flags | OFlag::O_NOFOLLOW, resolve)
}

fn open(dir: BorrowedFd<'_>, path: &Path, flags: OFlag, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..ATTEMPTS {
        match fcntl::openat2(dir, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::EAGAIN.into())
}

/// The directory `path` itself, for reading and as a base.
///
/// # Errors
/// Those of open(2); `ENOTDIR` for a link, too.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(fcntl::open(path, flags, Mode::empty())?)
}

/// Names in `dir`, without `.` and `..`.
///
/// # Errors
/// Those of getdents(2).
pub fn names(dir: impl AsFd) -> io::Result<Vec<CString>> {
    // Opened anew: the position of a directory belongs to the open file, which `dir` shares with its copies.
    let own = no_links(dir, Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether nothing is in `dir`.
///
/// # Errors
/// Those of getdents(2).
pub fn is_empty(dir: impl AsFd) -> io::Result<bool> {
    let own = no_links(dir, Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    for entry in Dir::from_fd(own)?.iter() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A name as a path: names are bytes.
pub fn path(name: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

/// What `name` in `dir` is, itself.
///
/// # Errors
/// Those of fstatat(2).
pub fn status(dir: impl AsFd, name: &CStr) -> io::Result<FileStat> {
    Ok(stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// The kind of file `status` tells of.
pub fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// Removes `name` in `dir` with all that is in it; nothing there is fine. Follows nothing and may be as deep as a
/// container has made it.
///
/// # Errors
/// Those of unlinkat(2): `EPERM` for a file that was made immutable, `EBUSY` for a mount point.
pub fn remove_tree(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    let dir = dir.as_fd();
    match unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = match fcntl::openat(dir, name, flags, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    loop {
        let before = moved;
        empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
        match unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // What was too deep lies at the top now.
            Err(Errno::ENOTEMPTY) if moved > before => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Empties `dir`, `depth` below `top`.
fn empty(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> io::Result<()> {
    for name in names(dir)? {
        match unistd::unlinkat(dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        if depth >= MAX_DEPTH {
            *moved += 1;
            let place = format!(".podctl-deep-{}-{moved}", std::process::id());
            fcntl::renameat(dir, name.as_c_str(), top, place.as_str())?;
            continue;
        }
        match no_links(dir, path(&name), OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(child) => empty(top, child.as_fd(), depth + 1, moved)?,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        }
        match unistd::unlinkat(dir, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_end_inside_the_root() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("root/etc")).expect("mkdir");
        fs::write(dir.path().join("root/etc/inside"), "").expect("write");
        fs::write(dir.path().join("outside"), "").expect("write");
        symlink("/", dir.path().join("root/abs")).expect("link");
        symlink("../../..", dir.path().join("root/up")).expect("link");
        symlink("/proc/self/root", dir.path().join("root/magic")).expect("link");
        let root = directory(&dir.path().join("root")).expect("root");
        for path in ["/etc/inside", "abs/etc/inside", "up/etc/inside", "/../etc/inside", "abs/up/abs/etc/inside"] {
            assert!(in_root(&root, Path::new(path), OFlag::O_PATH).is_ok(), "{path}");
        }
        for path in ["../outside", "up/outside", "abs/outside", "magic/etc"] {
            assert!(in_root(&root, Path::new(path), OFlag::O_PATH).is_err(), "{path}");
        }
        assert!(no_links(&root, Path::new("etc/inside"), OFlag::O_PATH).is_ok());
        assert!(no_links(&root, Path::new("abs/etc"), OFlag::O_PATH).is_err());
        assert!(no_links(&root, Path::new("../outside"), OFlag::O_PATH).is_err());
        let proc = directory(Path::new(&format!("/proc/{}", std::process::id()))).expect("proc");
        assert!(in_root(&proc, Path::new("root/etc"), OFlag::O_PATH).is_err(), "a link that is no path");
    }

    #[test]
    fn a_tree_of_any_depth_is_removed_and_no_link_followed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).expect("mkdir");
        fs::write(canary.join("file"), "").expect("write");
        let base = directory(dir.path()).expect("dir");
        stat::mkdirat(&base, "tree", Mode::S_IRWXU).expect("mkdir");
        let mut at = no_links(&base, Path::new("tree"), OFlag::O_RDONLY | OFlag::O_DIRECTORY).expect("tree");
        for _ in 0..400 {
            unistd::symlinkat(&canary, &at, "link").expect("link");
            stat::mkdirat(&at, "d", Mode::S_IRWXU).expect("mkdir");
            at = no_links(&at, Path::new("d"), OFlag::O_RDONLY | OFlag::O_DIRECTORY).expect("deeper");
        }
        drop(at);
        remove_tree(&base, c"tree").expect("removed");
        assert_eq!(names(&base).expect("names").len(), 1);
        assert!(canary.join("file").exists());
        remove_tree(&base, c"tree").expect("nothing there is fine");
        symlink("canary", dir.path().join("link")).expect("link");
        remove_tree(&base, c"link").expect("a link");
        assert!(canary.join("file").exists() && !dir.path().join("link").exists());
    }
}
