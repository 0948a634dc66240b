//! The lines of Docker's `json-file`: `{"log":"text\n","stream":"stdout","time":"2026-11-23T17:41:00.123456789Z"}`.
//!
//! Byte for byte what Docker's daemon writes (`daemon/logger/jsonfilelog/jsonlog`): the same characters are escaped, and a
//! byte that is no UTF-8 becomes U+FFFD, because JSON has no other way to say it. A line without newline inside `log` is a
//! part that goes on in the next line of its stream. `attrs`, where there are any, stand before `time`.

use std::borrow::Cow;

use crate::log_line::{PIECE, Record, STAMP, Stream};

const BEGIN: &[u8] = b"{\"log\":\"";
const STREAM: &[u8] = b",\"stream\":\"";
const TIME: &[u8] = b"\"time\":\"";

/// Longest line without its attributes: every byte of the text may need six, and a character at its end up to three more
/// bytes.
pub const LONGEST: usize = 6 * (PIECE + 3) + 128;

/// What stands behind the text of each line with this time. `attributes` is an object in JSON, or empty.
pub fn tail(stamp: &[u8; STAMP], stream: Stream, attributes: &str) -> Vec<u8> {
    let mut tail = b"\"".to_vec();
    tail.extend_from_slice(STREAM);
    tail.extend_from_slice(stream.as_str().as_bytes());
    tail.extend_from_slice(b"\",");
    if !attributes.is_empty() {
        tail.extend_from_slice(b"\"attrs\":");
        tail.extend_from_slice(attributes.as_bytes());
        tail.push(b',');
    }
    tail.extend_from_slice(TIME);
    tail.extend_from_slice(stamp);
    tail.extend_from_slice(b"\"}\n");
    tail
}

/// Appends one line to `out`; `tail` is from [`tail`], `full` is false for a part.
pub fn encode(out: &mut Vec<u8>, tail: &[u8], full: bool, text: &[u8]) {
    out.extend_from_slice(BEGIN);
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid().as_bytes());
        // Go takes the bytes of a broken character one by one.
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
    if full {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(tail);
}

/// How many of the bytes at the beginning of `text` go on with a character that was begun before it.
pub fn rest_of_character(text: &[u8]) -> usize {
    text.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count()
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    for at in specials(text) {
        let byte = text[at];
        // U+2028 and U+2029 end a line in JavaScript.
        let separator = byte == 0xe2 && matches!(text.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
        if byte == 0xe2 && !separator {
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        plain = at + if separator { 3 } else { 1 };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => out.extend_from_slice(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" }),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text[plain..]);
}

/// Where bytes are that may have to be escaped. Most text has none: a block of it is looked at in a few instructions.
fn specials(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const BLOCK: usize = 32;
    let is = |byte: u8| (byte < 0x20) | matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
    text.chunks(BLOCK)
        .enumerate()
        .filter(move |(_, block)| block.iter().fold(false, |any, byte| any | is(*byte)))
        .flat_map(move |(number, block)| {
            block.iter().enumerate().filter(move |(_, byte)| is(**byte)).map(move |(at, _)| number * BLOCK + at)
        })
}

/// What a line says before its text is unescaped.
#[derive(Debug)]
struct Parts<'a> {
    /// Between the quotes.
    log: &'a [u8],
    full: bool,
    stream: Stream,
    stamp: &'a str,
}

/// Takes a line apart; `None` when it is none of Docker's.
fn parts(line: &[u8]) -> Option<Parts<'_>> {
    let rest = line.strip_prefix(BEGIN)?;
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', rest.get(end..)?)?;
        if rest[end] == b'"' {
            break;
        }
        end += 2;
    }
    let (log, rest) = (&rest[..end], &rest[end + 1..]);
    let rest = rest.strip_prefix(STREAM)?;
    let stream = match rest.get(..7)? {
        b"stdout\"" => Stream::Stdout,
        b"stderr\"" => Stream::Stderr,
        _ => return None,
    };
    // Attributes may contain anything, so the time is looked for from the end.
    let time = if rest.get(8..)?.starts_with(TIME) { 8 } else { memchr::memmem::rfind(rest, TIME)? } + TIME.len();
    let stamp = std::str::from_utf8(rest[time..].strip_suffix(b"\"}")?).ok()?;
    let ends_with_newline = log.ends_with(b"\\n") && {
        let backslashes = log[..log.len() - 1].iter().rev().take_while(|byte| **byte == b'\\').count();
        backslashes % 2 == 1
    };
    Some(Parts { log, full: ends_with_newline, stream, stamp })
}

/// The record in `line`, which has no newline; `None` when it is none. Its text may need `scratch`.
pub fn decode<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Record<'a>> {
    let parts = parts(line)?;
    let text = if parts.full { &parts.log[..parts.log.len() - 2] } else { parts.log };
    let text = if memchr::memchr(b'\\', text).is_none() {
        text
    } else {
        let quoted = &line[BEGIN.len() - 1..BEGIN.len() + text.len()];
        unescape(scratch, quoted)?;
        scratch.as_slice()
    };
    Some(Record { stamp: parts.stamp, stream: parts.stream, full: parts.full, text })
}

