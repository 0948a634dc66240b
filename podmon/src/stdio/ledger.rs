//! From the container's FIFO into the log, so that no line is lost, doubled or torn whatever instruction we are killed at,
//! and whoever is killed with us.
//!
//! The container writes into a FIFO, which it holds itself. From there one batch goes
//!
//! 1. splice into the *journal*, which is a part of the run file and outlives us ([`Position::bring`]): the kernel counts there
//!    what has left the FIFO;
//! 2. encode; the run file says what is intended ([`Position::intend`]);
//! 3. one write of the log;
//! 4. the run file says that this much of the journal is taken.
//!
//! A successor finds, from the run file: the log shorter than intended — it cuts a torn record and takes the batch again
//! from the journal, which still has all of it; or the log as intended — then it is taken. The log is rotated between two
//! batches only, so whatever file has its path by then, the lengths are about one file.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use proto::{
    log_line::{STAMP, Stream},
    refusal::Result,
    time,
};

use super::position::{Phase, Place, Position, index};
use crate::log::{
    Identity, Sink, Stored,
    lines::{self, Encoded, Shape},
};

/// How long the file system's answer to "is it still the same file" is believed.
const LOOK: Duration = Duration::from_secs(1);

/// How far clients and log were when a batch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The log.
    pub log: Identity,
    /// Its length.
    pub log_length: u64,
    /// Bytes of each stream that are not in the log yet.
    pub held: [usize; 2],
    /// Bytes of each stream so far, held ones included.
    pub offset: [u64; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    sink: Box<dyn Sink>,
    position: Position,
    output: Vec<u8>,
    looked: Option<Instant>,
    /// Nothing may be dropped by a rotation now.
    holds_back: bool,
}

impl Ledger {
    /// Begins or goes on with `position`.
    pub fn new(sink: Box<dyn Sink>, position: Position) -> Ledger {
        Ledger { sink, position, output: vec![], looked: None, holds_back: false }
    }

    /// Finishes or takes back what a monitor was doing when it was killed. What it had brought and not recorded
    /// [waits](Self::waits).
    ///
    /// # Errors
    /// When the log cannot be cut.
    pub fn recover(&mut self) -> io::Result<()> {
        let header = *self.position.header();
        // Somebody may have renamed it since.
        let length =
            if self.sink.identity() == header.log { Some(self.sink.len()) } else { self.sink.length_of(header.log) };
        let is_finished = length.is_some_and(|length| length >= header.next.log_length);
        let mut place = header.now;
        if header.phase == Phase::Writing && is_finished {
            place = header.next;
        } else if header.phase == Phase::Writing && length > Some(header.now.log_length) {
            self.sink.cut(header.log, header.now.log_length)?;
        }
        place.log_length = self.sink.len();
        self.position.settle(self.sink.identity(), place);
        Ok(())
    }

    /// Step 1 of the module: up to `length` bytes of `source`, a pipe. Answers how many, and whether that was all there was.
    ///
    /// # Errors
    /// Those of splice(2).
    pub fn bring(&mut self, stream: Stream, source: BorrowedFd<'_>, length: usize) -> nix::Result<(usize, bool)> {
        self.position.bring(stream, source, length)
    }

