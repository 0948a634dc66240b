//! The run file `position`: how far the output has come, in a form that is right whatever instruction we are killed at.
//!
//! It is a sparse file in the run directory, mapped shared: a store into it is in the page cache at once and outlives us,
//! whoever else is killed. It has
//!
//! - for each stream its *journal*: bytes that have left the FIFO and are not in the log yet. One splice(2) moves them there
//!   and, in the same call, the word that says how far the journal is filled;
//! - what of a stream has no newline yet: in the header's page where it is short, else in pages that are allocated when first
//!   needed. Two places for each stream, used in turn: the one that is current is never written;
//! - two headers, one of which is current. A change fills in the other one whole and then makes it current with a single
//!   store. Between two batches a header says [`Phase::Idle`]; a batch goes
//!
//! ```text
//! Idle ─▶ Writing: log will grow from now.log_length to next.log_length     (then the log is written)
//!      ─▶ Idle with `next`, where more of the journal is taken
//! ```
//! so a successor knows from the length of the log what was done (see `ledger`). A journal begins at its start again once all
//! of it is taken: first the word is set back, which then says less than is taken, and so that nothing waits; then what is
//! taken. Its first page always has its block, so that a full run directory makes batches small and stops nothing.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::{fd::BorrowedFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};
use proto::log_line::{PIECE, Stream};

use super::{BIG_PIPE, STREAMS};
use crate::{log::Identity, sys::Mapping};

/// Beginning of each header; the digit is the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"podmon\x003");
/// Which header is current: 0 or 1.
const CURRENT: usize = 0;
/// How far each journal is filled, as an offset in the file.
const FILLED: [usize; 2] = [8, 16];
const HEADERS: [usize; 2] = [64, 512];
const WORDS: usize = 4 + 2 * PLACE_WORDS;
const PLACE_WORDS: usize = 14;
/// Places for short beginnings of lines, in the header's page.
const SMALL_AT: usize = 1024;
const SMALL: usize = 768;
const PAGE: usize = 4096;
/// Places for long ones.
const BIG_AT: usize = PAGE;
const BIG: usize = 4 * PIECE;
/// The journals. Each takes a whole pipe of the biggest size.
const JOURNAL_AT: [usize; 2] = [BIG_AT + BIG, BIG_AT + BIG + JOURNAL];
const JOURNAL: usize = BIG_PIPE;
const LENGTH: usize = BIG_AT + BIG + 2 * JOURNAL;
/// Pages that have their blocks from the beginning: a store into a hole of a full file system would be SIGBUS.
const STEADY: [usize; 3] = [0, JOURNAL_AT[0], JOURNAL_AT[1]];

/// Which of the two streams comes first in arrays.
pub fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Bytes of a stream that have no newline yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Held {
    /// How many.
    pub length: usize,
    /// 0 or 1: the place of its stream they are in.
    side: usize,
}

/// How far the output has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The log ends here.
    pub log_length: u64,
    /// What of each stream is held.
    pub held: [Held; 2],
    /// Bytes of each stream since the container was created, held ones included.
    pub offset: [u64; 2],
    /// Time stamp of the last record.
    pub stamp: i64,
    /// Records lost because the log could not be written.
    pub lost_records: u64,
    /// Lost since the log last said so: records, bytes, errno.
    pub gap: [u64; 3],
    /// Length of the log when the container was created.
    pub run_start: u64,
    /// Inode of the file that was the log then.
    pub run_log: u64,
    /// Bytes of each journal that are in the log or held.
    pub taken: [usize; 2],
}

/// What was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// The log is being written.
    Writing,
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was under way.
    pub phase: Phase,
    /// The log that lengths are about.
    pub log: Identity,
    /// Before.
    pub now: Place,
    /// After; the same while idle.
    pub next: Place,
}

/// See the module.
#[derive(Debug)]
pub struct Position {
    file: File,
    mapping: Mapping,
    current: usize,
    header: Header,
    has_big: bool,
    /// A journal may have blocks beyond its first page.
    is_spread: bool,
}

