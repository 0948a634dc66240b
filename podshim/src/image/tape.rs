//! Reading a tar stream, entry by entry, strictly.
//!
//! The `tar` crate decodes the header block; walking from block to block is done here because layers need what the crate
//! does not give: PAX values with newlines in them (`security.capability`), a limit for what is held in memory, and no
//! second reading of anything. What Go's archive/tar reads, and so podman and docker, is read the same way: PAX wins over
//! GNU long names over the header, and types without content have none whatever their size field says. What can be read
//! in two ways is an error (CVE-2025-62518).

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Largest long name or PAX header.
const MAX_METADATA: u64 = 1 << 20;
/// Most pieces of a sparse file.
const MAX_PIECES: usize = 1 << 16;

/// Where a tape comes from.
pub trait Source: Read {
    /// Moves on by `bytes`.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are fewer.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if io::copy(&mut self.take(bytes), &mut io::sink())? == bytes {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Source for &[u8] {}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file; its content follows.
    File,
    /// A directory.
    Directory,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, as it stands there.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits, 0…07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch; 0 where it says nothing possible.
    pub mtime: (i64, u32),
    /// Numbers of a device.
    pub device: (u32, u32),
    /// Length of the file.
    pub size: u64,
    /// The pieces of a sparse file (offset, length); absent = the content is whole.
    pub pieces: Option<Vec<(u64, u64)>>,
    /// Extended attributes (`SCHILY.xattr.…`).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tape at some entry. Reading it reads the entry's content.
#[derive(Debug)]
pub struct Tape<S> {
    source: S,
    /// Bytes of the entry's content that are not read yet, and of the padding after it.
    left: u64,
    padding: u64,
    position: u64,
}

/// PAX records of one entry.
#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn wrong(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}

impl<S: Source> Tape<S> {
    /// At its beginning.
    pub fn new(source: S) -> Tape<S> {
        Tape { source, left: 0, padding: 0, position: 0 }
    }

    /// Where in the stream the next byte of content is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What it was made from, somewhere after the last entry.
    pub fn into_source(self) -> S {
        self.source
    }

    /// The next entry; `None` at the end. What is left of the one before is skipped.
    ///
    /// # Errors
    /// When the stream ends early or is no tar that can be read in one way only.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let (mut name, mut link, mut pax) = (None, None, None);
        loop {
            let Some(header) = self.header()? else {
                return if name.is_none() && link.is_none() && pax.is_none() {
                    Ok(None)
                } else {
                    Err(wrong("it ends with a header that describes nothing"))
                };
            };
            let size = number(&header.as_old().size, || header.entry_size())
                .map_err(|_| wrong("an entry has a malformed size"))?;
            let twice = match header.entry_type() {
                EntryType::GNULongName => name.replace(until_nul(self.metadata(size)?)).is_some(),
                EntryType::GNULongLink => link.replace(until_nul(self.metadata(size)?)).is_some(),
                EntryType::XHeader => pax.replace(Pax::parse(&self.metadata(size)?)?).is_some(),
                // Nobody applies it: not Go, so neither podman nor docker.
                EntryType::XGlobalHeader => {
                    self.metadata(size)?;
                    false
                }
                _ => return self.entry(&header, size, name, link, pax.unwrap_or_default()).map(Some),
            };
            if twice {
                return Err(wrong("two headers describe the same entry"));
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
        pax: Pax,
    ) -> io::Result<Entry> {
        let path = pax.path.or(name).unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = match header.entry_type() {
            // The old mark of a file that is a directory when its name says so.
            EntryType::Regular if header.as_old().linkflag[0] == 0 && path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::SymbolicLink,
            EntryType::Char => Kind::CharacterDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Fifo => Kind::Fifo,
            other => return Err(wrong(format!("{}: unknown type {:?}", shown(&path), char::from(other.as_byte())))),
        };
        let owner = |value: io::Result<u64>, pax: Option<u64>, what: &str| -> io::Result<u32> {
            let value = match pax {
                Some(value) => value,
                None => value.map_err(|_| wrong(format!("{}: malformed {what}", shown(&path))))?,
            };
            // The last one means "leave it" to chown(2).
            u32::try_from(value)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| wrong(format!("{}: impossible {what} {value}", shown(&path))))
        };
        let mut entry = Entry {
            kind,
            mode: number(&header.as_old().mode, || header.mode())
                .map_err(|_| wrong(format!("{}: malformed mode", shown(&path))))?
                & 0o7777,
            uid: owner(number(&header.as_old().uid, || header.uid()), pax.uid, "uid")?,
            gid: owner(number(&header.as_old().gid, || header.gid()), pax.gid, "gid")?,
            mtime: pax.mtime.unwrap_or_else(|| possible(header.mtime().unwrap_or(0).try_into().unwrap_or(0), 0)),
            device: (
                header.device_major().unwrap_or_default().unwrap_or_default(),
                header.device_minor().unwrap_or_default().unwrap_or_default(),
            ),
            link: pax.link.or(link).or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default(),
            size: 0,
            pieces: None,
            xattrs: pax.xattrs,
            path,
        };
        if kind == Kind::File {
            let stored = pax.size.unwrap_or(size);
            if header.entry_type() == EntryType::GNUSparse {
                let (pieces, whole) = self.sparse(header, stored)?;
                entry.pieces = Some(pieces);
                entry.size = whole;
            } else {
                entry.size = stored;
            }
            self.expect(stored)?;
        }
        Ok(entry)
    }

