//! The loop: waits for what is asked and what happens, lets `state` decide, and does what it says.
//!
//! Nothing here blocks. What takes time (the runtime, the freezer, draining, the disk) runs as a task beside the loop and
//! comes back as a [`Message`].

mod act;
mod adopt;
mod answer;
mod health;
mod mend;
mod ready;
mod reload;
mod restart;
mod upgrade;
mod witness;

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use proto::{
    Refusal,
    alive::Process,
    deletions::Deletions,
    failpoint::{self, Point},
    raw::Deposits,
    record::{Health, StartRecord},
    serve::{self, Connections},
    wire::{Empty, ExitStatus, create_monitor},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    cgroup::Cgroup,
    config::Config,
    daemon,
    exec::Execs,
    health::{Checks, Next},
    heir::Heir,
    notify::Supervisor,
    raw::Door,
    readiness::Readiness,
    reap::Reaper,
    record::{Events, ExitFile, StateFile},
    runtime::Runtime,
    service::{Reply, Request, Service},
    state::{Event, State, When},
    stdio::Stdio,
};

/// How long a monitor that nobody asks for anything stays.
const ABANDONED: Duration = Duration::from_secs(60);
/// After this long without an event free memory is given back.
const IDLE: Duration = Duration::from_secs(1);
/// What clients may send. The kernel takes no command line with its environment of more than 2 MiB (execve(2)), and a
/// request is in memory three times at most while it is decoded.
const LIMITS: serve::Limits =
    serve::Limits { requests: 16, largest: 2 << 20, room: 2 << 20, patience: Duration::from_secs(5) };
/// How often lost records are written into state.json at most.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// What a task beside the loop has to say.
#[derive(Debug)]
enum Message {
    /// Something without more to it.
    Happened(Event),
    /// Runtime create has ended.
    Created(proto::refusal::Result<Created>),
    /// Runtime start has ended.
    Started(proto::refusal::Result<()>),
    /// The freezer has done what it was told, or not.
    Froze(proto::refusal::Result<()>),
    /// The first process has ended, with this raw wait(2) status if anybody knows it.
    Ended(Option<i32>),
    /// What a check of its health has led to, and the check where the events are its log.
    Checked(Health, Next, String),
    /// The container says this of itself, and it may be passed on.
    Notified(Vec<String>),
    /// Records were lost to a full disk.
    Lost,
    /// Something of our run directory is gone.
    Deleted,
    /// All who must hear the end have heard it.
    Gone,
}

/// What runtime create leaves.
#[derive(Debug)]
struct Created {
    init: Init,
    ended: oneshot::Receiver<i32>,
}

/// The container's first process.
#[derive(Debug)]
struct Init {
    process: Process,
    /// Absent where it ended before anybody could open one.
    pidfd: Option<OwnedFd>,
}

/// What the last request for a signal or a stop wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    signal: i32,
    all: bool,
    /// `None` = for ever.
    grace: Option<Duration>,
}

