//! The container's standard streams: made before create, pumped until the last byte, taken over by a successor.
//!
//! | in the run directory | what | in the supervisor's store |
//! |---|---|---|
//! | `stdout`, `stderr` | FIFOs the container writes ([`fifo`]) | our read ends, under these names |
//! | `stdin` | FIFO the container reads; missing once it has ended ([`stdin`]) | never: a stored write end would hide the end |
//! | `position` | what is on its way to the log ([`ledger`]), and how far that is ([`position`]) | |
//! | (a terminal has no path) | its master ([`console`]) | `pty` |

pub mod console;
pub mod fifo;
pub mod ledger;
pub mod output;
pub mod position;
pub mod pump;
pub mod stdin;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
};

use proto::{Refusal, log_line::Stream, record::StartRecord, refusal::Result};
use tokio::{io::unix::AsyncFd, task::JoinHandle};

use crate::{attach::Clients, log, sys};
use ledger::Ledger;
use output::Output;
use position::{Place, Position, index};
use pump::{Last, Pump};
use stdin::Stdin;

/// Size of a pipe the kernel makes.
pub const PIPE: usize = 64 << 10;
/// Size of pipes through which much flows.
pub const BIG_PIPE: usize = 256 << 10;

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// The container's ends of its streams, for the runtime.
#[derive(Debug)]
pub struct Ends {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2: also where the runtime says why it failed.
    pub stderr: OwnedFd,
    /// Descriptors 3 and on: what `--preserve-fds` passes.
    pub preserved: Vec<OwnedFd>,
    /// Where that can be read. Before the container is started nothing else is written there.
    pub errors: Option<Rc<AsyncFd<OwnedFd>>>,
    /// Where the runtime is to say it instead, because descriptor 2 is not ours.
    pub words: Option<PathBuf>,
}

/// What the descriptors of whoever started the container are passed as (log driver `passthrough`).
const CALLERS: [&str; 3] = ["caller-stdin", "caller-stdout", "caller-stderr"];

/// What the descriptors that `--preserve-fds` passes are called, with their number from 0 on. The container alone has
/// them: another run of it has none.
const PRESERVED: &str = "caller-preserved-";

/// See the module.
#[derive(Debug)]
pub struct Stdio {
    directory: PathBuf,
    terminal: bool,
    output: Rc<Output>,
    stdin: Stdin,
    sources: RefCell<[Option<Rc<AsyncFd<OwnedFd>>>; 2]>,
    window: Cell<Option<(u16, u16)>>,
    last: Rc<Last>,
    pumps: RefCell<Vec<JoinHandle<()>>>,
    /// For the container, with log driver `passthrough`.
    callers: RefCell<[Option<OwnedFd>; 3]>,
    passes_through: Cell<bool>,
    /// For the container's next run: see [`PRESERVED`].
    preserved: RefCell<Vec<OwnedFd>>,
}

impl Stdio {
    /// The streams of a container whose run directory is `directory`; nothing is opened yet.
    pub fn new(directory: PathBuf, terminal: bool) -> Stdio {
        Stdio {
            directory,
            terminal,
            output: Rc::default(),
            stdin: Stdin::default(),
            sources: RefCell::default(),
            window: Cell::default(),
            last: Rc::default(),
            pumps: RefCell::default(),
            callers: RefCell::default(),
            passes_through: Cell::default(),
            preserved: RefCell::default(),
        }
    }

    /// Takes what of `passed` whoever started the container has given for it.
    pub fn take_callers(&self, passed: &mut HashMap<String, OwnedFd>) {
        *self.callers.borrow_mut() = CALLERS.map(|name| passed.remove(name));
        *self.preserved.borrow_mut() =
            (0..).map_while(|number| passed.remove(&format!("{PRESERVED}{number}"))).collect();
    }

    /// Log and clients.
    pub fn output(&self) -> &Rc<Output> {
        &self.output
    }

    /// The attached clients.
    pub fn clients(&self) -> &Rc<Clients> {
        self.output.clients()
    }

