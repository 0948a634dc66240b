//! Files in an archive, found without unpacking it: nothing of it is ever a path of ours. A directory counts as one.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use nix::fcntl::OFlag;

use super::{
    plain::{Cancel, Compression, Plain},
    tape::{Kind, Source, Tape},
};
use crate::sys::beneath;

/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;
/// Links that are followed from name to name: docker wrote a layer that occurs twice as a link.
const MAX_LINKS: usize = 8;

/// An archive whose files can be read in any order.
#[derive(Debug)]
pub struct Archive(Holder);

#[derive(Debug)]
enum Holder {
    Tape { file: Arc<File>, places: HashMap<String, Place> },
    Directory(File),
}

#[derive(Clone, Debug)]
enum Place {
    Content { offset: u64, length: u64 },
    Link(String),
}

/// A piece of a file, read by position: no two disturb each other.
#[derive(Clone, Debug)]
pub struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    /// Bytes that are left.
    pub fn length(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.length()).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Source for Section {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self.at.checked_add(bytes).filter(|at| *at <= self.end) {
            Some(at) => {
                self.at = at;
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Archive {
    /// Opens `file`. What is no plain file, or compressed, goes through `spool` first.
    ///
    /// # Errors
    /// When it is no tar.
    pub fn open(mut file: File, cancel: &Cancel, spool: impl FnOnce() -> io::Result<File>) -> io::Result<Archive> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Archive(Holder::Directory(file)));
        }
        let (mut at, mut end) = (0, metadata.len());
        let mut plain = false;
        if metadata.is_file() {
            at = file.stream_position()?;
            let mut first = [0; 6];
            let length = file.read_at(&mut first, at)?;
            plain = Compression::of(&first[..length])? == Compression::None;
        }
        if !plain {
            let mut copy = spool()?;
            end = io::copy(&mut Plain::new(file, cancel)?, &mut copy)?;
            copy.flush()?;
            file = copy;
            at = 0;
        }
        let file = Arc::new(file);
        let places = index(Section { file: file.clone(), at, end: end.max(at) }, at)?;
        Ok(Archive(Holder::Tape { file, places }))
    }

    /// The file `name`; `None` when there is none.
    pub fn file(&self, name: &str) -> Option<Section> {
        let mut name = normal(name)?;
        let (file, places) = match &self.0 {
            Holder::Tape { file, places } => (file, places),
            Holder::Directory(directory) => {
                // Whose it is may have put links, pipes and devices there.
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
                let file = File::from(beneath::no_links(directory, Path::new(&name), flags).ok()?);
                let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
                return Some(Section { file: Arc::new(file), at: 0, end: metadata.len() });
            }
        };
        for _ in 0..MAX_LINKS {
            match places.get(&name)? {
                Place::Content { offset, length } => {
                    return Some(Section { file: file.clone(), at: *offset, end: offset + length });
                }
                Place::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// All of the file `name`, which is at most `max` bytes long.
    ///
    /// # Errors
    /// When it is missing or longer.
    pub fn read(&self, name: &str, max: u64) -> io::Result<Vec<u8>> {
        let mut section = self.file(name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("it has no file {}", super::printable(name)))
        })?;
        if section.length() > max {
            return Err(io::Error::other(format!("{} is longer than {max} bytes", super::printable(name))));
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn index(section: Section, base: u64) -> io::Result<HashMap<String, Place>> {
    let mut tape = Tape::new(section);
    let mut places = HashMap::new();
    while let Some(entry) = tape.next_entry()? {
        let Ok(path) = String::from_utf8(entry.path) else { continue };
        let Some(name) = normal(&path) else { continue };
        let place = match entry.kind {
            Kind::File if entry.pieces.is_none() => {
                Place::Content { offset: base + tape.position(), length: entry.size }
            }
            Kind::HardLink | Kind::SymbolicLink => {
                let Ok(link) = String::from_utf8(entry.link) else { continue };
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                let target = if entry.kind == Kind::HardLink { link } else { format!("{dir}/{link}") };
                let Some(target) = normal(&target) else { continue };
                Place::Link(target)
            }
            _ => continue,
        };
        places.insert(name, place);
        if places.len() > MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} files")));
        }
    }
    // An entry that says more than there is.
    tape.into_source();
    Ok(places)
}

/// `path` without dots; `None` where it leads out of the archive.
fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{super::tape::tests::Raw, *};

    fn open(bytes: &[u8]) -> io::Result<Archive> {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(bytes).expect("write");
        file.rewind().expect("rewind");
        Archive::open(file, &Cancel::default(), tempfile::tempfile)
    }

    #[test]
    fn files_are_found_by_name_and_through_links() {
        let tar = Raw::default()
            .add(b'0', b"./manifest.json", b"[]")
            .add(b'0', b"a/layer.tar", b"content")
            .link(b'2', b"b/layer.tar", b"../a/layer.tar")
            .link(b'1', b"c", b"a/layer.tar")
            .link(b'2', b"loop", b"loop")
            .link(b'2', b"out", b"../../etc/passwd")
            .link(b'2', b"abs", b"/etc/passwd")
            .end();
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        compressed.write_all(&tar).expect("write");
        for bytes in [tar, compressed.finish().expect("finish")] {
            let archive = open(&bytes).expect("open");
            for name in ["a/layer.tar", "b/layer.tar", "c", "/a/../c"] {
                assert_eq!(archive.read(name, 100).expect(name), b"content", "{name}");
            }
            assert!(archive.read("manifest.json", 1).is_err());
            for name in ["loop", "out", "abs", "missing", "../a/layer.tar", ""] {
                assert!(archive.read(name, 100).is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused() {
        let tar = Raw::default().add(b'0', b"big", &[7; 4000]).end();
        assert!(open(&tar[..1000]).is_err());
        assert!(open(b"this is no tar at all, but long enough to be one".repeat(20).as_slice()).is_err());
        assert!(open(b"").is_ok_and(|archive| matches!(archive.0, Holder::Tape { places, .. } if places.is_empty())));
    }
}
