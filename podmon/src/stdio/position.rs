//! The run file `position`: how far the output has come, in a form that is right whatever instruction we are killed at.
//!
//! It is a small file in the run directory, mapped shared: a store into it is in the page cache at once and outlives us.
//! There are two headers; one is current. A change fills in the other one whole and then makes it current with a single
//! store. Between two batches a header says [`Phase::Idle`]; a batch goes
//!
//! ```text
//! Idle ─▶ Writing: log will grow from now.log_length to next.log_length     (then the log is written)
//!      ─▶ Draining: all but `left` bytes of the journal are in the log or held (then they are removed from the journal)
//!      ─▶ Idle with `next`
//! ```
//! so a successor knows from the length of the log and the bytes in the journal what was done (see `ledger`). What has no
//! newline yet is kept here too: in the header's page where it is short, else in pages that are allocated when first
//! needed. Two places for each stream, used in turn: the one that is current is never written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::{FallocateFlags, fallocate};
use proto::log_line::{PIECE, Stream};

use crate::{log::Identity, sys::Mapping};

/// Beginning of each header; the digit is the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"podmon\x002");
/// Which header is current: 0 or 1.
const CURRENT: usize = 0;
const HEADERS: [usize; 2] = [64, 512];
const WORDS: usize = 6 + 2 * PLACE_WORDS;
const PLACE_WORDS: usize = 12;
/// Places for short beginnings of lines, in the header's page.
const SMALL_AT: usize = 1024;
const SMALL: usize = 768;
const PAGE: usize = 4096;
/// Places for long ones.
const BIG_AT: usize = PAGE;
const LENGTH: usize = BIG_AT + 4 * PIECE;

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
}