/// `quoted` begins with its quote and ends before the closing one.
fn unescape(scratch: &mut Vec<u8>, quoted: &[u8]) -> Option<()> {
    scratch.clear();
    scratch.extend_from_slice(quoted);
    scratch.push(b'"');
    let text = serde_json::from_slice::<Cow<'_, str>>(scratch).ok()?.into_owned();
    *scratch = text.into_bytes();
    Some(())
}

/// Stream and completeness of the record in `line`, and its time stamp: what is known without its text.
pub fn head(line: &[u8]) -> Option<(Stream, bool, &str)> {
    let parts = parts(line)?;
    Some((parts.stream, parts.full, parts.stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_line;

    fn line(full: bool, text: &[u8], attributes: &str) -> String {
        let mut out = Vec::new();
        encode(&mut out, &tail(&log_line::stamp(1), Stream::Stdout, attributes), full, text);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn golden_lines() {
        let end = "\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00.000000001Z\"}\n";
        for (text, full, log) in [
            (&b"one"[..], true, "one\\n"),
            (b"", true, "\\n"),
            (b"part", false, "part"),
            (b"a\tb\r\0\x1b[0m", true, "a\\u0009b\\r\\u0000\\u001b[0m\\n"),
            (b"\"<&>\\", true, "\\\"\\u003c\\u0026\\u003e\\\\\\n"),
            ("ü€\u{2028}\u{2029}\u{2027}".as_bytes(), true, "ü€\\u2028\\u2029\u{2027}\\n"),
            (b"a\xff\xe2\x82z", true, "a\\ufffd\\ufffd\\ufffdz\\n"),
        ] {
            assert_eq!(line(full, text, ""), format!("{{\"log\":\"{log}{end}"), "{text:?}");
        }
        assert!(line(true, b"x", "{\"tag\":\"a\"}").contains("\"stdout\",\"attrs\":{\"tag\":\"a\"},\"time\":"));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for (text, full) in [
            (&b"plain"[..], true),
            (b"", true),
            (b"", false),
            (b"ends with a backslash and n \\n", false),
            (b"\\", true),
            (b"\\\\", false),
            (b"\",\"stream\":\"stderr\",\"time\":\"x\"}", true),
            ("\u{2028}ü\0\x1f".as_bytes(), false),
        ] {
            for attributes in ["", "{\"tag\":\"\\\"time\\\":\\\"\"}"] {
                let line = line(full, text, attributes);
                let line = line.strip_suffix('\n').expect("a line").as_bytes();
                let mut scratch = Vec::new();
                let record = decode(line, &mut scratch).expect("a record");
                assert_eq!((record.text, record.full, record.stream), (text, full, Stream::Stdout));
                assert_eq!(record.time(), Some(1));
                assert_eq!(head(line), Some((Stream::Stdout, full, "1970-01-01T00:00:00.000000001Z")));
            }
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for line in [
            "",
            "{}",
            "{\"log\":\"",
            "{\"log\":\"\\",
            "{\"log\":\"x\"}",
            "{\"log\":\"x\",\"stream\":\"other\",\"time\":\"\"}",
            "{\"log\":\"\\q\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00Z\"}",
        ] {
            assert!(decode(line.as_bytes(), &mut Vec::new()).is_none(), "{line}");
        }
    }

    #[test]
    fn the_rest_of_a_character_is_known() {
        assert_eq!(rest_of_character("ü".as_bytes().get(1..).expect("rest")), 1);
        assert_eq!(rest_of_character("x".as_bytes()), 0);
        assert_eq!(rest_of_character(&[0x80; 9]), 3);
    }
}
