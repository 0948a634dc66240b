//! Commands run in the running container.
//!
//! The caller's pipes go straight to the command: no byte of them passes through here, and nothing of ours stays beside
//! it but an entry in a table. The runtime joins the container and leaves the command to us as the nearest subreaper, so
//! its exit code is exact. A command with a terminal leaves us the master: the caller gets a duplicate, and if the caller
//! goes away the output is read and thrown away, so that the command never waits for nobody.
//!
//! Commands of a monitor that was killed go on; their exit codes belong to nobody.

pub mod process;
pub mod user;

use std::{
    cell::RefCell,
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use nix::errno::Errno;
use proto::{
    Id, Kind, Refusal,
    alive::Process,
    failpoint::{self, Point},
    refusal::Result,
    time,
    wire::{ExecRequest, ExecStarted, ExitStatus, WindowSize},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    reap::Reaper,
    record::Events,
    runtime::{self, Runtime},
    stdio::console::Console,
    sys,
};

/// Exit codes kept for whoever has not asked yet; the oldest are forgotten first.
const MAX_KEPT: usize = 256;
/// How long after its command a terminal is kept for a caller who has not fetched it yet.
const FETCHED: Duration = Duration::from_secs(10);
/// Pause between looks at a terminal that nobody has open.
const CLOSED: Duration = Duration::from_millis(200);

/// All commands of the container.
#[derive(Debug)]
pub struct Execs {
    runtime: Rc<Runtime>,
    reaper: Rc<Reaper>,
    directory: PathBuf,
    sessions: RefCell<HashMap<String, Rc<Session>>>,
    changed: Notify,
    events: Events,
}

/// One command.
#[derive(Debug)]
pub struct Session {
    exit: watch::Receiver<Option<ExitStatus>>,
    master: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
}

/// A command that has just begun.
#[derive(Debug)]
pub struct Launched {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// Its raw wait(2) status, once it has ended.
    pub ended: tokio::sync::oneshot::Receiver<i32>,
    master: Option<Rc<AsyncFd<OwnedFd>>>,
}

/// Files of one runtime call, removed with it.
#[derive(Debug)]
struct Files {
    spec: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

impl Files {
    fn new(directory: &Path, id: &str) -> Files {
        let path = |what: &str| directory.join(format!("exec-{}.{what}", &id[..16.min(id.len())]));
        Files { spec: path("json"), pid: path("pid"), log: path("log") }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in [&self.spec, &self.pid, &self.log] {
            // Not all are always made; a leftover goes with the directory.
            let _ = fs::remove_file(path);
        }
    }
}

impl Execs {
    /// For the container of `runtime`; files go to `directory`.
    pub fn new(runtime: Rc<Runtime>, reaper: Rc<Reaper>, directory: PathBuf, events: Events) -> Execs {
        Execs { runtime, reaper, directory, sessions: RefCell::default(), changed: Notify::new(), events }
    }

    /// Where what happens is told.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Runs a command in the container whose first process is `init`. `fds` are what was deposited for it.
    ///
    /// # Errors
    /// For a request that cannot be met, and in the runtime's words.
    pub async fn start(
        self: &Rc<Self>,
        request: ExecRequest,
        fds: Vec<OwnedFd>,
        init: &Process,
    ) -> Result<ExecStarted> {
        let stdio = streams(&request, fds)?;
        let Launched { id, pid, ended, master } = self.launch(&request, stdio, init, None).await?;
        if let (Some(master), Some(size)) = (&master, &request.window) {
            resize(master, size)?;
        }
        self.events.tell("exec", None);
        failpoint::pass(Point::ExecBegun);
        self.add(&id, master, ended, request.detach);
        Ok(ExecStarted { id, pid })
    }

    /// Runs a command with these standard streams, and leaves it to the caller: it is no session that others see. `mark`
    /// is on all that it starts: see [`process::mark`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn launch(
        &self,
        request: &ExecRequest,
        stdio: Vec<OwnedFd>,
        init: &Process,
        mark: Option<u64>,
    ) -> Result<Launched> {
        let id = Id::random().map_err(|error| Refusal::internal("exec: id", error))?.as_str().to_owned();
        let files = Files::new(&self.directory, &id);
        let mut spec = process::spec(request, self.runtime.bundle(), init)?;
        if let Some(mark) = mark {
            process::mark(&mut spec, mark);
        }
        write_spec(&files.spec, &spec)?;
        failpoint::refuse(Point::ExecSpec)?;
        let console = match request.tty {
            true => Some(self.console(&id)?),
            false => None,
        };
        let expecting = self.reaper.expect();
        let borrowed: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
        let name = console.as_ref().map(|(_, name)| name.as_str());
        let call =
            runtime::Exec { spec: &files.spec, pid_file: &files.pid, log: &files.log, console: name, fds: &borrowed };
        let master = match &console {
            None => {
                self.runtime.exec(call).await?;
                None
            }
            Some((console, _)) => Some(console.during(self.runtime.exec(call)).await?),
        };
        // From here on the command alone has its pipes: its end is their end.
        drop(borrowed);
        drop(stdio);
        failpoint::refuse(Point::ExecMade)?;
        let pid = runtime::read_pid(&files.pid).map_err(|error| Refusal::internal("exec", error))?;
        let ended = self.reaper.watch(pid);
        drop(expecting);
        let master = master.map(|master| sys::watch(master, Interest::READABLE).map(Rc::new)).transpose();
        let master = master.map_err(|error| Refusal::internal("exec: terminal", error))?;
        Ok(Launched { id, pid, ended, master })
    }

    /// How the command `id` ended, when it has.
    ///
    /// # Errors
    /// When there is no such command.
    pub async fn wait(&self, id: &str) -> Result<ExitStatus> {
        let mut exit = self.find(id)?.exit.clone();
        let status = exit.wait_for(Option::is_some).await.map(|status| *status);
        // Who has heard it does not ask again.
        self.sessions.borrow_mut().remove(id);
        Ok(status.ok().flatten().unwrap_or_else(|| proto::exit::unknown(time::now())))
    }

    /// Sets the size of the terminal of command `id`.
    ///
    /// # Errors
    /// When there is no such command, or it has no terminal.
    pub fn resize(&self, id: &str, size: &WindowSize) -> Result<()> {
        let session = self.find(id)?;
        let master = session.master.borrow().clone();
        match master {
            Some(master) => resize(&master, size),
            None if session.exit.borrow().is_some() => Ok(()),
            None => Err(Refusal::invalid(format!("exec session {id} has no terminal")).about(id)),
        }
    }

    /// The terminal of command `id`, for the caller.
    ///
    /// # Errors
    /// When there is no such command, or it has no terminal (any more).
    pub fn terminal(&self, id: &str) -> Result<Terminal> {
        let session = self.find(id)?;
        let master = session.master.borrow().clone();
        let master = master.ok_or_else(|| Refusal::invalid(format!("exec session {id} has no terminal")).about(id))?;
        Ok(Terminal { session, master })
    }

    /// Ids of the commands that run.
    pub fn running(&self) -> Vec<String> {
        let sessions = self.sessions.borrow();
        let mut ids: Vec<String> =
            sessions.iter().filter(|(_, session)| session.exit.borrow().is_none()).map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// Whether a command has ended less than `age` ago whose code nobody has asked for.
    pub fn is_unheard(&self, age: Duration) -> bool {
        let since = time::now().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let ended = |session: &Rc<Session>| session.exit.borrow().map(|exit| exit.finished_at);
        self.sessions.borrow().values().filter_map(ended).any(|finished| finished > since)
    }

    /// Waits until a command begins or ends.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn find(&self, id: &str) -> Result<Rc<Session>> {
        self.sessions.borrow().get(id).cloned().ok_or_else(|| {
            Refusal::new(Kind::Gone, format!("no exec session with ID {id} found: no such exec session")).about(id)
        })
    }

    fn console(&self, id: &str) -> Result<(Console, String)> {
        let name = format!("exec-{}.sock", &id[..16]);
        let console = Console::bind(self.runtime.bundle(), &name)
            .map_err(|error| Refusal::internal("exec: console socket", error))?;
        Ok((console, name))
    }

    fn add(
        self: &Rc<Self>,
        id: &str,
        master: Option<Rc<AsyncFd<OwnedFd>>>,
        ended: tokio::sync::oneshot::Receiver<i32>,
        detached: bool,
    ) {
        let (sender, exit) = watch::channel(None);
        let session = Rc::new(Session { exit, master: RefCell::new(master.clone()) });
        if let Some(master) = master.filter(|_| detached) {
            // Nobody will fetch it, and the command must not wait for a reader.
            tokio::task::spawn_local(Terminal { session: session.clone(), master }.throw_away());
        }
        self.forget_oldest();
        self.sessions.borrow_mut().insert(id.to_owned(), session.clone());
        self.changed.notify_one();
        let (execs, id) = (self.clone(), id.to_owned());
        tokio::task::spawn_local(async move {
            let status = match ended.await {
                Ok(raw) => proto::exit::from_wait_status(raw, time::now()),
                Err(_) => proto::exit::unknown(time::now()),
            };
            // Its terminal stays: the caller may not have asked for it yet, and the last words are in there.
            execs.events.tell("exec_died", Some(status.code));
            if detached {
                execs.sessions.borrow_mut().remove(&id);
            }
            // Nobody may wait.
            let _ = sender.send(Some(status));
            execs.changed.notify_one();
        });
    }

    /// Keeps the table bounded, and the terminals that nobody has fetched.
    fn forget_oldest(&self) {
        let mut sessions = self.sessions.borrow_mut();
        let before = time::now().saturating_sub(i64::try_from(FETCHED.as_nanos()).unwrap_or(i64::MAX));
        for session in sessions.values() {
            if session.exit.borrow().is_some_and(|exit| exit.finished_at < before) {
                session.master.borrow_mut().take();
            }
        }
        let mut ended: Vec<(i64, String)> = sessions
            .iter()
            .filter_map(|(id, session)| Some(((*session.exit.borrow())?.finished_at, id.clone())))
            .collect();
        if ended.len() >= MAX_KEPT {
            ended.sort();
            for (_, id) in ended.drain(..MAX_KEPT / 2) {
                sessions.remove(&id);
            }
        }
    }
}

/// A command's terminal in the hands of a caller.
#[derive(Debug)]
pub struct Terminal {
    session: Rc<Session>,
    master: Rc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    /// The master.
    pub fn master(&self) -> BorrowedFd<'_> {
        self.master.get_ref().as_fd()
    }

    /// The caller has gone: reads what the command writes, until it ends.
    pub async fn throw_away(self) {
        let mut exit = self.session.exit.clone();
        drop(self.session);
        let reading = async {
            let mut buffer = [0; 4096];
            loop {
                match nix::unistd::read(self.master.get_ref(), &mut buffer) {
                    Ok(1..) => tokio::task::yield_now().await,
                    Err(Errno::EAGAIN) => {
                        let Ok(mut ready) = self.master.readable().await else { return };
                        ready.clear_ready();
                    }
                    // Nobody has it open now; epoll would say only that, again and again.
                    Ok(0) | Err(_) => sleep(CLOSED).await,
                }
            }
        };
        tokio::select! {
            () = reading => {}
            _ = exit.wait_for(Option::is_some) => {}
        }
    }
}

