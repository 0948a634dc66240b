//! Bytes of a stream into records of the CRI format.
//!
//! A line of up to [`PIECE`] bytes is one `F` record. A longer one becomes `P` records of exactly [`PIECE`] bytes and an
//! `F` record with the rest, which is never empty. What has no newline yet is held, at most [`PIECE`] bytes of it.

use proto::log_line::{self, HEADER, PIECE, STAMP, Stream};

/// Records are written in batches of about this size: what is encoded beyond it waits for the next batch.
const BATCH: usize = 1 << 20;

/// What became of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes of the input that are dealt with: in records or held.
    pub taken: usize,
    /// What was held before is still held, in front of what is held now.
    pub keeps_held: bool,
    /// The last so many of the bytes taken are held.
    pub held: usize,
}

/// Appends records of what is in `held` and then in `input` to `out`.
pub fn encode(out: &mut Vec<u8>, stamp: &[u8; STAMP], stream: Stream, held: &[u8], input: &[u8]) -> Encoded {
    let full = header(stamp, stream, true);
    let part = header(stamp, stream, false);
    let start = out.len();
    // What is held belongs to the first record only.
    let mut head = held;
    let mut at = 0;
    while out.len() - start < BATCH {
        let rest = &input[at..];
        let Some(length) = memchr::memchr(b'\n', rest) else {
            return hold(out, &part, head, input, at);
        };
        let mut text = &rest[..length];
        while head.len() + text.len() > PIECE {
            put_piece(out, &part, &mut head, &mut text);
        }
        out.extend_from_slice(&full);
        out.extend_from_slice(head);
        out.extend_from_slice(text);
        out.push(b'\n');
        head = &[];
        at += length + 1;
        if at == input.len() {
            break;
        }
    }
    Encoded { taken: at, keeps_held: false, held: 0 }
}

/// Appends a `P` record of what is held: nothing will follow.
pub fn flush(out: &mut Vec<u8>, stamp: &[u8; STAMP], stream: Stream, held: &[u8]) {
    log_line::encode(out, stamp, stream, false, held);
}

/// There is no newline in `input` from `at` on: pieces as long as there is more than may be held, the rest is held.
fn hold(out: &mut Vec<u8>, part: &[u8; HEADER], mut head: &[u8], input: &[u8], at: usize) -> Encoded {
    let mut text = &input[at..];
    while head.len() + text.len() > PIECE {
        put_piece(out, part, &mut head, &mut text);
    }
    Encoded { taken: input.len(), keeps_held: !head.is_empty(), held: text.len() }
}

/// One `P` record of exactly [`PIECE`] bytes.
fn put_piece(out: &mut Vec<u8>, part: &[u8; HEADER], head: &mut &[u8], text: &mut &[u8]) {
    let from_text = PIECE - head.len();
    out.extend_from_slice(part);
    out.extend_from_slice(head);
    out.extend_from_slice(&text[..from_text]);
    out.push(b'\n');
    *head = &[];
    *text = &text[from_text..];
}

/// What a record begins with.
fn header(stamp: &[u8; STAMP], stream: Stream, full: bool) -> [u8; HEADER] {
    let mut record = Vec::with_capacity(HEADER + 1);
    log_line::encode(&mut record, stamp, stream, full, b"");
    let mut header = [b' '; HEADER];
    header.copy_from_slice(&record[..HEADER]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(held: &[u8], input: &[u8]) -> (Vec<(bool, Vec<u8>)>, Encoded) {
        let mut out = Vec::new();
        let encoded = encode(&mut out, &log_line::stamp(1), Stream::Stdout, held, input);
        let records = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let record = log_line::Record::decode(line).expect("a record");
                (record.full, record.text.to_vec())
            })
            .collect();
        (records, encoded)
    }

    #[test]
    fn lines_and_a_beginning() {
        let (found, encoded) = records(b"", b"one\n\ntwo\nthr");
        assert_eq!(found, [(true, b"one".to_vec()), (true, vec![]), (true, b"two".to_vec())]);
        assert_eq!(encoded, Encoded { taken: 12, keeps_held: false, held: 3 });
        let (found, encoded) = records(b"thr", b"ee\n");
        assert_eq!(found, [(true, b"three".to_vec())]);
        assert_eq!(encoded, Encoded { taken: 3, keeps_held: false, held: 0 });
        let (found, encoded) = records(b"a", b"b");
        assert!(found.is_empty());
        assert_eq!(encoded, Encoded { taken: 1, keeps_held: true, held: 1 });
    }

    #[test]
    fn a_line_of_a_piece_is_whole_and_a_longer_one_is_cut_without_an_empty_end() {
        let exact = [vec![b'x'; PIECE], b"\n".to_vec()].concat();
        let (found, _) = records(b"", &exact);
        assert_eq!(found, [(true, vec![b'x'; PIECE])]);

        let double = [vec![b'x'; 2 * PIECE], b"\n".to_vec()].concat();
        let (found, _) = records(b"", &double);
        assert_eq!(found, [(false, vec![b'x'; PIECE]), (true, vec![b'x'; PIECE])]);

        let (found, encoded) = records(b"", &vec![b'x'; PIECE + 1]);
        assert_eq!(found, [(false, vec![b'x'; PIECE])]);
        assert_eq!(encoded, Encoded { taken: PIECE + 1, keeps_held: false, held: 1 });

        // A piece is held until it is known whether its newline comes next.
        let (found, encoded) = records(&vec![b'x'; PIECE], b"\n");
        assert_eq!(found, [(true, vec![b'x'; PIECE])]);
        assert_eq!(encoded.held, 0);
        let (found, encoded) = records(&vec![b'x'; PIECE], b"y");
        assert_eq!(found, [(false, vec![b'x'; PIECE])]);
        assert_eq!(encoded, Encoded { taken: 1, keeps_held: false, held: 1 });
    }

    #[test]
    fn however_it_is_cut_the_bytes_are_the_same() {
        let mut text = Vec::new();
        let mut seed: u32 = 7;
        for line in 0..200 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = if line % 17 == 0 { (seed >> 16) as usize % (3 * PIECE) } else { (seed >> 24) as usize };
            text.extend(std::iter::repeat_n(b'a' + (line % 26) as u8, length));
            text.push(b'\n');
        }
        for step in [1, 7, 100, 4096, 65536] {
            let (mut held, mut back) = (Vec::new(), Vec::new());
            for chunk in text.chunks(step) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let (found, encoded) = records(&held, rest);
                    for (full, text) in found {
                        assert!(text.len() <= PIECE);
                        back.extend_from_slice(&text);
                        if full {
                            back.push(b'\n');
                        }
                    }
                    if !encoded.keeps_held {
                        held.clear();
                    }
                    held.extend_from_slice(&rest[encoded.taken - encoded.held..encoded.taken]);
                    assert!(held.len() <= PIECE);
                    rest = &rest[encoded.taken..];
                }
            }
            assert_eq!(back, text, "in steps of {step}");
            assert!(held.is_empty());
        }
    }
}
