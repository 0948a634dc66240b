//! One container's log across its rotated files.
//!
//! `ctr.log` is the newest, `ctr.log.1` the one before it, and so on. Rotation is by rename at a line boundary, so one
//! behind the other they are one sequence of records, addressed here by one offset. Files are only ever appended to; a
//! file that somebody truncates is taken as a new one.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use proto::log_line::{Record, Stream};

use super::side;

/// Bytes read at once: more would leave the cache before it is written.
const BUFFER: usize = 256 * 1024;
/// Below this distance a search goes on line by line.
const NEAR: u64 = 64 * 1024;
/// How far before a line its first parts are looked for among the other stream's records.
const PARTS: u64 = 4 << 20;
/// Bytes of a line that hold all of its header.
const HEAD: usize = 64;

/// A buffer for [`Journal::scan`].
pub(super) fn buffer() -> Vec<u8> {
    vec![0; BUFFER]
}

#[derive(Debug)]
struct Segment {
    file: File,
    device: u64,
    inode: u64,
    /// Where it begins in the sequence.
    start: u64,
    length: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.length
    }

    fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Reads into `buffer` from `offset` of the sequence on, at most to the end of this segment.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.end() - offset).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        loop {
            match self.file.read_at(&mut buffer[..wanted], offset - self.start) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Where printing begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The first record that is looked at.
    pub(super) offset: u64,
    /// Records of each stream before these do not belong to it: the last lines of two streams are interleaved.
    not_before: [u64; 2],
}

impl Start {
    /// At `offset`, for both streams.
    pub(super) fn at(offset: u64) -> Start {
        Start { offset, not_before: [offset; 2] }
    }

    /// Whether the record of `stream` at `offset` belongs to it.
    pub(super) fn includes(&self, stream: Stream, offset: u64) -> bool {
        offset >= self.not_before[side(stream)]
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    segments: Vec<Segment>,
}

impl Journal {
    /// Opens what is there now; no file is an empty log.
    ///
    /// # Errors
    /// Those of open(2); a path that is no regular file (it is the user's to choose).
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let mut journal = Journal { path: path.to_path_buf(), segments: Vec::new() };
        journal.refresh()?;
        Ok(journal)
    }

