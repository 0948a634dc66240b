//! What takes bytes of the container, or a file that a killed monitor has left, never panics and loses nothing.

#[path = "../../tests/harness/fuzz.rs"]
mod run;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use arbitrary::{Arbitrary, Unstructured};
use nix::fcntl::OFlag;
use proto::log_line::{self, Format, PIECE, Record, Stream};

use crate::{
    log::{
        Sink,
        file::{LogFile, Rotation},
        lines::{self, Shape},
    },
    readiness,
    stdio::{
        PIPE,
        ledger::Ledger,
        position::{Place, Position},
    },
};

#[test]
fn datagrams_of_sd_notify() {
    run::run("sd-notify", |input| {
        let lines = readiness::allowed(input);
        for line in &lines {
            assert!(!line.contains('\n') && !line.starts_with("MAINPID") && !line.starts_with("FD"), "{line:?}");
        }
        lines.len() as u64
    });
}

/// Text of the lines in `log`, parts joined.
fn lines_of(format: Format, log: &[u8]) -> Vec<u8> {
    let (mut text, mut scratch) = (Vec::new(), Vec::new());
    for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record = format.decode(line, &mut scratch).expect("a record");
        assert!(record.text.len() <= PIECE + 3);
        text.extend_from_slice(record.text);
        if record.full {
            text.push(b'\n');
        }
    }
    text
}

/// Whatever pieces the output comes in, the records say it.
#[test]
fn records_of_output() {
    run::run("output", |input| {
        for format in [Format::Cri, Format::Json] {
            let shape = Shape::new(format, "", &log_line::stamp(1), Stream::Stdout);
            let (mut log, mut held, mut whole) = (Vec::new(), Vec::new(), Vec::new());
            let mut pieces = Unstructured::new(input);
            while let Ok(piece) = <&[u8]>::arbitrary(&mut pieces) {
                whole.extend_from_slice(piece);
                let mut rest = piece;
                while !rest.is_empty() {
                    let done = lines::encode(&mut log, &shape, (usize::MAX, true), &held, rest);
                    if !done.keeps_held {
                        held.clear();
                    }
                    held.extend_from_slice(&rest[done.taken - done.held..done.taken]);
                    assert!(held.len() <= PIECE && done.taken > 0);
                    rest = &rest[done.taken..];
                }
                if pieces.is_empty() {
                    break;
                }
            }
            if !held.is_empty() {
                shape.put(&mut log, false, &held, b"");
            }
            if format == Format::Cri || std::str::from_utf8(&whole).is_ok() {
                assert!(lines_of(format, &log) == whole, "{format:?}");
            }
        }
        (input.len() as u64).ilog2_or_zero()
    });
}

trait Log2 {
    fn ilog2_or_zero(self) -> u64;
}

impl Log2 for u64 {
    fn ilog2_or_zero(self) -> u64 {
        self.checked_ilog2().map_or(0, u64::from)
    }
}

/// A monitor that is killed between any two steps, again and again, with a log that is rotated.
struct Run {
    dir: tempfile::TempDir,
    reader: OwnedFd,
    writer: OwnedFd,
    size: Option<u64>,
}

/// What happens to it.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Say(&'a [u8]),
    Bring,
    Take,
    Kill,
    Rotate,
    Release,
}

impl Run {
    fn new(size: Option<u64>) -> Run {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).expect("pipe");
        Run { dir: tempfile::tempdir().expect("tempdir"), reader, writer, size }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("ctr.log")
    }

    fn position(&self) -> PathBuf {
        self.dir.path().join("position")
    }

    fn sink(&self) -> LogFile {
        let rotation = Rotation { size: self.size, files: 1000 };
        let mut sink = LogFile::closed(self.log(), Format::Cri, String::new(), rotation);
        sink.open().expect("log");
        sink
    }

    fn first(&self) -> Ledger {
        let sink = self.sink();
        let place = Place { log_length: sink.len(), ..Place::default() };
        let position = Position::create(&self.position(), sink.identity(), place).expect("position");
        Ledger::new(Box::new(sink), position)
    }

    fn successor(&self) -> std::io::Result<Ledger> {
        let sink = self.sink();
        let mut ledger = Ledger::new(Box::new(sink), Position::open(&self.position())?);
        ledger.recover()?;
        Ok(ledger)
    }

    fn take(&self, ledger: &mut Ledger) {
        loop {
            while ledger.waits(Stream::Stdout) {
                ledger.enter(Stream::Stdout).expect("enters");
            }
            if !self.bring(ledger) {
                return;
            }
        }
    }

    fn bring(&self, ledger: &mut Ledger) -> bool {
        ledger.bring(Stream::Stdout, self.reader.as_fd(), PIPE).is_ok()
    }

    fn text(&self) -> Vec<u8> {
        let files = (0..1000).map(|number| log_line::rotated(&self.log(), number)).take_while(|file| file.exists());
        let files: Vec<PathBuf> = files.collect();
        files.iter().rev().flat_map(|file| lines_of(Format::Cri, &std::fs::read(file).expect("log"))).collect()
    }
}

