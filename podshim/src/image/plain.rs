//! A compressed stream as what it was before: gzip, zstd or nothing, known by its first bytes.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::tape::Source;

/// Bytes that anything may become.
const ALWAYS: u64 = 2 << 30;
/// Beyond that, how many times longer than what it was made from.
const RATIO: u64 = 20;
/// Largest window of zstd: what its own tools accept without being asked.
const MAX_WINDOW: u64 = 128 << 20;
const BUFFER: usize = 128 << 10;

/// Whether the work on a stream is to end early. All clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// `Interrupted` in words when it was cancelled.
    pub fn check(&self) -> io::Result<()> {
        // ErrorKind::Interrupted would be tried again by io::copy.
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("cancelled")) } else { Ok(()) }
    }
}

/// A plain stream over a compressed one. It ends with an error when more comes out of it than an honest image has.
pub struct Plain {
    inner: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
    produced: u64,
    always: u64,
    cancel: Cancel,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("produced", &self.produced).finish_non_exhaustive()
    }
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    None,
    /// By gzip, perhaps in several members.
    Gzip,
    /// By zstd, perhaps in several frames.
    Zstd,
}

impl Compression {
    /// Knows it by `first`, the first bytes (six are enough).
    ///
    /// # Errors
    /// Names a compression that is known and not supported.
    pub fn of(first: &[u8]) -> io::Result<Compression> {
        match first {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                Err(io::Error::other("it is compressed by xz, which is not supported"))
            }
            [b'B', b'Z', b'h', ..] => Err(io::Error::other("it is compressed by bzip2, which is not supported")),
            _ => Ok(Compression::None),
        }
    }
}

impl Plain {
    /// Around `stream`.
    ///
    /// # Errors
    /// When the first bytes cannot be read or tell of an unknown compression.
    pub fn new(stream: impl Read + Send + 'static, cancel: &Cancel) -> io::Result<Plain> {
        Plain::bounded(stream, cancel, ALWAYS)
    }

    fn bounded(stream: impl Read + Send + 'static, cancel: &Cancel, always: u64) -> io::Result<Plain> {
        let consumed = Arc::new(AtomicU64::new(0));
        let mut stream = BufReader::with_capacity(BUFFER, Counted { inner: stream, consumed: consumed.clone() });
        let first = stream.fill_buf()?;
        let inner: Box<dyn Read + Send> = match Compression::of(&first[..first.len().min(6)])? {
            Compression::None => Box::new(stream),
            Compression::Gzip => Box::new(MultiGzDecoder::new(stream)),
            Compression::Zstd => Box::new(Frames { state: Some(Frame::Between(stream)) }),
        };
        Ok(Plain { inner, consumed, produced: 0, always, cancel: cancel.clone() })
    }
}

impl Source for Plain {}
impl Source for super::digest::Digesting<Plain> {}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        let read = self.inner.read(buffer)?;
        self.produced += read as u64;
        let allowed = self.always.max(self.consumed.load(Ordering::Relaxed).saturating_mul(RATIO));
        if self.produced > allowed {
            return Err(io::Error::other(format!(
                "it becomes more than {RATIO} times as long when decompressed, and more than {} bytes",
                self.always
            )));
        }
        Ok(read)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The frames of a zstd stream, one after the other; the decoder itself stops after the first.
struct Frames<R: BufRead> {
    state: Option<Frame<R>>,
}

enum Frame<R: BufRead> {
    Between(R),
    In(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(Frame::Between(mut stream)) => {
                    let first = stream.fill_buf()?;
                    if first.is_empty() {
                        return Ok(0);
                    }
                    // Frames that carry nothing for us: zstd:chunked keeps its index in one.
                    if matches!(first, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
                        let mut head = [0; 8];
                        stream.read_exact(&mut head)?;
                        let length = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
                        if io::copy(&mut stream.by_ref().take(length), &mut io::sink())? != length {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        self.state = Some(Frame::Between(stream));
                        continue;
                    }
                    let decoder = StreamingDecoder::new_with_max_window_size(stream, MAX_WINDOW).map_err(zstd)?;
                    self.state = Some(Frame::In(Box::new(decoder)));
                }
                Some(Frame::In(mut decoder)) => {
                    let read = decoder.read(buffer).map_err(zstd)?;
                    self.state = Some(if read == 0 && !buffer.is_empty() {
                        Frame::Between(decoder.into_inner())
                    } else {
                        Frame::In(decoder)
                    });
                    if read > 0 || buffer.is_empty() {
                        return Ok(read);
                    }
                }
            }
        }
    }
}

fn zstd(error: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression as Level, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).expect("write");
        encoder.finish().expect("finish")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Plain::new(io::Cursor::new(bytes), &Cancel::default())?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn streams_are_known_by_their_first_bytes() {
        let text = b"hello ".repeat(10_000);
        assert_eq!(read(text.clone()).expect("plain"), text);
        assert_eq!(read(gzip(&text)).expect("gzip"), text);
        assert_eq!(read([gzip(b"a"), gzip(b"b")].concat()).expect("members"), b"ab");
        assert_eq!(read(zstd(&text)).expect("zstd"), text);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        assert_eq!(read([zstd(b"a"), skipped.clone(), zstd(b"b"), skipped].concat()).expect("frames"), b"ab");
        assert_eq!(read(Vec::new()).expect("empty"), b"");
    }

    #[test]
    fn broken_streams_end_with_an_error() {
        let mut whole = gzip(&b"hello ".repeat(10_000));
        assert!(read(whole[..whole.len() - 1].to_vec()).is_err(), "cut");
        assert!(read([whole.clone(), b"garbage".to_vec()].concat()).is_err(), "trailing garbage");
        let at = whole.len() - 6;
        whole[at] ^= 1;
        assert!(read(whole).is_err(), "checksum");
        let whole = zstd(&b"hello ".repeat(10_000));
        assert!(read(whole[..whole.len() - 9].to_vec()).is_err(), "cut");
        assert!(read([whole, b"garbage".to_vec()].concat()).is_err(), "trailing garbage");
        // A window of 2 GiB (descriptor 0xA8): nothing is allocated for it.
        assert!(read(vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]).is_err(), "window");
        assert!(read(vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0]).is_err(), "xz");
    }

    #[test]
    fn a_bomb_is_put_out() {
        let limit = 8 << 20;
        let bytes = gzip(&vec![0; 1 << 20]).repeat(40);
        let mut plain = Plain::bounded(io::Cursor::new(bytes), &Cancel::default(), limit).expect("new");
        let error = io::copy(&mut plain, &mut io::sink()).expect_err("bomb");
        assert!(error.to_string().contains("20 times"), "{error}");
        assert!(plain.produced <= limit + BUFFER as u64);
    }

    #[test]
    fn work_can_be_cancelled() {
        let cancel = Cancel::default();
        let mut plain = Plain::new(io::repeat(7), &cancel).expect("new");
        assert_eq!(plain.read(&mut [0; 8]).expect("read"), 8);
        cancel.cancel();
        assert!(plain.read(&mut [0; 8]).is_err());
    }
}
