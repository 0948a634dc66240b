//! Ending members: stop, the end of a run, and what follows from it for the pod.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use proto::{
    Id, Refusal,
    alive::{self, Process},
    exit,
    failpoint::{self, Point},
    patience,
    record::{self, ContainerRecord, Durability, ExitRecord, StartRecord},
    refusal::Result,
    restart, serve,
    state::ContainerState,
    wire::{ContainerResult, ExitStatus, MonitorClient, MonitorStop},
};

use super::{
    Pod,
    member::{is_new, result},
    sources::Brought,
};
use crate::{cgroup, index, monitor::Monitor};

/// How long after the last SIGKILL a process may need to end. Only the kernel (a process in D state) takes longer.
const KILLED: Duration = Duration::from_secs(10);
/// Between two looks whether one has, where nobody tells.
const LOOK: Duration = Duration::from_millis(5);
/// How long a monitor whose container has ended may need to record it and go.
pub(super) const RECORDED: Duration = Duration::from_secs(20);
/// "For ever" of a stop without a grace period, as far as ttrpc knows one.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// One run of a member: another may follow while somebody still ends this one.
pub(super) struct Run {
    /// Absent where it is being made.
    init: Option<Process>,
    monitor: Option<Arc<Monitor>>,
}

impl Run {
    /// Whether `init` is the first process of it.
    fn is_of(&self, init: &Process) -> bool {
        match &self.init {
            Some(own) => own == init,
            None => self.monitor.as_ref().is_none_or(|monitor| !monitor.has_ended()),
        }
    }
}

impl Pod {
    /// Stops a member: its stop signal, `timeout_ms` of grace (its own where absent, -1 for ever), SIGKILL. One that does
    /// not run is fine. Nothing of it is up when this answers.
    ///
    /// # Errors
    /// When it cannot be made to end, naming the process.
    pub async fn stop(self: &Arc<Self>, id: &Id, timeout_ms: Option<i64>) -> Result<ContainerResult> {
        let (record, found) = self.container(id)?;
        let run = self.run_of(&found);
        let mut answer = result(&record);
        if !found.state.is_alive() && self.monitors.get(id).is_none() {
            return Ok(answer);
        }
        if is_new(&found)
            && self.starts.load(Ordering::Acquire) == 0
            && let Some(monitor) = self.monitors.get(id)
        {
            // Started by a shim that was killed before it asked for anything: there is nothing to be stopped.
            self.dismiss(&monitor).await;
            return Ok(answer);
        }
        let grace = timeout_ms.unwrap_or_else(|| i64::from(record.config.stop_timeout_seconds.unwrap_or(10)) * 1000);
        if record.config.restart.as_ref().is_some_and(restart::is_set) {
            // Its monitor is told too; this is for one that cannot listen, and for its successor.
            let _ = std::fs::File::create(self.engine.roots.ended_by_user(&self.id, id));
        }
        let begun = Instant::now();
        let lost = found.is_lost() && self.monitors.get(id).is_none();
        if found.state == ContainerState::Initialized {
            if let Some(monitor) = self.monitors.get(id) {
                // Refused or gone: the direct way below ends it.
                let _ = monitor.give_up(RECORDED).await;
            }
        } else if lost {
            self.end_lost(&record, &found, grace).await;
        } else {
            answer.exit = self.ask_to_stop(id, grace).await;
        }
        failpoint::refuse(Point::StopAsked)?;
        self.make_sure(&record, &run).await?;
        if lost {
            self.bury_lost(&record, &found).await;
        }
        let elapsed = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        if grace > 0
            && elapsed >= grace
            && answer.exit.as_ref().is_some_and(|exit| exit.signal == libc::SIGKILL.unsigned_abs())
        {
            answer.warnings.push(format!(
                "StopSignal {} failed to stop container {} in {} seconds, resorting to SIGKILL",
                record.stop_signal,
                record.name,
                grace / 1000
            ));
        }
        failpoint::pass(Point::StopEnded);
        // One that had ended by itself has been stopped by nobody.
        if found.state.is_alive() {
            self.note("stop", &record);
        }
        self.ended(id).await?;
        Ok(answer)
    }

    /// Asks the monitor, which is the usual way. `None` when it could not do it.
    async fn ask_to_stop(&self, id: &Id, grace: i64) -> Option<ExitStatus> {
        let monitor = self.monitors.get(id)?;
        let killed = patience::at_most(KILLED);
        let deadline = u64::try_from(grace).map_or(FOR_EVER, |grace| Duration::from_millis(grace) + killed);
        let begun = Instant::now();
        let stop = |client: MonitorClient| async move {
            // A successor counts what is left.
            let passed = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
            let timeout_ms = if grace < 0 { grace } else { grace.saturating_sub(passed).max(0) };
            let stop = MonitorStop { signal: String::new(), timeout_ms, keep_policy: false };
            client.stop(serve::deadline(deadline), &stop).await
        };
        monitor.ask(stop).await.ok()
    }

