//! Driver `journald`: every record is an entry, sent by the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)
//! with the fields that conmon sends, and `CONTAINER_STREAM` where the text has chosen another priority than its stream's.
//!
//! There is no file whose length tells a successor what was done, so how far it has come is kept in a small file of the run
//! directory: every entry is counted there once it is sent. A monitor that is killed between the two sends one entry
//! twice; none is lost. A journal that takes nothing costs entries, which are counted, and never stops the container.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use proto::{
    Kind, Refusal,
    journal::field,
    layout::JOURNALD,
    log_line::{Format, Record, Stream},
    record::StartRecord,
    refusal::Result,
};

use super::{Identity, Sink, Stored};
use crate::{stdio::position::index, sys::Mapping};

/// Milliseconds for which a full journal is waited for, once; then entries are lost until it takes one.
const PATIENCE: u16 = 500;
/// Where in the run file the number of bytes is whose entries were sent.
const SENT: usize = 0;
const PAGE: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Journald {
    journal: PathBuf,
    socket: Option<UnixDatagram>,
    /// Fields that all entries have.
    fields: Vec<u8>,
    run: Mapping,
    length: u64,
    /// The last record of the stream was a part.
    parts: [bool; 2],
    /// It took nothing the last time.
    stuck: bool,
}

impl Journald {
    /// A log that goes to the journal of this machine; how far it has come is kept in `directory`.
    ///
    /// # Errors
    /// When the run directory is unusable.
    pub fn new(start: &StartRecord, directory: &Path) -> io::Result<Journald> {
        Journald::to(PathBuf::from(JOURNALD), start, directory)
    }