/// A timer that can be taken back.
#[derive(Debug)]
struct Timer {
    at: Instant,
    task: JoinHandle<()>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// See the module.
#[derive(Debug)]
struct Monitor {
    start: Rc<StartRecord>,
    /// Where the start record is.
    record: PathBuf,
    runtime: Rc<Runtime>,
    reaper: Rc<Reaper>,
    sockets: upgrade::Sockets,
    supervisor: Supervisor,
    heir: Rc<Heir>,
    stdio: Rc<Stdio>,
    execs: Rc<Execs>,
    deposits: Rc<RefCell<Deposits>>,
    service: Service,
    state_file: StateFile,
    exit_file: ExitFile,
    state: Rc<Cell<State>>,
    init: Option<Init>,
    cgroup: Cgroup,
    started_at: i64,
    /// How the first process ended, and when we knew.
    ended: Option<ExitStatus>,
    /// How it ended, once that is on disk.
    exit: Option<ExitStatus>,
    failure: Option<Refusal>,
    asked: Asked,
    /// Processes killed for want of memory when we first sent SIGKILL.
    kills_before: Cell<Option<u64>>,
    waiting: Vec<(When, Request)>,
    later: Vec<Request>,
    grace: Option<Timer>,
    lifetime: Option<Timer>,
    stuck: Option<Timer>,
    checks: Option<Checks>,
    /// It is being restarted because of its health, whatever its restart policy says.
    unhealthy: bool,
    /// How often the container has left the state of running.
    interruptions: Rc<Cell<u32>>,
    readiness: Option<Readiness>,
    /// Who waits until it is ready.
    expectant: Vec<Reply<Empty>>,
    backoff: Option<Timer>,
    /// See [`proto::record::MonitorState::counted`].
    counted: bool,
    /// See [`proto::record::MonitorState::begun`].
    begun: i64,
    /// See [`proto::record::MonitorState::grace_ends`].
    grace_ends: i64,
    /// When its first process ended, likewise; 0 where an earlier monitor has seen that.
    over: i64,
    /// When the last run was over, or could not be begun, likewise.
    down_since: i64,
    /// See [`Monitor::is_ended_by_user`].
    ended_by_user: bool,
    leaving: bool,
    gone: bool,
    /// What our supervisor has reported, for the task that looks for it.
    reported: Rc<Cell<Option<i32>>>,
    inbox: mpsc::UnboundedSender<Message>,
}

/// Serves until the container has ended for good. Runs on a `LocalRuntime`.
///
/// # Errors
/// When we cannot even begin to serve.
pub async fn run(config: Config) -> Result<()> {
    let earlier = adopt::earlier(&config.start);
    // Until our pid is on record the next supervisor does not know of us, and starts another monitor: then we end with who
    // has started us. We have been here before where we were another program.
    let was_here = earlier.as_ref().is_some_and(|state| state.monitor == Process::this());
    let newborn = config.supervisor.filter(|_| !was_here);
    if newborn.is_some_and(|parent| !daemon::end_with(parent)) {
        return Ok(());
    }
    let (reaper, signals) = Reaper::new().context("signalfd")?;
    // Before there are threads; without it nobody tells us of deletions.
    let deletions = Deletions::new().ok();
    // Held before anything is reaped: it may have ended while we became this program.
    let own = upgrade::own_child(earlier.as_ref().and_then(|state| state.init.as_ref()));
    let own = own.map(|pid| reaper.hold(pid));
    tokio::task::spawn_local(reaper.clone().run(signals));
    let (inbox, mut messages) = mpsc::unbounded_channel();
    let (sender, mut requests) = mpsc::unbounded_channel();
    let service = Service::new(sender);
    let start = Rc::new(config.start);
    let mut stored = config.stored;

    let runtime = Rc::new(Runtime::new(&start, reaper.clone()).context("the runtime's path")?);
    let takes_over = earlier.is_some();
    let state_file = StateFile::new(start.state_record.clone(), earlier);
    let sockets_kept = upgrade::Sockets::of(&config.listener, &config.raw_listener).context("the sockets")?;
    let mut monitor = Monitor {
        stdio: Rc::new(Stdio::new(config.directory.clone(), start.tty)),
        execs: Rc::new(Execs::new(runtime.clone(), reaper.clone(), config.directory, Events::new(&start))),
        deposits: Rc::default(),
        sockets: sockets_kept,
        supervisor: Supervisor::new(config.notify),
        heir: Heir::new(&start),
        exit_file: ExitFile::new(start.exit_record.clone()),
        state: Rc::new(Cell::new(State::New)),
        init: None,
        cgroup: Cgroup::default(),
        started_at: 0,
        ended: None,
        exit: None,
        failure: None,
        asked: Asked::default(),
        kills_before: Cell::default(),
        waiting: vec![],
        later: vec![],
        grace: None,
        lifetime: None,
        stuck: None,
        checks: None,
        unhealthy: false,
        interruptions: Rc::default(),
        readiness: start.readiness.clone().map(Readiness::new),
        expectant: vec![],
        backoff: None,
        counted: state_file.get().counted,
        begun: 0,
        grace_ends: 0,
        over: 0,
        down_since: 0,
        ended_by_user: false,
        leaving: false,
        gone: false,
        reported: Rc::default(),
        service: service.clone(),
        start,
        record: config.record,
        runtime,
        reaper,
        state_file,
        inbox,
    };
    failpoint::check(Point::MonBegun)?;
    // Our own pid is on record now, whatever there was.
    failpoint::pass(Point::MonAdoptState);
    monitor.state_file.write();
    if newborn.is_some_and(|parent| !daemon::outlive(parent)) {
        return Ok(());
    }
    monitor.stdio.take_callers(&mut stored);
    if takes_over {
        monitor.adopt(&mut stored, own).await;
    }
    failpoint::check(Point::MonAdopted)?;
    // What is not the container's any more.
    drop(stored);

    let listener =
        serve::listener(Some(config.listener), None, &Connections::with(LIMITS)).context(sockets("mon.sock"))?;
    let mut server = ttrpc::r#async::Server::new()
        .register_service(create_monitor(std::sync::Arc::new(service)))
        .add_listener(listener);
    server.start().await.context(sockets("mon.sock"))?;
    tokio::task::spawn_local(Rc::new(monitor.door()).run(config.raw_listener));
    failpoint::pass(Point::MonServes);
    monitor.supervisor.ready();
    if let Some(pid) = config.supervisor {
        monitor.heir.watch_parent(pid);
    }
    monitor.say_lost_records();
    monitor.watch_directory(deletions);
    monitor.say_if_abandoned();

    let idle = sleep(IDLE);
    tokio::pin!(idle);
    let mut trimmed = false;
    while !monitor.gone {
        tokio::select! {
            Some(request) = requests.recv() => monitor.ask(request),
            Some(message) = messages.recv() => monitor.hear(message),
            () = monitor.execs.changed() => monitor.persist(),
            () = idle.as_mut(), if !trimmed => {
                proto::memory::trim();
                trimmed = true;
                continue;
            }
        }
        trimmed = false;
        idle.as_mut().reset(Instant::now() + IDLE);
    }
    Ok(())
}

fn sockets(name: &str) -> String {
    format!("serving {name}")
}

impl Monitor {
    fn door(&self) -> Door {
        Door::new(
            self.state.clone(),
            self.start.id.as_str().to_owned(),
            self.deposits.clone(),
            self.stdio.clone(),
            self.execs.clone(),
        )
    }

