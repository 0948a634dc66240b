//! Keeping the monitors of a pod alive.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::{self, Process},
    exit,
    failpoint::{self, Point},
    layout::sockets,
    patience,
    record::{self, Durability, ExitRecord, MonitorState, Phase, StartRecord},
    refusal::Result,
    serve, socket,
    wire::{self, MonitorClient},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    notify::{Message, NotifySocket},
    orphan,
    reap::{Change, Reaper},
};
use crate::{config::Engine, programs, sys};

/// A container's monitor has ended for good: its exit is on disk, or there never was anything to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended(pub Id);

/// A running monitor.
pub struct Monitor {
    container: Id,
    ended: watch::Receiver<bool>,
    run_dir: PathBuf,
    client: Mutex<Option<MonitorClient>>,
}

/// Supervises the monitors of one pod. Cloned handles share it.
#[derive(Clone)]
pub struct Supervisor(Arc<Shared>);

struct Shared {
    engine: Engine,
    pod: Id,
    entries: Mutex<HashMap<Id, Entry>>,
    ended: mpsc::UnboundedSender<Ended>,
    /// Whether [`Supervisor::look_at_strangers`] is at work.
    looks: AtomicBool,
}

struct Entry {
    monitor: Arc<Monitor>,
    process: Process,
    ended: watch::Sender<bool>,
    store: HashMap<String, OwnedFd>,
    /// It has said that it serves.
    served: bool,
    /// Monitors in a row that have not come to serve, or could not even be started.
    failures: u32,
    /// When the last successor was.
    since: Option<std::time::Instant>,
    /// When its monitor was last stopped by a signal.
    stopped: Option<std::time::Instant>,
    /// It was killed because it did not end: nobody takes over.
    given_up: bool,
    /// Its monitor is no child of ours: nobody tells us that it was stopped.
    stranger: bool,
}

/// How many monitors in a row may fail to serve before a container that has ended gets an exit without one.
const MAX_FAILURES: u32 = 4;
/// Pause before a second successor in a row, doubled up to [`LONGEST`] for each that has not come to serve.
const BACK_OFF: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// Pause between two looks for a successor.
const MOMENT: Duration = Duration::from_millis(20);
/// A monitor that lived this long has nothing to do with the one before.
const PEACE: Duration = Duration::from_secs(10);
/// How long a killed monitor may take to end. Only the kernel (a file system that hangs) takes longer.
const KILLED: Duration = Duration::from_secs(5);
/// Deadline of calls that a monitor answers at once.
const PROMPT: Duration = Duration::from_secs(10);
/// How often it is looked whether a signal has stopped a monitor that is no child of ours. Twice within [`PEACE`].
const STRANGERS: Duration = Duration::from_secs(4);

impl Supervisor {
    /// Begins to supervise; [`Ended`] is sent to `ended`. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When the notify socket cannot be bound.
    pub fn new(engine: &Engine, pod: &Id, ended: mpsc::UnboundedSender<Ended>) -> io::Result<Supervisor> {
        let socket = NotifySocket::bind(&engine.roots.run_pod(pod))?;
        let mut reaper = Reaper::new()?;
        let supervisor = Supervisor(Arc::new(Shared {
            engine: engine.clone(),
            pod: pod.clone(),
            entries: Mutex::default(),
            ended,
            looks: AtomicBool::new(false),
        }));
        let listener = supervisor.clone();
        tokio::spawn(async move {
            while let Ok(message) = socket.receive().await {
                listener.notified(message);
            }
        });
        let witness = supervisor.clone();
        tokio::spawn(async move {
            loop {
                for change in reaper.changes().await {
                    match change {
                        Change::Ended(pid, status) => witness.witnessed(pid, status),
                        Change::Stopped(pid) => witness.stopped(pid),
                    }
                }
            }
        });
        Ok(supervisor)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Id, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roots(&self) -> &Roots {
        &self.0.engine.roots
    }

    /// The monitor of `container`, when there is one.
    pub fn get(&self, container: &Id) -> Option<Arc<Monitor>> {
        self.entries().get(container).map(|entry| entry.monitor.clone())
    }

    /// How many monitors there are.
    pub fn count(&self) -> usize {
        self.entries().len()
    }

    /// Starts a monitor for `container`, whose start record is written: its first, or one that takes over what a monitor
    /// left that died while there was no shim.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(&self, container: &Id) -> Result<Arc<Monitor>> {
        self.start_with(container, Vec::new())
    }