    /// A member whose monitor cannot be found any more gets its stop signal, and its grace, from us.
    async fn end_lost(&self, record: &ContainerRecord, found: &index::Container, grace: i64) {
        let Some(pidfd) = found.init().and_then(|init| init.pidfd().ok()) else { return };
        if let Ok(signal) = crate::spec::signal::number(&record.stop_signal) {
            // It has ended meanwhile: fine.
            let _ = alive::pidfd_signal(&pidfd, signal);
        }
        let grace = u64::try_from(grace).map_or(FOR_EVER, Duration::from_millis);
        if let Ok(pidfd) = crate::sys::fd::watch(pidfd) {
            let _ = tokio::time::timeout(grace, pidfd.readable()).await;
        }
    }

    /// What a monitor and the runtime would have done at its end.
    async fn bury_lost(&self, record: &ContainerRecord, found: &index::Container) {
        self.end_leftover(record);
        if let Ok(pod) = self.record().await
            && let Err(refusal) = self.cgroup(record, &pod).await.and_then(|cgroup| cgroup::remove(&cgroup))
        {
            tracing::warn!("container {}: {refusal}", record.id);
        }
        let Some(began) = &found.exit else { return };
        let exit = ExitRecord {
            status: exit::unknown(proto::time::now()),
            stopped_by_user: true,
            init: None,
            ..began.clone()
        };
        let path = self.engine.roots.exit_record(&self.id, &record.id);
        if let Err(error) = record::write(&path, &exit, Durability::Durable) {
            tracing::warn!("container {}: exit record: {error}", record.id);
        }
    }

    /// Without the monitor's help: SIGKILL to the whole cgroup, until the process is gone and the monitor with it.
    pub(super) async fn make_sure(&self, record: &ContainerRecord, run: &Run) -> Result<()> {
        let begun = Instant::now();
        let Ok((_, found)) = self.container(&record.id) else { return self.until_recorded(run).await };
        // One of a later start is nobody's concern here.
        if let Some(init) = found.init().filter(|init| run.is_of(init)) {
            let cgroup = match self.record().await {
                Ok(pod) => self.cgroup(record, &pod).await.ok(),
                Err(_) => None,
            };
            // On a thread of its own: without cgroup.kill it takes its time.
            let killing = cgroup.clone().map(|all| tokio::task::spawn_blocking(move || cgroup::kill(&all)));
            if let Ok(pidfd) = init.pidfd() {
                // It has ended meanwhile: fine.
                let _ = proto::alive::pidfd_signal(&pidfd, libc::SIGKILL);
                if let Ok(pidfd) = crate::sys::fd::watch(pidfd) {
                    let _ = tokio::time::timeout(patience::at_most(KILLED), pidfd.readable()).await;
                }
            }
            // Where there are no pidfds the control group's signal has to do.
            let end = Instant::now() + patience::at_most(KILLED).saturating_sub(begun.elapsed());
            while init.is_alive() && Instant::now() < end {
                tokio::time::sleep(LOOK).await;
            }
            if init.is_alive() {
                // The first process of a PID namespace waits for the others: it is they who hang, where any do.
                let all = cgroup.as_deref().map(cgroup::pids).unwrap_or_default();
                let asleep: Vec<u32> = all.into_iter().filter(|pid| alive::state(*pid) == Some('D')).collect();
                return Err(Refusal::new(
                    proto::Kind::TimedOut,
                    format!(
                        "container {}: not dead {} seconds after SIGKILL: {}",
                        record.name,
                        patience::at_most(KILLED).as_secs(),
                        patience::who(if asleep.is_empty() { std::slice::from_ref(&init.pid) } else { &asleep }),
                    ),
                ));
            }
            if let Some(killing) = killing {
                killing.await.unwrap_or_else(|error| Err(Refusal::internal("killing its processes", error)))?;
            }
        }
        self.until_recorded(run).await
    }

