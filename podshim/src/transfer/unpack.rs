//! Into a root: a tar archive becomes files below a directory.
//!
//! A file is written under another name and renamed over what was there, so nobody sees half of it, and nothing is
//! written through a link. No part of a path on the way may be a link.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, Permissions},
    io::{self, Read, Seek},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::{
        stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, mkdirat, mknodat, utimensat},
        time::{TimeSpec, TimeValLike},
    },
    unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat},
};
use tar::{Archive, Entry, EntryType};

use super::{DIRECTORY, regular};
use crate::sys::beneath;

/// Where an archive goes, and as whose.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The directory.
    pub directory: BorrowedFd<'a>,
    /// Owner and group of everything; `None` = as the archive says.
    pub owner: Option<(u32, u32)>,
    /// A directory may take the place of a file, and the other way round.
    pub overwrite: bool,
    /// Nothing of it may be set-uid: it came from a container and is now the caller's.
    pub harmless: bool,
}

/// Unpacks `archive`.
///
/// # Errors
/// `UnexpectedEof` when it breaks off; else one line that names the entry. What was unpacked until then is left.
pub fn unpack(archive: impl Read, target: &Target<'_>) -> io::Result<()> {
    let mut unpacker = Unpacker { target: *target, parent: None, directories: Vec::new() };
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path_bytes())?;
        if path.as_os_str().is_empty() {
            continue;
        }
        unpacker.entry(&mut entry, &path).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => error,
            _ => io::Error::new(error.kind(), format!("{}: {}", path.display(), super::words(&error))),
        })?;
    }
    unpacker.finish()
}

/// `path` without empty parts and dots, relative.
fn clean(path: &[u8]) -> io::Result<PathBuf> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut clean = PathBuf::new();
    for part in parts {
        if part == b".." || part.contains(&0) {
            return Err(io::Error::other("the archive has a path with .. or NUL, which is refused"));
        }
        clean.push(OsStr::from_bytes(part));
    }
    Ok(clean)
}

struct Unpacker<'a> {
    target: Target<'a>,
    /// The directory of the last entry. Forgotten whenever something is removed, for it may have been that.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Directories get mode and times last: their mode may forbid to fill them, and filling them changes their times.
    directories: Vec<(PathBuf, u32, i64)>,
}

