//! Acts on the whole pod: its members beside each other where order allows, the infra first up and last down.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::join_all;
use proto::{
    Id, Kind, Refusal,
    failpoint::{self, Point},
    record::{ContainerRecord, PodRecord},
    refusal::Result,
    state::ContainerState,
    wire::{PodAct, PodResult},
};

use super::{
    Pod, Starting, depend, dependents,
    member::Restarting,
    sources::Brought,
    stop::{Run, is_init},
};
use crate::index;

/// How long a member that has been told to stop may keep the one started before it waiting. Members that end promptly
/// end in the reverse of the order they were started in; one that does not costs the others this much, not its grace.
const HEAD_START: Duration = Duration::from_secs(1);

/// Signals that end the infra too (a pause process dies of them).
const FATAL: &[&str] =
    &["", "KILL", "SIGKILL", "9", "TERM", "SIGTERM", "15", "INT", "SIGINT", "2", "QUIT", "SIGQUIT", "3"];

impl Pod {
    pub(super) fn members(&self) -> Vec<index::Container> {
        index::pod(&self.engine.roots, &self.id).map(|pod| pod.containers).unwrap_or_default()
    }

    /// Starts the infra, runs the init containers, and starts every member that does not run: in the order of creation,
    /// each after those it needs.
    ///
    /// # Errors
    /// When the infra cannot be started, or an init container fails; what happened to other members is in the result.
    pub async fn start_pod(self: &Arc<Self>) -> Result<PodResult> {
        self.start_members(true).await
    }

    /// `init` = with the init containers, where no other member is up.
    async fn start_members(self: &Arc<Self>, init: bool) -> Result<PodResult> {
        let starting = Starting::new(self);
        let result = self.start_in_order(init).await;
        drop(starting);
        // Who has ended meanwhile has not taken the infra down.
        self.settle().await;
        result
    }

    async fn start_in_order(&self, init: bool) -> Result<PodResult> {
        let gate = self.gate.write().await;
        let pod = self.ensure_up().await?;
        failpoint::refuse(Point::PodStartUp)?;
        let members = self.members();
        if pod.config.no_infra && members.is_empty() {
            return Err(Refusal::new(
                Kind::NoSuchContainer,
                format!("no containers in pod {} have no dependencies, cannot start pod: no such container", pod.id),
            ));
        }
        // Nobody else is kept waiting for what has to end first.
        let gate = Some(gate).filter(|_| !members.iter().any(depend::waits));
        let mut answer = answer(&pod);
        let order = depend::in_order(&members);
        let all = init && !members.iter().any(|member| !is_init(member) && member.state.is_alive());
        self.run_init_containers(&order, all).await?;
        let mut failed: Vec<&Id> = Vec::new();
        for member in order.into_iter().filter(|member| !is_init(member)) {
            let started = match &gate {
                _ if depend::needs_any(member, &failed) => Err(Refusal::new(
                    Kind::WrongState,
                    format!("a dependency of container {} failed to start: container state improper", member.id()),
                )),
                Some(_) => self.start_inside(member.id(), Brought::default()).await,
                None => self.start_with(member.id(), Brought::default()).await,
            };
            if let Err(refusal) = started {
                failed.push(member.id());
                answer.errors.push(format!("starting container {}: {refusal}", member.id()));
            }
        }
        failpoint::pass(Point::PodStarted);
        self.note_pod("start", &pod);
        Ok(answer)
    }

    /// Stops every member in the reverse of the order of start, then the infra.
    ///
    /// # Errors
    /// When there is no such pod; what happened to members is in the result.
    pub async fn stop_pod(self: &Arc<Self>, timeout_ms: Option<i64>) -> Result<PodResult> {
        let pod = self.record().await?;
        let mut answer = answer(&pod);
        self.stop_members(timeout_ms, &mut answer).await;
        failpoint::refuse(Point::PodStopMembers)?;
        let _gate = self.gate.write().await;
        if answer.errors.is_empty() {
            let mut core = self.core.lock().await;
            // Somebody may have started one between the last stop and now; then the pod is up again, by their wish.
            if !self.members().iter().any(|member| member.state.is_alive()) {
                self.take_down(&mut core).await;
            }
        }
        self.note_pod("stop", &pod);
        Ok(answer)
    }