    /// Where the sequence ends.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// Takes in what has been written and rotated since.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        // The newest first: one that is renamed meanwhile is met again under its next name, and none is missed.
        let mut newer = Vec::new();
        for number in 0.. {
            let Some((file, metadata)) = open(&self.numbered(number))? else {
                // Between the rename and the new file there is a moment without the newest.
                if number == 0 { continue } else { break }
            };
            if self.segments.iter().any(|segment| segment.is(&metadata)) {
                break;
            }
            if !newer
                .iter()
                .any(|(_, known): &(File, Metadata)| (known.dev(), known.ino()) == (metadata.dev(), metadata.ino()))
            {
                newer.push((file, metadata));
            }
        }
        // Only now: what was written last before the rename is in.
        self.grow()?;
        for (file, metadata) in newer.into_iter().rev() {
            self.push(file, &metadata);
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn push(&mut self, file: File, metadata: &Metadata) {
        let start = self.end();
        self.segments.push(Segment {
            file,
            device: metadata.dev(),
            inode: metadata.ino(),
            start,
            length: metadata.len(),
        });
    }

    fn grow(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.last_mut() else { return Ok(()) };
        let metadata = last.file.metadata()?;
        if metadata.len() >= last.length {
            last.length = metadata.len();
            return Ok(());
        }
        // Somebody has truncated it: what it holds now comes after what it held.
        let file = last.file.try_clone()?;
        self.push(file, &metadata);
        Ok(())
    }

    fn segment(&self, offset: u64) -> Option<(usize, &Segment)> {
        let index = self.segments.partition_point(|segment| segment.end() <= offset);
        Some((index, self.segments.get(index)?))
    }

    /// Calls `each` with offset and text of every line between `from`, where a line begins, and `to`, until it breaks.
    /// Returns where to go on: after the last line, or where one begins that is not yet whole.
    ///
    /// # Errors
    /// Those of read(2) and of `each`.
    pub(super) fn scan(
        &self,
        from: u64,
        to: u64,
        buffer: &mut [u8],
        mut each: impl FnMut(u64, &[u8]) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<u64> {
        let mut position = from;
        while position < to {
            let Some((index, segment)) = self.segment(position) else { break };
            let room = buffer.len().min(usize::try_from(to - position).unwrap_or(usize::MAX));
            let read = segment.read(&mut buffer[..room], position)?;
            let block = &buffer[..read];
            let mut begin = 0;
            for newline in memchr::memchr_iter(b'\n', block) {
                if each(position + begin as u64, &block[begin..newline])?.is_break() {
                    return Ok(position + newline as u64 + 1);
                }
                begin = newline + 1;
            }
            if begin > 0 {
                position += begin as u64;
            } else if read == buffer.len() {
                // No record is that long: its rest is no record either.
                position += read as u64;
            } else if index + 1 == self.segments.len() {
                break;
            } else {
                // Cut off, and a rotation came: it will never be whole.
                position = segment.end();
            }
        }
        Ok(position)
    }

    /// The offset of the first record whose time `is_it` accepts: none of them before it, all after it. The end where
    /// there is none.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn find(&self, is_it: impl Fn(i64) -> bool) -> io::Result<u64> {
        let mut buffer = vec![0; usize::try_from(NEAR).unwrap_or(BUFFER)];
        // Records that begin before `low` are too early; of those that begin at `high` or later `best` is the first.
        let (mut low, mut high, mut best) = (0, self.end(), self.end());
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            match self.record_after(middle, high, &mut buffer)? {
                Some((offset, time)) if is_it(time) => (high, best) = (middle, offset),
                Some((offset, _)) => low = offset,
                None => high = middle,
            }
        }
        self.scan(low, best, &mut buffer, |offset, line| {
            if Record::decode(line).and_then(|record| record.time()).is_some_and(&is_it) {
                best = offset;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(best)
    }

    /// The first record that begins after `offset` and before `to`, with its time.
    fn record_after(&self, offset: u64, to: u64, buffer: &mut [u8]) -> io::Result<Option<(u64, i64)>> {
        let Some((index, segment)) = self.segment(offset) else { return Ok(None) };
        let read = segment.read(buffer, offset)?;
        let begin = match memchr::memchr(b'\n', &buffer[..read]) {
            Some(newline) => offset + newline as u64 + 1,
            None => match self.segments.get(index + 1) {
                Some(next) => next.start,
                None => return Ok(None),
            },
        };
        let mut found = None;
        self.scan(begin, to.max(begin), buffer, |offset, line| {
            found = Record::decode(line).and_then(|record| Some((offset, record.time()?)));
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// Where the last `lines` lines between `begin` and `end` begin. A line is what ends with a full record, or the last
    /// parts of a stream; its parts before that belong to it.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn tail(&self, begin: u64, end: u64, lines: u64) -> io::Result<Start> {
        let mut tail = Tail::new(end, lines);
        if lines == 0 {
            return Ok(Start::at(end));
        }
        let mut buffer = vec![0; BUFFER + HEAD];
        'segments: for segment in self.segments.iter().rev() {
            let first = segment.start.max(begin);
            let mut high = segment.end().min(end);
            // Beginning of what was read last, which holds the heads of lines that begin before it.
            let mut known = 0;
            // The last newline seen is the one that ends the line in hand; without one it is not whole.
            let mut whole = false;
            while high > first {
                let low = high.saturating_sub(BUFFER as u64).max(first);
                let size = usize::try_from(high - low).unwrap_or(BUFFER);
                buffer.copy_within(..known, size);
                let read = segment.read(&mut buffer[..size], low)?;
                // Truncated under our hands: what is gone reads as nothing.
                buffer[read..size].fill(0);
                let text = &buffer[..size + known];
                for newline in memchr::memrchr_iter(b'\n', &text[..size]) {
                    let line = newline + 1;
                    if whole && tail.take(low + line as u64, &text[line..]) {
                        break 'segments;
                    }
                    whole = true;
                }
                if low == first && whole && tail.take(low, text) {
                    break 'segments;
                }
                known = HEAD.min(size);
                high = low;
            }
        }
        Ok(tail.start())
    }
}

/// Counts lines backwards.
struct Tail {
    missing: u64,
    seen: [bool; 2],
    /// The line in hand of each stream is one of the last, so its earlier parts are too.
    open: [bool; 2],
    not_before: [u64; 2],
}

impl Tail {
    fn new(end: u64, lines: u64) -> Tail {
        Tail { missing: lines, seen: [false; 2], open: [false; 2], not_before: [end; 2] }
    }

    /// Takes the record that begins at `offset` with `text`; true when no earlier one is wanted.
    fn take(&mut self, offset: u64, text: &[u8]) -> bool {
        // The header is enough, and the line may go on behind what is known of it.
        let text = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
        let Some(record) = Record::decode(text) else { return false };
        let side = side(record.stream);
        if record.full || !self.seen[side] {
            self.seen[side] = true;
            self.open[side] = self.missing > 0;
            self.missing = self.missing.saturating_sub(1);
        }
        if self.open[side] {
            self.not_before[side] = offset;
        }
        // A stream that is silent for long has no parts further back.
        let waits = |side: usize| self.open[side] && self.not_before[side] - offset < PARTS;
        self.missing == 0 && !waits(0) && !waits(1)
    }

    fn start(&self) -> Start {
        Start { offset: self.not_before[0].min(self.not_before[1]), not_before: self.not_before }
    }
}

/// Opens a log file for reading; `None` where there is none.
fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // The path may be the user's: no link is followed, and a FIFO does not stop us.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log is no regular file"));
    }
    Ok(Some((file, metadata)))
}