fn exists() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "file exists: --overwrite lets a directory and a file take each other's place",
    )
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let parent = self.directory_at(path.parent().unwrap_or(Path::new("")))?;
        let name = CString::new(path.file_name().unwrap_or_default().as_bytes())?;
        let mtime = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
        let mode = entry.header().mode().unwrap_or(0o644) & if self.target.harmless { 0o1777 } else { 0o7777 };
        let owner = self.owner(entry);
        match kind {
            EntryType::Directory => {
                self.make_directory(&parent, &name, owner)?;
                self.directories.push((path.to_owned(), mode, mtime));
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(&parent, &name, true)?;
                return write_file(&parent, &name, entry, owner, mode, mtime);
            }
            EntryType::Symlink => {
                let text = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link to nothing"))?;
                self.clear(&parent, &name, false)?;
                symlinkat(OsStr::from_bytes(&text), &*parent, name.as_c_str())?;
            }
            EntryType::Link => {
                let text = clean(&entry.link_name_bytes().ok_or_else(|| io::Error::other("a link to nothing"))?)?;
                let of = self.directory_at(text.parent().unwrap_or(Path::new("")))?;
                let first = CString::new(text.file_name().unwrap_or_default().as_bytes())?;
                self.clear(&parent, &name, false)?;
                return Ok(linkat(&*of, first.as_c_str(), &*parent, name.as_c_str(), LinkatFlags::empty())?);
            }
            EntryType::Fifo => {
                self.clear(&parent, &name, false)?;
                mknodat(&*parent, name.as_c_str(), SFlag::S_IFIFO, Mode::S_IRUSR | Mode::S_IWUSR, 0)?;
                change_mode(&parent, &name, SFlag::S_IFIFO, mode)?;
            }
            // Devices are the caller's or the runtime's to make; the rest says nothing of a file.
            _ => return Ok(()),
        }
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        fchownat(&*parent, name.as_c_str(), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let time = TimeSpec::seconds(mtime);
        Ok(utimensat(&*parent, name.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    fn owner<R: Read>(&self, entry: &Entry<'_, R>) -> (u32, u32) {
        let number = |value: io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let header = entry.header();
        self.target.owner.unwrap_or_else(|| (number(header.uid()), number(header.gid())))
    }

    /// The directory `path`, made where it is missing.
    fn directory_at(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((last, fd)) = &self.parent
            && last == path
        {
            return Ok(fd.clone());
        }
        let mut sofar = PathBuf::from(".");
        let mut fd = beneath::no_links_but_mounts(self.target.directory, &sofar, DIRECTORY)?;
        for part in path.components() {
            sofar.push(part);
            fd = match beneath::no_links_but_mounts(self.target.directory, &sofar, DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = CString::new(part.as_os_str().as_bytes())?;
                    self.make_directory(&fd, &name, self.target.owner.unwrap_or((0, 0)))?;
                    self.directories.push((sofar.clone(), 0o755, proto::time::now() / 1_000_000_000));
                    beneath::no_links_but_mounts(self.target.directory, &sofar, DIRECTORY)?
                }
                other => other?,
            };
        }
        let fd = Rc::new(fd);
        self.parent = Some((path.to_owned(), fd.clone()));
        Ok(fd)
    }

    fn make_directory(&mut self, parent: &OwnedFd, name: &CString, owner: (u32, u32)) -> io::Result<()> {
        let make = || mkdirat(parent, name.as_c_str(), Mode::S_IRWXU);
        match make() {
            Err(Errno::EEXIST) if beneath::kind(&beneath::status(parent, name)?) == SFlag::S_IFDIR => {}
            Err(Errno::EEXIST) if !self.target.overwrite => return Err(exists()),
            Err(Errno::EEXIST) => {
                self.parent = None;
                unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
                make()?;
            }
            other => other?,
        }
        let fd = beneath::no_links_but_mounts(parent, beneath::path(name), DIRECTORY)?;
        Ok(fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?)
    }

    /// Sees to it that no directory has the name, and, without `keep`, that nothing has.
    fn clear(&mut self, parent: &OwnedFd, name: &CString, keep: bool) -> io::Result<()> {
        let status = match beneath::status(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if beneath::kind(&status) != SFlag::S_IFDIR {
            return if keep { Ok(()) } else { Ok(unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?) };
        }
        if !self.target.overwrite {
            return Err(exists());
        }
        self.parent = None;
        beneath::remove_tree(parent, name)
    }

    fn finish(self) -> io::Result<()> {
        for (path, mode, mtime) in self.directories.iter().rev() {
            // The last entry of a path counts; what is no directory any more is not one of ours.
            if let Ok(fd) = beneath::no_links_but_mounts(self.target.directory, path, DIRECTORY) {
                fchmod(&fd, Mode::from_bits_truncate(*mode))?;
                futimens(&fd, &TimeSpec::seconds(*mtime), &TimeSpec::seconds(*mtime))?;
            }
        }
        Ok(())
    }
}

/// Writes a file beside its place and renames it there.
fn write_file<R: Read>(
    parent: &OwnedFd,
    name: &CString,
    entry: &mut Entry<'_, R>,
    (uid, gid): (u32, u32),
    mode: u32,
    mtime: i64,
) -> io::Result<()> {
    let temporary = CString::new(format!(".podctl-cp-{}", proto::raw::token()?))?;
    let create = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(parent, temporary.as_c_str(), create, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let size = entry.size();
    let written = (|| {
        if io::copy(entry, &mut file)? < size && entry.header().entry_type() != EntryType::GNUSparse {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        futimens(&file, &TimeSpec::seconds(mtime), &TimeSpec::seconds(mtime))?;
        match renameat(parent, temporary.as_c_str(), parent, name.as_c_str()) {
            // Something is mounted there, /etc/hosts or a file of the user's: it keeps its place and gets the content.
            Err(Errno::EBUSY) => {
                let (mut place, _) = regular(parent, beneath::path(name), OFlag::O_WRONLY | OFlag::O_TRUNC)?;
                file.rewind()?;
                io::copy(&mut file, &mut place)?;
                Ok(unlinkat(parent, temporary.as_c_str(), UnlinkatFlags::NoRemoveDir)?)
            }
            other => Ok(other?),
        }
    })();
    if written.is_err() {
        // The cause is reported; what is left is only rubbish.
        let _ = unlinkat(parent, temporary.as_c_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}

/// chmod(2) of `name` in `parent` if it is still of `kind`; never of what a link leads to.
fn change_mode(parent: &OwnedFd, name: &CString, kind: SFlag, mode: u32) -> io::Result<()> {
    let itself = beneath::no_links_but_mounts(parent.as_fd(), beneath::path(name), super::ITSELF)?;
    if beneath::kind(&nix::sys::stat::fstat(&itself)?) != kind {
        return Err(Errno::ESTALE.into());
    }
    fs::set_permissions(format!("/proc/self/fd/{}", itself.as_raw_fd()), Permissions::from_mode(mode))
}
