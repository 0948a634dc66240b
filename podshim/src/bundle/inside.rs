//! Looking into a root file system that somebody hostile has filled.
//!
//! Every path is resolved by openat2(2) with `RESOLVE_IN_ROOT`: `/` and `..` and absolute symlinks end at that root, and
//! magic links are refused. Symlinks inside it are followed: images that keep `/etc/passwd` elsewhere exist. Nothing is
//! opened for reading before its O_PATH descriptor has shown that it is a regular file, so that no device is touched
//! and no FIFO waited for.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{Mode, SFlag, fstat, mkdirat},
    unistd::{Gid, Uid, fchownat},
};

/// A directory that paths do not leave.
#[derive(Debug)]
pub(super) struct Inside(OwnedFd);

impl Inside {
    /// The directory at `root`, a path of the host's.
    pub(super) fn open(root: &Path) -> io::Result<Inside> {
        Ok(Inside(open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut tries = 0;
        loop {
            match openat2(&self.0, path, how) {
                // A rename elsewhere on the machine raced with a `..`: the kernel asks to be asked again.
                Err(Errno::EAGAIN) if tries < 64 => tries += 1,
                other => return other,
            }
        }
    }

    /// The content of the regular file at `path`, at most `most` bytes; `None` where there is none.
    ///
    /// # Errors
    /// `InvalidData` when it is larger or no regular file.
    pub(super) fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        match self.resolve(Path::new(path), OFlag::empty()) {
            Ok(found) => read_regular(&found, most).map(Some),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is something at `path`.
    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.resolve(path, OFlag::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the directory `path` and its parents where they are missing, owned by `uid` and `gid`. `path` has no `..`.
    pub(super) fn make_dirs(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let mut sofar = PathBuf::from("/");
        for part in path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)) {
            let Component::Normal(name) = part else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has a .."));
            };
            let parent = self.resolve(&sofar, OFlag::O_DIRECTORY)?;
            sofar.push(name);
            match self.resolve(&sofar, OFlag::O_DIRECTORY) {
                Ok(_) => continue,
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            // A name at a directory we hold: mkdirat does not follow a symlink that appears there.
            mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(&parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

/// The content of the regular file behind an O_PATH descriptor.
pub(super) fn read_regular(found: &impl AsFd, most: u64) -> io::Result<Vec<u8>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let stat = fstat(found)?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
        return Err(invalid("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(invalid(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_leads_outside() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("etc");
        fs::write(dir.path().join("secret"), "host").expect("secret");
        fs::write(root.join("etc/real"), "image").expect("real");
        symlink("../../secret", root.join("etc/passwd")).expect("link");
        symlink("/etc/real", root.join("etc/absolute")).expect("link");
        symlink("/proc/self/root/etc/hostname", root.join("etc/magic")).expect("link");
        let inside = Inside::open(&root).expect("root");
        assert_eq!(inside.read("/etc/passwd", 100).expect("contained"), None);
        assert_eq!(inside.read("/etc/magic", 100).expect("contained"), None);
        assert_eq!(inside.read("/etc/absolute", 100).expect("read").as_deref(), Some(&b"image"[..]));
        assert_eq!(inside.read("/../../secret", 100).expect("contained"), None);
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).expect("fifo");
        symlink("/proc/self/fd/0", dir.path().join("fd")).expect("link");
        fs::write(dir.path().join("big"), [b'x'; 101]).expect("big");
        let inside = Inside::open(dir.path()).expect("root");
        for path in ["/fifo", "/big", "/."] {
            assert_eq!(inside.read(path, 100).expect_err(path).kind(), io::ErrorKind::InvalidData, "{path}");
        }
        assert_eq!(inside.read("/fd", 100).expect("inside"), None);
    }

    #[test]
    fn directories_are_made_inside_only() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("b")).expect("root");
        symlink("/../../b", root.join("a")).expect("link");
        symlink("/nowhere", root.join("dangling")).expect("link");
        let inside = Inside::open(&root).expect("root");
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        inside.make_dirs(Path::new("/a/x/y"), uid, gid).expect("made");
        assert!(root.join("b/x/y").is_dir() && !dir.path().join("b").exists());
        assert!(inside.make_dirs(Path::new("/dangling/x"), uid, gid).is_err());
        assert!(inside.make_dirs(Path::new("/a/../x"), uid, gid).is_err());
    }
}
