//! Out of a root: a file or a tree becomes a tar archive.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr},
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, readlinkat},
    sys::{
        stat::{FileStat, SFlag, fstat},
        statfs::{self, FsType, fstatfs},
    },
};
use tar::{Builder, EntryType, Header};

use super::{DIRECTORY, below_root, regular};
use crate::sys::beneath;

/// Bytes that are written at once.
const BUFFER: usize = 128 << 10;

/// File systems that hold what the kernel says and nothing to copy.
const OF_THE_KERNEL: [FsType; 6] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::CGROUP_SUPER_MAGIC,
    statfs::CGROUP2_SUPER_MAGIC,
    FsType(0x1cd1),      // devpts
    FsType(0x1980_0202), // mqueue
];

/// Writes what is at `path`, a located one, in `root` to `out`: under `name`, or, where that is empty, what is in it.
///
/// What vanishes meanwhile is left out; a file that shrinks is filled up with zeros.
///
/// # Errors
/// `BrokenPipe` when nobody reads any more; else those of reading, naming the file.
pub fn pack(root: BorrowedFd<'_>, path: &Path, name: &OsStr, out: File) -> io::Result<()> {
    let mut packer = Packer { archive: Builder::new(BufWriter::with_capacity(BUFFER, out)), links: HashMap::new() };
    match below_root(root, path, DIRECTORY) {
        Ok(top) => {
            if !name.is_empty() {
                packer.directory(Path::new(name), &fstat(&top)?)?;
            }
            packer.tree(&top, Path::new(name))?;
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
            let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else { return Err(error) };
            let parent = below_root(root, parent, DIRECTORY)?;
            let file = CString::new(file.as_bytes())?;
            let status = beneath::status(&parent, &file)?;
            if beneath::kind(&status) == SFlag::S_IFLNK {
                // Links were followed when it was located: this one is new, and would lead astray where it goes.
                return Err(io::Error::other("has become a link while it was copied: try again"));
            }
            if !matches!(beneath::kind(&status), SFlag::S_IFREG | SFlag::S_IFIFO) {
                return Err(io::Error::other("is a device or socket: only files, directories and FIFOs are copied"));
            }
            packer.file(&parent, &file, &status, Path::new(name))?;
        }
        Err(error) => return Err(error),
    }
    packer.archive.into_inner()?.flush()
}

struct Packer {
    archive: Builder<BufWriter<File>>,
    /// Where the first name of a file with several went, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

/// Says which file a failure is about; a reader that has gone is about none.
fn about(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| match error.kind() {
        io::ErrorKind::BrokenPipe => error,
        _ => io::Error::other(format!("{}: {}", path.display(), super::words(&error))),
    }
}

/// Gone meanwhile, or not any more what it was.
fn is_gone(error: &io::Error) -> bool {
    [Errno::ENOENT, Errno::ENOTDIR, Errno::ELOOP, Errno::ESTALE]
        .iter()
        .any(|&no| error.raw_os_error() == Some(no as i32))
}

impl Packer {
    /// Everything in `top`, as below `place`. Directories are worked off from a list: depth costs memory and no stack.
    fn tree(&mut self, top: &OwnedFd, place: &Path) -> io::Result<()> {
        let device = fstat(top)?.st_dev;
        let mut directories = vec![PathBuf::new()];
        while let Some(relative) = directories.pop() {
            let from = if relative.as_os_str().is_empty() { Path::new(".") } else { &relative };
            let dir = match beneath::no_links_but_mounts(top, from, DIRECTORY) {
                Ok(dir) => dir,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(about(&relative)(error)),
            };
            if fstat(&dir)?.st_dev != device && OF_THE_KERNEL.contains(&fstatfs(&dir)?.filesystem_type()) {
                continue;
            }
            for name in beneath::names(&dir)? {
                let path = relative.join(beneath::path(&name));
                let status = match beneath::status(&dir, &name) {
                    Ok(status) => status,
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Err(about(&path)(error)),
                };
                if beneath::kind(&status) == SFlag::S_IFDIR {
                    self.directory(&place.join(&path), &status)?;
                    directories.push(path);
                } else {
                    match self.file(&dir, &name, &status, &place.join(&path)) {
                        Err(error) if is_gone(&error) => {}
                        result => result.map_err(about(&path))?,
                    }
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, place: &Path, status: &FileStat) -> io::Result<()> {
        let mut header = header(status, EntryType::Directory);
        self.archive.append_data(&mut header, place.join(""), io::empty())
    }

    /// One file that is no directory.
    fn file(&mut self, dir: &OwnedFd, name: &CString, status: &FileStat, place: &Path) -> io::Result<()> {
        let inode = (status.st_dev, status.st_ino);
        if status.st_nlink > 1
            && let Some(first) = self.links.get(&inode)
        {
            let mut header = header(status, EntryType::Link);
            return self.archive.append_link(&mut header, place, first);
        }
        match beneath::kind(status) {
            SFlag::S_IFREG => self.content(dir.as_fd(), name, place)?,
            SFlag::S_IFLNK => {
                let text = readlinkat(dir, name.as_c_str())?;
                self.archive.append_link(&mut header(status, EntryType::Symlink), place, Path::new(&text))?;
            }
            SFlag::S_IFIFO => self.archive.append_data(&mut header(status, EntryType::Fifo), place, io::empty())?,
            SFlag::S_IFCHR | SFlag::S_IFBLK => {
                let kind = if beneath::kind(status) == SFlag::S_IFCHR { EntryType::Char } else { EntryType::Block };
                let mut header = header(status, kind);
                header.set_device_major(u32::try_from(nix::sys::stat::major(status.st_rdev)).unwrap_or(0))?;
                header.set_device_minor(u32::try_from(nix::sys::stat::minor(status.st_rdev)).unwrap_or(0))?;
                self.archive.append_data(&mut header, place, io::empty())?;
            }
            _ => return Ok(()),
        }
        if status.st_nlink > 1 {
            self.links.insert(inode, place.to_owned());
        }
        Ok(())
    }

    fn content(&mut self, dir: BorrowedFd<'_>, name: &CString, place: &Path) -> io::Result<()> {
        let (file, status) = regular(dir, beneath::path(name), OFlag::O_RDONLY)?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        let mut header = header(&status, EntryType::Regular);
        header.set_size(size);
        self.archive.append_data(&mut header, place, file.chain(io::repeat(0)).take(size))
    }
}

fn header(status: &FileStat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(status.st_mode & 0o7777);
    header.set_uid(status.st_uid.into());
    header.set_gid(status.st_gid.into());
    header.set_mtime(u64::try_from(status.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}