    /// As [`start`](Self::start); `fds` are for the first monitor only, under these names.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(&self, container: &Id, fds: Vec<(String, OwnedFd)>) -> Result<Arc<Monitor>> {
        let process = self.spawn(container, fds)?;
        Ok(self.register(container, process, HashMap::new()))
    }

    /// As [`start`](Self::start), for what an earlier monitor has left: where that fails it is tried again and again.
    pub fn take_over(&self, container: &Id) {
        if let Err(refusal) = self.start(container) {
            tracing::error!("{refusal}");
            // Nobody has this pid: it is as if the monitor had just died.
            self.register(container, Process::default(), HashMap::new());
        }
    }

    /// Takes over a monitor that an earlier shim started; it stores its descriptors with us again, which the task waits for.
    pub fn adopt(&self, container: &Id, process: Process) -> JoinHandle<()> {
        let monitor = self.register(container, process, HashMap::new());
        if let Some(entry) = self.entries().get_mut(container) {
            entry.served = true;
        }
        tokio::spawn(async move {
            // A monitor that cannot answer now is noticed when it dies; its descriptors are then lost, and with them what is
            // in flight, and how the container ends where that happens right then.
            let _ = introduce(&monitor).await;
        })
    }

    /// Waits for the end of a monitor whose container has ended. One that has not gone after `limit` is killed, and no
    /// other takes over.
    ///
    /// # Errors
    /// When not even that ends it, naming it. It does end once the kernel lets it.
    pub async fn end(&self, monitor: &Monitor, limit: Duration) -> Result<()> {
        if timeout(patience::at_most(limit), monitor.ended()).await.is_ok() {
            return Ok(());
        }
        let process = {
            let mut entries = self.entries();
            let entry = entries.get_mut(monitor.container());
            let Some(entry) = entry.filter(|entry| std::ptr::eq(&*entry.monitor, monitor)) else { return Ok(()) };
            entry.given_up = true;
            entry.process.clone()
        };
        if let Ok(pidfd) = process.pidfd() {
            // It has ended meanwhile: fine.
            let _ = alive::pidfd_signal(&pidfd, libc::SIGKILL);
        }
        if timeout(patience::at_most(KILLED), monitor.ended()).await.is_ok() {
            return Ok(());
        }
        let (container, who) = (monitor.container(), patience::who(&[process.pid]));
        Err(Refusal::new(Kind::TimedOut, format!("the monitor of container {container} does not end: {who}"))
            .about(container.as_str()))
    }

    /// The monitors as processes.
    pub fn processes(&self) -> Vec<(Id, Process)> {
        self.entries().iter().map(|(id, entry)| (id.clone(), entry.process.clone())).collect()
    }

    /// Has the monitor of `container` become `program`, and says to it who we are.
    ///
    /// # Errors
    /// When it says no, or does not serve again.
    pub async fn upgrade(&self, container: &Id, process: &Process, program: &Path) -> Result<()> {
        let Some(monitor) = self.get(container) else { return Ok(()) };
        let name = program.to_str().unwrap_or_default().to_owned();
        let answer = monitor.client()?.upgrade(serve::deadline(PROMPT), &wire::UpgradeMonitor { program: name }).await;
        if let Err(ttrpc::Error::RpcStatus(_)) = answer {
            return answer.map(drop).map_err(Refusal::from);
        }
        // The connection has ended with the program that had it; the next one waits until the new program serves.
        monitor.forget_client();
        introduce(&monitor).await?;
        if programs::is_current(process.pid, program) {
            return Ok(());
        }
        Err(Refusal::internal(format_args!("the monitor of container {container}"), "it was replaced, not upgraded"))
    }

    fn register(&self, container: &Id, process: Process, store: HashMap<String, OwnedFd>) -> Arc<Monitor> {
        let (ended, watcher) = watch::channel(false);
        let monitor = Arc::new(Monitor {
            container: container.clone(),
            ended: watcher,
            run_dir: self.roots().run_container(&self.0.pod, container),
            client: Mutex::default(),
        });
        let entry = Entry {
            monitor: monitor.clone(),
            process: process.clone(),
            ended,
            store,
            served: false,
            failures: 0,
            since: None,
            stopped: None,
            given_up: false,
            stranger: alive::parent(process.pid) != Some(std::process::id()),
        };
        let stranger = entry.stranger;
        self.entries().insert(container.clone(), entry);
        self.watch(container, &process);
        if stranger {
            self.look_at_strangers();
        }
        monitor
    }

    /// Waits for the end of `process`, a monitor, in a task of its own.
    fn watch(&self, container: &Id, process: &Process) {
        let (this, container, process) = (self.clone(), container.clone(), process.clone());
        tokio::spawn(async move {
            if let Ok(pidfd) = process.pidfd().and_then(sys::fd::watch) {
                // The only event of a pidfd is the end of its process (pidfd_open(2)).
                let _ = pidfd.readable().await;
            }
            this.gone(&container).await;
        });
    }

    /// A monitor is gone: it has done its work, or it gets a successor.
    async fn gone(&self, container: &Id) {
        while !self.has_finished(container) {
            let Some((failures, wait)) = self.count_failure(container) else { return };
            tokio::time::sleep(wait).await;
            // While its process lives somebody must hold what it says, however long that takes.
            if self.is_given_up(container) || (failures > MAX_FAILURES && !self.runs(container)) {
                self.give_up(container);
                break;
            }
            match self.replace(container) {
                Ok(()) => return,
                Err(refusal) => tracing::error!("container {container}: no new monitor: {refusal}"),
            }
        }
        if self.is_given_up(container) {
            // It may have been the runtime that it did not come back from.
            orphan::end(&self.roots().runtime(), container);
        }
        self.end_runtime(container);
        if let Some(entry) = self.entries().remove(container) {
            // Whoever waits may have gone.
            let _ = entry.ended.send(true);
        }
        // The pod's driver lives as long as the pod.
        let _ = self.0.ended.send(Ended(container.clone()));
    }

    /// Its monitor was killed because it did not end.
    fn is_given_up(&self, container: &Id) -> bool {
        self.entries().get(container).is_some_and(|entry| entry.given_up)
    }

    /// How many monitors of `container` in a row have not come to serve, and how long to wait before the next; `None` where
    /// there is none to be replaced.
    fn count_failure(&self, container: &Id) -> Option<(u32, Duration)> {
        let mut entries = self.entries();
        let entry = entries.get_mut(container)?;
        let last = entry.since.replace(std::time::Instant::now());
        let peace = last.is_none_or(|last| last.elapsed() > PEACE);
        let wait = match entry.failures {
            0 if peace => Duration::ZERO,
            failures => (BACK_OFF * 2_u32.saturating_pow(failures)).min(LONGEST),
        };
        entry.failures = entry.failures.saturating_add(1);
        Some((entry.failures, wait))
    }

    /// Starts a successor with what the store holds.
    fn replace(&self, container: &Id) -> Result<()> {
        let fds: Vec<(String, OwnedFd)> = {
            let entries = self.entries();
            let Some(entry) = entries.get(container) else { return Ok(()) };
            entry
                .store
                .iter()
                .map(|(name, fd)| Ok((name.clone(), fd.try_clone()?)))
                .collect::<io::Result<_>>()
                .map_err(|error| Refusal::internal("stored descriptors", error))?
        };
        let process = self.spawn(container, fds)?;
        if let Some(entry) = self.entries().get_mut(container) {
            failpoint::pass(Point::MonitorReplaced);
            entry.process = process.clone();
            entry.stranger = false;
            entry.monitor.forget_client();
        }
        tracing::warn!("container {container}: its monitor died; process {} took over", process.pid);
        self.watch(container, &process);
        Ok(())
    }

    /// What the monitors of `container` have left.
    fn state(&self, container: &Id) -> Option<MonitorState> {
        let state = record::read::<MonitorState>(&self.roots().container_state(&self.0.pod, container));
        let exit = || record::read::<ExitRecord>(&self.roots().exit_record(&self.0.pod, container)).ok();
        state.ok().or_else(|| MonitorState::outlived(&exit()?))
    }

    /// Whether the first process of `container` lives.
    fn runs(&self, container: &Id) -> bool {
        self.state(container).and_then(|state| state.init).is_some_and(|init| init.is_alive())
    }

    /// Whether nothing is left to monitor: the exit of the last run is on disk, or nothing ever ran.
    pub fn has_finished(&self, container: &Id) -> bool {
        let Some(state) = self.state(container) else { return true };
        match state.phase {
            Phase::Exited => true,
            // A monitor that ended before the runtime had made anything leaves nothing to take over.
            Phase::Created => state.init.is_none_or(|init| !init.exists() && !self.has_begun(container, &init)),
            Phase::Running | Phase::Paused | Phase::Stopping | Phase::Backoff => false,
        }
    }

    /// Whether the run of this first process had begun, though its monitor was killed before it wrote that.
    fn has_begun(&self, container: &Id, init: &Process) -> bool {
        let exit = record::read::<ExitRecord>(&self.roots().exit_record(&self.0.pod, container));
        exit.is_ok_and(|exit| exit.status.finished_at == 0 && exit.init.as_ref() == Some(init))
    }

    /// A monitor that was killed while the runtime made the container leaves the runtime at it.
    pub fn end_runtime(&self, container: &Id) {
        let state = record::read::<MonitorState>(&self.roots().container_state(&self.0.pod, container));
        if state.is_ok_and(|state| state.phase == Phase::Created) {
            orphan::end(&self.roots().runtime(), container);
        }
    }

    /// Records an exit that nobody else can tell any more, so that the container is over for everyone.
    fn give_up(&self, container: &Id) {
        let path = self.roots().exit_record(&self.0.pod, container);
        let known = record::read::<ExitRecord>(&path).ok().filter(|exit| exit.status.finished_at != 0);
        if known.is_none() {
            let start = record::read::<StartRecord>(&self.roots().start_record(&self.0.pod, container)).ok();
            let init = self.state(container).and_then(|state| state.init);
            let start = start.filter(|start| init.is_some_and(|init| init.pid == start.witnessed_pid));
            let seen = start.and_then(|start| start.witnessed_exit);
            let now = proto::time::now();
            let exit = ExitRecord {
                schema: record::SCHEMA,
                status: seen.map_or_else(|| exit::unknown(now), |seen| exit::from_wait_status(seen, now)),
                started_at: 0,
                restart_count: 0,
                error: "its monitor could not be replaced".to_owned(),
                log_dropped: 0,
                stopped_by_user: false,
                init: None,
            };
            if let Err(error) = record::write(&path, &exit, Durability::Durable) {
                tracing::error!("container {container}: exit record: {error}");
            }
        }
    }

    /// Executes podmon with its two sockets and `stored` descriptors.
    fn spawn(&self, container: &Id, stored: Vec<(String, OwnedFd)>) -> Result<Process> {
        let run_dir = self.roots().run_container(&self.0.pod, container);
        let prepare = || -> io::Result<Process> {
            let stream: OwnedFd = socket::listen_stream(&run_dir, sockets::MONITOR)?.into();
            let raw = socket::listen_seqpacket(&run_dir, sockets::MONITOR_RAW)?;
            failpoint::check(Point::MonitorSockets)?;
            let mut names = vec![sockets::MONITOR.to_owned(), sockets::MONITOR_RAW.to_owned()];
            let mut fds = vec![stream.as_fd(), raw.as_fd()];
            for (name, fd) in &stored {
                names.push(name.clone());
                fds.push(fd.as_fd());
            }
            let mut command = Command::new(self.0.engine.program("podmon")?);
            command
                .arg(container.as_str())
                .arg("--start-record")
                .arg(self.roots().start_record(&self.0.pod, container))
                .current_dir(&run_dir)
                .envs(self.0.engine.environment())
                .envs([proto::memory::NO_CACHES])
                .env("LISTEN_FDS", fds.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"))
                .env("PODCTL_SUPERVISOR", std::process::id().to_string())
                .env("NOTIFY_SOCKET", self.roots().run_pod(&self.0.pod).join(sockets::NOTIFY));
            let pid = sys::spawn::session(&command, &fds)?;
            failpoint::pass(Point::MonitorSpawned);
            Process::of(pid).ok_or_else(|| io::Error::other("it ended at once"))
        };
        prepare().map_err(|error| Refusal::internal(format!("starting the monitor of container {container}"), error))
    }

    /// A monitor's sd_notify message.
    fn notified(&self, message: Message) {
        let mut entries = self.entries();
        // The kernel vouches for the pid; a stranger's message changes nothing.
        let Some(entry) = entries.values_mut().find(|entry| entry.process.pid == message.pid) else { return };
        if message.ready {
            entry.failures = 0;
            if std::mem::replace(&mut entry.served, true) {
                // It has become another program; what was connected to the one before is no connection any more.
                entry.monitor.forget_client();
            }
        }
        if let Some(name) = message.remove {
            entry.store.remove(&name);
        } else if let (Some(name), Some(fd)) = (message.store, message.fds.into_iter().next()) {
            entry.store.insert(name, fd);
        }
    }

    /// Looks now and then whether a signal has stopped a monitor that an earlier shim has started, as long as there is one:
    /// the kernel tells its parent alone, and a process cannot become another one's child.
    fn look_at_strangers(&self) {
        if self.0.looks.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(STRANGERS).await;
                let strangers: Vec<u32> = {
                    let entries = this.entries();
                    let strangers = entries.values().filter(|entry| entry.stranger);
                    let pids: Vec<u32> = strangers.map(|entry| entry.process.pid).collect();
                    if pids.is_empty() {
                        this.0.looks.store(false, Ordering::Relaxed);
                        return;
                    }
                    pids
                };
                for pid in strangers.into_iter().filter(|pid| alive::state(*pid) == Some('T')) {
                    this.stopped(pid);
                }
            }
        });
    }

    /// A monitor was stopped. Nobody stops a monitor who knows what he does: it goes on, and where that does not last, it
    /// gets a successor, as if it had died.
    fn stopped(&self, pid: u32) {
        let mut entries = self.entries();
        let Some((container, entry)) = entries.iter_mut().find(|(_, entry)| entry.process.pid == pid) else { return };
        let again = entry.stopped.replace(std::time::Instant::now()).is_some_and(|last| last.elapsed() < PEACE);
        let signal = if again { libc::SIGKILL } else { libc::SIGCONT };
        tracing::warn!("container {container}: its monitor (pid {pid}) was stopped by a signal");
        if let Ok(pidfd) = entry.process.pidfd() {
            // It has ended meanwhile: fine.
            let _ = alive::pidfd_signal(&pidfd, signal);
        }
    }

    /// A child that was orphaned to us has ended. Where it is a container's first process, its monitor must know.
    fn witnessed(&self, pid: u32, wait_status: i32) {
        let containers: Vec<Id> = self.entries().keys().cloned().collect();
        for container in containers {
            let path = self.roots().container_state(&self.0.pod, &container);
            let Ok(state) = record::read::<MonitorState>(&path) else { continue };
            if state.init.is_none_or(|init| init.pid != pid) {
                continue;
            }
            let start = self.roots().start_record(&self.0.pod, &container);
            // Written for a monitor that is yet to come, told to the one that is there.
            if let Ok(mut record) = record::read::<StartRecord>(&start) {
                record.witnessed_exit = Some(wait_status);
                record.witnessed_pid = pid;
                if let Err(error) = record::write(&start, &record, Durability::Volatile) {
                    tracing::error!("container {container}: start record: {error}");
                }
            }
            if let Some(monitor) = self.get(&container) {
                tokio::spawn(async move {
                    if let Ok(client) = monitor.client() {
                        let exit = wire::WitnessedExit { pid, wait_status };
                        // A monitor that dies now has a successor, which reads the start record.
                        let _ = client.report_exit(serve::deadline(PROMPT), &exit).await;
                    }
                });
            }
            return;
        }
    }
}