impl Position {
    /// A new run file at `path`, replacing an older one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path, log: Identity, place: Place) -> io::Result<Position> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(LENGTH as u64)?;
        let mapping = map(&file)?;
        for (word, at) in FILLED.into_iter().zip(JOURNAL_AT) {
            mapping.publish(word, at as u64);
        }
        let header = Header { phase: Phase::Idle, log, now: place, next: place };
        let mut position = Position { file, mapping, current: 0, header, has_big: false, is_spread: false };
        position.store(header);
        Ok(position)
    }

    /// The run file that a monitor has left.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidData` where it is none.
    pub fn open(path: &Path) -> io::Result<Position> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        if file.metadata()?.len() != LENGTH as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mapping = map(&file)?;
        let current = usize::try_from(mapping.published(CURRENT)).unwrap_or(usize::MAX);
        let at = *HEADERS.get(current).ok_or(io::ErrorKind::InvalidData)?;
        let header = decode(mapping.get(at, WORDS * 8)).ok_or(io::ErrorKind::InvalidData)?;
        let mut position = Position { file, mapping, current, header, has_big: false, is_spread: true };
        if STREAMS.iter().any(|stream| position.filled(*stream).is_none()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if header.now.held.iter().chain(&header.next.held).any(|held| held.length > SMALL) {
            position.ensure_big()?;
        }
        Ok(position)
    }

    /// What is current.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How far the output has come.
    pub fn place(&self) -> Place {
        self.header.now
    }

    /// What of `stream` has no newline yet.
    pub fn held(&self, stream: Stream) -> &[u8] {
        self.bytes(stream, self.header.now.held[index(stream)])
    }

    /// Bytes of `stream` in its journal that are neither in the log nor held.
    pub fn waiting(&self, stream: Stream) -> &[u8] {
        let taken = self.header.now.taken[index(stream)];
        let length = self.filled(stream).unwrap_or(0).saturating_sub(taken);
        self.mapping.get(JOURNAL_AT[index(stream)] + taken, length)
    }

    /// The last `length` bytes of the journal of `stream` that were taken, until others are moved there.
    pub fn taken(&self, stream: Stream, length: usize) -> &[u8] {
        let end = self.header.now.taken[index(stream)];
        self.mapping.get(JOURNAL_AT[index(stream)] + end - length, length)
    }

    /// Moves up to `length` bytes of `source`, a pipe, into the journal of `stream`; what waits there should be taken first.
    /// Answers how many, and whether that was all there was.
    ///
    /// # Errors
    /// Those of splice(2); where that is refused, or the file system has none, of read(2).
    pub fn bring(&mut self, stream: Stream, source: BorrowedFd<'_>, length: usize) -> nix::Result<(usize, bool)> {
        let filled = self.make_room(stream, length, JOURNAL);
        let length = length.min(JOURNAL - filled);
        let moved = match self.mapping.splice(source, &self.file, FILLED[index(stream)], length) {
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => return Ok((self.read(stream, source)?, false)),
            moved => moved?,
        };
        let end = filled + moved;
        self.is_spread |= end > PAGE;
        // Where a page ends, the next one may have found no room in the file system.
        Ok((moved, moved < length && !end.is_multiple_of(PAGE)))
    }

    /// As [`bring`](Self::bring), from what is no pipe: bytes that are read are lost with us until this returns.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&mut self, stream: Stream, source: BorrowedFd<'_>) -> nix::Result<usize> {
        let filled = self.make_room(stream, PAGE, PAGE);
        let at = JOURNAL_AT[index(stream)] + filled;
        // No further than its first page, which is always there.
        let length = PAGE.checked_sub(filled).filter(|length| *length > 0).ok_or(Errno::EAGAIN)?;
        let read = self.mapping.read(source, at, length)?;
        self.mapping.publish(FILLED[index(stream)], (at + read) as u64);
        Ok(read)
    }

    /// How far the journal is filled; `None` where the file says what cannot be.
    fn filled(&self, stream: Stream) -> Option<usize> {
        let filled = usize::try_from(self.mapping.published(FILLED[index(stream)])).ok()?;
        filled.checked_sub(JOURNAL_AT[index(stream)]).filter(|filled| *filled <= JOURNAL)
    }

    /// Begins the journal at its start where it has got longer than a page or has no room for `length` more bytes below
    /// `limit`, unless some wait in it. Answers how far it is filled.
    fn make_room(&mut self, stream: Stream, length: usize, limit: usize) -> usize {
        let (filled, taken) = (self.filled(stream).unwrap_or(0), self.header.now.taken[index(stream)]);
        // Less than is taken: an earlier monitor was killed while it did this.
        if filled < taken || (filled == taken && (filled >= PAGE || filled + length > limit)) {
            self.rewind(stream);
            return 0;
        }
        filled
    }

    fn rewind(&mut self, stream: Stream) {
        self.mapping.publish(FILLED[index(stream)], JOURNAL_AT[index(stream)] as u64);
        let mut place = self.header.now;
        place.taken[index(stream)] = 0;
        self.settle(self.header.log, place);
    }

    /// Puts the bytes `tail` of those that wait into the place of `stream` that is not current, behind what is held where
    /// that is to be kept. It counts once a place that names it is stored.
    ///
    /// # Errors
    /// When the file system has no room.
    pub fn hold(&mut self, stream: Stream, keep: bool, tail: Range<usize>) -> io::Result<Held> {
        let old = self.header.now.held[index(stream)];
        let kept = if keep { old.length } else { 0 };
        let held = Held { length: kept + tail.len(), side: 1 - old.side };
        if held.length > SMALL {
            self.ensure_big()?;
        }
        let at = place_of(stream, held);
        if kept > 0 {
            self.mapping.put(at, self.bytes(stream, old));
        }
        self.mapping.put(at + kept, &self.waiting(stream)[tail]);
        Ok(held)
    }

    /// From here on `next` is intended.
    pub fn intend(&mut self, next: Place) {
        self.store(Header { phase: Phase::Writing, next, ..self.header });
    }

    /// Nothing is under way, `place` is true.
    pub fn settle(&mut self, log: Identity, place: Place) {
        self.store(Header { phase: Phase::Idle, log, now: place, next: place });
    }

    /// Gives memory back until it is needed again.
    pub fn release(&mut self) {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if self.has_big && self.header.now.held.iter().all(|held| held.length <= SMALL) {
            self.has_big = fallocate(&self.file, flags, BIG_AT as i64, BIG as i64).is_err();
        }
        if self.is_spread && STREAMS.iter().all(|stream| self.waiting(*stream).is_empty()) {
            let punch = |at: usize| fallocate(&self.file, flags, (at + PAGE) as i64, (JOURNAL - PAGE) as i64).is_ok();
            self.is_spread = !JOURNAL_AT.into_iter().all(punch);
        }
        self.mapping.release();
    }

    fn bytes(&self, stream: Stream, held: Held) -> &[u8] {
        self.mapping.get(place_of(stream, held), held.length)
    }

    fn ensure_big(&mut self) -> io::Result<()> {
        if !self.has_big {
            fallocate(&self.file, FallocateFlags::empty(), BIG_AT as i64, BIG as i64)?;
            self.has_big = true;
        }
        Ok(())
    }

    fn store(&mut self, header: Header) {
        self.current = 1 - self.current;
        self.mapping.put(HEADERS[self.current], &encode(&header));
        self.mapping.publish(CURRENT, self.current as u64);
        self.header = header;
    }
}

