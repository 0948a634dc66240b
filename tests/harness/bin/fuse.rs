//! A file system that can hang, fail and forget: `fuse MOUNTPOINT`, told what to do on its standard input.
//!
//! It is one directory of files in memory, spoken to by the kernel over /dev/fuse (linux/fuse.h). It ends with its
//! standard input, and then everything that waits for it gets an error.
//!
//! ```text
//! hang            requests are taken and not answered: who asks sleeps and cannot be killed
//! mute            those that read a file are not answered
//! fail            every request is answered with EIO
//! go              as in the beginning; what hung is answered now
//! durable A B     of file A what fsync(2) was called for since it was written is put into B, outside: what a disk has
//!                 after its power was cut
//! ```
//!
//! Each is answered with `done`, and the beginning with `ready`.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, Read, Write},
    os::fd::AsRawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    mount::{MsFlags, mount},
};

/// Most that the kernel writes at once, and the header of a request.
const MAX_WRITE: usize = 128 << 10;
const HEADER: usize = 40;
/// The opcode of read(2).
const READ: u32 = 15;
/// The directory.
const ROOT: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Hangs,
    Mute,
    Fails,
}

#[derive(Default)]
struct Node {
    name: String,
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last fsync(2).
    dirty: Vec<(usize, usize)>,
}

struct System {
    mood: Mood,
    nodes: BTreeMap<u64, Node>,
    waiting: Vec<Vec<u8>>,
}

type Shared = Arc<Mutex<System>>;

fn lock(shared: &Shared) -> MutexGuard<'_, System> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> Result<()> {
    let point = std::env::args().nth(1).context("where?")?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    mount(Some("test"), point.as_str(), Some("fuse.test"), MsFlags::empty(), Some(options.as_str()))
        .context("mount")?;
    let shared = Arc::new(Mutex::new(System { mood: Mood::Well, nodes: BTreeMap::new(), waiting: Vec::new() }));
    let (serving, mut answering) = (shared.clone(), device.try_clone()?);
    thread::spawn(move || serve(&device, &serving));
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let mut system = lock(&shared);
        match words.as_slice() {
            ["hang"] => system.mood = Mood::Hangs,
            ["mute"] => system.mood = Mood::Mute,
            ["fail"] => system.mood = Mood::Fails,
            ["go"] => {
                system.mood = Mood::Well;
                for request in std::mem::take(&mut system.waiting) {
                    answer(&mut answering, &mut system, &request);
                }
            }
            ["durable", name, to] => {
                let node = system.nodes.values().find(|node| node.name == *name).context("no such file")?;
                std::fs::write(to, &node.durable)?;
            }
            _ => anyhow::bail!("what is {line:?}?"),
        }
        println!("done");
    }
    Ok(())
}

fn serve(mut device: &File, shared: &Shared) {
    let mut buffer = vec![0; MAX_WRITE + (4 << 10)];
    // An error is the end of the mount.
    while let Ok(length) = device.read(&mut buffer) {
        let request = &buffer[..length];
        let mut system = lock(shared);
        let waits = match system.mood {
            Mood::Hangs => true,
            Mood::Mute => opcode(request) == READ,
            Mood::Well | Mood::Fails => false,
        };
        if waits {
            system.waiting.push(request.to_vec());
        } else {
            answer(&mut device, &mut system, request);
        }
    }
}

