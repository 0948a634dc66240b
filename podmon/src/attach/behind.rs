//! A client that lags and must not lose anything is served from the log.
//!
//! It had got every byte of both streams up to some point. In the log that point is an offset where a record begins, and
//! for each stream the number of bytes after it that the client has got already: what was held for want of a newline.
//! Records become bytes again (the text, and a newline where the record is full), so the client cannot see the
//! difference. At the end of the log come the held bytes, and the client is live again.

use std::{fs::File, io, os::unix::fs::FileExt};

use proto::{
    frame::{Frame, HEADER, Kind, MAX_PAYLOAD},
    log_line::{self, Record, Stream},
};

use crate::{
    log::Identity,
    stdio::{
        ledger::{Ledger, Mark},
        position::index,
    },
};

/// How much of the log is read at once: at least two records.
const BLOCK: usize = 128 * 1024;

/// Where such a client is.
#[derive(Debug)]
pub struct Behind {
    /// The file that is read, which may have been rotated.
    log: Identity,
    file: Option<File>,
    at: u64,
    /// Bytes of each stream after `at` that the client has got.
    skip: [u64; 2],
    /// What the client has got of each stream.
    offset: [u64; 2],
    block: Vec<u8>,
    block_at: u64,
    packet: Option<Packet>,
}

/// A packet that is to be sent, and where the client is then.
#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    at: u64,
    skip: [u64; 2],
    offset: [u64; 2],
}

/// What [`Behind::next`] has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// [`Behind::packet`] is to be sent.
    Packet,
    /// The client has got everything.
    CaughtUp,
    /// The log cannot be read: so many bytes are skipped, and the client is live again.
    Lost(u64),
}

impl Behind {
    /// A client that had got everything before a batch, and `start` bytes of `stream` of the batch.
    pub fn from(mark: Mark, stream: Stream, start: usize) -> Behind {
        let mut skip = mark.held.map(|held| held as u64);
        let mut offset = mark.offset;
        skip[index(stream)] += start as u64;
        offset[index(stream)] += start as u64;
        Behind {
            log: mark.log,
            file: None,
            at: mark.log_length,
            skip,
            offset,
            block: vec![],
            block_at: 0,
            packet: None,
        }
    }

    /// A client that has got nothing of a run whose log began at `start` of `log`.
    pub fn from_start(log: Identity, start: u64) -> Behind {
        Behind { log, ..Behind::from(Mark { log_length: start, ..Mark::default() }, Stream::Stdout, 0) }
    }

    /// The file it has come to.
    pub fn log(&self) -> Identity {
        self.log
    }

    /// The packet to be sent.
    pub fn packet(&self) -> Option<&[u8]> {
        self.packet.as_ref().map(|packet| packet.bytes.as_slice())
    }

    /// The packet was sent.
    pub fn sent(&mut self) {
        if let Some(packet) = self.packet.take() {
            (self.at, self.skip, self.offset) = (packet.at, packet.skip, packet.offset);
        }
    }

    /// What is to be done next.
    pub fn next(&mut self, ledger: &Ledger) -> Next {
        if self.packet.is_some() {
            return Next::Packet;
        }
        match self.next_of_log(ledger) {
            Ok(true) => Next::Packet,
            Ok(false) => self.next_held(ledger),
            Err(_) => Next::Lost(self.missing(ledger)),
        }
    }

    /// Bytes the client has not got and will not get from the log.
    fn missing(&self, ledger: &Ledger) -> u64 {
        let now = ledger.place().offset;
        now.iter().zip(self.offset).map(|(now, had)| now.saturating_sub(had)).sum()
    }

    /// Makes a packet of the next records; false at the end of the log.
    fn next_of_log(&mut self, ledger: &Ledger) -> io::Result<bool> {
        loop {
            self.open(ledger)?;
            let Some(file) = &self.file else { return Ok(false) };
            let current = self.log == ledger.sink().identity();
            // Beyond that the log may be torn: it is being written.
            let end = if current { ledger.place().log_length } else { file.metadata()?.len() };
            if self.at > end {
                // Somebody has truncated the log.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.at == end {
                if current {
                    return Ok(false);
                }
                // It was rotated: on with the one that came next.
                let (file, log) = ledger.sink().after(self.log)?;
                (self.file, self.log, self.at) = (Some(file), log, 0);
                self.block.clear();
                continue;
            }
            if self.fill(end)? && self.assemble() {
                return Ok(true);
            }
        }
    }

