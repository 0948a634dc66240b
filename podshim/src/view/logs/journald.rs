//! The log of a container whose driver is `journald`, read back from the journal with journalctl(1).
//!
//! Its export format (systemd.io/JOURNAL_EXPORT_FORMATS) tells every byte of every field. Entries count where the user
//! that podmon runs as has sent them: anybody may send some that name the container. What podmon has sent may still be on
//! its way into the journal, so that is asked to catch up before its end is believed.

use std::{
    fs,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use proto::{
    Id, Kind, Refusal,
    log_line::{STAMP, Stream, stamp},
    refusal::Result,
    wire::LogsRequest,
};

use super::{Printer, Record, journal::BUFFER, print::Style, side, tail::Tail};
use crate::config;

/// Where journald keeps entries: until the next boot, or for good.
const PLACES: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// Longest entry that is read; podmon's are of 16 KiB and their fields.
const LONGEST: usize = 4 << 20;
/// How long journalctl may say nothing while it reads what is there.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long journald may take to have everything in its files.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Refuses where there is no journal, or nobody who reads it.
///
/// # Errors
/// [`Kind::NotSupported`], naming what is missing.
pub(super) fn check(id: &Id) -> Result<()> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let is_there = |place: &&str| !machine.trim().is_empty() && Path::new(place).join(machine.trim()).is_dir();
    let missing = if config::on_path("journalctl").is_none() {
        "there is no journalctl on this machine: install systemd".to_owned()
    } else if !PLACES.iter().any(is_there) {
        format!("there is no journal in {} or {} on this machine: start systemd-journald", PLACES[0], PLACES[1])
    } else {
        return Ok(());
    };
    Err(Refusal::new(
        Kind::NotSupported,
        format!("the log of container {} is in the journal, cannot read logs: {missing}", id.short()),
    ))
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// With the first entry.
    First,
    /// With the entry of this cursor.
    At(String),
    /// With the one after it.
    After(String),
    /// With what is written from now on, microseconds since the epoch.
    Since(i64),
}

/// What of a stream is passed over: all before the entry of a cursor, and perhaps that itself.
type Skipped = Option<(String, bool)>;

/// The log of one container.
#[derive(Debug)]
pub(super) struct Journald {
    id: Id,
    from: From,
    skipped: [Skipped; 2],
    since: i64,
    until: i64,
    /// What is followed.
    reader: Option<Reader>,
}

impl Journald {
    /// The log of the container `id`, from where `request` wants it.
    ///
    /// # Errors
    /// When journalctl fails, or does not answer.
    pub(super) fn open(id: &Id, request: &LogsRequest) -> io::Result<Journald> {
        catch_up();
        let mut log = Journald {
            id: id.clone(),
            from: From::First,
            skipped: [None, None],
            since: request.since,
            until: request.until,
            reader: None,
        };
        if let (true, Ok(lines)) = (request.has_tail, u64::try_from(request.tail)) {
            log.tail(lines)?;
        }
        Ok(log)
    }

    /// Finds where the last `lines` lines begin, by reading backwards.
    fn tail(&mut self, lines: u64) -> io::Result<()> {
        let Some(mut reader) = self.backwards()? else { return Ok(()) };
        let mut counted = Tail::new(u64::MAX, lines);
        let (mut at, mut last): (u64, Option<String>) = (u64::MAX, None);
        let mut begins: [Option<String>; 2] = [None, None];
        while let Some(entry) = reader.next()? {
            if entry.time <= self.since && self.since != 0 {
                break;
            }
            if self.until != 0 && entry.time >= self.until {
                continue;
            }
            last.get_or_insert_with(|| entry.cursor.clone());
            if lines == 0 {
                break;
            }
            at -= entry.text.len() as u64 + 1;
            let enough = counted.count(at, entry.stream, entry.full);
            let side = side(entry.stream);
            if counted.not_before[side] == at {
                begins[side] = Some(entry.cursor);
            }
            if enough {
                break;
            }
        }
        let Some(last) = last else {
            if self.until == 0 {
                self.from = From::Since(proto::time::now() / 1000);
            }
            return Ok(());
        };
        let first = if counted.not_before[0] <= counted.not_before[1] { 0 } else { 1 };
        match &begins[first] {
            Some(cursor) => self.from = From::At(cursor.clone()),
            None => {
                self.from = From::After(last);
                return Ok(());
            }
        }
        self.skipped = begins.map(|begin| match begin {
            Some(cursor) => Some((cursor, false)),
            None => Some((last.clone(), true)),
        });
        Ok(())
    }

