//! Unpacking a layer: a tape of entries becomes a directory that overlayfs can stack.
//!
//! Everything on the tape is hostile. Every directory is found by openat2(2) with RESOLVE_IN_ROOT, so that no link leads
//! out, and everything is made by name in a directory that is open, new (O_EXCL, or mkdirat and its like, which never
//! follow): what is in the way is removed first. Nobody else can write in the tree, for it is below our 0700 directories.
//!
//! What the layer format says by names becomes what overlayfs understands: `.wh.NAME` a character device 0:0 of that name,
//! `.wh..wh..opq` the attribute `trusted.overlay.opaque` of its directory.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use rustix::{
    fs::{self as fs, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::tape::{Entry, Kind, Source, Tape};
use crate::config::IMPLIED_ROOT;

/// Most entries of a layer.
const MAX_ENTRIES: u64 = 2_000_000;
/// Longest path, as the kernel's PATH_MAX.
const MAX_PATH: usize = 4095;
/// Bytes of directory names that are kept until their times can be set.
const MAX_KEPT: usize = 128 << 20;
const BUFFER: usize = 256 << 10;

const OPAQUE: &str = "trusted.overlay.opaque";

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks `tape` into the directory `root`. Directories that a later entry replaces are moved to `trash`, which is on
/// the same file system.
///
/// # Errors
/// One line that names the entry; what was unpacked until then is left.
pub fn unpack<S: Source>(tape: &mut Tape<S>, root: BorrowedFd<'_>, trash: BorrowedFd<'_>) -> io::Result<()> {
    let mut extractor = Extractor {
        root,
        trash,
        trashed: 0,
        parent: None,
        times: Vec::new(),
        kept: 0,
        root_named: false,
        buffer: vec![0; BUFFER],
    };
    let mut entries = 0;
    while let Some(entry) = tape.next_entry()? {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")));
        }
        extractor.entry(tape, &entry).map_err(|error| {
            let path = super::printable(&String::from_utf8_lossy(&entry.path));
            io::Error::new(error.kind(), format!("{path:.200}: {}", super::cause(&error)))
        })?;
    }
    extractor.finish()
}

struct Extractor<'a> {
    root: BorrowedFd<'a>,
    trash: BorrowedFd<'a>,
    trashed: u64,
    /// The directory of the last entry. Forgotten whenever something is removed, for it may have been that.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories get their times last: making something in them changes these.
    times: Vec<(Vec<u8>, (i64, u32))>,
    kept: usize,
    root_named: bool,
    buffer: Vec<u8>,
}