    /// The next header that is not empty; `None` at the end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let skip = self.left.checked_add(self.padding).ok_or_else(|| wrong("an entry has an impossible size"))?;
        self.left = 0;
        self.padding = 0;
        self.source.skip(skip).map_err(cut_off)?;
        self.position += skip;
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = |value: fn(u8) -> i64| -> i64 {
            header
                .as_bytes()
                .iter()
                .enumerate()
                .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { value(*byte) })
                .sum()
        };
        let expected = header.cksum().map(i64::from).map_err(|_| wrong("a header is malformed: this is no tar"))?;
        // Old programs summed signed bytes.
        if sum(i64::from) != expected && sum(|byte| i64::from(byte.cast_signed())) != expected {
            return Err(wrong("the checksum of a header is wrong: this is no tar"));
        }
        Ok(Some(header))
    }

    /// Reads one block; false at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut have = 0;
        while have < BLOCK {
            match self.source.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += BLOCK as u64;
        Ok(true)
    }

    /// `size` bytes of content come now.
    fn expect(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 {
            return Err(wrong("an entry has an impossible size"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// Reads the content of a header that describes the next entry.
    fn metadata(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_METADATA {
            return Err(wrong(format!("a header is longer than {MAX_METADATA} bytes")));
        }
        self.expect(size)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The pieces of a sparse file of the old GNU format, whose `stored` bytes follow, and its whole length.
    fn sparse(&mut self, header: &Header, stored: u64) -> io::Result<(Vec<(u64, u64)>, u64)> {
        let malformed = || wrong("a sparse file is malformed");
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let whole = gnu.real_size().map_err(|_| malformed())?;
        let mut pieces = Vec::new();
        let mut add = |blocks: &[tar::GnuSparseHeader]| -> io::Result<()> {
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                pieces.push((block.offset().map_err(|_| malformed())?, block.length().map_err(|_| malformed())?));
            }
            if pieces.len() > MAX_PIECES {
                Err(wrong(format!("a sparse file has more than {MAX_PIECES} pieces")))
            } else {
                Ok(())
            }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            if !self.block(block.as_mut_bytes())? {
                return Err(cut_off(io::ErrorKind::UnexpectedEof.into()));
            }
            add(block.sparse())?;
            more = block.is_extended();
        }
        let (mut end, mut total) = (0_u64, 0_u64);
        for (offset, length) in &pieces {
            if *offset < end {
                return Err(malformed());
            }
            end = offset.checked_add(*length).ok_or_else(malformed)?;
            total = total.checked_add(*length).ok_or_else(malformed)?;
        }
        if end > whole || total != stored || whole > i64::MAX as u64 {
            return Err(malformed());
        }
        Ok((pieces, whole))
    }
}

impl<S: Source> Read for Tape<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(cut_off(io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= read as u64;
        self.position += read as u64;
        Ok(read)
    }
}

fn cut_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off in the middle of an entry")
    } else {
        error
    }
}

/// A number of a header; a blank field is 0, as Go reads it.
fn number<T: Default>(field: &[u8], read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { read() }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = memchr::memchr(0, &bytes) {
        bytes.truncate(end);
    }
    bytes
}

fn shown(path: &[u8]) -> String {
    super::printable(&String::from_utf8_lossy(path))
}

/// A time that files can have; the epoch in place of one that they cannot (what podman does).
fn possible(seconds: i64, nanoseconds: u32) -> (i64, u32) {
    if (0..=i64::MAX / 1_000_000_000).contains(&seconds) { (seconds, nanoseconds) } else { (0, 0) }
}

impl Pax {
    fn parse(mut bytes: &[u8]) -> io::Result<Pax> {
        let malformed = || wrong("a PAX header is malformed");
        let mut pax = Pax::default();
        while !bytes.is_empty() {
            let space = memchr::memchr(b' ', bytes).ok_or_else(malformed)?;
            let length: usize = std::str::from_utf8(&bytes[..space])
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(malformed)?;
            // "LENGTH KEY=VALUE\n", and LENGTH counts all of it.
            let record =
                bytes.get(space + 1..length).and_then(|rest| rest.strip_suffix(b"\n")).ok_or_else(malformed)?;
            bytes = &bytes[length..];
            let equals = memchr::memchr(b'=', record).filter(|equals| *equals > 0).ok_or_else(malformed)?;
            pax.take(&record[..equals], &record[equals + 1..])?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let malformed = || wrong(format!("a PAX header has a malformed {}", shown(key)));
        let text = || std::str::from_utf8(value).map_err(|_| malformed());
        let number = || -> io::Result<u64> {
            let digits = text()?;
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            digits.parse().map_err(|_| malformed())
        };
        // An empty value takes back what an earlier header said: nothing here.
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            return Ok(());
        }
        let twice = match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err(malformed()),
            b"path" => self.path.replace(value.to_vec()).is_some(),
            b"linkpath" => self.link.replace(value.to_vec()).is_some(),
            b"size" => self.size.replace(number()?).is_some(),
            b"uid" => self.uid.replace(number()?).is_some(),
            b"gid" => self.gid.replace(number()?).is_some(),
            b"mtime" => self.mtime.replace(time(text()?).ok_or_else(malformed)?).is_some(),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(wrong(
                    "sparse files of the PAX format are not supported: use tar --format=gnu, or no --sparse",
                ));
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
                false
            }
        };
        if twice { Err(wrong(format!("a PAX header has two of {}", shown(key)))) } else { Ok(()) }
    }
}