    /// The same of a terminal, which can only be read: what is read is lost if we are killed at that moment.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&mut self, stream: Stream, terminal: BorrowedFd<'_>) -> nix::Result<usize> {
        self.position.read(stream, terminal)
    }

    /// Whether the journal has bytes of `stream` that are not recorded.
    pub fn waits(&self, stream: Stream) -> bool {
        !self.position.waiting(stream).is_empty()
    }

    /// Records what waits of `stream`, or as much of it as makes one batch. Answers where things were before, and how many
    /// bytes were taken: they are [`input`](Self::input) until more are brought.
    ///
    /// # Errors
    /// `WouldBlock` while the log may not be rotated, and when the run directory is unusable: the journal still has what
    /// was not taken.
    pub fn enter(&mut self, stream: Stream) -> io::Result<(Mark, usize)> {
        self.look();
        let room = self.sink.room();
        let (mut next, mut shape, mut encoded) = self.compose(stream, (room, false));
        if encoded.full && encoded.taken == 0 {
            // Where it cannot be rotated it grows.
            let room = if self.make_way()? { self.sink.room() } else { usize::MAX };
            (next, shape, encoded) = self.compose(stream, (room, true));
        }
        let mark = self.mark();
        let tail = encoded.taken - encoded.held..encoded.taken;
        next.offset[index(stream)] += encoded.taken as u64;
        next.taken[index(stream)] += encoded.taken;
        next.held[index(stream)] = match self.position.hold(stream, encoded.keeps_held, tail.clone()) {
            Ok(held) => held,
            // No room even in the run directory: better a part now than a line lost.
            Err(_) => {
                let all = if encoded.keeps_held { self.position.held(stream) } else { &[] };
                shape.put(&mut self.output, false, all, &self.position.waiting(stream)[tail]);
                self.position.hold(stream, false, 0..0)?
            }
        };
        self.write(next);
        Ok((mark, encoded.taken))
    }

    /// Makes the output of what waits, for which there is so much room.
    fn compose(&mut self, stream: Stream, (room, force): (usize, bool)) -> (Place, Shape, Encoded) {
        let mut next = self.position.place();
        let stamp = self.begin(&mut next);
        let (format, attributes) = self.sink.format();
        let shape = Shape::new(format, attributes, &stamp, stream);
        let (held, data) = (self.position.held(stream), self.position.waiting(stream));
        let encoded = lines::encode(&mut self.output, &shape, (room, force), held, data);
        (next, shape, encoded)
    }

    /// Rotates the log because it is full; false where that cannot be done.
    ///
    /// # Errors
    /// `WouldBlock` when a file would be dropped that somebody needs.
    fn make_way(&mut self) -> io::Result<bool> {
        if self.sink.len() == 0 {
            return Ok(true);
        }
        if self.holds_back && self.sink.would_drop() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(self.rotate().is_ok())
    }

    /// Whether the log has every byte as it was written.
    pub fn is_exact(&self) -> bool {
        self.sink.is_exact()
    }

    /// Whether a rotation may not drop a file now, because somebody has not read it.
    pub fn hold_back(&mut self, yes: bool) {
        self.holds_back = yes;
    }

    /// The bytes of the last batch of `stream`, which were so many.
    pub fn input(&self, stream: Stream, length: usize) -> &[u8] {
        self.position.taken(stream, length)
    }

    /// Writes what `stream` has left, with a newline or without: nothing will follow.
    ///
    /// # Errors
    /// When the run directory is unusable.
    pub fn flush(&mut self, stream: Stream) -> io::Result<()> {
        // The container has ended: nothing is held back any more, and what cannot be rotated grows.
        self.holds_back = false;
        // Of a terminal that nobody has kept there is no pump that has done it.
        while self.waits(stream) {
            self.enter(stream)?;
        }
        let mut next = self.position.place();
        if self.position.held(stream).is_empty() && next.gap[0] == 0 {
            return Ok(());
        }
        self.look();
        let stamp = self.begin(&mut next);
        if !self.position.held(stream).is_empty() {
            let (format, attributes) = self.sink.format();
            Shape::new(format, attributes, &stamp, stream).put(
                &mut self.output,
                false,
                self.position.held(stream),
                b"",
            );
        }
        if self.output.len() > self.sink.room() {
            self.make_way()?;
        }
        let now = self.position.place();
        (next.log_length, next.run_start) = (now.log_length, now.run_start);
        next.held[index(stream)] = self.position.hold(stream, false, 0..0)?;
        self.write(next);
        Ok(())
    }

    /// Where things are.
    pub fn mark(&self) -> Mark {
        let place = self.position.place();
        Mark {
            log: self.sink.identity(),
            log_length: place.log_length,
            held: place.held.map(|held| held.length),
            offset: place.offset,
        }
    }

    /// What of `stream` is not in the log yet.
    pub fn held(&self, stream: Stream) -> &[u8] {
        self.position.held(stream)
    }

    /// How far the output has come.
    pub fn place(&self) -> Place {
        self.position.place()
    }

    /// The log.
    pub fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Opens the log's path anew.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn reopen(&mut self) -> Result<()> {
        self.sink.reopen()?;
        self.follow_sink();
        Ok(())
    }

    /// Keeps what there is of the log under another name and goes on in a new file.
    ///
    /// # Errors
    /// When that cannot be done: the old file stays in use.
    pub fn rotate(&mut self) -> Result<()> {
        self.sink.rotate()?;
        self.follow_sink();
        Ok(())
    }

    /// Gives big buffers back until data flows again.
    pub fn release(&mut self) {
        self.output = Vec::new();
        self.looked = None;
        self.position.release();
    }

    /// Empties the output, sets the time, and says first what was lost before.
    fn begin(&mut self, next: &mut Place) -> [u8; STAMP] {
        self.output.clear();
        next.stamp = time::now().max(next.stamp);
        let stamp = proto::log_line::stamp(next.stamp);
        let [records, bytes, errno] = next.gap;
        if records > 0 {
            let cause = Errno::from_raw(i32::try_from(errno).unwrap_or(libc::EIO)).desc();
            let words = format!("[podmon] dropped {records} records, {bytes} bytes: {cause}");
            let (format, attributes) = self.sink.format();
            Shape::new(format, attributes, &stamp, Stream::Stderr).put(&mut self.output, true, words.as_bytes(), b"");
        }
        stamp
    }

    /// Steps 2 to 4 of the module: intends `next`, writes the output, and says so.
    fn write(&mut self, mut next: Place) {
        let start = next.log_length;
        let gap_record = if next.gap[0] > 0 { memchr::memchr(b'\n', &self.output).map_or(0, |at| at + 1) } else { 0 };
        if !self.output.is_empty() {
            let gap = next.gap;
            next.log_length = start + self.output.len() as u64;
            next.gap = [0; 3];
            self.position.intend(next);
            let stored = self.sink.append(&self.output);
            if let Stored { bytes, lost: Some(cause) } = stored {
                next.log_length = start + bytes as u64;
                let said = gap_record > 0 && bytes >= gap_record;
                let lost = &self.output[bytes.max(gap_record)..];
                let records = memchr::memchr_iter(b'\n', lost).count() as u64;
                let before = if said { [0; 3] } else { gap };
                next.gap = [before[0] + records, before[1] + lost.len() as u64, cause as u64];
                next.lost_records += records;
            }
        }
        self.position.settle(self.sink.identity(), next);
        if next.log_length != self.sink.len() {
            // It was opened anew on the way.
            self.follow_sink();
        }
    }

    /// Once in a while: is the log still the file that has this path, and as long as we think?
    fn look(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            self.sink.look_after();
            self.follow_sink();
        }
    }

    fn follow_sink(&mut self) {
        let place = self.position.place();
        let identity = self.sink.identity();
        if place.log_length != self.sink.len() || identity != self.position.header().log {
            self.position.settle(identity, Place { log_length: self.sink.len(), ..place });
        }
    }
}

#[cfg(test)]
mod tests;