    fn open(&mut self, ledger: &Ledger) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(ledger.sink().reader(self.log)?);
            self.block.clear();
        }
        Ok(())
    }

    /// Has a whole record of what is before `end` in the block.
    fn fill(&mut self, end: u64) -> io::Result<bool> {
        let inside = usize::try_from(self.at.wrapping_sub(self.block_at)).unwrap_or(usize::MAX);
        if self.at >= self.block_at
            && inside < self.block.len()
            && memchr::memchr(b'\n', &self.block[inside..]).is_some()
        {
            return Ok(true);
        }
        let Some(file) = &self.file else { return Ok(false) };
        let length = BLOCK.min(usize::try_from(end - self.at).unwrap_or(BLOCK));
        self.block.resize(length, 0);
        file.read_exact_at(&mut self.block, self.at)?;
        self.block_at = self.at;
        if memchr::memchr(b'\n', &self.block).is_none() {
            // No record of ours is that long.
            self.at += length as u64;
            return Ok(false);
        }
        Ok(true)
    }

    /// Makes a packet of the records of one stream that are next in the block; false where they have no new bytes.
    fn assemble(&mut self) -> bool {
        let mut bytes = vec![0; HEADER];
        let (mut at, mut skip) = (self.at, self.skip);
        let mut of = None;
        while let Some(line) = self.line(at) {
            let after = at + line.len() as u64 + 1;
            let Some(record) = Record::decode(line) else {
                at = after;
                continue;
            };
            if of.is_some_and(|stream| stream != record.stream)
                || bytes.len() - HEADER + record.text.len() + 1 > MAX_PAYLOAD
            {
                break;
            }
            of = Some(record.stream);
            let length = record.text.len() + usize::from(record.full);
            let had = usize::try_from(skip[index(record.stream)]).unwrap_or(usize::MAX).min(length);
            skip[index(record.stream)] -= had as u64;
            bytes.extend_from_slice(record.text.get(had..).unwrap_or_default());
            if record.full && had < length {
                bytes.push(b'\n');
            }
            at = after;
        }
        let payload = (bytes.len() - HEADER) as u64;
        let Some(stream) = of.filter(|_| payload > 0) else {
            (self.at, self.skip) = (at, skip);
            return false;
        };
        self.put_packet(stream, bytes, at, skip);
        true
    }

    /// The line of the block that begins at `at` of the file.
    fn line(&self, at: u64) -> Option<&[u8]> {
        let rest = self.block.get(usize::try_from(at.checked_sub(self.block_at)?).ok()?..)?;
        Some(&rest[..memchr::memchr(b'\n', rest)?])
    }

    /// At the end of the log: what is held, if the client has not got it.
    fn next_held(&mut self, ledger: &Ledger) -> Next {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let held = ledger.held(stream);
            let had = usize::try_from(self.skip[index(stream)]).unwrap_or(usize::MAX);
            if let Some(rest) = held.get(had..).filter(|rest| !rest.is_empty()) {
                let mut bytes = vec![0; HEADER];
                bytes.extend_from_slice(rest);
                let mut skip = self.skip;
                skip[index(stream)] = held.len() as u64;
                self.put_packet(stream, bytes, self.at, skip);
                return Next::Packet;
            }
        }
        // Equal, unless a full disk has cost records.
        match self.missing(ledger) {
            0 => Next::CaughtUp,
            bytes => Next::Lost(bytes),
        }
    }

    fn put_packet(&mut self, stream: Stream, mut bytes: Vec<u8>, at: u64, skip: [u64; 2]) {
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        let mut offset = self.offset;
        let header = Frame { kind, offset: offset[index(stream)], payload: &[] }.header();
        bytes[..HEADER].copy_from_slice(&header);
        offset[index(stream)] += (bytes.len() - HEADER) as u64;
        self.packet = Some(Packet { bytes, at, skip, offset });
    }
}

const _: () = assert!(BLOCK > 2 * (log_line::HEADER + log_line::PIECE + 1) && MAX_PAYLOAD > log_line::PIECE + 1);