    fn backwards(&self) -> io::Result<Option<Reader>> {
        let mut arguments = vec!["--reverse".to_owned()];
        if self.until != 0 {
            arguments.push(format!("--until=@{}", seconds(self.until / 1000 + 1)));
        }
        Reader::start(&self.id, &arguments).map(Some)
    }

    /// Prints what there is from where it left off.
    ///
    /// # Errors
    /// Those of journalctl and of the descriptors.
    pub(super) fn print(&mut self, style: &mut Style, printer: &mut Printer) -> io::Result<()> {
        let mut reader = Reader::start(&self.id, &self.arguments())?;
        while let Some(entry) = reader.next()? {
            if self.until != 0 && entry.time >= self.until {
                break;
            }
            self.take(entry, style, printer)?;
        }
        Ok(())
    }

    /// Prints what has come while it is followed.
    ///
    /// # Errors
    /// Those of journalctl and of the descriptors.
    pub(super) fn pump(&mut self, style: &mut Style, printer: &mut Printer) -> io::Result<()> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let mut arguments = self.arguments();
                arguments.extend(["--follow".to_owned(), "--no-tail".to_owned()]);
                Reader::start(&self.id, &arguments)?
            }
        };
        while let Some(entry) = reader.next_now()? {
            if self.until == 0 || entry.time < self.until {
                self.take(entry, style, printer)?;
            }
        }
        // One that has ended is started again: journald was, too.
        self.reader = Some(reader).filter(|reader| !reader.ended);
        Ok(())
    }

    /// Prints what is left once nothing more will be written.
    ///
    /// # Errors
    /// Those of journalctl and of the descriptors.
    pub(super) fn finish(&mut self, style: &mut Style, printer: &mut Printer) -> io::Result<()> {
        self.reader = None;
        catch_up();
        self.print(style, printer)
    }

    /// What tells that there is more to read.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(|reader| reader.output.as_fd())
    }

    fn take(&mut self, entry: Entry, style: &mut Style, printer: &mut Printer) -> io::Result<()> {
        let mut wanted = entry.time > self.since || self.since == 0;
        for (side_of, skipped) in self.skipped.iter_mut().enumerate() {
            if let Some((cursor, itself)) = skipped {
                let (reached, itself) = (*cursor == entry.cursor, *itself);
                wanted &= side_of != side(entry.stream) || (reached && !itself);
                if reached {
                    *skipped = None;
                }
            }
        }
        if wanted {
            let stamp = stamp(entry.time);
            let stamp = std::str::from_utf8(&stamp[..STAMP]).unwrap_or_default();
            printer.print(style, &Record { stamp, stream: entry.stream, full: entry.full, text: &entry.text })?;
        }
        self.from = From::After(entry.cursor);
        Ok(())
    }

    /// What journalctl is asked for.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = match &self.from {
            From::First => Vec::new(),
            From::At(cursor) => vec![format!("--cursor={cursor}")],
            From::After(cursor) => vec![format!("--after-cursor={cursor}")],
            From::Since(time) => vec![format!("--since=@{}", seconds(*time))],
        };
        if self.since != 0 && self.from == From::First {
            arguments.push(format!("--since=@{}", seconds(self.since / 1000)));
        }
        arguments
    }
}