    /// Something has happened.
    fn hear(&mut self, message: Message) {
        match message {
            Message::Happened(event) => self.happen(event),
            Message::Created(Ok(created)) => {
                self.counted = false;
                self.take_init(created);
                self.happen(Event::CreateDone);
            }
            Message::Created(Err(refusal)) => {
                self.counted = false;
                self.fail(refusal, Event::CreateFailed);
            }
            Message::Started(Ok(())) => self.happen(Event::StartDone),
            Message::Started(Err(refusal)) => self.fail(refusal, Event::StartFailed),
            Message::Froze(Ok(())) => self.happen(Event::Frozen),
            Message::Froze(Err(refusal)) => self.fail(refusal, Event::FreezeFailed),
            Message::Ended(status) => {
                let now = proto::time::now();
                self.over = proto::time::uptime();
                self.ended = Some(match status {
                    Some(raw) => proto::exit::from_wait_status(raw, now),
                    None => proto::exit::unknown(now),
                });
                self.happen(Event::Ended);
            }
            Message::Checked(health, next, log) => self.hear_of_health(health, next, log),
            Message::Notified(lines) => self.pass_on(&lines),
            Message::Lost => self.persist(),
            Message::Deleted => self.mend(),
            Message::Gone => self.gone = true,
        }
    }

    fn fail(&mut self, refusal: Refusal, event: Event) {
        self.failure = Some(refusal);
        self.happen(event);
    }

    /// Says one of ours from a task.
    fn send(inbox: &mpsc::UnboundedSender<Message>, message: Message) {
        // The loop has ended: nobody needs to know.
        let _ = inbox.send(message);
    }

    fn timer(&self, after: Duration, event: Event) -> Timer {
        let inbox = self.inbox.clone();
        let at = Instant::now() + after;
        let task = tokio::task::spawn_local(async move {
            sleep(after).await;
            Monitor::send(&inbox, Message::Happened(event));
        });
        Timer { at, task }
    }

    fn say_if_abandoned(&self) {
        if self.state.get() == State::New {
            let inbox = self.inbox.clone();
            tokio::task::spawn_local(async move {
                sleep(ABANDONED).await;
                Monitor::send(&inbox, Message::Happened(Event::Abandoned));
            });
        }
    }

    fn say_lost_records(&self) {
        let (output, inbox) = (self.stdio.output().clone(), self.inbox.clone());
        tokio::task::spawn_local(async move {
            loop {
                output.lost().await;
                Monitor::send(&inbox, Message::Lost);
                sleep(LOST_PAUSE).await;
            }
        });
    }
}
