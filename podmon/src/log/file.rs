//! Drivers `k8s-file` and `json-file`: records in a file, and in those it was before it was rotated.
//!
//! The file is opened so that nothing but a regular file is ever written, always with O_APPEND (somebody may truncate
//! it), and is looked after: a removed file is made anew. What cannot be written is lost, never the container: after a
//! failed or short write the file is cut back to where its last whole record ends.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::statfs::{
        CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, SECURITYFS_MAGIC,
        SYSFS_MAGIC, TRACEFS_MAGIC, fstatfs,
    },
};
use proto::{
    Kind, Refusal, json_line,
    log_line::{self, Format},
    refusal::Result,
    wire::LogConfig,
};

use super::{Identity, Sink, Stored, rotate};

/// How long a file that cannot be opened, or not be rotated, is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// When the log is rotated.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Longest file in bytes.
    pub size: Option<u64>,
    /// Files that stay, with the one that is written.
    pub files: u32,
}

impl Rotation {
    /// Files where nothing else is said, as many as the kubelet keeps.
    const FILES: u32 = 5;

    /// What `config` says.
    ///
    /// # Errors
    /// For a number of files that is none.
    pub fn of(config: &LogConfig) -> Result<Rotation> {
        let files = match config.options.get("max-file") {
            Some(files) => files
                .parse()
                .ok()
                .filter(|files| *files > 0)
                .ok_or_else(|| Refusal::invalid(format!("log option max-file={files}: give a number above 0")))?,
            None => Rotation::FILES,
        };
        Ok(Rotation { size: u64::try_from(config.max_size).ok().filter(|size| *size > 0), files })
    }
}

/// See the module.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// As its user calls it.
    name: PathBuf,
    format: Format,
    /// For JSON.
    attributes: String,
    rotation: Rotation,
    /// When it could not be rotated.
    stuck: Option<Instant>,
    /// Absent while it cannot be opened.
    file: Option<File>,
    length: u64,
    identity: Identity,
    tried: Option<Instant>,
    cause: Errno,
    last_time: i64,
}

impl LogFile {
    /// Opens or makes the log. A record that was cut off by a crash of the machine is removed from its end.
    ///
    /// # Errors
    /// Naming the path, when it is no regular file or cannot be opened.
    pub fn open(&mut self) -> Result<()> {
        open_file(&self.path).and_then(|file| self.take(file)).map_err(|error| {
            self.cause = errno(&error);
            refusal(&self.name, &error)
        })
    }

    /// A log at `path` that is opened when it is needed.
    pub fn closed(path: PathBuf, format: Format, attributes: String, rotation: Rotation) -> LogFile {
        LogFile {
            name: path.clone(),
            path,
            format,
            attributes,
            rotation,
            stuck: None,
            file: None,
            length: 0,
            identity: Identity::default(),
            tried: None,
            cause: Errno::ENOENT,
            last_time: 0,
        }
    }

    /// It is `name` for its user, who has it mounted somewhere else.
    pub fn called(self, name: PathBuf) -> LogFile {
        LogFile { name, ..self }
    }

    fn take(&mut self, file: File) -> io::Result<()> {
        self.last_time = self.last_time.max(self.mend_tail(&file)?);
        let metadata = file.metadata()?;
        self.length = metadata.len();
        self.identity = Identity::of(&metadata);
        self.file = Some(file);
        Ok(())
    }

    /// Opens a file that could not be opened before, once in a while.
    fn try_again(&mut self) {
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return;
        }
        self.tried = Some(Instant::now());
        // The cause is remembered.
        let _ = self.open();
    }

    /// Cuts a torn record off the end of the log; a line that is none of ours is ended instead. Answers the time of the
    /// last whole record, 0 where there is none.
    fn mend_tail(&self, file: &File) -> io::Result<i64> {
        let length = file.metadata()?.len();
        if length == 0 {
            return Ok(0);
        }
        let start = length.saturating_sub(2 * self.longest());
        let mut tail = vec![0; usize::try_from(length - start).unwrap_or(0)];
        open_reader(file)?.read_exact_at(&mut tail, start)?;
        let line = memchr::memrchr(b'\n', &tail).map_or(0, |newline| newline + 1);
        if line < tail.len() {
            let ours = line > 0 || start == 0;
            if ours && self.looks_torn(&tail[line..]) {
                file.set_len(start + line as u64)?;
            } else {
                nix::unistd::write(file, b"\n")?;
            }
        }
        let mut whole = tail[..line].split(|byte| *byte == b'\n').rev();
        Ok(whole.find_map(|line| self.format.time(line)).unwrap_or(0))
    }

    /// A torn record at the end of a file is at most this long.
    fn longest(&self) -> u64 {
        match self.format {
            Format::Cri => (log_line::HEADER + log_line::PIECE + 1) as u64,
            Format::Json => (json_line::LONGEST + self.attributes.len()) as u64,
        }
    }

    /// Whether `line`, which has no newline, is the beginning of a record.
    fn looks_torn(&self, line: &[u8]) -> bool {
        const CRI: &[u8; log_line::STAMP] = b"0000-00-00T00:00:00.000000000Z";
        const JSON: &[u8] = b"{\"log\":\"";
        match self.format {
            _ if self.format.head(line).is_some() => true,
            Format::Cri => line
                .iter()
                .zip(CRI)
                .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape }),
            Format::Json => line.iter().zip(JSON).all(|(byte, shape)| byte == shape),
        }
    }
}