/// Parses `1700000000.123456789`, perhaps negative.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    Some(possible(seconds, nanoseconds))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tar made of raw parts, to say what no well-behaved writer says.
    #[derive(Debug, Default)]
    pub(crate) struct Raw(pub(crate) Vec<u8>);

    impl Raw {
        pub(crate) fn header(kind: u8, name: &[u8], size: u64) -> Header {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
            header.set_size(size);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_entry_type(EntryType::new(kind));
            header
        }

        pub(crate) fn put(mut self, mut header: Header, content: &[u8]) -> Raw {
            header.set_cksum();
            self.0.extend_from_slice(header.as_bytes());
            self.0.extend_from_slice(content);
            self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
            self
        }

        pub(crate) fn add(self, kind: u8, name: &[u8], content: &[u8]) -> Raw {
            self.put(Raw::header(kind, name, content.len() as u64), content)
        }

        pub(crate) fn link(self, kind: u8, name: &[u8], target: &[u8]) -> Raw {
            let mut header = Raw::header(kind, name, 0);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
            self.put(header, b"")
        }

        pub(crate) fn pax(self, records: &[(&[u8], &[u8])]) -> Raw {
            let mut body = Vec::new();
            for (key, value) in records {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length != rest + length.to_string().len() {
                    length = rest + length.to_string().len();
                }
                body.extend_from_slice(length.to_string().as_bytes());
                body.extend_from_slice(&[b" ", *key, b"=", value, b"\n"].concat());
            }
            self.add(b'x', b"PaxHeader", &body)
        }

        pub(crate) fn end(mut self) -> Vec<u8> {
            self.0.resize(self.0.len() + 2 * BLOCK, 0);
            self.0
        }
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut tape = Tape::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = tape.next_entry()? {
            let mut content = Vec::new();
            tape.read_to_end(&mut content)?;
            all.push((entry, content));
        }
        Ok(all)
    }

    #[test]
    fn pax_wins_and_may_contain_anything() {
        let capability = b"\x01\x00\x00\x02\n\x0a\n=\x00";
        let bytes = Raw::default()
            .add(b'L', b"././@LongLink", b"gnu-name\0")
            .pax(&[
                (b"path", b"pax\nname"),
                (b"mtime", b"1700000000.5"),
                (b"uid", b"70000"),
                (b"size", b"5"),
                (b"SCHILY.xattr.security.capability", capability),
                (b"comment", b""),
            ])
            .put(Raw::header(b'0', b"header-name", 3), b"hello")
            .add(b'0', b"next", b"x")
            .end();
        let all = read(&bytes).expect("read");
        let (entry, content) = &all[0];
        assert_eq!((entry.path.as_slice(), content.as_slice()), (&b"pax\nname"[..], &b"hello"[..]));
        assert_eq!((entry.mtime, entry.uid, entry.size), ((1_700_000_000, 500_000_000), 70_000, 5));
        assert_eq!(entry.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
        assert_eq!((all.len(), all[1].0.path.as_slice()), (2, &b"next"[..]));
    }

    #[test]
    fn what_has_no_content_has_none_whatever_its_size_says() {
        let hidden = Raw::default().add(b'0', b"smuggled", b"").0;
        let bytes = Raw::default().put(Raw::header(b'5', b"d/", 512), b"").add(b'0', b"file", b"x").end();
        let names: Vec<Vec<u8>> = read(&bytes).expect("read").into_iter().map(|(entry, _)| entry.path).collect();
        assert_eq!(names, [b"d/".to_vec(), b"file".to_vec()]);
        // The content of a file is never taken for entries.
        let bytes = Raw::default().pax(&[(b"size", b"512")]).put(Raw::header(b'0', b"outer", 0), &hidden).end();
        let names: Vec<Vec<u8>> = read(&bytes).expect("read").into_iter().map(|(entry, _)| entry.path).collect();
        assert_eq!(names, [b"outer".to_vec()]);
    }

    #[test]
    fn blank_numbers_are_zero() {
        let mut header = Raw::header(b'0', b"x", 0);
        let old = header.as_old_mut();
        (old.uid, old.gid, old.mode, old.size) = ([0; 8], [b' '; 8], [0; 8], [0; 12]);
        let (entry, _) = read(&Raw::default().put(header, b"").end()).expect("read").remove(0);
        assert_eq!((entry.uid, entry.gid, entry.mode, entry.size), (0, 0, 0, 0));
    }

    #[test]
    fn sparse_files() {
        let mut header = Raw::header(b'S', b"sparse", 4);
        let gnu = header.as_gnu_mut().expect("gnu");
        gnu.set_real_size(1 << 20);
        gnu.sparse[0].set_offset(512);
        gnu.sparse[0].set_length(4);
        let (entry, content) = read(&Raw::default().put(header.clone(), b"data").end()).expect("read").remove(0);
        assert_eq!((entry.size, entry.pieces, content.as_slice()), (1 << 20, Some(vec![(512, 4)]), &b"data"[..]));
        header.as_gnu_mut().expect("gnu").set_real_size(515);
        assert!(read(&Raw::default().put(header, b"data").end()).is_err());
    }

    #[test]
    fn what_is_no_tar_is_an_error_and_never_a_panic() {
        let header = Raw::header;
        let mut bad_uid = header(b'0', b"a", 0);
        bad_uid.set_uid(1 << 32);
        let mut no_change = header(b'0', b"a", 0);
        no_change.set_uid(u64::from(u32::MAX));
        let mut bad_size = header(b'0', b"a", 0);
        bad_size.as_old_mut().size = *b"99999999999\0";
        let pax = |body: &[u8]| Raw::default().add(b'x', b"p", body).add(b'0', b"a", b"").end();
        for (bytes, what) in [
            (vec![1; 512], "rubbish"),
            (vec![0x1f; 100], "short"),
            (Raw::default().add(b'0', b"a", &[7; 2000]).0[..1024].to_vec(), "cut content"),
            (Raw::default().put(header(b'0', b"a", 1 << 40), b"x").0, "endless size"),
            (Raw::default().put(bad_uid, b"").end(), "uid"),
            (Raw::default().put(no_change, b"").end(), "uid -1"),
            (Raw::default().put(bad_size, b"").end(), "size"),
            (Raw::default().add(b'L', b"l", b"name\0").end(), "long name of nothing"),
            (
                Raw::default().add(b'L', b"l", b"a\0").add(b'L', b"l", b"b\0").add(b'0', b"c", b"").end(),
                "two long names",
            ),
            (Raw::default().put(header(b'L', b"l", 1 << 30), b"").end(), "huge long name"),
            (Raw::default().put(header(b'x', b"l", u64::MAX), b"").end(), "huge pax"),
            (Raw::default().put(header(b'g', b"l", 1 << 30), b"").end(), "huge global pax"),
            (Raw::default().pax(&[(b"path", b"a"), (b"path", b"b")]).add(b'0', b"c", b"").end(), "two paths"),
            (Raw::default().pax(&[(b"path", b"a\0b")]).add(b'0', b"c", b"").end(), "NUL"),
            (Raw::default().pax(&[(b"uid", b"-1")]).add(b'0', b"c", b"").end(), "negative"),
            (Raw::default().pax(&[(b"size", b"18446744073709551615")]).add(b'0', b"c", b"").end(), "size 2^64-1"),
            (Raw::default().pax(&[(b"size", b"99999999999999999999")]).add(b'0', b"c", b"").end(), "size overflow"),
            (Raw::default().pax(&[(b"GNU.sparse.major", b"1")]).add(b'0', b"c", b"").end(), "pax sparse"),
            (Raw::default().pax(&[(b"a", b"b")]).pax(&[(b"a", b"b")]).add(b'0', b"c", b"").end(), "two pax"),
            (Raw::default().add(b'Z', b"c", b"").end(), "unknown type"),
            (pax(b"11 path=a\n"), "too long"),
            (pax(b"7 path=a\n"), "too short"),
            (pax(b"99999999999999999999 path=a\n"), "overflow"),
            (pax(b"+9 path=a\n"), "sign"),
            (pax(b"3 =\n"), "no key"),
            (pax(b"path=a\n"), "no length"),
            (pax(b"0 \n"), "zero"),
        ] {
            assert!(read(&bytes).is_err(), "{what}");
        }
        // Any cut and any changed byte ends in an answer.
        let good = Raw::default().pax(&[(b"path", b"abc")]).add(b'0', b"x", b"hello").link(b'2', b"l", b"x").end();
        for cut in 0..good.len() {
            let _ = read(&good[..cut]);
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x91;
            let _ = read(&changed);
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time("-1"), Some((0, 0)));
        assert_eq!(time("99999999999999"), Some((0, 0)));
        assert_eq!(time("x"), None);
    }
}