/// Microseconds as journalctl reads them.
fn seconds(microseconds: i64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// Has journald write what it was sent. One that is not there has nothing more to write.
fn catch_up() {
    let mut command = Command::new("journalctl");
    let command = command.args(["--sync", "--quiet"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        if let Some(output) = &child.stdout {
            // It says nothing, so this is its end.
            let _ = wait_for(output.as_fd(), CATCH_UP);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn wait_for(fd: BorrowedFd<'_>, longest: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    cursor: String,
    /// When journald took it, nanoseconds since the epoch.
    time: i64,
    stream: Stream,
    full: bool,
    text: Vec<u8>,
}

/// A journalctl that is read. It ends with this.
#[derive(Debug)]
struct Reader {
    child: Child,
    output: ChildStdout,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been taken.
    taken: usize,
    ended: bool,
}

impl Reader {
    fn start(id: &Id, arguments: &[String]) -> io::Result<Reader> {
        let mut child = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--all", "--output=export"])
            .arg("--output-fields=MESSAGE,PRIORITY,CONTAINER_PARTIAL_MESSAGE,CONTAINER_STREAM")
            .args(arguments)
            .arg(format!("CONTAINER_ID_FULL={id}"))
            .arg(format!("_UID={}", nix::unistd::geteuid()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("journalctl: {error}")))?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Reader { child, output, buffer: Vec::new(), taken: 0, ended: false })
    }

    /// The next entry of those there are.
    fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.next_now()? {
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            if !wait_for(self.output.as_fd(), PATIENCE)? {
                let words = format!("journalctl has said nothing for {} s", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
        }
    }

    /// The next entry that has been read, or can be without waiting.
    fn next_now(&mut self) -> io::Result<Option<Entry>> {
        loop {
            while let Some((length, entry)) = parse(&self.buffer[self.taken..]) {
                self.taken += length;
                if entry.is_some() {
                    return Ok(entry);
                }
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if self.buffer.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "journalctl: an entry is too long"));
            }
            let known = self.buffer.len();
            self.buffer.resize(known + BUFFER, 0);
            let read = self.output.read(&mut self.buffer[known..]);
            self.buffer.truncate(known + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The entry that `bytes` begin with, and how long it is; `None` where its end is not there yet. An entry without a
/// message is none.
fn parse(bytes: &[u8]) -> Option<(usize, Option<Entry>)> {
    let mut entry = Entry { cursor: String::new(), time: 0, stream: Stream::Stdout, full: true, text: Vec::new() };
    let (mut said, mut told, mut at) = (false, None, 0);
    loop {
        let line = &bytes[at..at + memchr::memchr(b'\n', &bytes[at..])?];
        at += line.len() + 1;
        if line.is_empty() {
            entry.stream = told.unwrap_or(entry.stream);
            return Some((at, said.then_some(entry)));
        }
        let (name, value) = match memchr::memchr(b'=', line) {
            Some(equals) => (&line[..equals], &line[equals + 1..]),
            None => {
                // Its length, little-endian, comes before a value with newlines or bytes that are no text.
                let length = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
                let end = at.checked_add(8)?.checked_add(usize::try_from(length).ok()?)?;
                let value = bytes.get(at + 8..end)?;
                bytes.get(end)?;
                at = end + 1;
                (line, value)
            }
        };
        match name {
            b"__CURSOR" => entry.cursor = String::from_utf8_lossy(value).into_owned(),
            b"__REALTIME_TIMESTAMP" => {
                let time = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                entry.time = time.unwrap_or(0).saturating_mul(1000);
            }
            b"MESSAGE" => (said, entry.text) = (true, value.to_vec()),
            b"PRIORITY" if value == b"3" => entry.stream = Stream::Stderr,
            b"CONTAINER_STREAM" if value == b"stderr" => told = Some(Stream::Stderr),
            b"CONTAINER_STREAM" => told = Some(Stream::Stdout),
            b"CONTAINER_PARTIAL_MESSAGE" => entry.full = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let text = b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1700000000000001\nPRIORITY=3\nMESSAGE=one = 1\n\n";
        let entry = Entry {
            cursor: "s=1".into(),
            time: 1_700_000_000_000_001_000,
            stream: Stream::Stderr,
            full: true,
            text: b"one = 1".to_vec(),
        };
        assert_eq!(parse(text), Some((text.len(), Some(entry))));
        let mut text = b"__CURSOR=c\nCONTAINER_PARTIAL_MESSAGE=true\nPRIORITY=4\nMESSAGE\n".to_vec();
        text.extend_from_slice(&5u64.to_le_bytes());
        text.extend_from_slice(b"a\0\n\nb\nCONTAINER_STREAM=stderr\n\nMESSAGE=next");
        let (length, entry) = parse(&text).expect("an entry");
        let entry = entry.expect("a message");
        assert_eq!((entry.text.as_slice(), entry.full, entry.stream), (&b"a\0\n\nb"[..], false, Stream::Stderr));
        assert_eq!(parse(&text[length..]), None, "not whole");
        for cut in 0..length {
            assert_eq!(parse(&text[..cut]), None, "{cut}");
        }
        assert_eq!(parse(b"PRIORITY=6\n\n"), Some((12, None)));
        assert_eq!(parse(b"X\n\xff\xff\xff\xff\xff\xff\xff\xff...."), None);
    }

    #[test]
    fn times_are_written_for_journalctl() {
        assert_eq!(seconds(1_700_000_000_000_001), "1700000000.000001");
    }
}
