//! The CRI log format (kubelet's `k8s-file`): `RFC3339Nano stdout|stderr F|P text\n`.
//!
//! Times are UTC with nine digits and `Z`, so the header has a fixed length for each stream and a log can be searched by
//! time. A line longer than [`PIECE`] is written in `P` parts, the last of them `F`; a last line without newline stays
//! `P`.
//!
//! A log may be in another format ([`Format`]); its records say the same.

use std::path::{Path, PathBuf};

use crate::{json_line, time};

/// Longest text of one record.
pub const PIECE: usize = 16 * 1024;
/// Length of the time stamp `2026-11-23T17:41:00.123456789Z`.
pub const STAMP: usize = 30;
/// Bytes before the text: stamp, stream, flag and their spaces.
pub const HEADER: usize = STAMP + 1 + 6 + 1 + 1 + 1;

/// Which stream a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// How the records of a log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// That of this module.
    #[default]
    Cri,
    /// That of [`json_line`].
    Json,
}

impl Format {
    /// The format of a log driver; `None` for one that keeps no file.
    pub fn of(driver: &str) -> Option<Format> {
        match driver {
            "" | "k8s-file" => Some(Format::Cri),
            "json-file" => Some(Format::Json),
            _ => None,
        }
    }

    /// The record in `line`, which has no newline; `None` when it is none. Its text may need `scratch`.
    pub fn decode<'a>(self, line: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Record<'a>> {
        match self {
            Format::Cri => Record::decode(line),
            Format::Json => json_line::decode(line, scratch),
        }
    }

    /// Stream of the record in `line`, whether it is full, and its time stamp.
    pub fn head(self, line: &[u8]) -> Option<(Stream, bool, &str)> {
        match self {
            Format::Cri => Record::decode(line).map(|record| (record.stream, record.full, record.stamp)),
            Format::Json => json_line::head(line),
        }
    }

    /// Time of the record in `line`, nanoseconds since the epoch.
    pub fn time(self, line: &[u8]) -> Option<i64> {
        time::parse_rfc3339(self.head(line)?.2)
    }
}

/// The file that was the log at `path` so many rotations ago; 0 is `path` itself.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Appends one record to `out`. `stamp` is from [`stamp`]; `text` has no newline; `full` is false for a `P` part.
pub fn encode(out: &mut Vec<u8>, stamp: &[u8; STAMP], stream: Stream, full: bool, text: &[u8]) {
    out.extend_from_slice(stamp);
    out.extend_from_slice(match (stream, full) {
        (Stream::Stdout, true) => b" stdout F ",
        (Stream::Stdout, false) => b" stdout P ",
        (Stream::Stderr, true) => b" stderr F ",
        (Stream::Stderr, false) => b" stderr P ",
    });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// The time stamp of `nanoseconds`.
pub fn stamp(nanoseconds: i64) -> [u8; STAMP] {
    let text = time::rfc3339(nanoseconds.max(1));
    let mut stamp = *b"1970-01-01T00:00:00.000000000Z";
    if text.len() == STAMP {
        stamp.copy_from_slice(text.as_bytes());
    }
    stamp
}

/// One record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The time stamp as written.
    pub stamp: &'a str,
    /// Its stream.
    pub stream: Stream,
    /// False for a part whose line goes on in the next record of the stream.
    pub full: bool,
    /// The text, without newline.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record in `line`, which has no newline; `None` when it is none.
    pub fn decode(line: &'a [u8]) -> Option<Record<'a>> {
        let space = memchr::memchr(b' ', line)?;
        let stamp = std::str::from_utf8(&line[..space]).ok()?;
        let rest = &line[space + 1..];
        let (stream, rest) = if let Some(rest) = rest.strip_prefix(b"stdout ") {
            (Stream::Stdout, rest)
        } else {
            (Stream::Stderr, rest.strip_prefix(b"stderr ")?)
        };
        // CRI allows more tags after the first, separated by colons.
        let space = memchr::memchr(b' ', rest)?;
        let full = match rest[..space].first()? {
            b'F' => true,
            b'P' => false,
            _ => return None,
        };
        Some(Record { stamp, stream, full, text: &rest[space + 1..] })
    }

    /// Its time, nanoseconds since the epoch.
    pub fn time(&self) -> Option<i64> {
        time::parse_rfc3339(self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        encode(&mut out, &stamp(1_700_000_000_000_000_001), Stream::Stdout, true, b"one\r");
        encode(&mut out, &stamp(1_700_000_000_000_000_001), Stream::Stderr, false, b"");
        assert_eq!(
            out,
            b"2023-11-14T22:13:20.000000001Z stdout F one\r\n2023-11-14T22:13:20.000000001Z stderr P \n".to_vec()
        );
        assert_eq!(HEADER, b"2023-11-14T22:13:20.000000001Z stdout F ".len());
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut out = Vec::new();
        encode(&mut out, &stamp(1), Stream::Stderr, false, b"\0\xff text ");
        let record = Record::decode(&out[..out.len() - 1]).expect("a record");
        assert_eq!((record.stream, record.full, record.text), (Stream::Stderr, false, &b"\0\xff text "[..]));
        assert_eq!(record.time(), Some(1));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in ["", "x", "2023 stdout", "2023 stdlog F x", "2023 stdout X y"] {
            assert_eq!(Record::decode(line.as_bytes()), None, "{line:?}");
        }
    }
}