    async fn stop_members(self: &Arc<Self>, timeout_ms: Option<i64>, answer: &mut PodResult) {
        let order = self.core.lock().await.state().map(|state| state.start_order.clone()).unwrap_or_default();
        let mut members: Vec<Id> = self
            .members()
            .iter()
            .filter(|member| member.state.is_alive() || self.monitors.get(member.id()).is_some())
            .map(|member| member.id().clone())
            .collect();
        members.sort_by_key(|id| std::cmp::Reverse(order.iter().position(|started| started == id)));
        let mut stops = Vec::with_capacity(members.len());
        for id in members {
            let pod = self.clone();
            let mut stop = tokio::spawn({
                let id = id.clone();
                async move { pod.stop(&id, timeout_ms).await }
            });
            match tokio::time::timeout(HEAD_START, &mut stop).await {
                Ok(done) => stops.push((id, Ok(done))),
                Err(_) => stops.push((id, Err(stop))),
            }
        }
        for (id, stop) in stops {
            let done = match stop {
                Ok(done) => done,
                Err(task) => task.await,
            };
            match done {
                Ok(Ok(result)) => answer.warnings.extend(result.warnings),
                Ok(Err(refusal)) if refusal.kind == Kind::NoSuchContainer => {}
                Ok(Err(refusal)) => answer.errors.push(format!("stopping container {id}: {refusal}")),
                Err(error) => answer.errors.push(format!("stopping container {id}: {error}")),
            }
        }
    }

    /// Stops and starts every member; those that were stopped are started too, paused ones are left alone. Of init
    /// containers only those that stay up are started again.
    ///
    /// # Errors
    /// Like start.
    pub async fn restart_pod(self: &Arc<Self>, timeout_ms: Option<i64>) -> Result<PodResult> {
        let alive = self.members().into_iter().filter(|member| member.state.is_alive());
        let _restarting: Vec<Restarting> =
            alive.map(|member| Restarting::begin(&self.engine.roots, &self.id, member.id())).collect();
        let stopped = self.stop_pod(timeout_ms).await?;
        if !stopped.errors.is_empty() {
            return Ok(stopped);
        }
        self.start_members(false).await
    }

    /// Sends a signal to every running member, and ends the infra where it would die of it.
    ///
    /// # Errors
    /// When there is no such signal or no such pod.
    pub async fn kill_pod(self: &Arc<Self>, signal: &str) -> Result<PodResult> {
        let pod = self.record().await?;
        let mut answer = answer(&pod);
        let running: Vec<Id> = self
            .members()
            .iter()
            .filter(|member| matches!(member.state, ContainerState::Running | ContainerState::Paused))
            .map(|member| member.id().clone())
            .collect();
        let runs: Vec<(ContainerRecord, Run)> = running
            .iter()
            .filter_map(|id| self.container(id).ok().map(|(record, found)| (record, self.run_of(&found))))
            .collect();
        for (id, killed) in running.iter().zip(join_all(running.iter().map(|id| self.kill(id, signal, false))).await) {
            match killed {
                Err(refusal) if refusal.kind == Kind::Invalid => return Err(refusal),
                Err(refusal) if refusal.kind != Kind::WrongState => {
                    answer.errors.push(format!("killing container {id}: {refusal}"))
                }
                _ => {}
            }
        }
        if matches!(signal, "" | "KILL" | "SIGKILL" | "9") {
            for ((record, _), over) in
                runs.iter().zip(join_all(runs.iter().map(|(record, run)| self.see_end(record, run))).await)
            {
                match over {
                    Ok(()) => self.ended(&record.id).await?,
                    Err(refusal) => answer.errors.push(format!("killing container {}: {refusal}", record.id)),
                }
            }
        }
        self.note_pod("kill", &pod);
        if FATAL.contains(&signal) {
            let mut core = self.core.lock().await;
            // Looked at with the core in hand: who starts a member now brings up what is down by then.
            let alive = self.members().iter().any(|member| member.state.is_alive());
            if !alive && self.starts.load(Ordering::Acquire) == 0 {
                self.take_down(&mut core).await;
            }
        }
        Ok(answer)
    }

