//! One container's log across its rotated files.
//!
//! `ctr.log` is the newest, `ctr.log.1` the one before it, and so on. Rotation is by rename at a line boundary, so one
//! behind the other they are one sequence of records, addressed here by one offset. While it happens, and after a monitor
//! was killed in the middle of it, a number may have no file and a file two numbers. Files are only ever appended to; a
//! file that somebody truncates is taken as a new one.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use proto::log_line::{Format, Stream, rotated};

use super::side;

/// Bytes read at once: more would leave the cache before it is written.
pub(super) const BUFFER: usize = 256 * 1024;
/// Below this distance a search goes on line by line.
const NEAR: u64 = 64 * 1024;
/// Numbers without a file, one after the other, after which a listing says which come later. A rotation makes one at a
/// time; the files of ours have no other, but somebody may have removed some.
const HOLES: u32 = 4;

/// A buffer for [`Journal::scan`].
pub(super) fn buffer() -> Vec<u8> {
    vec![0; BUFFER]
}

#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    identity: (u64, u64),
    /// Where it begins in the sequence.
    pub(super) start: u64,
    length: u64,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.start + self.length
    }

    /// Reads into `buffer` from `offset` of the sequence on, at most to the end of this segment.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
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
    pub(super) not_before: [u64; 2],
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
    /// How its records look.
    pub(super) format: Format,
    pub(super) segments: Vec<Segment>,
}

impl Journal {
    /// Opens what is there now; no file is an empty log.
    ///
    /// # Errors
    /// Those of open(2); a path that is no regular file (it is the user's to choose).
    pub(super) fn open(path: &Path, format: Format) -> io::Result<Journal> {
        let mut journal = Journal { path: path.to_path_buf(), format, segments: Vec::new() };
        journal.refresh(0)?;
        Ok(journal)
    }

    /// Where the sequence ends.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// Takes in what has been written and rotated since. What is before `read` is not asked for again.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn refresh(&mut self, read: u64) -> io::Result<()> {
        let mut newer: Vec<(File, Metadata)> = Vec::new();
        // The newest first: one that is renamed meanwhile is met again under its next name, and none is missed. What a
        // listing says while files are renamed may lack some of them, so numbers are tried one by one.
        let (mut number, mut holes, mut listed) = (0, 0, None);
        loop {
            match open(&rotated(&self.path, number))? {
                Some((file, metadata)) => {
                    let met = identity(&metadata);
                    if self.segments.iter().any(|segment| segment.identity == met) {
                        break;
                    }
                    holes = 0;
                    // Met again, it is older than all that were met meanwhile, and whole.
                    newer.retain(|(_, known)| identity(known) != met);
                    newer.push((file, metadata));
                }
                None => holes += 1,
            }
            let Some(next) = number.checked_add(1) else { break };
            let listed = || listed.get_or_insert_with(|| self.numbers()).range(next..).next().copied();
            let Some(next) = Some(next).filter(|_| holes < HOLES).or_else(listed) else { break };
            number = next;
        }
        // Only now: what was written last before the rename is in.
        self.grow()?;
        if !newer.is_empty() {
            self.forget(read);
        }
        for (file, metadata) in newer.into_iter().rev() {
            self.push(file, &metadata);
        }
        Ok(())
    }

    /// The numbers of files that a listing has.
    fn numbers(&self) -> BTreeSet<u32> {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        let number = |entry: fs::DirEntry| {
            let found = entry.file_name();
            let number = found.as_encoded_bytes().strip_prefix(name)?.strip_prefix(b".")?;
            std::str::from_utf8(number).ok()?.parse::<u32>().ok()
        };
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::read_dir(directory).into_iter().flatten().flatten().filter_map(number).collect()
    }

    /// Lets go of the files that end before `read` and have no name any more. One that has one is met again, and known.
    fn forget(&mut self, read: u64) {
        let end = self.end();
        let has_name = |segment: &Segment| segment.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        // The last one says where the sequence goes on.
        self.segments.retain(|segment| segment.end() > read || segment.end() == end || has_name(segment));
    }

    fn push(&mut self, file: File, metadata: &Metadata) {
        let start = self.end();
        self.segments.push(Segment { file, identity: identity(metadata), start, length: metadata.len() });
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
            if self.format.time(line).is_some_and(&is_it) {
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
            found = self.format.time(line).map(|time| (offset, time));
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}

/// Which file it is.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
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