#[test]
fn successors_of_a_killed_monitor() {
    run::run("ledger", |input| {
        let mut steps = Unstructured::new(input);
        let size = bool::arbitrary(&mut steps).unwrap_or(false).then_some(8192);
        let bench = Run::new(size);
        let (mut ledger, mut said, mut kinds) = (bench.first(), Vec::new(), 0);
        for _ in 0..64 {
            let Ok(step) = Step::arbitrary(&mut steps) else { break };
            match step {
                Step::Say(text) => {
                    // A pipe that is full takes a part, or nothing.
                    let taken = nix::unistd::write(&bench.writer, text).unwrap_or(0);
                    said.extend_from_slice(&text[..taken]);
                }
                Step::Bring => _ = bench.bring(&mut ledger),
                Step::Take => bench.take(&mut ledger),
                Step::Kill => {
                    drop(ledger);
                    ledger = bench.successor().expect("a successor");
                }
                Step::Rotate => ledger.rotate().expect("rotates"),
                Step::Release => ledger.release(),
            }
            kinds |= 1
                << match step {
                    Step::Say(text) => 8 + (text.len() as u64).ilog2_or_zero(),
                    Step::Take => 1,
                    Step::Kill => 2,
                    Step::Rotate => 3,
                    Step::Release => 4,
                    Step::Bring => 5,
                };
        }
        bench.take(&mut ledger);
        ledger.flush(Stream::Stdout).expect("flush");
        assert!(bench.text() == said, "something is lost, doubled or torn");
        kinds
    });
}

/// A run file that is damaged is refused, or gone on with; the log keeps what it has.
#[test]
fn run_files() {
    run::run("position", |input| {
        let bench = Run::new(None);
        let mut ledger = bench.first();
        nix::unistd::write(&bench.writer, b"first\nsecond\nhalf").expect("write");
        bench.take(&mut ledger);
        drop(ledger);
        let mut file = std::fs::read(bench.position()).expect("run file");
        let mut changes = Unstructured::new(input);
        for _ in 0..16 {
            let Ok((at, bytes)) = <(u16, &[u8])>::arbitrary(&mut changes) else { break };
            let at = usize::from(at) % 2048;
            let bytes = &bytes[..bytes.len().min(file.len() - at)];
            file[at..at + bytes.len()].copy_from_slice(bytes);
        }
        std::fs::write(bench.position(), &file).expect("write");
        let Ok(mut ledger) = bench.successor() else { return 0 };
        nix::unistd::write(&bench.writer, b" and a half\n").expect("write");
        bench.take(&mut ledger);
        let _ = ledger.flush(Stream::Stdout);
        1
    });
}

/// A log whose end is anything is mended so that what follows is a record.
#[test]
fn ends_of_logs() {
    run::run("log-end", |input| {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut kind = 0;
        for (number, format) in [Format::Cri, Format::Json].into_iter().enumerate() {
            let path = dir.path().join(format!("{number}"));
            std::fs::write(&path, input).expect("write");
            let mut log = LogFile::closed(path.clone(), format, String::new(), Rotation { size: None, files: 5 });
            log.open().expect("opens");
            let shape = Shape::new(format, "", &log_line::stamp(1), Stream::Stdout);
            let mut record = Vec::new();
            shape.put(&mut record, true, b"", b"next");
            log.append(&record);
            let text = std::fs::read(&path).expect("log");
            assert!(text.ends_with(&record), "what is written is there");
            let before = &text[..text.len() - record.len()];
            assert!(before.is_empty() || before.ends_with(b"\n"), "it begins a line");
            assert!(before.strip_suffix(b"\n").unwrap_or(before).len() <= input.len());
            kind = kind * 4 + u64::from(before.is_empty()) + 2 * u64::from(Record::decode(input).is_some());
        }
        kind
    });
}