    /// The container's standard input.
    pub fn stdin(&self) -> &Stdin {
        &self.stdin
    }

    /// Opens the log, which stays open over later runs, and makes the FIFOs of a run.
    ///
    /// # Errors
    /// Naming what of the log or the run directory cannot be used.
    pub fn prepare(&self, start: &StartRecord) -> Result<Ends> {
        let ends = self.ends(start)?;
        Ok(Ends { preserved: self.preserved.take(), ..ends })
    }

    fn ends(&self, start: &StartRecord) -> Result<Ends> {
        self.passes_through.set(log::passes_through(&start.log));
        if self.passes_through() {
            return self.pass_through(start).map_err(|error| self.refusal(&error));
        }
        let is_open = self.output.ledger().is_some();
        if let Some(sink) = if is_open { None } else { log::open(start, &self.directory)? } {
            let place = beginning(&*sink);
            let position = Position::create(&self.directory.join("position"), sink.identity(), place)
                .map_err(|error| self.refusal(&error))?;
            self.output.set_ledger(Some(Ledger::new(sink, position)));
        }
        self.make(start).map_err(|error| self.refusal(&error))
    }

    /// Whether the container writes past us: there is nothing to attach to.
    pub fn passes_through(&self) -> bool {
        self.passes_through.get()
    }

    /// The descriptors of the caller; we keep them only for a policy that runs the container again. Where there are none,
    /// as when a user starts it again, nothing.
    fn pass_through(&self, start: &StartRecord) -> io::Result<Ends> {
        let callers = self.callers.take();
        if !matches!(start.restart.name.as_str(), "" | "no") {
            *self.callers.borrow_mut() = callers.each_ref().map(|fd| fd.as_ref()?.try_clone().ok());
        }
        let [stdin, stdout, stderr] = callers;
        let or_null = |fd: Option<OwnedFd>| fd.map_or_else(null, Ok);
        Ok(Ends {
            stdin: or_null(stdin)?,
            stdout: or_null(stdout)?,
            stderr: or_null(stderr)?,
            preserved: Vec::new(),
            errors: None,
            words: Some(self.directory.join("runtime.log")),
        })
    }

    fn make(&self, start: &StartRecord) -> io::Result<Ends> {
        if self.terminal {
            let (errors, stderr) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
            console::set_nonblocking(&errors)?;
            let errors = Some(pump::watch(errors, false)?);
            return Ok(Ends { stdin: null()?, stdout: null()?, stderr, preserved: Vec::new(), errors, words: None });
        }
        let owner = Some((start.uid, start.gid));
        for stream in STREAMS {
            let path = self.directory.join(stream.as_str());
            fifo::make(&path, owner)?;
            let reader = pump::watch(fifo::open_reader(&path)?, false)?;
            self.sources.borrow_mut()[index(stream)] = Some(reader);
        }
        let stdin = if start.stdin {
            let path = self.directory.join("stdin");
            fifo::make(&path, owner)?;
            let (reader, writer) = fifo::open_stdin(&path)?;
            self.stdin.open_fifo(writer, path)?;
            reader
        } else {
            File::open("/dev/null")?.into()
        };
        let errors = self.sources.borrow()[1].clone();
        Ok(Ends {
            stdin,
            stdout: fifo::open_both(&self.directory.join("stdout"), false)?,
            stderr: fifo::open_both(&self.directory.join("stderr"), false)?,
            preserved: Vec::new(),
            errors,
            words: None,
        })
    }

    /// Begins to pump. `master` is the terminal the runtime has made.
    ///
    /// # Errors
    /// When the reactor refuses the terminal.
    pub fn begin(&self, master: Option<OwnedFd>) -> io::Result<()> {
        if let Some(master) = master {
            let master = pump::watch(master, true)?;
            if let Some((rows, columns)) = self.window.get() {
                // The container has ended: nobody looks.
                let _ = sys::set_window_size(master.as_fd_of(), rows, columns);
            }
            self.stdin.open_terminal(master.clone());
            self.sources.borrow_mut()[0] = Some(master);
        }
        let sources = self.sources.borrow();
        for stream in STREAMS {
            let Some(source) = &sources[index(stream)] else { continue };
            let pump = Pump::new(stream, source.clone(), self.terminal, self.output.clone(), self.last.clone());
            self.pumps.borrow_mut().push(tokio::task::spawn_local(Rc::new(pump).run()));
        }
        Ok(())
    }