impl Extractor<'_> {
    fn entry<S: Source>(&mut self, tape: &mut Tape<S>, entry: &Entry) -> io::Result<()> {
        let path = clean(&entry.path)?;
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                return Err(refused("the root of an image is a directory"));
            }
            self.root_named = true;
            return self.directory_metadata(&open_directory(self.root, b"")?, path, entry);
        }
        let (dir, name) = match memchr::memrchr(b'/', &path) {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], &path[..]),
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(dir, name);
        }
        let parent = self.parent(dir)?;
        match entry.kind {
            Kind::File => self.file(tape, &parent, name, entry),
            Kind::Directory => {
                let fd = self.directory(&parent, name)?;
                self.directory_metadata(&fd, path, entry)
            }
            Kind::HardLink => self.hard_link(&parent, name, entry),
            Kind::SymbolicLink => {
                self.make(&parent, name, || fs::symlinkat(entry.link.as_slice(), &parent, name))?;
                self.parent = None;
                owner_and_times(&parent, name, entry)
            }
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo => self.node(&parent, name, entry),
        }
    }

    /// Makes something by `create`, which fails where the name is taken; what has it is removed.
    fn make(&mut self, parent: &OwnedFd, name: &[u8], create: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
        match create() {
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                Ok(create()?)
            }
            other => Ok(other?),
        }
    }

    fn remove(&mut self, parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
        self.parent = None;
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                self.trashed += 1;
                Ok(fs::renameat(parent, name, self.trash, self.trashed.to_string())?)
            }
            other => Ok(other?),
        }
    }

    /// The directory `dir`, made where it is missing.
    fn parent(&mut self, dir: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some((path, fd)) = &self.parent
            && path == dir
        {
            return Ok(fd.clone());
        }
        let fd = match open_directory(self.root, dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_directories(dir)?,
            other => other?,
        };
        let fd = Rc::new(fd);
        self.parent = Some((dir.to_vec(), fd.clone()));
        Ok(fd)
    }

    fn make_directories(&self, dir: &[u8]) -> io::Result<OwnedFd> {
        let mut fd = open_directory(self.root, b"")?;
        let ends = memchr::memchr_iter(b'/', dir).chain([dir.len()]);
        let mut start = 0;
        for end in ends {
            fd = match open_directory(self.root, &dir[..end]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // EEXIST: the name is a symbolic link to nowhere.
                    fs::mkdirat(&fd, &dir[start..end], Mode::from_raw_mode(0o755))?;
                    let made = open_directory(self.root, &dir[..end])?;
                    fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                    made
                }
                other => other?,
            };
            start = end + 1;
        }
        Ok(fd)
    }

    fn file<S: Source>(&mut self, tape: &mut Tape<S>, parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
        let create = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        };
        let fd = match create() {
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                create()?
            }
            other => other?,
        };
        let mut file = File::from(fd);
        match &entry.pieces {
            None => copy(tape, &mut file, entry.size, &mut self.buffer)?,
            Some(pieces) => {
                for (offset, length) in pieces {
                    file.seek(SeekFrom::Start(*offset))?;
                    copy(tape, &mut file, *length, &mut self.buffer)?;
                }
                file.set_len(entry.size)?;
            }
        }
        metadata(file.as_fd(), entry)?;
        Ok(fs::futimens(&file, &times(entry.mtime))?)
    }

    fn directory(&mut self, parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
        let make = || fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(parent, name, flags, Mode::empty())
        };
        match make() {
            Ok(()) => Ok(open()?),
            Err(Errno::EXIST) => {
                let there = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if is(&there, FileType::Directory) {
                    return Ok(open()?);
                }
                self.remove(parent, name)?;
                make()?;
                let fd = open()?;
                if is_whiteout(&there) {
                    // The layer removed the one below and has a new one: they must not merge.
                    fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
                }
                Ok(fd)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn directory_metadata(&mut self, fd: &OwnedFd, path: Vec<u8>, entry: &Entry) -> io::Result<()> {
        metadata(fd.as_fd(), entry)?;
        self.kept += path.len() + 64;
        if self.kept > MAX_KEPT {
            return Err(refused("there are too many directories"));
        }
        self.times.push((path, entry.mtime));
        Ok(())
    }

    fn hard_link(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
        let target = &entry.link;
        let shown = || super::printable(&String::from_utf8_lossy(target));
        let bad = |error: io::Error| io::Error::new(error.kind(), format!("hard link to {}: {error}", shown()));
        let path = clean(target).map_err(bad)?;
        let (dir, target_name) = match memchr::memrchr(b'/', &path) {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], &path[..]),
        };
        if target_name.is_empty() {
            return Err(bad(refused("it is the root")));
        }
        let dir = open_directory(self.root, dir).map_err(bad)?;
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is a link to the link.
        let link = || fs::linkat(&dir, target_name, parent, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                let inode = |dir: &OwnedFd, name: &[u8]| {
                    fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino))
                };
                if inode(&dir, target_name)? != inode(parent, name)? {
                    self.remove(parent, name)?;
                    link().map_err(|error| bad(error.into()))?;
                }
            }
            other => other.map_err(|error| bad(error.into()))?,
        }
        // What is said of the link is said of the file: docker and podman do so.
        let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is(&stat, FileType::RegularFile) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd = fs::openat(parent, name, flags, Mode::empty())?;
            metadata(fd.as_fd(), entry)?;
            fs::futimens(&fd, &times(entry.mtime))?;
        }
        Ok(())
    }

    fn node(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
        let (kind, device) = match entry.kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::BlockDevice => (FileType::BlockDevice, fs::makedev(entry.device.0, entry.device.1)),
            _ => (FileType::CharacterDevice, fs::makedev(entry.device.0, entry.device.1)),
        };
        if kind == FileType::CharacterDevice && device == 0 {
            return Err(refused("a character device 0:0 is a mark of overlayfs and nothing an image may contain"));
        }
        self.make(parent, name, || fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device))?;
        owner_and_times(parent, name, entry)?;
        // Follows links, and this is none: it was made above and nobody else is here.
        fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        Ok(fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn whiteout(&mut self, dir: &[u8], name: &[u8]) -> io::Result<()> {
        if name == WHITEOUT_OPAQUE {
            let dir = self.parent(dir)?;
            return Ok(fs::fsetxattr(&*dir, OPAQUE, b"y", XattrFlags::empty())?);
        }
        if name.starts_with(WHITEOUT_META) {
            // Marks of aufs that mean nothing elsewhere.
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused("it hides nothing that can be there"));
        }
        let parent = self.parent(dir)?;
        match fs::mknodat(&*parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {
                // What this layer itself has stays; what is below must not show through a directory.
                let there = fs::statat(&*parent, hidden, AtFlags::SYMLINK_NOFOLLOW)?;
                if is(&there, FileType::Directory) {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let fd = fs::openat(&*parent, hidden, flags, Mode::empty())?;
                    fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn finish(self) -> io::Result<()> {
        // The last entry of a path counts; a path that is no directory any more is not one of ours to time.
        for (path, mtime) in &self.times {
            if let Ok(fd) = open_directory(self.root, path) {
                fs::futimens(&fd, &times(*mtime))?;
            }
        }
        if !self.root_named {
            fs::fsetxattr(self.root, IMPLIED_ROOT, b"y", XattrFlags::empty())?;
        }
        Ok(())
    }
}

fn refused(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// `path` without empty parts and dots, relative to the root; empty = the root.
fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    if path.is_empty() || path.contains(&0) {
        return Err(refused("a path is empty or contains NUL"));
    }
    let mut clean = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refused("a path with .. is refused")),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    if clean.len() > MAX_PATH { Err(refused("a path is longer than 4095 bytes")) } else { Ok(clean) }
}

/// Opens a directory of the layer; links lead nowhere out of `root`.
fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

fn is_whiteout(stat: &Stat) -> bool {
    is(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn copy<S: Source>(tape: &mut Tape<S>, file: &mut File, length: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = tape.read(&mut buffer[..part])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(())
}

/// Owner, mode and attributes, in this order: chown(2) takes away the set-uid bit and capabilities.
fn metadata(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        if is_kept(name, value)? {
            match fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                // podman also goes on where the file system has no place for them.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => {
                    let name = super::printable(&String::from_utf8_lossy(name));
                    return Err(io::Error::other(format!("attribute {name}: {error}")));
                }
            }
        }
    }
    Ok(())
}

/// Whether an extended attribute is an image's to set: never what overlayfs or a security module acts on.
fn is_kept(name: &[u8], value: &[u8]) -> io::Result<bool> {
    if name == b"security.capability" {
        // struct vfs_cap_data of revision 2 or 3 (capability.h): the kernel does not look at it before exec.
        let revision = value.get(3).copied().unwrap_or(0);
        return match (revision, value.len()) {
            (2, 20) | (3, 24) => Ok(true),
            _ => Err(refused("attribute security.capability: malformed")),
        };
    }
    Ok(name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&0))
}