impl Sink for LogFile {
    fn append(&mut self, records: &[u8]) -> Stored {
        if self.file.is_none() {
            self.try_again();
        }
        let Some(file) = &self.file else { return Stored { bytes: 0, lost: Some(self.cause) } };
        let mut written = 0;
        while written < records.len() {
            match nix::unistd::write(file, &records[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(Errno::EINTR) => {}
                Err(cause) => {
                    // Whole records stay; a torn one is cut off, so that what follows begins a line.
                    let whole = memchr::memrchr(b'\n', &records[..written]).map_or(0, |newline| newline + 1);
                    if whole != written {
                        // If even that fails the reader meets one line that is no record.
                        let _ = file.set_len(self.length + whole as u64);
                    }
                    self.length += whole as u64;
                    return Stored { bytes: whole, lost: Some(cause) };
                }
            }
        }
        self.length += written as u64;
        Stored { bytes: written, lost: None }
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn last_time(&self) -> i64 {
        self.last_time
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn reader(&self, log: Identity) -> io::Result<File> {
        match &self.file {
            Some(file) if log == self.identity => open_reader(file),
            Some(_) => rotate::find(&self.path, log).ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => Err(self.cause.into()),
        }
    }

    fn after(&self, log: Identity) -> io::Result<(File, Identity)> {
        let path = match rotate::after(&self.path, log, self.rotation.files) {
            Some(path) => path,
            // It was the oldest and was dropped, or somebody else has renamed it.
            None if self.rotation.size.is_some() => rotate::oldest(&self.path, self.rotation.files),
            None => self.path.clone(),
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let identity = Identity::of(&file.metadata()?);
        // Whatever the path is by now: ours is the last.
        if identity == log { Ok((self.reader(self.identity)?, self.identity)) } else { Ok((file, identity)) }
    }

    fn length_of(&self, log: Identity) -> Option<u64> {
        rotate::find(&self.path, log)?.metadata().ok().map(|metadata| metadata.len())
    }

    fn format(&self) -> (Format, &str) {
        (self.format, &self.attributes)
    }

    fn is_exact(&self) -> bool {
        self.format == Format::Cri
    }

    fn room(&self) -> usize {
        let stuck = self.stuck.is_some_and(|stuck| stuck.elapsed() < RETRY);
        let size = self.rotation.size.filter(|_| !stuck && self.file.is_some());
        size.map_or(usize::MAX, |size| usize::try_from(size.saturating_sub(self.length)).unwrap_or(usize::MAX))
    }

    fn would_drop_at_once(&self) -> bool {
        self.rotation.files < 2
    }

    fn would_drop(&self) -> bool {
        let files = self.rotation.files;
        files < 2 || std::fs::symlink_metadata(log_line::rotated(&self.path, files - 1)).is_ok()
    }

    fn rotate(&mut self) -> Result<()> {
        let turned = if self.file.is_some() && self.identity.is_at(&self.path) {
            rotate::turn(&self.path, self.identity, self.rotation.files)
        } else {
            Ok(())
        };
        let turned = turned.map_err(|error| refusal(&self.name, &error)).and_then(|()| self.open());
        self.stuck = turned.is_err().then(Instant::now);
        turned
    }

    fn look_after(&mut self) {
        let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) else {
            self.try_again();
            return;
        };
        if metadata.nlink() == 0 {
            // Nobody will ever read what goes there. A failure leaves the old file in place.
            let _ = self.open();
        } else {
            self.length = metadata.len();
        }
    }

    fn reopen(&mut self) -> Result<()> {
        self.open()
    }

    fn cut(&mut self, log: Identity, length: u64) -> io::Result<()> {
        if log != self.identity {
            return rotate::find(&self.path, log).ok_or(io::ErrorKind::NotFound)?.set_len(length);
        }
        if let Some(file) = &self.file {
            file.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn refusal(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Kind::Invalid, format!("log path {}: {error}", path.display()))
}

/// File systems whose files are no store: a write to one is a command, or (`/proc/self/mem`) goes into ourselves.
const NO_STORE: [FsType; 7] = [
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    TRACEFS_MAGIC,
    SECURITYFS_MAGIC,
];

/// Never follows a symbolic link, never waits for the reader of a FIFO, takes nothing but a regular file.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)?;
    let stores = || Ok::<_, Errno>(!NO_STORE.contains(&fstatfs(&file)?.filesystem_type()));
    if file.metadata()?.is_file() && stores()? { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// The same file for reading. Opened anew: a duplicate could not be read.
fn open_reader(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(path: PathBuf, size: Option<u64>, files: u32) -> LogFile {
        LogFile::closed(path, Format::Cri, String::new(), Rotation { size, files })
    }

    fn log(dir: &tempfile::TempDir) -> LogFile {
        let mut log = closed(dir.path().join("ctr.log"), None, 5);
        log.open().expect("opens");
        log
    }

    #[test]
    fn a_torn_record_is_cut_and_a_foreign_line_is_ended() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        let whole = "2023-11-14T22:13:20.000000001Z stdout F one\n";
        for (tail, left) in [
            ("2023-11-14T22:1", ""),
            ("2023-11-14T22:13:20.000000001Z stdout F tw", ""),
            ("hello", "hello\n"),
            ("", ""),
        ] {
            std::fs::write(&path, format!("{whole}{tail}")).expect("write");
            let opened = log(&dir);
            assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{whole}{left}"), "{tail:?}");
            assert_eq!(opened.len(), (whole.len() + left.len()) as u64);
            assert_eq!(opened.last_time(), 1_700_000_000_000_000_001);
        }
    }

    #[test]
    fn nothing_but_a_regular_file_is_a_log() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        std::fs::write(dir.path().join("target"), "").expect("write");
        std::os::unix::fs::symlink(dir.path().join("target"), &path).expect("symlink");
        assert!(closed(path.clone(), None, 5).open().is_err());
        std::fs::remove_file(&path).expect("remove");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(closed(path, None, 5).open().is_err());
        assert!(closed(dir.path().to_owned(), None, 5).open().is_err());
    }

    #[test]
    fn a_removed_file_is_made_anew_and_a_renamed_one_is_left_when_asked() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        let mut log = log(&dir);
        log.append(b"one\n");
        std::fs::remove_file(&path).expect("remove");
        log.look_after();
        log.append(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "two\n");
        std::fs::rename(&path, dir.path().join("old")).expect("rename");
        log.append(b"three\n");
        log.reopen().expect("reopen");
        log.append(b"four\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("old")).expect("read"), "two\nthree\n");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "four\n");
    }

    #[test]
    fn a_torn_line_of_json_is_cut() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        let whole = "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.000000001Z\"}\n";
        for (tail, left) in [("{\"lo", ""), ("{\"log\":\"two\\n\",\"str", ""), ("hello", "hello\n"), ("", "")] {
            std::fs::write(&path, format!("{whole}{tail}")).expect("write");
            let mut log = LogFile::closed(path.clone(), Format::Json, String::new(), Rotation { size: None, files: 5 });
            log.open().expect("opens");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{whole}{left}"), "{tail:?}");
            assert_eq!(log.last_time(), 1_700_000_000_000_000_001);
        }
    }

    #[test]
    fn a_log_that_was_renamed_from_outside_is_not_rotated_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        let mut log = closed(path.clone(), Some(10), 3);
        log.open().expect("opens");
        assert_eq!((log.room(), log.would_drop()), (10, false));
        log.append(b"one\n");
        assert_eq!(log.room(), 6);
        let before = log.identity();
        log.rotate().expect("rotates");
        assert_eq!((log.room(), log.len()), (10, 0));
        log.append(b"two\n");
        let moved = dir.path().join("moved");
        std::fs::rename(&path, &moved).expect("rename");
        log.rotate().expect("reopens");
        log.append(b"three\n");
        let read = |path: &Path| std::fs::read_to_string(path).expect("read");
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("two\n", "three\n"));
        assert_eq!(read(&log_line::rotated(&path, 1)), "one\n");
        assert_eq!(log.length_of(before), Some(4));
        log.rotate().expect("rotates");
        assert!(log.would_drop());
        // Where it cannot be rotated it grows.
        log.append(b"four\n");
        std::fs::remove_file(log_line::rotated(&path, 2)).expect("remove");
        std::fs::create_dir_all(log_line::rotated(&path, 2).join("x")).expect("mkdir");
        assert!(log.rotate().is_err());
        assert_eq!(log.room(), usize::MAX);
        assert_eq!(log.append(b"five\n").lost, None);
    }
}
