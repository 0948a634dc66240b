//! What comes after the end of the file.
//!
//! Files are watched with inotify(7), by their directories: a log that grows or is rotated, an exit that is recorded and
//! a member that is added all wake us. A process can also vanish without a trace in any file, so once a second we look.
//!
//! A container has ended for its readers when its exit is recorded, or it is gone, and its log is read to the end: the
//! monitor drains the last byte before it records the exit.

use std::{
    collections::BTreeSet,
    io,
    ops::ControlFlow,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use proto::{
    Id, Roots,
    record::{MonitorState, Phase},
    state::ContainerState,
    time,
    wire::LogsRequest,
};

use super::{
    Journald, Kept, Printer, Source, about,
    journal::{self, Journal, Start},
    members,
    print::Style,
    range,
};
use crate::index;

/// Longest time without a look at the processes.
const LOOK: Duration = Duration::from_secs(1);
/// How long a `restart` may take from the end of a container to its next run; one whose shim was killed never comes.
const RESTARTED: Duration = Duration::from_secs(10);
/// How long a container without a monitor may wait for one that records its exit.
const SUCCESSOR: Duration = Duration::from_secs(5);

/// Prints the logs of `sources`, and for a whole pod those of members that come later, until all have ended.
///
/// # Errors
/// Those of the files and descriptors: `BrokenPipe` when nobody reads.
pub(super) fn run(roots: &Roots, request: &LogsRequest, sources: Vec<Source>, printer: &mut Printer) -> io::Result<()> {
    let pod: Option<Id> = request.pod.parse().ok().filter(|_| request.containers.is_empty());
    let mut watches = Watches::new()?;
    let mut known: BTreeSet<Id> = BTreeSet::new();
    let mut followed: Vec<Follower> = Vec::new();
    let mut buffer = journal::buffer();
    let mut sources = sources;
    if let Some(pod) = &pod {
        watches.add(roots.containers(pod));
        watches.add(roots.run_pod(pod));
    }
    loop {
        for source in sources.drain(..).filter(|source| known.insert(source.id.clone())).collect::<Vec<_>>() {
            source.watched(roots).into_iter().for_each(|path| watches.add(path));
            followed.push(Follower::new(source, request, followed.len())?);
        }
        watches.retry();
        // Whether it is over is asked before the log is read: what was written until then is in it.
        let pod_is_down = pod.as_ref().is_none_or(|pod| is_down(roots, pod));
        for follower in &mut followed {
            let over = follower.is_over(roots);
            // A member of a pod that is up may be started again.
            follower.done = over && pod_is_down;
            follower.pump(request, printer, &mut buffer)?;
        }
        printer.flush()?;
        followed.retain(|follower| !follower.done);
        let left = if request.until == 0 { i64::MAX } else { request.until.saturating_sub(time::now()) };
        if left <= 0 || (followed.is_empty() && pod_is_down) {
            return Ok(());
        }
        watches.wait(printer, &followed, LOOK.min(Duration::from_nanos(left.unsigned_abs())))?;
        if let Some(pod) = pod.as_ref().and_then(|pod| index::pod(roots, pod)) {
            sources = members(roots, &pod).unwrap_or_default();
        }
    }
}

/// Whether nothing of the pod is up.
fn is_down(roots: &Roots, pod: &Id) -> bool {
    index::pod(roots, pod).is_none_or(|pod| {
        let infra = matches!(pod.infra, Some(ContainerState::Running | ContainerState::Paused));
        !infra && !pod.containers.iter().any(|container| container.state.is_alive())
    })
}

impl Source {
    /// Directories in which something happens when it writes or ends.
    fn watched(&self, roots: &Roots) -> Vec<PathBuf> {
        let mut watched = vec![roots.container(&self.pod, &self.id), roots.run_container(&self.pod, &self.id)];
        if let Kept::File(log, _) = &self.kept {
            watched.push(log.parent().unwrap_or(Path::new("/")).to_path_buf());
        }
        watched
    }
}

/// One container that is followed.
#[derive(Debug)]
struct Follower {
    source: Source,
    log: Log,
    style: Style,
    /// Since when it has neither a process nor a monitor nor an exit.
    orphaned: Option<Instant>,
    /// Since when it is between the two halves of a `restart`.
    between: Option<Instant>,
    done: bool,
}

/// Its log, and how far it has been read.
#[derive(Debug)]
enum Log {
    File { path: PathBuf, journal: Journal, start: Start, position: u64 },
    Journal(Journald),
}

impl Follower {
    fn new(source: Source, request: &LogsRequest, number: usize) -> io::Result<Follower> {
        let log = match &source.kept {
            Kept::Journal => Log::Journal(Journald::open(&source.id, request)?),
            Kept::File(path, format) => {
                let journal = Journal::open(path, *format).map_err(|error| about(path, &error))?;
                let (start, _) = range(&journal, request)?;
                Log::File { path: path.clone(), journal, start, position: start.offset }
            }
        };
        let style = source.style(request, number);
        Ok(Follower { source, log, style, orphaned: None, between: None, done: false })
    }

    /// Prints what has come.
    fn pump(&mut self, request: &LogsRequest, printer: &mut Printer, buffer: &mut [u8]) -> io::Result<()> {
        let style = &mut self.style;
        let (path, journal, start, position) = match &mut self.log {
            Log::Journal(log) if self.done => return log.finish(style, printer),
            Log::Journal(log) => return log.pump(style, printer),
            Log::File { path, journal, start, position } => (path, journal, start, position),
        };
        journal.refresh(*position).map_err(|error| about(path, &error))?;
        let (format, scratch) = (journal.format, &mut Vec::new());
        *position = journal.scan(*position, journal.end(), buffer, |offset, line| {
            if request.until == 0 || format.time(line).is_none_or(|time| time < request.until) {
                super::print(start, style, printer, offset, format.decode(line, scratch))?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// Whether nothing more will be written.
    fn is_over(&mut self, roots: &Roots) -> bool {
        let Some(container) = index::container(roots, &self.source.pod, &self.source.id) else { return true };
        if container.state.is_alive() {
            (self.orphaned, self.between) = (None, None);
            return false;
        }
        if roots.restarting(&self.source.pod, &self.source.id).exists()
            && self.between.get_or_insert_with(Instant::now).elapsed() < RESTARTED
        {
            return false;
        }
        match &container.monitor {
            Some(monitor) if monitor.phase != Phase::Exited && monitor.monitor.is_alive() => false,
            Some(monitor) if is_lost(monitor, &container) => {
                self.orphaned.get_or_insert_with(Instant::now).elapsed() >= SUCCESSOR
            }
            _ => true,
        }
    }
}

/// Whether a monitor died before it recorded the exit: its successor drains what is left and does.
fn is_lost(monitor: &MonitorState, container: &index::Container) -> bool {
    let recorded = container
        .exit
        .as_ref()
        .is_some_and(|exit| exit.started_at == monitor.started_at || exit.status.finished_at >= monitor.started_at);
    monitor.phase != Phase::Exited && monitor.started_at != 0 && !recorded
}

/// Watched directories.
struct Watches {
    inotify: Inotify,
    /// Those that are not there yet.
    missing: Vec<PathBuf>,
}

impl Watches {
    fn new() -> io::Result<Watches> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Watches { inotify, missing: Vec::new() })
    }

    fn add(&mut self, path: PathBuf) {
        if !self.watch(&path) {
            self.missing.push(path);
        }
    }

    fn watch(&self, path: &Path) -> bool {
        let what = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        // Without a watch (their number is limited) the look once a second is left.
        !matches!(self.inotify.add_watch(path, what), Err(Errno::ENOENT))
    }

    fn retry(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        self.missing = missing.into_iter().filter(|path| !self.watch(path)).collect();
    }

    /// Waits until something has happened, it is time to look, or a reader has gone.
    fn wait(&self, printer: &Printer, followed: &[Follower], longest: Duration) -> io::Result<()> {
        // Nothing is asked of the readers' descriptors: errors and hang-ups are told anyway.
        let mut fds: Vec<_> = printer.fds().map(|fd| PollFd::new(fd.as_fd(), PollFlags::empty())).collect();
        let readers = fds.len();
        fds.push(PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN));
        let journals = followed.iter().filter_map(|follower| match &follower.log {
            Log::Journal(log) => log.fd(),
            Log::File { .. } => None,
        });
        fds.extend(journals.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = |fd: &PollFd<'_>| {
            fd.revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
        };
        if fds[..readers].iter().any(gone) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // What they say does not matter: all files are looked at anyway.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        Ok(())
    }
}
