//! Killed at every instruction that counts.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::fcntl::OFlag;

use super::*;
use crate::log::file::{LogFile, Rotation};
use proto::log_line::{self, Format};

struct Bench {
    dir: tempfile::TempDir,
    reader: OwnedFd,
    writer: OwnedFd,
    /// Longest file.
    size: std::cell::Cell<Option<u64>>,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("tempdir");
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK).expect("pipe");
        Bench { dir, reader, writer, size: std::cell::Cell::default() }
    }
    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("ctr.log")
    }
    fn sink(&self) -> LogFile {
        let rotation = Rotation { size: self.size.get(), files: 100 };
        let mut sink = LogFile::closed(self.log(), Format::Cri, String::new(), rotation);
        sink.open().expect("log");
        sink
    }
    fn ledger(&self) -> Ledger {
        let sink = self.sink();
        let place = Place { log_length: sink.len(), ..Place::default() };
        let position = Position::create(&self.dir.path().join("position"), sink.identity(), place).expect("position");
        Ledger::new(Box::new(sink), position)
    }
    fn successor(&self) -> Ledger {
        let sink = self.sink();
        let position = Position::open(&self.dir.path().join("position")).expect("position");
        let mut ledger = Ledger::new(Box::new(sink), position);
        ledger.recover().expect("recovers");
        ledger
    }
    fn put(&self, text: &[u8]) {
        assert_eq!(nix::unistd::write(&self.writer, text).expect("write"), text.len());
    }
    fn bring(&self, ledger: &mut Ledger) -> nix::Result<(usize, bool)> {
        ledger.bring(Stream::Stdout, self.reader.as_fd(), 1 << 16)
    }
    fn take_all(&self, ledger: &mut Ledger) {
        loop {
            while ledger.waits(Stream::Stdout) {
                ledger.enter(Stream::Stdout).expect("enters");
            }
            if self.bring(ledger).is_err() {
                return;
            }
        }
    }
    /// Of all files, the oldest first.
    fn texts(&self) -> Vec<String> {
        let files = (0..200).rev().map(|number| log_line::rotated(&self.log(), number));
        files.filter(|file| file.exists()).flat_map(|file| texts(&file)).collect()
    }
}

fn texts(log: &Path) -> Vec<String> {
    let log = std::fs::read(log).expect("log");
    log.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let record = log_line::Record::decode(line).expect("a whole record");
            format!("{} {}", if record.full { "F" } else { "P" }, String::from_utf8_lossy(record.text))
        })
        .collect()
}

#[test]
fn lines_go_to_the_log_and_beginnings_wait() {
    let bench = Bench::new();
    let mut ledger = bench.ledger();
    bench.put(b"one\ntw");
    bench.take_all(&mut ledger);
    assert_eq!(bench.texts(), ["F one"]);
    assert_eq!(ledger.held(Stream::Stdout), b"tw");
    ledger.release();
    bench.put(b"o\nend");
    bench.take_all(&mut ledger);
    ledger.flush(Stream::Stdout).expect("flush");
    assert_eq!(bench.texts(), ["F one", "F two", "P end"]);
    assert_eq!(ledger.place().offset, [11, 0]);
    assert_eq!(ledger.place().log_length, std::fs::metadata(bench.log()).expect("stat").size());
}

/// The monitor is killed after `intend`, with `written` bytes of the batch in the log.
fn killed_while_writing(written: impl Fn(&[u8]) -> usize) -> Vec<String> {
    let bench = Bench::new();
    let mut ledger = bench.ledger();
    bench.put(b"zero\nhel");
    bench.take_all(&mut ledger);
    bench.put(b"d\nsecond\nthi");
    // By hand what `enter` does up to the write.
    bench.bring(&mut ledger).expect("bytes");
    let (mut next, ..) = ledger.compose(Stream::Stdout, (usize::MAX, false));
    next.held[0] = ledger.position.hold(Stream::Stdout, false, 9..12).expect("hold");
    next.taken[0] += 12;
    next.log_length += ledger.output.len() as u64;
    ledger.position.intend(next);
    let output = ledger.output.clone();
    ledger.sink.append(&output[..written(&output)]);
    drop(ledger);

    let mut ledger = bench.successor();
    bench.take_all(&mut ledger);
    bench.put(b"rd\n");
    bench.take_all(&mut ledger);
    bench.texts()
}

#[test]
fn killed_at_any_byte_of_a_write_nothing_is_lost_doubled_or_torn() {
    let whole = ["F zero", "F held", "F second", "F third"];
    for cut in 0..=40 {
        assert_eq!(killed_while_writing(|output| output.len() * cut / 40), whole, "{cut}/40 written");
    }
}

#[test]
fn what_was_brought_by_a_monitor_that_is_killed_then_is_the_successors() {
    let bench = Bench::new();
    let mut ledger = bench.ledger();
    let mut expected = Vec::new();
    for round in 0..200 {
        // Of every length, so that the journal begins again at any moment.
        let text = format!("{round} {}", "x".repeat(round * 37 % 900));
        bench.put(format!("{text}\n").as_bytes());
        expected.push(format!("F {text}"));
        bench.bring(&mut ledger).expect("bytes");
        if round % 3 > 0 {
            ledger.enter(Stream::Stdout).expect("enters");
        }
        ledger = bench.successor();
        if round % 2 > 0 {
            bench.take_all(&mut ledger);
        } else {
            // The container has ended, too, and its terminal has gone.
            ledger.flush(Stream::Stdout).expect("flush");
        }
        assert_eq!(bench.texts().len(), expected.len());
    }
    assert_eq!(bench.texts(), expected);
}

