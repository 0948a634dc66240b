//! Taking over from a monitor that was killed.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use proto::{
    alive,
    failpoint::{self, Point},
    record::{self, ExitRecord, MonitorState, Phase, StartRecord},
    time,
    wire::ExitStatus,
};

use tokio::sync::oneshot;

use super::{Asked, Init, Message, Monitor, witness};
use crate::{cgroup::Cgroup, readiness, state::State, sys};

/// What an earlier monitor of this run has left, when there is a container to be taken over.
pub fn earlier(start: &StartRecord) -> Option<MonitorState> {
    let exit = || record::read::<ExitRecord>(&start.exit_record).ok();
    let state: MonitorState = record::read(&start.state_record).ok().or_else(|| MonitorState::outlived(&exit()?))?;
    let known = match &state.init {
        Some(init) => init,
        // Between two runs there is no process.
        None if state.phase == Phase::Backoff => &state.monitor,
        None => return None,
    };
    (state.phase != Phase::Exited && known.boot_id == alive::boot_id()).then_some(state)
}

impl Monitor {
    /// Goes on where an earlier monitor was, or begins.
    ///
    /// `own` is told how the first process ends where it is our child: we were another program of the same process.
    pub(super) async fn adopt(&mut self, stored: &mut HashMap<String, OwnedFd>, own: Option<oneshot::Receiver<i32>>) {
        let earlier = self.state_file.get();
        self.started_at = earlier.started_at;
        if let Some(exit) = self.recorded_exit() {
            self.ended = Some(exit);
            return if earlier.phase == Phase::Backoff && self.again() {
                self.go_on_between(exit.finished_at, stored)
            } else {
                self.finish(exit)
            };
        }
        let Some(process) = earlier.init else {
            if earlier.phase == Phase::Backoff {
                // It was clearing away a run that never began, whose placeholder has taken the place of the last exit.
                self.go_on_from_nothing(stored);
            }
            return;
        };
        let kept = stored.remove("pidfd");
        // It may have ended and been reaped; the kept one still stands for it.
        let pidfd = process.pidfd().ok().or(kept);
        let exists = process.exists();
        self.cgroup =
            if exists { Cgroup::of(process.pid, &self.start.cgroup) } else { Cgroup::named(&self.start.cgroup) };
        // What of the streams cannot be had is done without: the container's exit still counts.
        let _ = self.stdio.adopt(&self.start, stored);
        let known = self.start.witnessed_exit.filter(|_| !exists && self.start.witnessed_pid == process.pid);
        let known = known.or_else(|| if exists { None } else { sys::pidfd_exit(pidfd.as_ref()?.as_fd()) });
        // Without it the container is ready for nobody, and still runs.
        let _ = self.listen_to_container(stored.remove(readiness::SOCKET));
        let state = self.state_of(earlier.phase, exists).await;
        if state == State::Clearing {
            return self.go_on_from_nothing(stored);
        }
        failpoint::pass(Point::MonAdoptStreams);
        self.begun = match earlier.begun {
            // It was killed before it wrote when this run has begun. A clock that was set back meanwhile counts for nothing.
            begun if begun == 0 || earlier.started_at != self.started_at => {
                time::uptime() - (time::now() - self.started_at).max(0)
            }
            begun => begun,
        };
        self.init = Some(Init { process: process.clone(), pidfd });
        self.state.set(state);
        self.store_fds();
        self.go_on(state, earlier.grace_ends);
        if let Some(ended) = own {
            self.watch_child(ended);
        } else if exists {
            self.watch_adopted(process);
        } else {
            Monitor::send(&self.inbox, Message::Ended(known));
        }
        self.persist();
    }

    /// How this run ended, if the earlier monitor has written it.
    fn recorded_exit(&self) -> Option<ExitStatus> {
        let record: ExitRecord = record::read(&self.start.exit_record).ok()?;
        (record.status.finished_at > 0 && record.started_at == self.started_at).then_some(record.status)
    }

    /// The earlier monitor was killed between writing the exit and deleting the rest.
    fn finish(&mut self, exit: ExitStatus) {
        (self.ended, self.exit) = (Some(exit), Some(exit));
        self.state.set(State::Recorded);
        self.persist();
        self.delete();
    }

    /// The earlier monitor was killed over a run that never began, and nobody can tell any more how the last one has ended.
    fn go_on_from_nothing(&mut self, stored: &mut HashMap<String, OwnedFd>) {
        let now = time::now();
        self.ended = Some(proto::exit::unknown(now));
        self.go_on_between(now, stored);
    }

    /// The earlier monitor was killed between two runs; the last one was over `since`.
    fn go_on_between(&mut self, since: i64, stored: &mut HashMap<String, OwnedFd>) {
        // Asked a second time nothing is left in `stored`, and nothing changes.
        let _ = self.stdio.adopt(&self.start, stored);
        // A clock that was set back meanwhile counts for nothing.
        self.down_since = time::uptime() - (time::now() - since).max(0);
        if self.is_ended_by_user() {
            self.state.set(State::Draining);
            return self.write_exit();
        }
        self.state.set(State::Clearing);
        self.persist();
        self.clear();
    }

    /// The state that the earlier monitor was in.
    async fn state_of(&mut self, phase: Phase, exists: bool) -> State {
        match phase {
            Phase::Created => {
                // It may have been killed between the runtime's start and its record.
                let placeholder = record::read::<ExitRecord>(&self.start.exit_record).ok();
                let began = placeholder.filter(|record| !record.status.known).map_or(0, |record| record.started_at);
                let started = if exists { self.runtime.has_started().await == Some(true) } else { began > 0 };
                if !started {
                    return State::Created;
                }
                self.started_at = began;
                State::Running
            }
            // A later run was being made: its process waits for the runtime's start.
            Phase::Backoff if exists && self.runtime.has_started().await != Some(true) => State::Clearing,
            Phase::Backoff => {
                let placeholder = record::read::<ExitRecord>(&self.start.exit_record).ok();
                self.started_at = placeholder.map_or(self.started_at, |record| record.started_at);
                State::Running
            }
            // It may have been killed between what the freezer was told and its record.
            Phase::Running | Phase::Paused if exists && self.cgroup.is_to_stand() => State::Paused,
            Phase::Running | Phase::Paused | Phase::Exited => State::Running,
            Phase::Stopping => State::Stopping,
        }
    }

    /// What was being counted is counted on.
    fn go_on(&mut self, state: State, grace_ends: i64) {
        if state == State::Stopping {
            // Who asked has lost his connection; that he asked is still true.
            let left = match grace_ends {
                i64::MAX => None,
                // One of an earlier version does not say.
                0 => u64::try_from(self.start.stop_timeout_ms).ok().map(Duration::from_millis),
                at => Some(Duration::from_nanos(u64::try_from(at - time::uptime()).unwrap_or(0))),
            };
            self.asked = Asked { grace: left, ..Asked::default() };
            self.arm_grace();
        }
        if state.has_process() && state != State::Created {
            self.arm_lifetime();
            self.begin_checks();
            self.announce();
        }
    }

    fn watch_adopted(&self, process: alive::Process) {
        let (inbox, reported) = (self.inbox.clone(), self.reported.clone());
        let pidfd = self.init.as_ref().and_then(|init| init.pidfd.as_ref()?.try_clone().ok());
        tokio::task::spawn_local(async move {
            let status = witness::end_of(process, pidfd, reported).await;
            Monitor::send(&inbox, Message::Ended(status));
        });
    }
}