impl Monitor {
    /// The container.
    pub fn container(&self) -> &Id {
        &self.container
    }

    /// A client of its ttrpc socket. Connections wait in the backlog until the monitor serves.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn client(&self) -> Result<MonitorClient> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let new = socket::connect_stream(&self.run_dir, sockets::MONITOR)
            .and_then(serve::client)
            .map(MonitorClient::new)
            .map_err(|error| {
                Refusal::new(
                    Kind::Gone,
                    format!("the monitor of container {} does not answer: {error}", self.container),
                )
                .about(self.container.as_str())
            })?;
        *client = Some(new.clone());
        Ok(new)
    }

    /// What the monitor answers to `request`, which may be asked twice. One that dies over it, or has died before, has a
    /// successor within a moment, unless there is nothing to take over: that is asked the same.
    ///
    /// # Errors
    /// What it says; `Gone` and the like when nobody is there to answer.
    pub async fn ask<T, F>(&self, request: impl Fn(MonitorClient) -> F) -> Result<T>
    where
        F: Future<Output = ttrpc::Result<T>>,
    {
        let mut until = None;
        loop {
            let lost = match self.client() {
                Ok(client) => match request(client).await {
                    Err(error) if !matches!(error, ttrpc::Error::RpcStatus(_)) => Refusal::from(error),
                    answer => return answer.map_err(Refusal::from),
                },
                Err(refusal) => refusal,
            };
            let now = std::time::Instant::now();
            if now > *until.get_or_insert(now + PROMPT) || timeout(MOMENT, self.ended()).await.is_ok() {
                return Err(lost);
            }
            self.forget_client();
        }
    }

    /// Has the container end by SIGKILL at once, whatever its restart policy. How it ended.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn kill(&self, limit: Duration) -> Result<wire::ExitStatus> {
        let stop = &wire::MonitorStop { timeout_ms: 0, ..Default::default() };
        self.ask(|client| async move { client.stop(serve::deadline(limit), stop).await }).await
    }

    /// Has a container given up that was made and not started.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn give_up(&self, limit: Duration) -> Result<()> {
        self.ask(|client| async move { client.shutdown(serve::deadline(limit), &wire::Empty {}).await }).await.map(drop)
    }

    fn forget_client(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the monitor, and the last of its successors, has ended for good.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the monitor, or the last of its successors, has ended for good.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error is the end of the sender, which is the same.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// Says to `monitor`, which another program has served, who we are now.
async fn introduce(monitor: &Monitor) -> Result<()> {
    let Process { pid, start_time, boot_id } = Process::this();
    let this = wire::NewSupervisor { pid, start_time, boot_id };
    monitor.client()?.store_fds(serve::deadline(PROMPT), &this).await.map(drop).map_err(Refusal::from)
}