fn owner_and_times(parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self as std_fs, Metadata},
        os::unix::fs::{FileTypeExt, MetadataExt, symlink},
        path::Path,
    };

    use super::{super::tape::tests::Raw, *};

    struct Layer {
        dir: tempfile::TempDir,
        result: Result<(), String>,
    }

    impl Layer {
        fn of(tar: &[u8]) -> Layer {
            let dir = tempfile::tempdir().expect("tempdir");
            for name in ["diff", "trash"] {
                std_fs::create_dir(dir.path().join(name)).expect("dir");
            }
            // What no layer may touch.
            std_fs::write(dir.path().join("canary"), "alive").expect("write");
            let open = |name: &str| File::open(dir.path().join(name)).expect("open");
            let result = unpack(&mut Tape::new(tar), open("diff").as_fd(), open("trash").as_fd());
            assert_eq!(std_fs::read(dir.path().join("canary")).expect("canary"), b"alive");
            let mut names: Vec<_> =
                std_fs::read_dir(dir.path()).expect("dir").map(|entry| entry.expect("entry").file_name()).collect();
            names.sort();
            assert_eq!(names, ["canary", "diff", "trash"]);
            Layer { dir, result: result.map_err(|error| error.to_string()) }
        }

        fn good(tar: Raw) -> Layer {
            let layer = Layer::of(&tar.end());
            assert_eq!(layer.result, Ok(()));
            layer
        }

        fn bad(tar: Raw) -> String {
            Layer::of(&tar.end()).result.expect_err("refused")
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join("diff").join(name)
        }

        fn stat(&self, name: &str) -> Metadata {
            std_fs::symlink_metadata(self.path(name)).expect(name)
        }

        fn read(&self, name: &str) -> String {
            std_fs::read_to_string(self.path(name)).expect(name)
        }

        fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
            let mut value = vec![0; 256];
            let length = fs::lgetxattr(self.path(path), name, &mut value[..]).ok()?;
            value.truncate(length);
            Some(value)
        }
    }

    fn raw() -> Raw {
        Raw::default()
    }

    #[test]
    fn an_honest_layer() {
        let mut setuid = Raw::header(b'0', b"./bin/su", 2);
        setuid.set_mode(0o4755);
        setuid.set_uid(7);
        setuid.set_gid(8);
        let mut device = Raw::header(b'3', b"dev/null", 0);
        device.set_device_major(1).expect("major");
        device.set_device_minor(3).expect("minor");
        let mut sticky = Raw::header(b'5', b"tmp/", 0);
        sticky.set_mode(0o1777);
        sticky.set_mtime(77);
        let mut root = Raw::header(b'5', b"./", 0);
        root.set_mode(0o700);
        let mut ping = Raw::header(b'1', b"bin/ping", 0);
        ping.set_mode(0o4755);
        ping.set_uid(7);
        ping.set_gid(8);
        ping.as_old_mut().linkname[..6].copy_from_slice(b"bin/su");
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let layer = Layer::good(
            raw()
                .put(root, b"")
                .put(sticky, b"")
                .put(setuid, b"su")
                .add(b'0', b"tmp/later", b"")
                .put(ping, b"")
                .link(b'2', b"lib", b"/usr/lib")
                .put(device, b"")
                .add(b'6', b"fifo", b"")
                .pax(&[
                    (b"SCHILY.xattr.security.capability", &capability),
                    (b"SCHILY.xattr.user.note", b"x"),
                    (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
                    (b"SCHILY.xattr.user.overlay.opaque", b"y"),
                    (b"SCHILY.xattr.security.selinux", b"y"),
                ])
                .add(b'0', b"capable", b""),
        );
        assert_eq!(
            (layer.stat("bin/su").mode() & 0o7777, layer.stat("bin/su").uid(), layer.stat("bin/su").gid()),
            (0o4755, 7, 8)
        );
        assert_eq!((layer.stat("bin/su").mtime(), layer.stat("bin/su").nlink()), (1, 2));
        assert_eq!(layer.stat("bin/ping").ino(), layer.stat("bin/su").ino());
        assert_eq!((layer.stat("bin").mode() & 0o7777, layer.stat("").mode() & 0o7777), (0o755, 0o700));
        assert_eq!((layer.stat("tmp").mode() & 0o7777, layer.stat("tmp").mtime()), (0o1777, 77));
        assert_eq!(std_fs::read_link(layer.path("lib")).expect("link"), Path::new("/usr/lib"));
        assert!(layer.stat("fifo").file_type().is_fifo());
        assert_eq!(layer.stat("dev/null").rdev(), fs::makedev(1, 3));
        assert_eq!(layer.xattr("capable", "security.capability").as_deref(), Some(&capability[..]));
        assert_eq!(layer.xattr("capable", "user.note").as_deref(), Some(&b"x"[..]));
        for dropped in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            assert_eq!(layer.xattr("capable", dropped), None, "{dropped}");
        }
        assert_eq!(layer.xattr("", IMPLIED_ROOT), None);
    }

    #[test]
    fn whiteouts() {
        let layer = Layer::good(
            raw()
                .add(b'0', b"etc/.wh.gone", b"")
                .add(b'5', b"opaque/", b"")
                .add(b'0', b"opaque/.wh..wh..opq", b"")
                .add(b'0', b".wh..wh.plnk", b"")
                .add(b'0', b"new/file", b"x")
                .add(b'0', b".wh.new", b"")
                .add(b'0', b".wh.again", b"")
                .add(b'5', b"again/", b"")
                .add(b'0', b".wh.back", b"")
                .add(b'0', b"back", b"here")
                .add(b'0', b"kept", b"kept")
                .add(b'0', b".wh.kept", b"")
                .add(b'5', b".wh.dir/", b""),
        );
        for name in ["etc/gone", "dir"] {
            assert!(layer.stat(name).file_type().is_char_device() && layer.stat(name).rdev() == 0, "{name}");
        }
        for name in ["opaque", "new", "again"] {
            assert_eq!(layer.xattr(name, OPAQUE).as_deref(), Some(&b"y"[..]), "{name}");
        }
        assert_eq!((layer.read("back").as_str(), layer.read("new/file").as_str()), ("here", "x"));
        assert_eq!(layer.read("kept"), "kept");
        assert!(!layer.path(".wh..wh.plnk").exists());
        assert_eq!(layer.xattr("", IMPLIED_ROOT).as_deref(), Some(&b"y"[..]));
        for bad in [&b".wh."[..], b"a/.wh.", b".wh..", b".wh..."] {
            Layer::bad(raw().add(b'0', bad, b""));
        }
    }

    #[test]
    fn links_lead_nowhere_out() {
        let host = tempfile::tempdir().expect("tempdir");
        std_fs::write(host.path().join("file"), "host").expect("write");
        let mode = |path: &Path| std_fs::metadata(path).expect("stat").mode();
        let before = mode(host.path());
        let outside = host.path().as_os_str().as_encoded_bytes().to_vec();
        let link = |tar: Raw| tar.link(b'2', b"s", &outside);
        // Through a link: it means the same path inside, where nothing is.
        Layer::bad(link(raw()).add(b'0', b"s/file", b"evil"));
        Layer::bad(link(raw()).link(b'1', b"h", b"s/file"));
        // Replaced, not followed.
        let layer = Layer::good(link(raw()).add(b'0', b"s", b"evil"));
        assert_eq!(layer.read("s"), "evil");
        let mut open = Raw::header(b'5', b"s", 0);
        open.set_mode(0o777);
        let layer = Layer::good(link(raw()).put(open, b""));
        assert!(layer.stat("s").is_dir());
        let layer = Layer::good(raw().link(b'2', b"f", &[&outside[..], b"/file"].concat()).add(b'0', b"f", b"evil"));
        assert_eq!(layer.read("f"), "evil");
        // A hard link to a symbolic link is one to the link itself; writing replaces it.
        let layer = Layer::good(
            raw().link(b'2', b"f", &[&outside[..], b"/file"].concat()).link(b'1', b"h", b"f").add(b'0', b"h", b"evil"),
        );
        assert_eq!(layer.read("h"), "evil");
        for target in [&b"/"[..], b"..", b"../../../../../../..", b"."] {
            let layer = Layer::good(raw().link(b'2', b"s", target).add(b'0', b"s/in", b"x"));
            assert_eq!(layer.read("in"), "x");
        }
        // A link over a directory that an open descriptor stands for.
        let layer = Layer::of(&link(raw().add(b'0', b"s/a", b"x")).add(b'0', b"s/file", b"evil").end());
        assert!(layer.result.is_err());
        assert_eq!(std_fs::read_to_string(host.path().join("file")).expect("read"), "host");
        assert_eq!(std_fs::read_dir(host.path()).expect("dir").count(), 1);
        assert_eq!(mode(host.path()), before);
    }

    #[test]
    fn hostile_entries_are_refused() {
        let mut chain = raw().link(b'2', b"l0", b".");
        for i in 1..=45 {
            chain = chain.link(b'2', format!("l{i}").as_bytes(), format!("l{}", i - 1).as_bytes());
        }
        let mut mark = Raw::header(b'3', b"null", 0);
        mark.set_device_major(0).expect("major");
        mark.set_device_minor(0).expect("minor");
        let long = vec![b'x'; 65_536];
        for (tar, what) in [
            (raw().add(b'0', b"../x", b""), "up"),
            (raw().add(b'0', b"a/../../x", b""), "up later"),
            (raw().add(b'0', b"..", b""), "only up"),
            (raw().add(b'0', b"/..", b""), "up from the root"),
            (raw().add(b'5', b"a/..", b""), "directory up"),
            (raw().add(b'0', b"a", b"").add(b'0', b"a/b", b""), "below a file"),
            (raw().link(b'2', b"s", b"nowhere").add(b'0', b"s/x", b""), "below a dangling link"),
            (raw().link(b'2', b"s", b"s").add(b'0', b"s/x", b""), "below a loop"),
            (chain.add(b'0', b"l45/x", b""), "below a long chain of links"),
            (raw().link(b'1', b"h", b"/etc/passwd"), "hard link out"),
            (raw().link(b'1', b"h", b"../canary"), "hard link up"),
            (raw().link(b'1', b"h", b"h"), "hard link to itself"),
            (raw().link(b'1', b"h", b"/"), "hard link to the root"),
            (raw().link(b'1', b"h", b""), "hard link to nothing"),
            (raw().add(b'5', b"d", b"").link(b'1', b"h", b"d"), "hard link to a directory"),
            (raw().link(b'2', b"s", b""), "empty link"),
            (raw().add(b'0', b"/", b""), "root as a file"),
            (raw().link(b'2', b".", b"/etc"), "root as a link"),
            (raw().put(mark, b""), "a mark of overlayfs"),
            (raw().pax(&[(b"path", b"")]).add(b'0', b"", b""), "no name"),
            (raw().pax(&[(b"path", &long)]).add(b'0', b"x", b""), "long name"),
            (raw().pax(&[(b"path", &b"d/".repeat(3000))]).add(b'5', b"x", b""), "long path"),
            (raw().pax(&[(b"SCHILY.xattr.security.capability", b"x")]).add(b'0', b"c", b""), "bad capability"),
        ] {
            let words = Layer::bad(tar);
            assert!(!words.contains('\n') && words.len() < 400, "{what}: {words}");
        }
    }

    #[test]
    fn odd_entries_are_taken_as_podman_takes_them() {
        let layer = Layer::good(
            raw()
                .add(b'0', b"/etc/x", b"absolute")
                .add(b'0', b"a\nb", b"newline")
                .add(b'0', b"twice", b"1")
                .add(b'0', b"twice", b"2")
                .add(b'0', b"slash/", b"file")
                .add(b'5', b"d/sub", b"")
                .add(b'0', b"d", b"file over directory")
                .add(b'0', b"f", b"")
                .add(b'5', b"f", b"")
                .add(b'7', b"contiguous", b"x")
                .add(b'g', b"pax_global_header", b"rubbish")
                .link(b'1', b"same", b"twice")
                .link(b'1', b"same", b"twice"),
        );
        assert_eq!((layer.read("etc/x").as_str(), layer.read("a\nb").as_str()), ("absolute", "newline"));
        assert_eq!((layer.read("twice").as_str(), layer.read("slash").as_str()), ("2", "file"));
        assert_eq!(layer.read("d"), "file over directory");
        assert!(layer.stat("f").is_dir());
        assert_eq!(layer.stat("same").ino(), layer.stat("twice").ino());
    }

    #[test]
    fn a_directory_that_is_replaced_is_forgotten() {
        let layer = Layer::good(
            raw().add(b'0', b"real/x", b"").add(b'0', b"a/1", b"").link(b'2', b"a", b"real").add(b'0', b"a/2", b""),
        );
        assert!(layer.path("real/2").exists());
        assert!(layer.stat("a").file_type().is_symlink());
    }

    #[test]
    fn nothing_is_written_through_what_was_there_before() {
        // The tree is ours alone, but even so: names are made anew.
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["diff", "trash"] {
            std_fs::create_dir(dir.path().join(name)).expect("dir");
        }
        std_fs::write(dir.path().join("canary"), "alive").expect("write");
        symlink("../canary", dir.path().join("diff/x")).expect("link");
        let open = |name: &str| File::open(dir.path().join(name)).expect("open");
        let tar = raw().add(b'0', b"x", b"evil").end();
        unpack(&mut Tape::new(tar.as_slice()), open("diff").as_fd(), open("trash").as_fd()).expect("unpack");
        assert_eq!(std_fs::read(dir.path().join("canary")).expect("read"), b"alive");
    }
}