    /// Takes over the streams of a container that another monitor has left, and begins to pump. `stored` are the
    /// descriptors the supervisor has kept.
    ///
    /// # Errors
    /// When `/dev/null` or the reactor is unusable. What of the streams is missing is done without.
    pub fn adopt(&self, start: &StartRecord, stored: &mut HashMap<String, OwnedFd>) -> io::Result<()> {
        self.passes_through.set(log::passes_through(&start.log));
        if let Some(sink) = log::open_again(start, &self.directory) {
            let path = self.directory.join("position");
            let position =
                Position::open(&path).or_else(|_| Position::create(&path, sink.identity(), beginning(&*sink)))?;
            let mut ledger = Ledger::new(sink, position);
            ledger.recover()?;
            self.output.set_ledger(Some(ledger));
        }
        if self.terminal {
            return self.begin(stored.remove("pty"));
        }
        for stream in STREAMS {
            let name = stream.as_str();
            let reader = stored.remove(name).map_or_else(|| fifo::open_reader(&self.directory.join(name)), Ok);
            let source = reader.and_then(|reader| pump::watch(reader, false));
            self.sources.borrow_mut()[index(stream)] = source.ok();
        }
        let path = self.directory.join("stdin");
        if let Ok(writer) = fifo::open_writer(&path) {
            self.stdin.open_fifo(writer, path)?;
        }
        self.begin(None)
    }

    /// What the supervisor is to keep for a successor.
    pub fn keep(&self, mut store: impl FnMut(&str, BorrowedFd<'_>)) {
        for stream in STREAMS {
            if let Some(source) = &self.sources.borrow()[index(stream)] {
                let name = if self.terminal { "pty" } else { stream.as_str() };
                store(name, source.as_fd_of());
            }
        }
    }

    /// The first process has ended: collects what is left of the output.
    pub async fn drain(&self) {
        self.last.say();
        let pumps = std::mem::take(&mut *self.pumps.borrow_mut());
        for pump in pumps {
            // A pump that was cut off has left its bytes in the run file; there is nobody to tell.
            let _ = pump.await;
        }
        // A held line that cannot be recorded is lost with the run directory that refuses it.
        let _ = self.output.flush();
        self.stdin.close();
        *self.sources.borrow_mut() = Default::default();
        self.last.take_back();
    }

    /// Sets the size of the terminal, or remembers it until there is one.
    pub fn resize(&self, rows: u16, columns: u16) {
        if !self.terminal {
            return;
        }
        self.window.set(Some((rows, columns)));
        if let Some(master) = &self.sources.borrow()[0] {
            // The container has ended: nobody looks.
            let _ = sys::set_window_size(master.as_fd_of(), rows, columns);
        }
    }

    /// Records lost to a full disk.
    pub fn lost_records(&self) -> u64 {
        self.output.ledger().as_ref().map_or(0, |ledger| ledger.place().lost_records)
    }

    fn refusal(&self, error: &io::Error) -> Refusal {
        Refusal::internal(format!("run directory {}", self.directory.display()), error)
    }
}

/// Where a run begins that writes to the end of this log.
fn beginning(sink: &dyn log::Sink) -> Place {
    // Time stamps never go backwards, even if the clock has.
    Place {
        log_length: sink.len(),
        run_start: sink.len(),
        run_log: sink.identity().inode,
        stamp: sink.last_time(),
        ..Place::default()
    }
}

fn null() -> io::Result<OwnedFd> {
    File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from)
}

/// Borrows the descriptor of an [`AsyncFd`].
trait AsFdOf {
    fn as_fd_of(&self) -> BorrowedFd<'_>;
}

impl AsFdOf for AsyncFd<OwnedFd> {
    fn as_fd_of(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}