    /// Pauses every running member.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn pause_pod(&self) -> Result<PodResult> {
        let pod = self.record().await?;
        let mut answer = answer(&pod);
        let running: Vec<Id> = self
            .members()
            .iter()
            .filter(|member| member.state == ContainerState::Running)
            .map(|member| member.id().clone())
            .collect();
        for (id, paused) in running.iter().zip(join_all(running.iter().map(|id| self.pause(id))).await) {
            if let Err(refusal) = paused {
                answer.errors.push(format!("pausing container {id}: {refusal}"));
            }
        }
        answer.acted = true;
        self.note_pause(true).await;
        self.note_pod("pause", &pod);
        Ok(answer)
    }

    /// Lets every paused member go on.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn unpause_pod(&self) -> Result<PodResult> {
        let pod = self.record().await?;
        let mut answer = answer(&pod);
        let paused: Vec<Id> = self
            .members()
            .iter()
            .filter(|member| member.state == ContainerState::Paused)
            .map(|member| member.id().clone())
            .collect();
        answer.acted = !paused.is_empty() || self.core.lock().await.state().is_some_and(|state| state.paused);
        for (id, done) in paused.iter().zip(join_all(paused.iter().map(|id| self.unpause(id))).await) {
            if let Err(refusal) = done {
                answer.errors.push(format!("unpausing container {id}: {refusal}"));
            }
        }
        self.note_pause(false).await;
        self.note_pod("unpause", &pod);
        Ok(answer)
    }

    /// Removes the pod and its members.
    ///
    /// # Errors
    /// When there is no such pod. Without `force` members that are up are errors in the result, and nothing is removed.
    pub async fn remove_pod(self: &Arc<Self>, act: &PodAct, timeout_ms: Option<i64>) -> Result<PodResult> {
        let pod = self.record().await?;
        let mut answer = answer(&pod);
        let up = |member: &index::Container| {
            matches!(member.state, ContainerState::Running | ContainerState::Paused | ContainerState::Stopping)
        };
        if !act.force {
            for member in self.members().iter().filter(|member| up(member)) {
                answer.errors.push(format!(
                    "cannot remove container {} as it is {} - running or paused containers cannot be removed without force: container state improper",
                    member.id(),
                    member.state
                ));
            }
            if !answer.errors.is_empty() {
                answer.errors.insert(
                    0,
                    format!("not all containers could be removed from pod {}: removing pod containers", pod.id),
                );
                return Ok(answer);
            }
        }
        let roots = &self.engine.roots;
        for member in self.members() {
            dependents::check(roots, &self.id, member.id(), true)?;
        }
        if let Some(infra) = &pod.infra {
            dependents::check_infra(roots, &self.id, infra)?;
        }
        let _intent = self.intents.begin();
        self.stop_members(timeout_ms, &mut answer).await;
        failpoint::refuse(Point::PodRmStopped)?;
        let _gate = self.gate.write().await;
        if act.force {
            // Of these the records were deleted.
            for (id, _) in self.monitors.processes() {
                if index::container(roots, &self.id, &id).is_none() {
                    self.remove_broken(&id).await?;
                }
            }
            for member in self.members().iter().filter(|member| member.record.is_err()) {
                self.remove(member.id(), true, Some(0)).await?;
            }
        }
        let members = self.members();
        for member in depend::in_order(&members).into_iter().rev() {
            if let Err(refusal) = self.remove_member(member.id(), act.force).await {
                answer.errors.push(refusal.message);
            }
        }
        if !answer.errors.is_empty() {
            answer
                .errors
                .insert(0, format!("not all containers could be removed from pod {}: removing pod containers", pod.id));
            return Ok(answer);
        }
        let mut core = self.core.lock().await;
        self.take_down(&mut core).await;
        // What was busy when the pod went down, and nobody knows of any more.
        self.remove_cgroup(&pod);
        failpoint::refuse(Point::PodRmDown)?;
        self.forget_pod(&pod)?;
        self.note_pod("remove", &pod);
        core.record = None;
        Ok(answer)
    }
}

pub(super) fn answer(pod: &PodRecord) -> PodResult {
    PodResult { id: pod.id.to_string(), name: pod.name.clone(), ..Default::default() }
}