/// The command's standard streams, which are the caller's pipes or none, and after them what `--preserve-fds` passes.
fn streams(request: &ExecRequest, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    let preserved = usize::try_from(request.preserve_fds).unwrap_or(usize::MAX);
    let own = if request.tty || request.detach { 0 } else { 3 };
    if fds.len() != preserved.saturating_add(own) {
        return Err(Refusal::invalid(format!(
            "exec: {own} streams and {preserved} descriptors were to be passed, got {}",
            fds.len()
        )));
    }
    if own == 3 {
        return Ok(fds);
    }
    let null = || fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let open = || -> io::Result<_> { Ok(vec![null()?, null()?, null()?]) };
    let mut all = open().map_err(|error| Refusal::internal("/dev/null", error))?;
    all.extend(fds);
    Ok(all)
}

fn write_spec(path: &Path, spec: &serde_json::Value) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(spec)?)
    };
    write().map_err(|error| Refusal::internal(format!("exec: {}", path.display()), error))
}

fn resize(master: &AsyncFd<OwnedFd>, size: &WindowSize) -> Result<()> {
    let (rows, columns) = window(size)?;
    sys::set_window_size(master.get_ref().as_fd(), rows, columns)
        .map_err(|error| Refusal::internal("resize of the terminal", error))
}

/// Rows and columns as a terminal has them.
///
/// # Errors
/// For more than 65535.
pub fn window(size: &WindowSize) -> Result<(u16, u16)> {
    match (u16::try_from(size.rows), u16::try_from(size.columns)) {
        (Ok(rows), Ok(columns)) => Ok((rows, columns)),
        _ => {
            Err(Refusal::invalid(format!("a terminal of {} rows and {} columns is too large", size.rows, size.columns)))
        }
    }
}
