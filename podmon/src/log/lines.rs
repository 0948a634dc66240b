//! Bytes of a stream into records.
//!
//! A line of up to [`PIECE`] bytes is one full record. A longer one becomes parts of exactly [`PIECE`] bytes and a full
//! record with the rest, which is never empty. What has no newline yet is held, at most [`PIECE`] bytes of it. In JSON a
//! part goes on to the end of its last character: half of one could not be said.

use proto::{
    json_line,
    log_line::{self, Format, HEADER, PIECE, STAMP, Stream},
};

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
    /// There was no room for the next record.
    pub full: bool,
}

/// How the records of one batch look.
#[derive(Clone, Debug)]
pub enum Shape {
    /// What a full record and a part begin with.
    Cri([u8; HEADER], [u8; HEADER]),
    /// What every line ends with.
    Json(Vec<u8>),
}

impl Shape {
    /// The shape of records of `stream` with this time. `attributes` are for JSON.
    pub fn new(format: Format, attributes: &str, stamp: &[u8; STAMP], stream: Stream) -> Shape {
        match format {
            Format::Cri => Shape::Cri(header(stamp, stream, true), header(stamp, stream, false)),
            Format::Json => Shape::Json(json_line::tail(stamp, stream, attributes)),
        }
    }

    /// Appends one record, whose text is in two pieces, to `out`.
    pub fn put(&self, out: &mut Vec<u8>, full: bool, head: &[u8], text: &[u8]) {
        match self {
            Shape::Cri(whole, part) => {
                out.extend_from_slice(if full { whole } else { part });
                out.extend_from_slice(head);
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Shape::Json(tail) if head.is_empty() => json_line::encode(out, tail, full, text),
            // A character may begin in one piece and end in the other.
            Shape::Json(tail) => json_line::encode(out, tail, full, &[head, text].concat()),
        }
    }

    /// How much of `text` goes into a part that begins with `head`.
    fn cut(&self, head: &[u8], text: &[u8]) -> usize {
        let cut = PIECE - head.len();
        match self {
            Shape::Cri(..) => cut,
            Shape::Json(_) => cut + json_line::rest_of_character(&text[cut..]),
        }
    }
}

/// Records that are being put one behind the other, as long as there is room.
struct Batch<'a> {
    shape: &'a Shape,
    out: &'a mut Vec<u8>,
    /// The output may become so long.
    limit: usize,
    /// The next record is put in any case.
    force: bool,
}

impl Batch<'_> {
    /// False where there is no room.
    fn put(&mut self, full: bool, head: &[u8], text: &[u8]) -> bool {
        let before = self.out.len();
        self.shape.put(self.out, full, head, text);
        let fits = self.out.len() <= self.limit || self.force;
        if !fits {
            self.out.truncate(before);
        }
        self.force = false;
        fits
    }
}

/// Appends records of what is in `held` and then in `input` to `out`, as long as `out` is no longer than `limit`; the first
/// one in any case if `force` says so.
pub fn encode(out: &mut Vec<u8>, shape: &Shape, (limit, force): (usize, bool), held: &[u8], input: &[u8]) -> Encoded {
    let start = out.len();
    let mut batch = Batch { shape, out, limit, force };
    // What is held belongs to the first record only.
    let mut head = held;
    let mut at = 0;
    while batch.out.len() - start < BATCH {
        let end = memchr::memchr(b'\n', &input[at..]).map(|length| at + length);
        let mut text = &input[at..end.unwrap_or(input.len())];
        while head.len() + text.len() > PIECE {
            let cut = shape.cut(head, text).min(text.len());
            if !batch.put(false, head, &text[..cut]) {
                return stopped(at, head);
            }
            (head, text, at) = (&[], &text[cut..], at + cut);
        }
        // There is no newline: what is less than a piece is held.
        let Some(end) = end else {
            return Encoded { taken: input.len(), keeps_held: !head.is_empty(), held: text.len(), full: false };
        };
        if !batch.put(true, head, text) {
            return stopped(at, head);
        }
        (head, at) = (&[], end + 1);
        if at == input.len() {
            break;
        }
    }
    Encoded { taken: at, keeps_held: false, held: 0, full: false }
}

