//! Doing what `state` says.

use std::{rc::Rc, time::Duration};

use proto::{
    Kind, Refusal,
    alive::{self, Process},
    failpoint::{self, Point},
    patience,
    record::Phase,
    time,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{Created, Init, Message, Monitor, Timer};
use crate::{
    readiness::{self, Readiness},
    record,
    runtime::{self, Runtime},
    service::Request,
    state::{self, Act, Answer, Event, State, When},
    stdio::{Stdio, console::Console},
};

/// How long a killed process may take to end before whoever waits is told that it does not.
const STUCK: Duration = Duration::from_secs(10);
/// How long a failure can be heard before the monitor leaves.
const FAILURE: Duration = Duration::from_secs(2);
/// How long commands may take to end after the container.
const LAST_EXECS: Duration = Duration::from_secs(2);
/// How long answers may take to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often it is looked whether a start that has failed has been done by somebody else.
const START_LOOKS: u32 = 5;
const START_LOOK: Duration = Duration::from_millis(20);
/// exit.json is tried again so often when the disk refuses it.
const WRITE_TRIES: u32 = 3;
const WRITE_PAUSE: Duration = Duration::from_millis(200);

impl Monitor {
    /// An event that nobody asked for.
    pub(super) fn happen(&mut self, event: Event) {
        let event = self.seen(event);
        let step = state::step(self.state.get(), event);
        self.enter(step.state);
        self.perform(step.acts);
        self.ask_again();
    }

    /// A request that changes the container's life.
    pub(super) fn ask_for(&mut self, event: Event, request: Request) {
        let step = state::step(self.state.get(), event);
        self.enter(step.state);
        self.perform(step.acts);
        match step.answer {
            Answer::Now | Answer::None => self.succeed(request),
            Answer::Later => self.later.push(request),
            Answer::When(when) => {
                // Who has gone does not wait.
                self.waiting.retain(|(_, request)| !request.is_closed());
                self.waiting.push((when, request));
            }
            Answer::Refused(why) => request.refuse(self.why(why)),
        }
        self.ask_again();
    }

    /// What had to wait for a state to pass is asked anew.
    fn ask_again(&mut self) {
        if !self.later.is_empty() && !self.is_passing() {
            for request in std::mem::take(&mut self.later) {
                self.ask(request);
            }
        }
    }

    /// Whether something is under way that requests wait for.
    pub(super) fn is_passing(&self) -> bool {
        let passing =
            [State::Creating, State::Starting, State::StartingEnded, State::Pausing, State::Thawing, State::Failing];
        passing.contains(&self.state.get())
    }

    fn enter(&mut self, next: State) {
        if self.state.replace(next) != next {
            self.interruptions.set(self.interruptions.get() + u32::from(next != State::Running));
            self.supervisor.status(next.word());
            if next == State::Clearing {
                self.down_since = time::uptime();
            }
        }
    }

    fn perform(&mut self, acts: &[Act]) {
        for act in acts {
            match act {
                Act::RunCreate => self.run_create(),
                Act::CancelCreate => self.runtime.cancel(),
                Act::RunStart => self.run_start(),
                Act::RunAgain => self.run_again(),
                Act::ArmBackoff => self.arm_backoff(),
                Act::Unwrite => self.exit_file.take_placeholder_back(),
                Act::Signal => self.signal(self.asked.signal, self.asked.all),
                Act::SignalKill => self.signal(libc::SIGKILL, false),
                Act::ArmGrace => self.arm_grace(),
                Act::ArmStuck => self.stuck = Some(self.timer(patience::at_most(STUCK), Event::Stuck)),
                Act::ArmLifetime => self.arm_lifetime(),
                Act::BeginChecks => self.begin_checks(),
                Act::Announce => self.announce(),
                Act::Freeze => self.freeze(),
                Act::Thaw => self.thaw(),
                Act::Drain => self.drain(),
                Act::WriteExit => self.write_exit(),
                Act::Release => self.reaper.release(),
                Act::Persist => self.persist(),
                Act::PersistAgain if self.again() => self.persist(),
                Act::PersistAgain => {}
                Act::Delete => self.delete(),
                Act::Tell(when) => self.tell(*when),
                Act::TellFailure(when) => self.tell_failure(*when),
                Act::LeaveSoon => {
                    let inbox = self.inbox.clone();
                    tokio::task::spawn_local(async move {
                        sleep(FAILURE).await;
                        Monitor::send(&inbox, Message::Happened(Event::Abandoned));
                    });
                }
                Act::Leave => self.leave(),
            }
        }
    }

    pub(super) fn run_create(&mut self) {
        if let Err(refusal) = self.listen_to_container(None) {
            return Monitor::send(&self.inbox, Message::Created(Err(refusal)));
        }
        let (inbox, runtime, stdio) = (self.inbox.clone(), self.runtime.clone(), self.stdio.clone());
        let (reaper, start) = (self.reaper.clone(), self.start.clone());
        let rerun = self.state_file.get().restart_count > 0;
        tokio::task::spawn_local(async move {
            let created = async {
                let expecting = reaper.expect();
                let pid_file = start.state_record.with_file_name("pid");
                if start.runtime_root.join(start.id.as_str()).exists() {
                    // A monitor that was killed while it created has left it.
                    runtime.delete().await;
                }
                failpoint::refuse(Point::MonCreate)?;
                if rerun {
                    // The runtime has removed the cgroup that the shim made.
                    crate::cgroup::limit(&start.limits);
                }
                let master = create(&runtime, &stdio, &start, &pid_file).await?;
                failpoint::refuse(Point::MonCreated)?;
                let pid = runtime::read_pid(&pid_file).map_err(|error| Refusal::internal(runtime.name(), error))?;
                let ended = reaper.hold(pid);
                drop(expecting);
                // Held: whether it lives or is a zombie, the pid is its.
                let process = Process::of(pid).unwrap_or_else(|| Process { pid, ..Process::default() });
                let pidfd = alive::pidfd_open(pid).ok();
                failpoint::refuse(Point::MonHeld)?;
                crate::record::write_pidfiles(&start, pid)?;
                stdio.begin(master).map_err(|error| Refusal::internal("terminal", error))?;
                failpoint::refuse(Point::MonPumps)?;
                Ok(Created { init: Init { process, pidfd }, ended })
            };
            let created = created.await;
            Monitor::send(&inbox, Message::Created(created));
        });
    }

    /// The runtime has made the container: from here on we know its first process.
    pub(super) fn take_init(&mut self, created: Created) {
        let Created { init, ended } = created;
        self.cgroup = crate::cgroup::Cgroup::of(init.process.pid, &self.start.cgroup);
        self.watch_child(ended);
        self.init = Some(init);
        failpoint::pass(Point::MonInit);
        self.store_fds();
    }

    /// Waits for the end of the first process, which is our child.
    pub(super) fn watch_child(&self, ended: oneshot::Receiver<i32>) {
        let inbox = self.inbox.clone();
        tokio::task::spawn_local(async move {
            // The reaper has gone: then we have, too.
            if let Ok(status) = ended.await {
                Monitor::send(&inbox, Message::Ended(Some(status)));
            }
        });
    }

    /// Gives the supervisor what a successor needs.
    pub(super) fn store_fds(&self) {
        use std::os::fd::AsFd;
        self.stdio.keep(|name, fd| self.supervisor.store(name, fd));
        if let Some(pidfd) = self.init.as_ref().and_then(|init| init.pidfd.as_ref()) {
            self.supervisor.store("pidfd", pidfd.as_fd());
        }
        if let Some(socket) = self.readiness.as_ref().and_then(Readiness::kept) {
            self.supervisor.store(readiness::SOCKET, socket);
        }
    }

    fn run_start(&mut self) {
        (self.started_at, self.begun) = (time::now(), time::uptime());
        failpoint::pass(Point::MonStart);
        // A reboot from here on leaves a container that has run and whose end nobody knows.
        let init = self.init.as_ref().map(|init| init.process.clone());
        self.exit_file.put_placeholder(self.started_at, init);
        let (inbox, runtime) = (self.inbox.clone(), self.runtime.clone());
        tokio::task::spawn_local(async move {
            failpoint::pass(Point::MonPlaceholder);
            let mut started = runtime.start().await;
            // The call of a monitor that was killed over it may be first, and not be over yet.
            let mut looks = START_LOOKS;
            while looks > 0 && matches!(&started, Err(refusal) if refusal.kind == Kind::Internal) {
                if runtime.has_started().await == Some(true) {
                    started = Ok(());
                } else {
                    sleep(START_LOOK).await;
                    looks -= 1;
                }
            }
            let started = started.and_then(|()| failpoint::refuse(Point::MonStarted));
            Monitor::send(&inbox, Message::Started(started));
        });
    }

    /// Sends a signal to the first process, or to all. That it has gone is no error: its end is on the way.
    fn signal(&self, signal: i32, all: bool) {
        if signal == libc::SIGKILL && self.kills_before.get().is_none() {
            self.kills_before.set(Some(self.cgroup.oom_kills()));
        }
        if let Some(pidfd) = self.init.as_ref().and_then(|init| init.pidfd.as_ref()) {
            let _ = alive::pidfd_signal(pidfd, signal);
        }
        if all {
            let first = self.init.as_ref().map_or(0, |init| init.process.pid);
            let fds: Vec<_> = self
                .cgroup
                .processes()
                .into_iter()
                .filter(|pid| *pid != first)
                .filter_map(|pid| Some((pid, alive::pidfd_open(pid).ok()?)))
                .collect();
            // A pid that was given to somebody else before its pidfd was opened is not in the cgroup now.
            let still = self.cgroup.processes();
            for (_, pidfd) in fds.iter().filter(|(pid, _)| still.contains(pid)) {
                let _ = alive::pidfd_signal(pidfd, signal);
            }
        }
        // In a freezer it would wait, whoever has put it there.
        if signal == libc::SIGKILL && self.cgroup.is_to_stand() {
            let _ = self.cgroup.thaw();
        }
    }

    /// Counts the grace of a stop; a later stop can only shorten it.
    pub(super) fn arm_grace(&mut self) {
        let at = self.asked.grace.and_then(|grace| Some((grace, Instant::now().checked_add(grace)?)));
        let Some((grace, at)) = at else {
            if self.grace.is_none() {
                self.grace_ends = i64::MAX;
            }
            return;
        };
        if self.grace.as_ref().is_none_or(|timer: &Timer| at < timer.at) {
            self.grace_ends = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX).saturating_add(time::uptime());
            self.grace = Some(self.timer(grace, Event::GraceOver));
        }
    }

    pub(super) fn arm_lifetime(&mut self) {
        if self.start.timeout_seconds > 0 {
            let whole = i64::from(self.start.timeout_seconds) * 1_000_000_000;
            let left = whole - (time::uptime() - self.begun).clamp(0, whole);
            let left = Duration::from_nanos(left.unsigned_abs());
            self.lifetime = Some(self.timer(left, Event::LifetimeOver));
        }
    }

    fn freeze(&self) {
        let (inbox, cgroup) = (self.inbox.clone(), self.cgroup.clone());
        tokio::task::spawn_local(async move {
            let frozen = cgroup.freeze().await;
            failpoint::pass(Point::MonFroze);
            Monitor::send(&inbox, Message::Froze(frozen));
        });
    }

    fn thaw(&mut self) {
        let event = match self.cgroup.thaw() {
            Ok(()) => {
                failpoint::pass(Point::MonThawed);
                Event::Thawed
            }
            Err(refusal) => {
                self.failure = Some(refusal);
                Event::ThawFailed
            }
        };
        Monitor::send(&self.inbox, Message::Happened(event));
    }

    fn drain(&mut self) {
        (self.grace, self.lifetime, self.stuck, self.checks) = (None, None, None, None);
        self.grace_ends = 0;
        let (inbox, stdio) = (self.inbox.clone(), self.stdio.clone());
        tokio::task::spawn_local(async move {
            failpoint::pass(Point::MonDrain);
            stdio.drain().await;
            failpoint::pass(Point::MonDrained);
            Monitor::send(&inbox, Message::Happened(Event::Drained));
        });
    }

    /// Writes exit.json, on a thread of its own: the disk may take its time, and clients are still being served.
    pub(super) fn write_exit(&mut self) {
        let mut status = self.ended.unwrap_or_else(|| proto::exit::unknown(time::now()));
        // Read while the cgroup is still there. A killed child is no end of the container, and what we have killed has not
        // died of want, whatever was killed before.
        let kills = self.cgroup.oom_kills();
        // Between two runs it is not, and what was seen before holds.
        let before = self.kills_before.get().unwrap_or(0);
        status.oom_killed |= kills > before && status.signal == libc::SIGKILL.unsigned_abs();
        self.ended = Some(status);
        self.state_file.update(|state| state.oom_kills = kills.max(state.oom_kills));
        let run = record::Run {
            started_at: self.started_at,
            restarts: self.state_file.get().restart_count,
            stopped_by_user: self.is_ended_by_user(),
        };
        let (inbox, path) = (self.inbox.clone(), self.exit_file.path());
        let events = record::Events::new(&self.start);
        if self.start.health.is_some() {
            record::keep_health(&self.health_record(), &path);
        }
        let mut exit = record::exit_record(status, run);
        exit.log_dropped = self.stdio.lost_records();
        tokio::task::spawn_local(async move {
            for attempt in 0..WRITE_TRIES {
                if attempt > 0 {
                    sleep(WRITE_PAUSE).await;
                }
                let (path, exit) = (path.clone(), exit.clone());
                let written = tokio::task::spawn_blocking(move || record::write_exit(&path, &exit)).await;
                if matches!(written, Ok(Ok(()))) {
                    break;
                }
            }
            failpoint::pass(Point::MonWritten);
            if status.oom_killed {
                events.tell("oom", None);
            }
            events.tell("died", Some(status.code));
            // Where the disk refuses it, those who wait still get it from us.
            Monitor::send(&inbox, Message::Happened(Event::Written));
        });
    }

    /// Writes state.json as things are.
    pub(super) fn persist(&self) {
        let state = self.state.get();
        let between = || self.state_file.get().restart_count > 0;
        let phase = match state {
            State::Clearing | State::BackingOff => Phase::Backoff,
            State::Draining if self.again() => Phase::Backoff,
            State::Creating | State::Starting | State::StartingEnded if between() => Phase::Backoff,
            State::New | State::Creating | State::Created | State::Starting | State::StartingEnded => Phase::Created,
            State::Running | State::Pausing => Phase::Running,
            State::Paused | State::Thawing => Phase::Paused,
            // Its exit is not on disk yet.
            State::Stopping | State::Draining => Phase::Stopping,
            State::Recorded | State::Failing | State::Failed | State::GivingUp | State::Leaving => Phase::Exited,
        };
        // Between two runs the process that is known is that of the run before.
        let gone = phase == Phase::Exited || matches!(state, State::Clearing | State::BackingOff | State::Creating);
        let init = self.init.as_ref().filter(|_| !gone).map(|init| init.process.clone());
        let (execs, lost, counted) = (self.execs.running(), self.stdio.lost_records(), self.counted);
        let grace_ends = if state == State::Stopping { self.grace_ends } else { 0 };
        self.state_file.update(|state| {
            state.counted = counted;
            state.phase = phase;
            state.init = init;
            // Begun is only what the runtime says has begun.
            (state.started_at, state.begun) =
                if phase == Phase::Created { (0, 0) } else { (self.started_at, self.begun) };
            state.grace_ends = grace_ends;
            state.execs = execs;
            state.log_dropped = lost;
        });
    }

    pub(super) fn delete(&self) {
        let (inbox, runtime) = (self.inbox.clone(), self.runtime.clone());
        tokio::task::spawn_local(async move {
            runtime.delete().await;
            failpoint::pass(Point::MonDeleted);
            Monitor::send(&inbox, Message::Happened(Event::Deleted));
        });
    }

    fn tell(&mut self, when: When) {
        if when == When::Ended {
            self.never_ready();
            self.exit = self.ended;
            if let Some(exit) = &self.exit {
                self.stdio.clients().say_end(exit);
            }
        }
        let (told, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(other, _)| *other == when);
        self.waiting = waiting;
        for (_, request) in told {
            self.succeed(request);
        }
    }

    fn tell_failure(&mut self, when: When) {
        if when == When::Ended && self.state.get() == State::Stopping {
            self.failure = Some(self.stuck_words());
        }
        let (told, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition::<Vec<_>, _>(|(other, _)| *other == when);
        self.waiting = waiting;
        if told.is_empty() {
            return;
        }
        let over = || self.why(state::Why::Over);
        let refusal = self.failure.clone().unwrap_or_else(over);
        for (_, request) in told {
            request.refuse(refusal.clone());
        }
    }

    /// Why a killed process has not ended.
    fn stuck_words(&self) -> Refusal {
        let pid = self.init.as_ref().map_or(0, |init| init.process.pid);
        let (seconds, who) = (patience::at_most(STUCK).as_secs(), patience::who(&[pid]));
        let words = format!("container {} was killed {seconds} s ago and has not ended: {who}", self.start.id);
        Refusal::new(Kind::TimedOut, words).about(self.start.id.as_str())
    }

    /// Ends the monitor when everybody has heard what there is to hear; asked a second time, at once.
    fn leave(&mut self) {
        if std::mem::replace(&mut self.leaving, true) {
            self.gone = true;
            return;
        }
        let (inbox, stdio, execs) = (self.inbox.clone(), self.stdio.clone(), self.execs.clone());
        let (service, exit) = (self.service.clone(), self.exit);
        tokio::task::spawn_local(async move {
            if let Some(exit) = exit {
                stdio.clients().end(&exit).await;
            }
            let settled = async {
                while !execs.running().is_empty() {
                    execs.changed().await;
                }
            };
            // Past the deadline their codes are nobody's.
            let _ = timeout(LAST_EXECS, settled).await;
            // A code that nobody has asked for yet: its client has only just heard that the command has begun.
            let answered = async {
                while service.busy() > 0 || execs.is_unheard(LAST_ANSWERS) {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let _ = timeout(LAST_ANSWERS, answered).await;
            // Answers are on their way through ttrpc's tasks to the sockets.
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            failpoint::pass(Point::MonGone);
            Monitor::send(&inbox, Message::Gone);
        });
    }
}

/// Runs the runtime's create; answers the terminal it has made, where there is one.
async fn create(
    runtime: &Runtime,
    stdio: &Rc<Stdio>,
    start: &proto::record::StartRecord,
    pid_file: &std::path::Path,
) -> proto::refusal::Result<Option<std::os::fd::OwnedFd>> {
    const SOCKET: &str = "console.sock";
    let ends = stdio.prepare(start)?;
    // A stale one would be read instead of what the runtime fails to write.
    let _ = std::fs::remove_file(pid_file);
    if !start.tty {
        runtime.create(ends, pid_file, None).await?;
        return Ok(None);
    }
    let console = Console::bind(&start.bundle, SOCKET).map_err(|error| Refusal::internal("console socket", error))?;
    Ok(Some(console.during(runtime.create(ends, pid_file, Some(SOCKET))).await?))
}