/// What was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// The log is being written, with all but `left` bytes of the stream's journal.
    Writing {
        /// The stream.
        stream: Stream,
        /// Bytes of its journal that are for a later batch.
        left: usize,
    },
    /// The log is written; all but `left` bytes are being removed from the journal.
    Draining {
        /// The stream.
        stream: Stream,
        /// Bytes of its journal that are for a later batch.
        left: usize,
    },
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
        // All blocks of the first page now: a store into a hole of a full file system would be SIGBUS.
        fallocate(&file, FallocateFlags::empty(), 0, PAGE as i64)?;
        file.set_len(LENGTH as u64)?;
        let mapping = Mapping::new(&file, LENGTH)?;
        let header = Header { phase: Phase::Idle, log, now: place, next: place };
        let mut position = Position { file, mapping, current: 0, header, has_big: false };
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
        fallocate(&file, FallocateFlags::empty(), 0, PAGE as i64)?;
        let mapping = Mapping::new(&file, LENGTH)?;
        let current = usize::try_from(mapping.published(CURRENT)).unwrap_or(usize::MAX);
        let at = *HEADERS.get(current).ok_or(io::ErrorKind::InvalidData)?;
        let header = decode(mapping.get(at, WORDS * 8)).ok_or(io::ErrorKind::InvalidData)?;
        let mut position = Position { file, mapping, current, header, has_big: false };
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

    /// Puts `parts` into the place of `stream` that is not current. It counts once a place that names it is stored.
    ///
    /// # Errors
    /// When the file system has no room.
    pub fn hold(&mut self, stream: Stream, keep: bool, tail: &[u8]) -> io::Result<Held> {
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
        self.mapping.put(at + kept, tail);
        Ok(held)
    }

    /// From here on `next` is intended.
    pub fn intend(&mut self, stream: Stream, left: usize, next: Place) {
        self.store(Header { phase: Phase::Writing { stream, left }, next, ..self.header });
    }

    /// The log is as `next` says.
    pub fn written(&mut self, stream: Stream, left: usize, next: Place) {
        self.store(Header { phase: Phase::Draining { stream, left }, next, ..self.header });
    }

    /// Nothing is under way, `place` is true.
    pub fn settle(&mut self, log: Identity, place: Place) {
        self.store(Header { phase: Phase::Idle, log, now: place, next: place });
    }

    /// Gives memory back until it is needed again.
    pub fn release(&mut self) {
        if self.has_big && self.header.now.held.iter().all(|held| held.length <= SMALL) {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if fallocate(&self.file, flags, BIG_AT as i64, (LENGTH - BIG_AT) as i64).is_ok() {
                self.has_big = false;
            }
        }
        self.mapping.release();
    }

    fn bytes(&self, stream: Stream, held: Held) -> &[u8] {
        self.mapping.get(place_of(stream, held), held.length)
    }

    fn ensure_big(&mut self) -> io::Result<()> {
        if !self.has_big {
            fallocate(&self.file, FallocateFlags::empty(), BIG_AT as i64, (LENGTH - BIG_AT) as i64)?;
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

fn encode(header: &Header) -> [u8; WORDS * 8] {
    let (phase, stream, left) = match header.phase {
        Phase::Idle => (0, Stream::Stdout, 0),
        Phase::Writing { stream, left } => (1, stream, left),
        Phase::Draining { stream, left } => (2, stream, left),
    };
    let mut words = [0u64; WORDS];
    words[..6].copy_from_slice(&[MAGIC, phase, index(stream) as u64, left as u64, header.log.device, header.log.inode]);
    words[6..6 + PLACE_WORDS].copy_from_slice(&place_words(&header.now));
    words[6 + PLACE_WORDS..].copy_from_slice(&place_words(&header.next));
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
    ]
}

fn decode(bytes: &[u8]) -> Option<Header> {
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|chunk| chunk.try_into().map(u64::from_ne_bytes)).collect::<Result<_, _>>().ok()?;
    let [MAGIC, phase, stream, left, device, inode, places @ ..] = words.as_slice() else { return None };
    let stream = match stream {
        0 => Stream::Stdout,
        1 => Stream::Stderr,
        _ => return None,
    };
    let left = usize::try_from(*left).ok()?;
    let phase = match phase {
        0 => Phase::Idle,
        1 => Phase::Writing { stream, left },
        2 => Phase::Draining { stream, left },
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
    let [log_length, out, err, offset_out, offset_err, stamp, lost_records, gap @ .., run_start, run_log] = words
    else {
        return None;
    };
    Some(Place {
        log_length: *log_length,
        held: [held(*out)?, held(*err)?],
        offset: [*offset_out, *offset_err],
        stamp: stamp.cast_signed(),
        lost_records: *lost_records,
        gap: gap.try_into().ok()?,
        run_start: *run_start,
        run_log: *run_log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_reads_what_was_stored_last() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("position");
        let log = Identity { device: 1, inode: 2 };
        let mut position = Position::create(&path, log, Place { log_length: 5, ..Place::default() }).expect("create");
        let mut next = Place { log_length: 9, stamp: -3, gap: [1, 2, 3], ..position.place() };
        next.held[0] = position.hold(Stream::Stdout, false, b"beginn").expect("hold");
        position.intend(Stream::Stderr, 77, next);
        drop(position);

        let mut position = Position::open(&path).expect("open");
        assert_eq!(position.header().phase, Phase::Writing { stream: Stream::Stderr, left: 77 });
        assert_eq!((position.place().log_length, position.held(Stream::Stdout)), (5, &b""[..]));
        assert_eq!(position.header().next, next);
        position.settle(log, next);
        assert_eq!(position.held(Stream::Stdout), b"beginn");

        // A longer one goes to the other places, what is current stays as it is until then.
        let mut longer = position.place();
        longer.held[0] = position.hold(Stream::Stdout, true, &[b'x'; 2000]).expect("hold");
        assert_eq!(position.held(Stream::Stdout), b"beginn");
        position.settle(log, longer);
        position.release();
        drop(position);
        let mut position = Position::open(&path).expect("open");
        assert_eq!(position.held(Stream::Stdout), [b"beginn".to_vec(), vec![b'x'; 2000]].concat());
        longer.held[0] = position.hold(Stream::Stdout, false, b"").expect("hold");
        position.settle(log, longer);
        position.release();
        assert_eq!(position.held(Stream::Stdout), b"");
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