/// There is no room for what comes after `at`; `head` is held as before.
fn stopped(at: usize, head: &[u8]) -> Encoded {
    Encoded { taken: at, keeps_held: !head.is_empty(), held: 0, full: true }
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

    fn shape(format: Format) -> Shape {
        Shape::new(format, "", &log_line::stamp(1), Stream::Stdout)
    }

    fn records(held: &[u8], input: &[u8]) -> (Vec<(bool, Vec<u8>)>, Encoded) {
        let mut out = Vec::new();
        let encoded = encode(&mut out, &shape(Format::Cri), (usize::MAX, false), held, input);
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
        assert_eq!(encoded, Encoded { taken: 12, keeps_held: false, held: 3, full: false });
        let (found, encoded) = records(b"thr", b"ee\n");
        assert_eq!(found, [(true, b"three".to_vec())]);
        assert_eq!(encoded, Encoded { taken: 3, keeps_held: false, held: 0, full: false });
        let (found, encoded) = records(b"a", b"b");
        assert!(found.is_empty());
        assert_eq!(encoded, Encoded { taken: 1, keeps_held: true, held: 1, full: false });
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
        assert_eq!(encoded, Encoded { taken: PIECE + 1, keeps_held: false, held: 1, full: false });

        // A piece is held until it is known whether its newline comes next.
        let (found, encoded) = records(&vec![b'x'; PIECE], b"\n");
        assert_eq!(found, [(true, vec![b'x'; PIECE])]);
        assert_eq!(encoded.held, 0);
        let (found, encoded) = records(&vec![b'x'; PIECE], b"y");
        assert_eq!(found, [(false, vec![b'x'; PIECE])]);
        assert_eq!(encoded, Encoded { taken: 1, keeps_held: false, held: 1, full: false });
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

    #[test]
    fn what_has_no_room_waits_and_nothing_is_taken_twice() {
        let shape = shape(Format::Cri);
        let input = [&b"one\ntwo\n"[..], &[b'x'; PIECE + 10], b"\nend"].concat();
        let (mut held, mut rest, mut texts) = (b"ze".to_vec(), input.as_slice(), Vec::new());
        while !rest.is_empty() {
            let mut out = Vec::new();
            // Room for one short record, and one that is longer is put all the same.
            let mut encoded = encode(&mut out, &shape, (HEADER + 6, false), &held, rest);
            if encoded.full && encoded.taken == 0 {
                assert!(out.is_empty() && encoded.keeps_held != held.is_empty());
                encoded = encode(&mut out, &shape, (HEADER + 6, true), &held, rest);
            }
            texts.extend(
                out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| line.len() - HEADER),
            );
            if !encoded.keeps_held {
                held.clear();
            }
            held.extend_from_slice(&rest[encoded.taken - encoded.held..encoded.taken]);
            rest = &rest[encoded.taken..];
        }
        assert_eq!(texts, [5, 3, PIECE, 10]);
        assert_eq!(held, b"end");
    }

    #[test]
    fn in_json_a_part_ends_with_a_character() {
        let text = "ü".repeat(PIECE);
        let input = [b"x", text.as_bytes(), b"\n"].concat();
        for held in [0, 1, 2, PIECE - 1, PIECE] {
            let mut out = Vec::new();
            let (before, rest) = input.split_at(held);
            let encoded = encode(&mut out, &shape(Format::Json), (usize::MAX, false), before, rest);
            assert_eq!((encoded.taken, encoded.held, encoded.full), (rest.len(), 0, false));
            let (mut back, mut scratch) = (Vec::new(), Vec::new());
            for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                back.extend_from_slice(Format::Json.decode(line, &mut scratch).expect("a record").text);
            }
            assert!(back == input[..input.len() - 1], "{held} held");
        }
    }
}