/// A sink with room for so many bytes.
#[derive(Debug)]
struct Full {
    log: LogFile,
    room: std::rc::Rc<std::cell::Cell<usize>>,
}

impl Sink for Full {
    fn append(&mut self, records: &[u8]) -> Stored {
        let fits = &records[..records.len().min(self.room.get())];
        let whole = memchr::memrchr(b'\n', fits).map_or(0, |at| at + 1);
        self.log.append(&records[..whole]);
        self.room.set(self.room.get() - whole);
        Stored { bytes: whole, lost: (whole < records.len()).then_some(Errno::ENOSPC) }
    }
    fn len(&self) -> u64 {
        self.log.len()
    }
    fn last_time(&self) -> i64 {
        0
    }
    fn identity(&self) -> Identity {
        self.log.identity()
    }
    fn reader(&self, log: Identity) -> io::Result<File> {
        self.log.reader(log)
    }
    fn after(&self, log: Identity) -> io::Result<(File, Identity)> {
        self.log.after(log)
    }
    fn length_of(&self, log: Identity) -> Option<u64> {
        self.log.length_of(log)
    }
    fn format(&self) -> (Format, &str) {
        self.log.format()
    }
    fn is_exact(&self) -> bool {
        self.log.is_exact()
    }
    fn room(&self) -> usize {
        self.log.room()
    }
    fn would_drop(&self) -> bool {
        self.log.would_drop()
    }
    fn would_drop_at_once(&self) -> bool {
        self.log.would_drop_at_once()
    }
    fn rotate(&mut self) -> Result<()> {
        self.log.rotate()
    }
    fn look_after(&mut self) {}
    fn reopen(&mut self) -> Result<()> {
        Ok(())
    }
    fn cut(&mut self, log: Identity, length: u64) -> io::Result<()> {
        self.log.cut(log, length)
    }
}

#[test]
fn what_a_full_disk_loses_is_counted_and_said() {
    let bench = Bench::new();
    let room = std::rc::Rc::new(std::cell::Cell::new(100));
    let mut ledger = bench.ledger();
    ledger.sink = Box::new(Full { log: bench.sink(), room: room.clone() });
    bench.put(b"a\nb\nc\nd\n");
    bench.take_all(&mut ledger);
    bench.put(b"e\nf");
    bench.take_all(&mut ledger);
    room.set(1 << 20);
    bench.put(b"g\n");
    bench.take_all(&mut ledger);
    let words = format!("F [podmon] dropped 3 records, {} bytes: No space left on device", 3 * 42);
    assert_eq!(bench.texts(), ["F a".to_owned(), "F b".to_owned(), words, "F fg".to_owned()]);
    assert_eq!(ledger.place().lost_records, 3);
    assert_eq!(ledger.place().gap, [0; 3]);
}

#[test]
fn the_log_is_rotated_before_the_record_that_would_be_too_much() {
    let bench = Bench::new();
    bench.size.set(Some(100));
    let mut ledger = bench.ledger();
    bench.put(b"one\ntwo\nthree\nfo");
    bench.take_all(&mut ledger);
    let mark = ledger.mark();
    bench.put(format!("ur\n{}\nend", "x".repeat(200)).as_bytes());
    bench.take_all(&mut ledger);
    ledger.flush(Stream::Stdout).expect("flush");
    let long = format!("F {}", "x".repeat(200));
    assert_eq!(bench.texts(), ["F one", "F two", "F three", "F four", &long, "P end"]);
    // A record that is longer than a file may be has one of its own.
    let sizes: Vec<u64> = (0..)
        .map_while(|number| std::fs::metadata(log_line::rotated(&bench.log(), number)).ok())
        .map(|metadata| metadata.len())
        .collect();
    assert_eq!(sizes, [44, 241, 91, 88]);
    assert_eq!(ledger.sink().length_of(mark.log), Some(91));
}

#[test]
fn killed_around_a_rotation_nothing_is_lost_doubled_or_torn() {
    let bench = Bench::new();
    bench.size.set(Some(100));
    let mut expected = Vec::new();
    for round in 0..20 {
        // A successor for every batch, and each batch has rotations in it.
        let mut ledger = if round == 0 { bench.ledger() } else { bench.successor() };
        for line in 0..5 {
            bench.put(format!("{round} {line}\n").as_bytes());
            expected.push(format!("F {round} {line}"));
        }
        if round % 2 == 0 {
            bench.take_all(&mut ledger);
        } else {
            // Killed right after it was rotated.
            ledger.rotate().expect("rotates");
        }
    }
    bench.take_all(&mut bench.successor());
    assert_eq!(bench.texts(), expected);
}

#[test]
fn renamed_while_nobody_was_there_the_batch_is_neither_doubled_nor_lost() {
    for written in [0, 20, 84] {
        let bench = Bench::new();
        let mut ledger = bench.ledger();
        bench.put(b"one\ntwo\n");
        bench.bring(&mut ledger).expect("bytes");
        let (mut next, ..) = ledger.compose(Stream::Stdout, (usize::MAX, false));
        next.taken[0] += 8;
        next.log_length += ledger.output.len() as u64;
        ledger.position.intend(next);
        let output = ledger.output.clone();
        ledger.sink.append(&output[..written]);
        drop(ledger);
        std::fs::rename(bench.log(), log_line::rotated(&bench.log(), 7)).expect("rename");
        let mut ledger = bench.successor();
        bench.take_all(&mut ledger);
        bench.put(b"three\n");
        bench.take_all(&mut ledger);
        assert_eq!(bench.texts(), ["F one", "F two", "F three"], "{written} bytes were written");
    }
}
