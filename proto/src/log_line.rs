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

/// The time stamp of `nanoseconds`: RFC 3339 in UTC, before the year 10000. Made by hand, because each batch of a log has one
/// and nothing may be allocated for it.
pub fn stamp(nanoseconds: i64) -> [u8; STAMP] {
    let nanoseconds = nanoseconds.max(1).unsigned_abs();
    let seconds = nanoseconds / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in eras of 400 of them, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let mut stamp = *b"0000-00-00T00:00:00.000000000Z";
    for (range, mut value) in [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, second / 3600),
        (14..16, second / 60 % 60),
        (17..19, second % 60),
        (20..29, nanoseconds % 1_000_000_000),
    ] {
        for digit in stamp[range].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
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
    fn stamps_are_what_the_calendar_says() {
        for days in (0..100_000).step_by(7) {
            let time = (days * 86_400 + days % 86_400) * 1_000_000_000 + 123_456_789 + days;
            assert_eq!(String::from_utf8_lossy(&stamp(time)), time::rfc3339(time));
        }
        let ends = ["1999-12-31", "2000-02-29", "2000-03-01", "2023-02-28", "2024-02-29", "2100-03-01", "2262-04-11"];
        for day in ends.map(|day| format!("{day}T23:47:16.854775807Z")) {
            assert_eq!(String::from_utf8_lossy(&stamp(time::parse_rfc3339(&day).expect("a time"))), day);
        }
        assert_eq!(&stamp(-5), b"1970-01-01T00:00:00.000000001Z");
    }

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
