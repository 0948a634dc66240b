//! The last lines of a log, found by reading it backwards.

use std::io;

use proto::{
    json_line,
    log_line::{Format, Stream},
};

use super::{
    journal::{BUFFER, Journal, Start},
    side,
};

/// How far before a line its first parts are looked for among the other stream's records.
const PARTS: u64 = 4 << 20;
/// Bytes of a line that tell stream and completeness: in JSON the end says it.
fn head(format: Format) -> usize {
    match format {
        Format::Cri => 64,
        Format::Json => json_line::LONGEST + (64 << 10),
    }
}

impl Journal {
    /// Where the last `lines` lines between `begin` and `end` begin. A line is what ends with a full record, or the last
    /// parts of a stream; its parts before that belong to it.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn tail(&self, begin: u64, end: u64, lines: u64) -> io::Result<Start> {
        let mut tail = Tail::new(end, lines);
        // The header is enough, and the line may go on behind what is known of it.
        let mut take = |offset, text: &[u8]| {
            let text = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
            self.format.head(text).is_some_and(|(stream, full, _)| tail.count(offset, stream, full))
        };
        if lines == 0 {
            return Ok(Start::at(end));
        }
        let mut buffer = vec![0; BUFFER + head(self.format)];
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
                    if whole && take(low + line as u64, &text[line..]) {
                        break 'segments;
                    }
                    whole = true;
                }
                if low == first && whole && take(low, text) {
                    break 'segments;
                }
                known = head(self.format).min(size + known);
                high = low;
            }
        }
        Ok(tail.start())
    }
}

/// Counts lines backwards.
pub(super) struct Tail {
    missing: u64,
    seen: [bool; 2],
    /// The line in hand of each stream is one of the last, so its earlier parts are too.
    open: [bool; 2],
    /// Where what is wanted of each stream begins.
    pub(super) not_before: [u64; 2],
}

impl Tail {
    /// The last `lines` lines before `end`.
    pub(super) fn new(end: u64, lines: u64) -> Tail {
        Tail { missing: lines, seen: [false; 2], open: [false; 2], not_before: [end; 2] }
    }

    /// Takes the record that begins at `offset`; true when no earlier one is wanted.
    pub(super) fn count(&mut self, offset: u64, stream: Stream, full: bool) -> bool {
        let side = side(stream);
        if full || !self.seen[side] {
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