    /// Waits for the end of a member whose `run` was killed.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub(super) async fn see_end(&self, record: &ContainerRecord, run: &Run) -> Result<()> {
        if let Some(monitor) = &run.monitor
            && tokio::time::timeout(patience::at_most(KILLED), monitor.ended()).await.is_ok()
        {
            return Ok(());
        }
        self.make_sure(record, run).await
    }

    /// What of a member is up.
    pub(super) fn run_of(&self, found: &index::Container) -> Run {
        Run { init: found.init().cloned(), monitor: self.monitors.get(found.id()) }
    }

    /// The container has ended: its monitor records that and goes. One that has recorded it may stay for those who still
    /// read what the container said.
    async fn until_recorded(&self, run: &Run) -> Result<()> {
        let Some(monitor) = &run.monitor else { return Ok(()) };
        let ended = tokio::time::timeout(patience::at_most(RECORDED), monitor.ended()).await;
        if ended.is_ok() || self.monitors.has_finished(monitor.container()) {
            return Ok(());
        }
        self.monitors.end(monitor, Duration::ZERO).await
    }

    /// A member has ended: its mounts go, it is removed where it was asked to be, and the pod follows where nothing holds
    /// it up. Called for every end, by whoever sees it first; the second finds nothing to do.
    pub(super) async fn ended(self: &Arc<Self>, id: &Id) -> Result<()> {
        let mut intent = None;
        {
            let turn = self.turn(id);
            let _turn = turn.lock().await;
            let Ok((record, found)) = self.container(id) else { return Ok(()) };
            if found.state.is_alive() || self.monitors.get(id).is_some() {
                return Ok(());
            }
            if self.wants_another_run(&record, &found) {
                drop(_turn);
                return self.start_with(id, Brought::default()).await;
            }
            if self.engine.roots.run_container(&self.id, id).exists() {
                self.tear_down(&record);
                self.note("cleanup", &record);
            }
            failpoint::refuse(Point::EndTornDown)?;
            let needed = super::dependents::check(&self.engine.roots, &self.id, id, false).is_err();
            if record.config.auto_remove && found.exit.is_some() && !needed {
                intent = Some(self.intents.begin());
                self.forget(&record)?;
            }
            if !record.config.init_ctr.is_empty() {
                // Its end is a step of the pod's start, and no end of the pod.
                return Ok(());
            }
        }
        failpoint::refuse(Point::EndForgotten)?;
        self.end_sidecars().await;
        self.settle().await;
        drop(intent);
        Ok(())
    }

    /// Ends the init containers that stay up, where nothing else is and the pod's exit policy is to stop.
    async fn end_sidecars(self: &Arc<Self>) {
        let stops = self.core.lock().await.record.as_ref().is_some_and(|pod| pod.config.exit_policy == "stop");
        if !stops || self.starts.load(Ordering::Acquire) > 0 {
            return;
        }
        let (init, others): (Vec<_>, Vec<_>) = self.members().into_iter().partition(is_init);
        let up = |member: &index::Container| member.state.is_alive() || self.monitors.get(member.id()).is_some();
        if others.iter().any(|member| up(member) || member.state == ContainerState::Created) {
            return;
        }
        for sidecar in init.iter().filter(|member| up(member)) {
            if let Err(refusal) = self.stop_one(sidecar.id()).await {
                tracing::warn!("container {}: {refusal}", sidecar.id());
            }
        }
    }

    /// [`Pod::stop`], which this is a part of.
    fn stop_one<'a>(
        self: &'a Arc<Self>,
        id: &'a Id,
    ) -> Pin<Box<dyn Future<Output = Result<ContainerResult>> + Send + 'a>> {
        Box::pin(self.stop(id, None))
    }

    /// Whether the restart policy starts a member again whose monitor could not do so in place.
    fn wants_another_run(&self, record: &ContainerRecord, found: &index::Container) -> bool {
        let Some(exit) = &found.exit else { return false };
        let start = record::read::<StartRecord>(&self.engine.roots.start_record(&self.id, &record.id));
        start.is_ok_and(|start| start.unmounted && restart::follows(&start.restart, &exit.status, exit.restart_count))
            && !exit.stopped_by_user
            && !self.engine.roots.ended_by_user(&self.id, &record.id).exists()
    }

    /// Takes the infra down where nothing holds it up any more: a hidden pod whose container has ended, a pod whose exit
    /// policy says so. A hidden pod without a container is gone.
    pub(super) async fn settle(&self) {
        let mut core = self.core.lock().await;
        let Some(pod) = core.record.clone() else { return };
        let Some(found) = index::pod(&self.engine.roots, &self.id) else { return };
        let lives = found.containers.iter().any(|container| container.state.is_alive()) || self.monitors.count() > 0;
        let waits = |container: &index::Container| container.state == ContainerState::Created && !is_init(container);
        let ran = !found.containers.iter().any(waits);
        if lives || self.starts.load(Ordering::Acquire) > 0 {
            return;
        }
        if core.is_lost() {
            // What it was for has ended, and nobody will know of it any more.
            self.take_down(&mut core).await;
        }
        if pod.config.no_infra {
            // Nothing is up but the group that the runtime made above the members'.
            self.remove_cgroup(&pod);
        }
        if pod.config.hidden || (pod.config.exit_policy == "stop" && ran) {
            self.take_down(&mut core).await;
        }
        failpoint::pass(Point::SettleDown);
        if pod.config.hidden && found.containers.is_empty() {
            core.record = None;
            if let Err(refusal) = self.forget_pod(&pod) {
                tracing::warn!("pod {}: {refusal}", self.id);
            }
        }
    }
}

/// An init container.
pub(super) fn is_init(member: &index::Container) -> bool {
    member.record.as_ref().is_ok_and(|record| !record.config.init_ctr.is_empty())
}
