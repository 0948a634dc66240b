//! A command that ran: what was typed, what came back, what was expected of it.

use std::{
    fmt,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Nothing that the suite types takes longer, on a machine with everything else running beside it.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// What came back.
#[derive(Clone)]
pub struct Run {
    /// What was typed.
    pub line: String,
    /// Exit code; 128+n if the command itself died of a signal.
    pub code: i32,
    /// Its standard output, byte for byte.
    pub out: Vec<u8>,
    /// Its standard error.
    pub err: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Run {
    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    /// It succeeded; its standard output without the last newline.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.code == 0, "this was to succeed:\n{self}");
        let mut out = self.stdout();
        if out.ends_with('\n') {
            out.pop();
        }
        out
    }

    /// It ended with `code`.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Run {
        assert!(self.code == code, "this was to end with {code}:\n{self}");
        self
    }

    /// It printed exactly `text` and a newline.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Run {
        assert!(self.stdout().strip_suffix('\n') == Some(text), "this was to print {text:?}:\n{self}");
        self
    }

    /// It printed nothing.
    #[track_caller]
    pub fn prints_nothing(&self) -> &Run {
        assert!(self.out.is_empty(), "this was to print nothing:\n{self}");
        self
    }

    /// Its standard error is exactly `text` and a newline.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Run {
        assert!(self.stderr().strip_suffix('\n') == Some(text), "this was to complain {text:?}:\n{self}");
        self
    }

    /// Its standard error contains `text`.
    #[track_caller]
    pub fn mentions(&self, text: &str) -> &Run {
        assert!(self.stderr().contains(text), "this was to mention {text:?}:\n{self}");
        self
    }

    /// Standard output, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.stdout().lines().map(str::to_owned).collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.line)?;
        for (mark, text) in [(' ', self.stdout()), ('!', self.stderr())] {
            for (number, line) in text.lines().enumerate() {
                if number == 60 {
                    writeln!(f, "{mark} … {} bytes in all", text.len())?;
                    break;
                }
                writeln!(f, "{mark} {line}")?;
            }
        }
        write!(f, "= {} after {:?}", self.code, self.took)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A command on its way.
#[derive(Debug)]
pub struct Running {
    line: String,
    /// The process; with an engine's commands, the nsenter(1) above the real one.
    pub child: Child,
    out: mpsc::Receiver<Vec<u8>>,
    err: mpsc::Receiver<Vec<u8>>,
    started: Instant,
}

/// Starts `command` with `input` on its standard input (`None`: /dev/null), collecting what it says.
///
/// # Panics
/// When there is no such program.
pub fn start(line: &str, mut command: Command, input: Option<Vec<u8>>) -> Running {
    let started = Instant::now();
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
        // A command may end without having read everything: that is its right.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let out = collect(child.stdout.take().expect("stdout is piped"));
    let err = collect(child.stderr.take().expect("stderr is piped"));
    Running { line: line.to_owned(), child, out, err, started }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _what_was_read_counts = from.read_to_end(&mut bytes);
        let _nobody_waits_any_more = sender.send(bytes);
    });
    receiver
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process and all that descends from it: killing nsenter(1) alone would leave the real one behind.
pub fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        // Its pid may be somebody else's by now.
        return;
    }
    for pid in descendants(child.id()) {
        // It may have ended by itself.
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ended_already = child.kill();
    let _reaped = child.wait();
}

/// Every process below `root`, the nearest first.
fn descendants(root: u32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found: Vec<i32> = i32::try_from(root).into_iter().collect();
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

impl Running {
    /// Waits for its end, and for both its streams to be closed: a daemon that keeps them open fails here.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    #[track_caller]
    pub fn finish(mut self) -> Run {
        let deadline = self.started + DEADLINE;
        let left = || deadline.saturating_duration_since(Instant::now());
        let streams = self.out.recv_timeout(left()).and_then(|out| Ok((out, self.err.recv_timeout(left())?)));
        let status = crate::wait::within(left(), || self.child.try_wait().expect("wait for a child"));
        let (Ok((out, err)), Some(status)) = (streams, status) else {
            let alive = if status.is_some() { "ended, but somebody keeps its output open" } else { "still runs" };
            panic!("after {:?} this {alive}: {}", self.started.elapsed(), self.line);
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Run { line: std::mem::take(&mut self.line), code, out, err, took: self.started.elapsed() }
    }
}