    fn to(journal: PathBuf, start: &StartRecord, directory: &Path) -> io::Result<Journald> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(directory.join("journald"))?;
        fallocate(&file, FallocateFlags::empty(), 0, PAGE as i64)?;
        let run = Mapping::new(&file, PAGE)?;
        let length = run.published(SENT);
        let fields = fields(start);
        let mut log = Journald { journal, socket: None, fields, run, length, parts: [false; 2], stuck: false };
        // It says itself why it cannot, when it is written to.
        let _ = log.connect();
        Ok(log)
    }

    /// Whether there is a journal.
    ///
    /// # Errors
    /// In words, when there is none.
    pub fn check(&self) -> Result<()> {
        if self.socket.is_some() {
            return Ok(());
        }
        let words = format!("there is no journald at {}: use another log driver", self.journal.display());
        Err(Refusal::new(Kind::NotSupported, words))
    }

    fn connect(&mut self) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.journal)?;
        socket.set_nonblocking(true)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends one entry.
    fn send(&mut self, entry: &[u8]) -> std::result::Result<(), Errno> {
        let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        let mut again = false;
        loop {
            if self.socket.is_none() {
                self.connect().map_err(errno)?;
            }
            let Some(socket) = &self.socket else { return Err(Errno::ENOTCONN) };
            match socket.send(entry).map_err(errno) {
                Ok(_) => {
                    self.stuck = false;
                    return Ok(());
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) if !self.stuck && !again => {
                    (again, self.stuck) = (true, true);
                    // Whatever it says, sending tells.
                    let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(PATIENCE));
                }
                // It was started anew.
                Err(Errno::ECONNREFUSED | Errno::ENOTCONN | Errno::ECONNRESET) if !again => {
                    again = true;
                    self.socket = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The entry of `record`.
    fn entry(&mut self, record: &Record<'_>) -> Vec<u8> {
        let goes_on = std::mem::replace(&mut self.parts[index(record.stream)], !record.full);
        let mut priority = if record.stream == Stream::Stdout { b'6' } else { b'3' };
        let mut text = record.text;
        // As programs of systemd write it (sd-daemon(3)).
        let own = priority;
        if let [b'<', level @ b'0'..=b'7', b'>', rest @ ..] = text
            && !goes_on
        {
            (priority, text) = (*level, rest);
        }
        let mut entry = Vec::with_capacity(self.fields.len() + text.len() + 96);
        field(&mut entry, "MESSAGE", text);
        field(&mut entry, "PRIORITY", &[priority]);
        if !record.full {
            field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        if priority != own {
            // Else the priority tells it.
            field(&mut entry, "CONTAINER_STREAM", record.stream.as_str().as_bytes());
        }
        entry.extend_from_slice(&self.fields);
        entry
    }
}

impl Sink for Journald {
    fn append(&mut self, records: &[u8]) -> Stored {
        let mut bytes = 0;
        for line in records.split_inclusive(|byte| *byte == b'\n') {
            let end = self.length + line.len() as u64;
            let entry = Record::decode(&line[..line.len() - 1]).map(|record| self.entry(&record));
            // Else whom we succeed has sent it already.
            if end > self.run.published(SENT) {
                if let Some(entry) = entry
                    && let Err(cause) = self.send(&entry)
                {
                    return Stored { bytes, lost: Some(cause) };
                }
                self.run.publish(SENT, end);
            }
            self.length = end;
            bytes += line.len();
        }
        Stored { bytes, lost: None }
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn last_time(&self) -> i64 {
        0
    }

    fn identity(&self) -> Identity {
        Identity::default()
    }

    fn reader(&self, _: Identity) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn after(&self, _: Identity) -> io::Result<(File, Identity)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn length_of(&self, _: Identity) -> Option<u64> {
        None
    }

    fn format(&self) -> (Format, &str) {
        (Format::Cri, "")
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn would_drop(&self) -> bool {
        false
    }

    fn would_drop_at_once(&self) -> bool {
        false
    }

    fn rotate(&mut self) -> Result<()> {
        Err(Refusal::invalid("the log is in the journal, which rotates by itself"))
    }

    fn look_after(&mut self) {}

    fn reopen(&mut self) -> Result<()> {
        self.socket = None;
        // As at the beginning.
        let _ = self.connect();
        self.check()
    }

    fn cut(&mut self, _: Identity, length: u64) -> io::Result<()> {
        // What was sent stays sent, and is passed over when it comes again.
        self.length = length;
        Ok(())
    }
}

/// The fields of all entries of a container.
fn fields(start: &StartRecord) -> Vec<u8> {
    let mut fields = Vec::new();
    let tag = start.log.options.get("tag").map(String::as_str).filter(|tag| !tag.is_empty());
    field(&mut fields, "CONTAINER_ID_FULL", start.id.as_str().as_bytes());
    field(&mut fields, "CONTAINER_ID", start.id.short().as_bytes());
    field(&mut fields, "CONTAINER_NAME", start.name.as_bytes());
    field(&mut fields, "SYSLOG_IDENTIFIER", tag.unwrap_or(&start.name).as_bytes());
    if let Some(tag) = tag {
        field(&mut fields, "CONTAINER_TAG", tag.as_bytes());
    }
    for (name, value) in start.log.labels.iter().filter_map(|label| label.split_once('=')) {
        field(&mut fields, name, value.as_bytes());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> StartRecord {
        let json = serde_json::json!({
            "schema": 1, "id": "a".repeat(64), "pod": "b".repeat(64), "name": "web", "bundle": "/", "runtime": "/",
            "runtime_root": "/", "exit_record": "/x", "state_record": "/y", "tty": false, "stdin": false,
            "stop_signal": "", "stop_timeout_ms": 0, "cgroup": "", "uid": 0, "gid": 0,
            "log": proto::wire::LogConfig {
                options: [("tag".to_owned(), "T".to_owned())].into(),
                labels: vec!["TEAM=blue".into()],
                ..Default::default()
            },
        });
        serde_json::from_value(json).expect("a start record")
    }

    fn received(journal: &UnixDatagram) -> Vec<String> {
        journal.set_nonblocking(true).expect("non-blocking");
        let mut buffer = vec![0; 1 << 16];
        std::iter::from_fn(|| journal.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
            .map(|entry| String::from_utf8(entry).expect("text"))
            .collect()
    }

    const RECORDS: &[u8] = b"2023-11-14T22:13:20.000000001Z stdout F one\n\
        2023-11-14T22:13:20.000000001Z stderr P <4>two\n\
        2023-11-14T22:13:20.000000001Z stderr F <5>three\n";

    #[test]
    fn entries_have_the_fields_that_conmon_sends() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("bind");
        let mut log = Journald::to(path, &start(), dir.path()).expect("log");
        assert_eq!(log.append(RECORDS), Stored { bytes: RECORDS.len(), lost: None });
        let (long, short) = ("a".repeat(64), "a".repeat(12));
        let rest = format!(
            "CONTAINER_ID_FULL={long}\nCONTAINER_ID={short}\nCONTAINER_NAME=web\nSYSLOG_IDENTIFIER=T\nCONTAINER_TAG=T\nTEAM=blue\n"
        );
        let expected = [
            "MESSAGE=one\nPRIORITY=6\n",
            "MESSAGE=two\nPRIORITY=4\nCONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_STREAM=stderr\n",
            "MESSAGE=<5>three\nPRIORITY=3\n",
        ];
        assert_eq!(received(&journal), expected.map(|entry| entry.to_owned() + &rest));
    }

    #[test]
    fn what_was_sent_before_is_not_sent_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("bind");
        let mut log = Journald::to(path.clone(), &start(), dir.path()).expect("log");
        let first = RECORDS.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        log.append(&RECORDS[..first]);
        drop(log);
        // The batch is taken back, and comes again with more.
        let mut log = Journald::to(path, &start(), dir.path()).expect("log");
        assert_eq!(log.len(), first as u64);
        log.cut(Identity::default(), 0).expect("cut");
        log.append(RECORDS);
        assert_eq!((received(&journal).len(), log.len()), (3, RECORDS.len() as u64));
    }

    #[test]
    fn a_journal_that_takes_nothing_costs_entries_and_one_that_comes_back_is_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("socket");
        let mut log = Journald::to(path.clone(), &start(), dir.path()).expect("log");
        assert!(log.check().is_err());
        assert_eq!(log.append(RECORDS), Stored { bytes: 0, lost: Some(Errno::ENOENT) });
        let journal = UnixDatagram::bind(&path).expect("bind");
        let stored = (0..100_000).map(|_| log.append(RECORDS)).find(|stored| stored.lost.is_some());
        assert_eq!(stored.and_then(|stored| stored.lost), Some(Errno::EAGAIN));
        assert!(!received(&journal).is_empty());
        assert_eq!(log.append(RECORDS).lost, None);
        drop(journal);
        std::fs::remove_file(&path).expect("remove");
        let journal = UnixDatagram::bind(&path).expect("bind");
        assert_eq!(log.append(RECORDS).lost, None);
        assert_eq!(received(&journal).len(), 3);
    }
}
