//! Copies a tree of files that somebody hostile made, by descriptors only.
//!
//! Owner, mode, times, extended attributes, links of both kinds and holes are kept. Device nodes and sockets are left out:
//! volumes are mounted `nodev`, and a socket without its listener is nothing. Directories are worked off from a list, not
//! by recursion: at most two of them are open however deep the tree is.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{self, AtFlags, OFlag},
    sys::{
        stat::{self, FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags},
        time::TimeSpec,
    },
    unistd::{self, Gid, LinkatFlags, Uid, Whence},
};

use crate::sys::{beneath, xattr};

/// Opens a directory for reading.
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

/// Copies everything in `source` into the empty directory `target`, and the attributes of `source` itself.
pub(super) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut copier = Copier { source, target, links: HashMap::new() };
    let mut directories = vec![PathBuf::from(".")];
    let mut next = 0;
    while let Some(path) = directories.get(next).cloned() {
        next += 1;
        copier.directory(&path, &mut directories)?;
    }
    // Children before parents: to fill a directory changes its times, and its mode may forbid it.
    for path in directories.iter().rev() {
        let from = beneath::no_links(source, path, DIRECTORY)?;
        let to = beneath::no_links(target, path, DIRECTORY)?;
        attributes(&from, &to)?;
    }
    Ok(())
}

/// Gives `to` the owner, mode, extended attributes and times of `from`.
pub(super) fn attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let status = stat::fstat(from)?;
    // The owner first: to change it drops set-uid bits and capabilities.
    unistd::fchown(to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    stat::fchmod(to, mode(&status))?;
    for name in xattr::list(from)?.iter().filter(|name| is_kept(name)) {
        let Some(value) = xattr::get(from, name)? else { continue };
        match xattr::set(to, name, &value) {
            // The store's file system has fewer kinds of attributes than the image's.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {}
            result => result?,
        }
    }
    let (accessed, modified) = times(&status);
    stat::futimens(to, &accessed, &modified)?;
    Ok(())
}

/// Attributes that belong to the file and not to where it lies: not overlayfs' own marks, not security labels.
fn is_kept(name: &CStr) -> bool {
    let name = name.to_bytes();
    name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

fn mode(status: &FileStat) -> Mode {
    Mode::from_bits_truncate(status.st_mode & 0o7777)
}

fn times(status: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(status.st_atime, status.st_atime_nsec), TimeSpec::new(status.st_mtime, status.st_mtime_nsec))
}

struct Copier<'a> {
    source: BorrowedFd<'a>,
    target: BorrowedFd<'a>,
    /// Where the first name of a file with several went, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    /// Copies what is in the directory `path`; directories in it are only made, and appended to `directories`.
    fn directory(&mut self, path: &Path, directories: &mut Vec<PathBuf>) -> io::Result<()> {
        let from = beneath::no_links(self.source, path, DIRECTORY)?;
        let to = beneath::no_links(self.target, path, DIRECTORY)?;
        for name in beneath::names(&from)? {
            let status = beneath::status(&from, &name)?;
            let place = path.join(OsStr::from_bytes(name.to_bytes()));
            if beneath::kind(&status) == SFlag::S_IFDIR {
                stat::mkdirat(&to, name.as_c_str(), Mode::S_IRWXU)?;
                directories.push(place);
            } else {
                self.file(&from, &to, &name, &status, place)?;
            }
        }
        Ok(())
    }

    /// Copies one file that is no directory.
    fn file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CString,
        status: &FileStat,
        place: PathBuf,
    ) -> io::Result<()> {
        let kind = beneath::kind(status);
        if !matches!(kind, SFlag::S_IFREG | SFlag::S_IFLNK | SFlag::S_IFIFO) {
            return Ok(());
        }
        if status.st_nlink > 1 {
            let inode = (status.st_dev, status.st_ino);
            if let Some(first) = self.links.get(&inode) {
                // Every part of the way there is a directory that this copy has made.
                unistd::linkat(self.target, first, to, name.as_c_str(), LinkatFlags::empty())?;
                return Ok(());
            }
            self.links.insert(inode, place);
        }
        match kind {
            SFlag::S_IFREG => return regular(from, to, name),
            SFlag::S_IFLNK => {
                let text = fcntl::readlinkat(from, name.as_c_str())?;
                unistd::symlinkat(text.as_os_str(), to, name.as_c_str())?;
            }
            _ => {
                unistd::mkfifoat(to, name.as_c_str(), Mode::S_IRUSR)?;
            }
        }
        let (owner, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        unistd::fchownat(to, name.as_c_str(), Some(owner), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind == SFlag::S_IFIFO {
            // It is the FIFO made a moment ago in a directory that nobody else can reach.
            stat::fchmodat(to, name.as_c_str(), mode(status), FchmodatFlags::FollowSymlink)?;
        }
        let (accessed, modified) = times(status);
        stat::utimensat(to, name.as_c_str(), &accessed, &modified, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }
}

/// Copies a regular file with its attributes.
fn regular(from: &OwnedFd, to: &OwnedFd, name: &CString) -> io::Result<()> {
    // Were it swapped for a FIFO meanwhile, to open it must not wait.
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let source = beneath::no_links(from, beneath::path(name), read)?;
    let status = stat::fstat(&source)?;
    if beneath::kind(&status) != SFlag::S_IFREG {
        return Err(Errno::ESTALE.into());
    }
    let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = fcntl::openat(to, name.as_c_str(), create, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let (mut source, mut target) = (File::from(source), File::from(target));
    contents(&mut source, &mut target, u64::try_from(status.st_size).unwrap_or(0))?;
    attributes(&source.into(), &target.into())
}

/// Copies the data of `size` bytes, and leaves holes where the source has them: a sparse file must not fill the disk.
fn contents(source: &mut File, target: &mut File, size: u64) -> io::Result<()> {
    let mut at: u64 = 0;
    while at < size {
        let start = match seek(source, at, Whence::SeekData) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, start, Whence::SeekHole)?.min(size);
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        if io::copy(&mut source.by_ref().take(end.saturating_sub(start)), target)? == 0 {
            break;
        }
        at = end;
    }
    target.set_len(size)
}

fn seek(file: &File, offset: u64, whence: Whence) -> Result<u64, Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    unistd::lseek(file.as_fd(), offset, whence).map(|position| u64::try_from(position).unwrap_or(0))
}
