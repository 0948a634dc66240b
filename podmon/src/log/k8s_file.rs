//! Driver `k8s-file`: records of the CRI format in one file.
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

use nix::errno::Errno;
use proto::{Kind, Refusal, log_line, log_line::Record, refusal::Result};

use super::{Identity, Sink, Stored};

/// How long a file that cannot be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// A torn record at the end of a file is at most this long.
const TAIL: u64 = (log_line::HEADER + log_line::PIECE + 1) as u64;

/// See the module.
#[derive(Debug)]
pub struct K8sFile {
    path: PathBuf,
    /// Absent while it cannot be opened.
    file: Option<File>,
    length: u64,
    identity: Identity,
    tried: Option<Instant>,
    cause: Errno,
    last_time: i64,
}

impl K8sFile {
    /// Opens or makes the log at `path`. A record that was cut off by a crash of the machine is removed from its end.
    ///
    /// # Errors
    /// Naming the path, when it is no regular file or cannot be opened.
    pub fn open(path: PathBuf) -> Result<K8sFile> {
        let mut log = K8sFile::closed(path);
        let file = open_file(&log.path).map_err(|error| refusal(&log.path, &error))?;
        log.take(file).map_err(|error| refusal(&log.path, &error))?;
        Ok(log)
    }

    /// A log that is opened when it is needed.
    pub fn closed(path: PathBuf) -> K8sFile {
        K8sFile {
            path,
            file: None,
            length: 0,
            identity: Identity::default(),
            tried: None,
            cause: Errno::ENOENT,
            last_time: 0,
        }
    }

    fn take(&mut self, file: File) -> io::Result<()> {
        self.last_time = self.last_time.max(mend_tail(&file)?);
        let metadata = file.metadata()?;
        self.length = metadata.len();
        self.identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        self.file = Some(file);
        Ok(())
    }

    /// Opens a file that could not be opened before, once in a while.
    fn try_again(&mut self) {
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return;
        }
        self.tried = Some(Instant::now());
        if let Err(error) = open_file(&self.path).and_then(|file| self.take(file)) {
            self.cause = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        }
    }
}

impl Sink for K8sFile {
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

    fn reader(&self) -> io::Result<File> {
        match &self.file {
            Some(file) => open_reader(file),
            None => Err(self.cause.into()),
        }
    }

    fn look_after(&mut self) {
        let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) else {
            self.try_again();
            return;
        };
        if metadata.nlink() == 0 {
            // Nobody will ever read what goes there. A failure leaves the old file in place.
            if let Ok(file) = open_file(&self.path) {
                let _ = self.take(file);
            }
        } else {
            self.length = metadata.len();
        }
    }

    fn reopen(&mut self) -> Result<()> {
        let file = open_file(&self.path).map_err(|error| refusal(&self.path, &error))?;
        self.take(file).map_err(|error| refusal(&self.path, &error))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }
}

fn refusal(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Kind::Invalid, format!("log path {}: {error}", path.display()))
}

/// Never follows a symbolic link, never waits for the reader of a FIFO, takes nothing but a regular file.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// The same file for reading. Opened anew: a duplicate could not be read.
fn open_reader(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Cuts a torn record off the end of the log; a line that is none of ours is ended instead. Answers the time of the last
/// whole record, 0 where there is none.
fn mend_tail(file: &File) -> io::Result<i64> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    let start = length.saturating_sub(2 * TAIL);
    let mut tail = vec![0; usize::try_from(length - start).unwrap_or(0)];
    open_reader(file)?.read_exact_at(&mut tail, start)?;
    let line = memchr::memrchr(b'\n', &tail).map_or(0, |newline| newline + 1);
    if line < tail.len() {
        let ours = line > 0 || start == 0;
        if ours && looks_torn(&tail[line..]) {
            file.set_len(start + line as u64)?;
        } else {
            nix::unistd::write(file, b"\n")?;
        }
    }
    let mut whole = tail[..line].split(|byte| *byte == b'\n').rev();
    Ok(whole.find_map(|line| Record::decode(line)?.time()).unwrap_or(0))
}

/// Whether `line`, which has no newline, is the beginning of a record.
fn looks_torn(line: &[u8]) -> bool {
    const SHAPE: &[u8; log_line::STAMP] = b"0000-00-00T00:00:00.000000000Z";
    Record::decode(line).is_some()
        || line
            .iter()
            .zip(SHAPE)
            .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &tempfile::TempDir) -> K8sFile {
        K8sFile::open(dir.path().join("ctr.log")).expect("opens")
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
        assert!(K8sFile::open(path.clone()).is_err());
        std::fs::remove_file(&path).expect("remove");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(K8sFile::open(path).is_err());
        assert!(K8sFile::open(dir.path().to_owned()).is_err());
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
}