/// Numbers of `linux/fuse.h`, at `at` bytes after the header.
fn u64_at(request: &[u8], at: usize) -> u64 {
    let bytes = request.get(HEADER + at..HEADER + at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

fn u32_at(request: &[u8], at: usize) -> usize {
    let bytes = request.get(HEADER + at..HEADER + at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(bytes) as usize)
}

fn opcode(request: &[u8]) -> u32 {
    request.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn name_at(request: &[u8], at: usize) -> String {
    let text = request.get(HEADER + at..).unwrap_or_default();
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn answer(out: &mut impl Write, system: &mut System, request: &[u8]) {
    // The header: length and opcode of 32 bits, then the number of the request and of the file.
    let word =
        |at: usize| request.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let (unique, node) = (word(8), word(16));
    let opcode = opcode(request);
    // FORGET, INTERRUPT and BATCH_FORGET are not answered.
    if matches!(opcode, 2 | 36 | 42) {
        return;
    }
    let fails = system.mood == Mood::Fails && opcode != 26;
    let result = if fails { Err(libc::EIO) } else { system.act(opcode, node, request) };
    let (error, body) = match result {
        Ok(body) => (0, body),
        Err(error) => (-error, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let head = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
    // Whoever asked may have been killed.
    let _interrupted = out.write_all(&[head, body].concat());
}

impl System {
    fn act(&mut self, opcode: u32, node: u64, request: &[u8]) -> Result<Vec<u8>, i32> {
        match opcode {
            // INIT: version 7.31, large writes.
            26 => Ok(words(&[7, 31, 128 << 10, 1 << 5, 0, 128 << 10, 1, 0], 64)),
            // LOOKUP
            1 => {
                let name = name_at(request, 0);
                let found = self.nodes.iter().find(|(_, node)| node.name == name).map(|(id, _)| *id);
                Ok(self.entry(found.ok_or(libc::ENOENT)?))
            }
            // GETATTR
            3 => Ok([vec![0; 16], self.attributes(node)].concat()),
            // SETATTR
            4 => {
                if u32_at(request, 0) & (1 << 3) != 0 {
                    let size = usize::try_from(u64_at(request, 16)).map_err(|_| libc::EFBIG)?;
                    let file = self.nodes.get_mut(&node).ok_or(libc::ENOENT)?;
                    file.data.resize(size, 0);
                    file.durable.resize(size, 0);
                }
                Ok([vec![0; 16], self.attributes(node)].concat())
            }
            // UNLINK
            10 => {
                let name = name_at(request, 0);
                self.nodes.retain(|_, node| node.name != name);
                Ok(Vec::new())
            }
            // OPEN, OPENDIR
            14 | 27 => Ok(vec![0; 16]),
            // CREATE
            35 => {
                let id = self.nodes.keys().last().map_or(ROOT, |last| *last) + 1;
                self.nodes.insert(id, Node { name: name_at(request, 16), ..Node::default() });
                Ok([self.entry(id), vec![0; 16]].concat())
            }
            READ => {
                let file = self.nodes.get(&node).ok_or(libc::ENOENT)?;
                let from = usize::try_from(u64_at(request, 8)).unwrap_or(usize::MAX).min(file.data.len());
                let to = (from + u32_at(request, 16)).min(file.data.len());
                Ok(file.data[from..to].to_vec())
            }
            // WRITE
            16 => {
                let file = self.nodes.get_mut(&node).ok_or(libc::ENOENT)?;
                let from = usize::try_from(u64_at(request, 8)).map_err(|_| libc::EFBIG)?;
                let bytes = request.get(HEADER + 40..).unwrap_or_default();
                let to = from + bytes.len();
                if file.data.len() < to {
                    file.data.resize(to, 0);
                }
                file.data[from..to].copy_from_slice(bytes);
                file.dirty.push((from, to));
                Ok(words(&[u32::try_from(bytes.len()).unwrap_or(0)], 8))
            }
            // FSYNC
            20 => {
                if let Some(Node { data, durable, dirty, .. }) = self.nodes.get_mut(&node) {
                    durable.resize(data.len(), 0);
                    for (from, to) in dirty.drain(..) {
                        durable[from..to].copy_from_slice(&data[from..to]);
                    }
                }
                Ok(Vec::new())
            }
            // READDIR: everything at once, then nothing.
            28 if u64_at(request, 8) > 0 => Ok(Vec::new()),
            28 => Ok(self.nodes.iter().zip(1u64..).flat_map(|((id, node), place)| listed(*id, node, place)).collect()),
            // STATFS
            17 => {
                let counts = [1u64 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19].map(u64::to_ne_bytes).concat();
                Ok([counts, words(&[4096, 255, 4096], 40)].concat())
            }
            // RELEASE, FLUSH, RELEASEDIR, FSYNCDIR, DESTROY
            18 | 25 | 29 | 30 | 38 => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        }
    }

    /// What a lookup says; nothing of it is kept by the kernel.
    fn entry(&self, node: u64) -> Vec<u8> {
        let mut entry = vec![0; 40];
        entry[..8].copy_from_slice(&node.to_ne_bytes());
        [entry, self.attributes(node)].concat()
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let size = self.nodes.get(&node).map_or(0, |file| file.data.len() as u64);
        let (mode, links) = if node == ROOT { (0o40755, 2) } else { (0o100_644, 1) };
        let mut attributes: Vec<u8> = [node, size, size.div_ceil(512), 0, 0, 0].map(u64::to_ne_bytes).concat();
        attributes.extend(words(&[0, 0, 0, mode, links, 0, 0, 0, 4096], 40));
        attributes
    }
}

/// A directory entry.
fn listed(id: u64, node: &Node, place: u64) -> Vec<u8> {
    let mut entry = [id, place].map(u64::to_ne_bytes).concat();
    entry.extend(words(&[u32::try_from(node.name.len()).unwrap_or(0), u32::from(libc::DT_REG)], 8));
    entry.extend(node.name.as_bytes());
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}

/// Numbers of 32 bits, and zeros up to `length` bytes.
fn words(numbers: &[u32], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    bytes.resize(length, 0);
    bytes
}