fn place_of(stream: Stream, held: Held) -> usize {
    let number = index(stream) * 2 + held.side;
    if held.length <= SMALL { SMALL_AT + number * SMALL } else { BIG_AT + number * PIECE }
}

/// The file, with the blocks of what is always there.
fn map(file: &File) -> io::Result<Mapping> {
    for at in STEADY {
        fallocate(file, FallocateFlags::empty(), at as i64, PAGE as i64)?;
    }
    Mapping::new(file, LENGTH)
}

fn encode(header: &Header) -> [u8; WORDS * 8] {
    let mut words = [0u64; WORDS];
    words[..4].copy_from_slice(&[
        MAGIC,
        u64::from(header.phase == Phase::Writing),
        header.log.device,
        header.log.inode,
    ]);
    words[4..4 + PLACE_WORDS].copy_from_slice(&place_words(&header.now));
    words[4 + PLACE_WORDS..].copy_from_slice(&place_words(&header.next));
    let mut bytes = [0; WORDS * 8];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn place_words(place: &Place) -> [u64; PLACE_WORDS] {
    let held = |held: Held| (held.length as u64) << 1 | held.side as u64;
    [
        place.log_length,
        held(place.held[0]),
        held(place.held[1]),
        place.offset[0],
        place.offset[1],
        place.stamp.cast_unsigned(),
        place.lost_records,
        place.gap[0],
        place.gap[1],
        place.gap[2],
        place.run_start,
        place.run_log,
        place.taken[0] as u64,
        place.taken[1] as u64,
    ]
}

fn decode(bytes: &[u8]) -> Option<Header> {
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|chunk| chunk.try_into().map(u64::from_ne_bytes)).collect::<Result<_, _>>().ok()?;
    let [MAGIC, phase, device, inode, places @ ..] = words.as_slice() else { return None };
    let phase = match phase {
        0 => Phase::Idle,
        1 => Phase::Writing,
        _ => return None,
    };
    Some(Header {
        phase,
        log: Identity { device: *device, inode: *inode },
        now: place(places.get(..PLACE_WORDS)?)?,
        next: place(places.get(PLACE_WORDS..)?)?,
    })
}

fn place(words: &[u64]) -> Option<Place> {
    let held = |word: u64| {
        let length = usize::try_from(word >> 1).ok()?;
        (length <= PIECE).then_some(Held { length, side: usize::from(word & 1 == 1) })
    };
    let taken = |word: u64| usize::try_from(word).ok().filter(|taken| *taken <= JOURNAL);
    let [log_length, out, err, offset_out, offset_err, stamp, lost_records, rest @ ..] = words else { return None };
    let [records, bytes, errno, run_start, run_log, taken_out, taken_err] = rest else { return None };
    Some(Place {
        log_length: *log_length,
        held: [held(*out)?, held(*err)?],
        offset: [*offset_out, *offset_err],
        stamp: stamp.cast_signed(),
        lost_records: *lost_records,
        gap: [*records, *bytes, *errno],
        run_start: *run_start,
        run_log: *run_log,
        taken: [taken(*taken_out)?, taken(*taken_err)?],
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_successor_reads_what_was_stored_last() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("position");
        let log = Identity { device: 1, inode: 2 };
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        let mut position = Position::create(&path, log, Place { log_length: 5, ..Place::default() }).expect("create");
        nix::unistd::write(&writer, b"a\nbeginn").expect("write");
        assert_eq!(position.bring(Stream::Stdout, reader.as_fd(), 100), Ok((8, true)));
        let mut next = Place { log_length: 9, stamp: -3, gap: [1, 2, 3], taken: [8, 0], ..position.place() };
        next.held[0] = position.hold(Stream::Stdout, false, 2..8).expect("hold");
        position.intend(next);
        drop(position);

        let mut position = Position::open(&path).expect("open");
        assert_eq!(position.header().phase, Phase::Writing);
        assert_eq!((position.place().log_length, position.held(Stream::Stdout)), (5, &b""[..]));
        assert_eq!(position.waiting(Stream::Stdout), b"a\nbeginn");
        assert_eq!(position.header().next, next);
        position.settle(log, next);
        assert_eq!(position.held(Stream::Stdout), b"beginn");
        assert_eq!((position.waiting(Stream::Stdout), position.taken(Stream::Stdout, 6)), (&b""[..], &b"beginn"[..]));

        // A longer one goes to the other places, what is current stays as it is until then.
        nix::unistd::write(&writer, &[b'x'; 2000]).expect("write");
        assert_eq!(position.bring(Stream::Stdout, reader.as_fd(), 2000), Ok((2000, false)));
        let mut longer = position.place();
        longer.held[0] = position.hold(Stream::Stdout, true, 0..2000).expect("hold");
        longer.taken[0] += 2000;
        assert_eq!(position.held(Stream::Stdout), b"beginn");
        position.settle(log, longer);
        position.release();
        drop(position);
        let mut position = Position::open(&path).expect("open");
        assert_eq!(position.held(Stream::Stdout), [b"beginn".to_vec(), vec![b'x'; 2000]].concat());
        longer.held[0] = position.hold(Stream::Stdout, false, 0..0).expect("hold");
        position.settle(log, longer);
        position.release();
        assert_eq!(position.held(Stream::Stdout), b"");
    }

    #[test]
    fn a_journal_begins_again_when_all_of_it_is_taken() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("position");
        let log = Identity { device: 1, inode: 2 };
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        let mut position = Position::create(&path, log, Place::default()).expect("create");
        for round in 0..40u8 {
            nix::unistd::write(&writer, &[round; 60_000]).expect("write");
            assert_eq!(position.bring(Stream::Stderr, reader.as_fd(), BIG_PIPE), Ok((60_000, true)));
            // Whom it is left to sees it as it was.
            position = Position::open(&path).expect("open");
            assert!(position.waiting(Stream::Stderr) == [round; 60_000]);
            let place = position.place();
            position.settle(log, Place { taken: [0, place.taken[1] + 60_000], ..place });
        }
        assert_eq!(position.place().taken, [0, 60_000]);
        // Killed between the two steps of a new beginning.
        position.mapping.publish(FILLED[1], JOURNAL_AT[1] as u64);
        let mut position = Position::open(&path).expect("open");
        assert_eq!(position.waiting(Stream::Stderr), b"");
        nix::unistd::write(&writer, b"last").expect("write");
        assert_eq!(position.read(Stream::Stderr, reader.as_fd()), Ok(4));
        assert_eq!(position.waiting(Stream::Stderr), b"last");
    }

    #[test]
    fn what_is_no_run_file_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("position");
        assert!(Position::open(&path).is_err());
        for length in [0, 10, LENGTH] {
            std::fs::write(&path, vec![1; length]).expect("write");
            assert!(Position::open(&path).is_err(), "{length}");
        }
    }
}
