//! Walking the records of `$STATE` and `$RUN`: which pods and containers there are, and in which state they are.
//!
//! Reads only, takes no lock, asks no monitor. What vanishes meanwhile is skipped; what cannot be read is shown as
//! `Unknown` and never hides the others.

use std::{fs, io, path::PathBuf, thread};

use proto::{
    Id, Roots,
    alive::{self, Lock, Process},
    layout::Target,
    record::{self, ContainerRecord, ExitRecord, HealthState, MonitorState, Phase, PodRecord, PodState},
    state::{ContainerState, PodStatus, pod_status},
};

/// A container, all that its records and the kernel tell of it.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it is; a record that cannot be read leaves only the ids.
    pub record: Result<ContainerRecord, (Id, Id)>,
    /// In which state it is.
    pub state: ContainerState,
    /// What its monitor wrote in this boot.
    pub monitor: Option<MonitorState>,
    /// How it ended last.
    pub exit: Option<ExitRecord>,
    /// What checks of its health have found in its last run; absent where there are none.
    pub health: Option<HealthState>,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &Id {
        match &self.record {
            Ok(record) => &record.id,
            Err((_, id)) => id,
        }
    }

    /// Its pod.
    pub fn pod(&self) -> &Id {
        match &self.record {
            Ok(record) => &record.pod,
            Err((pod, _)) => pod,
        }
    }

    /// It runs, and its monitor's record of that was deleted.
    pub fn is_lost(&self) -> bool {
        self.init().is_some() && self.monitor.as_ref().is_some_and(|monitor| monitor.monitor.pid == 0)
    }

    /// Its first process, when it has one.
    pub fn init(&self) -> Option<&Process> {
        let init = self.monitor.as_ref().and_then(|monitor| monitor.init.as_ref());
        init.filter(|init| self.state.is_alive() && init.is_alive())
    }
}

/// A pod with its containers.
#[derive(Clone, Debug)]
pub struct Pod {
    /// What it is.
    pub record: Result<PodRecord, Id>,
    /// What of it is up, in this boot.
    pub state: Option<PodState>,
    /// Its containers, oldest first.
    pub containers: Vec<Container>,
    /// State of the infra; absent where the pod has none.
    pub infra: Option<ContainerState>,
}

impl Pod {
    /// Its id.
    pub fn id(&self) -> &Id {
        match &self.record {
            Ok(record) => &record.id,
            Err(id) => id,
        }
    }

    /// What of it is up; `None` when nothing is.
    pub fn up(&self) -> Option<&PodState> {
        let infra = matches!(self.infra, Some(ContainerState::Running | ContainerState::Paused));
        let lives = || infra || self.containers.iter().any(|container| container.state.is_alive());
        self.state.as_ref().filter(|state| state.started && lives())
    }

    /// A hidden pod of one: a container without --pod.
    pub fn hidden(&self) -> bool {
        self.record.as_ref().is_ok_and(|record| record.config.hidden)
    }

    /// Its status, derived.
    pub fn status(&self) -> PodStatus {
        if self.record.is_err() {
            return PodStatus::Error;
        }
        let members = self
            .containers
            .iter()
            .filter(|container| container.record.as_ref().is_ok_and(|record| record.config.init_ctr.is_empty()))
            .map(|container| container.state);
        let states: Vec<ContainerState> = self.infra.into_iter().chain(members).collect();
        pod_status(&states)
    }
}

/// The containers that are noted to need `target` and have a name: see `pod::dependents`.
pub fn dependents(roots: &Roots, target: &Target) -> Vec<Id> {
    let entries = fs::read_dir(roots.dependents(target)).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Id>().ok());
    let mut ids: Vec<Id> = ids.filter(|id| fs::read_link(roots.names().join(id.as_str())).is_ok()).collect();
    ids.sort();
    ids
}

/// From how many pods on reading them is shared among threads.
const MANY: usize = 64;
/// Threads that read.
const MOST_THREADS: usize = 8;

/// All pods, hidden ones too, oldest first.
///
/// # Errors
/// When `$STATE/pods` exists and cannot be read.
pub fn pods(roots: &Roots) -> io::Result<Vec<Pod>> {
    let ids = ids(&roots.pods())?;
    let read = |ids: &[Id]| -> Vec<Pod> { ids.iter().filter_map(|id| pod(roots, id)).collect() };
    let mut pods = if ids.len() < MANY {
        read(&ids)
    } else {
        // Small files and processes to look at, each a few calls into the kernel: all processors can.
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        thread::scope(|scope| {
            let chunks = ids.chunks(ids.len().div_ceil(threads));
            let readers: Vec<_> = chunks.map(|chunk| scope.spawn(|| read(chunk))).collect();
            // A reader cannot panic: nothing it reads is taken for granted. Its pods would be left out.
            readers.into_iter().flat_map(|reader| reader.join().unwrap_or_default()).collect()
        })
    };
    pods.sort_by_cached_key(|pod| (pod.record.as_ref().map_or(0, |record| record.created), pod.id().clone()));
    Ok(pods)
}

/// The pod `id`; `None` when there is none (or it is being removed and its record has gone).
pub fn pod(roots: &Roots, id: &Id) -> Option<Pod> {
    let record = match record::read::<PodRecord>(&roots.pod_record(id)) {
        Ok(record) => Ok(record),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => Err(id.clone()),
    };
    let state = record::read::<PodState>(&roots.pod_state(id)).ok().filter(|state| state.boot_id == alive::boot_id());
    let mut containers: Vec<Container> = ids(&roots.containers(id))
        .unwrap_or_default()
        .iter()
        .filter_map(|container_id| container(roots, id, container_id))
        .collect();
    containers.sort_by_cached_key(|container| {
        (container.record.as_ref().map_or(0, |record| record.created), container.id().clone())
    });
    let infra = record.as_ref().ok().filter(|record| record.infra.is_some()).map(|_| {
        let lives =
            || Lock::is_held(&roots.pod_lock(id)) || containers.iter().any(|container| container.state.is_alive());
        match &state {
            None => ContainerState::Created,
            Some(state) if !state.started || !lives() => ContainerState::Exited,
            Some(state) if state.paused => ContainerState::Paused,
            Some(_) => ContainerState::Running,
        }
    });
    // A pod that was up in an earlier boot has no state now and yet is not new.
    let infra = match infra {
        Some(ContainerState::Created) if state.is_none() && ran(roots, id).exists() => Some(ContainerState::Exited),
        other => other,
    };
    Some(Pod { record, state, containers, infra })
}

/// The mark of a pod that was up once. Unlike its state it survives its shim and a reboot; it was last written when the
/// pod's infra came up or went down.
pub fn ran(roots: &Roots, pod: &Id) -> PathBuf {
    roots.pod(pod).join("ran")
}

/// The container `id` of `pod`; `None` when there is none.
pub fn container(roots: &Roots, pod: &Id, id: &Id) -> Option<Container> {
    let record = match record::read::<ContainerRecord>(&roots.container_record(pod, id)) {
        Ok(record) => Ok(record),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => Err((pod.clone(), id.clone())),
    };
    let exit = record::read::<ExitRecord>(&roots.exit_record(pod, id)).ok();
    let monitor = record::read::<MonitorState>(&roots.container_state(pod, id)).ok();
    let monitor = monitor.or_else(|| MonitorState::outlived(exit.as_ref()?));
    let state = match state_of(monitor.as_ref(), exit.as_ref()) {
        _ if record.is_err() => ContainerState::Unknown,
        // The monitor was killed between two runs: its successor goes on with the restart policy.
        ContainerState::Exited if is_backing_off(monitor.as_ref()) && Lock::is_held(&roots.pod_lock(pod)) => {
            ContainerState::Running
        }
        ContainerState::Exited if is_being_recorded(roots, pod, monitor.as_ref(), exit.as_ref()) => {
            ContainerState::Stopping
        }
        state => state,
    };
    let checked = record.as_ref().is_ok_and(|record: &ContainerRecord| record.config.health.is_some());
    let health = checked.then(|| health(roots, pod, id, monitor.as_ref(), exit.as_ref()));
    Some(Container { record, state, monitor, exit, health })
}

/// What was found in the last run: until its first check nothing, whatever was found in one before.
fn health(roots: &Roots, pod: &Id, id: &Id, monitor: Option<&MonitorState>, exit: Option<&ExitRecord>) -> HealthState {
    let began = monitor.map(|monitor| monitor.started_at).filter(|began| *began != 0);
    let began = began.or(exit.map(|exit| exit.started_at));
    [roots.health_record(pod, id), roots.last_health_record(pod, id)]
        .iter()
        .filter_map(|path| record::read::<HealthState>(path).ok())
        .find(|health| Some(health.started_at) == began)
        .unwrap_or_default()
}

/// Another run follows the last one.
fn is_backing_off(monitor: Option<&MonitorState>) -> bool {
    monitor.is_some_and(|monitor| monitor.phase == Phase::Backoff)
}

/// The process of the last run is gone and how it ended is not on disk yet, but will be: its monitor, or the successor
/// of one that was killed, is at it for as long as the pod has a shim. Without one nobody will ever know.
fn is_being_recorded(roots: &Roots, pod: &Id, monitor: Option<&MonitorState>, exit: Option<&ExitRecord>) -> bool {
    monitor.is_some_and(|monitor| monitor.started_at != 0 && monitor.phase != Phase::Exited)
        && exit.is_none_or(|exit| exit.status.finished_at == 0)
        && Lock::is_held(&roots.pod_lock(pod))
}

/// A container's state, from what its monitor wrote and what the kernel says of its process.
pub fn state_of(monitor: Option<&MonitorState>, exit: Option<&ExitRecord>) -> ContainerState {
    let ended = if exit.is_some() { ContainerState::Exited } else { ContainerState::Created };
    let Some(monitor) = monitor else { return ended };
    if monitor.phase == Phase::Backoff && monitor.monitor.is_alive() {
        return ContainerState::Running;
    }
    // Once started it has ended when its process has, whether the exit is on disk yet or not.
    let without_process = if monitor.started_at != 0 { ContainerState::Exited } else { ended };
    let Some(init) = &monitor.init else { return without_process };
    if !init.is_alive() {
        return without_process;
    }
    match monitor.phase {
        Phase::Created => ContainerState::Initialized,
        Phase::Running | Phase::Backoff => ContainerState::Running,
        Phase::Paused => ContainerState::Paused,
        Phase::Stopping => ContainerState::Stopping,
        Phase::Exited => ContainerState::Exited,
    }
}

/// The entries of `dir` that are ids.
fn ids(dir: &std::path::Path) -> io::Result<Vec<Id>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(phase: Phase, init: Option<Process>, started_at: i64) -> MonitorState {
        MonitorState {
            schema: record::SCHEMA,
            monitor: Process::this(),
            phase,
            init,
            started_at,
            ..MonitorState::default()
        }
    }

    #[test]
    fn the_table_of_container_states() {
        let exit = ExitRecord {
            schema: record::SCHEMA,
            status: proto::exit::from_wait_status(0, 9),
            started_at: 1,
            restart_count: 0,
            error: String::new(),
            log_dropped: 0,
            stopped_by_user: false,
            init: None,
        };
        let this = Some(Process::this());
        let gone = Some(Process { start_time: 1, ..Process::this() });
        let cases = [
            (None, None, ContainerState::Created),
            (None, Some(&exit), ContainerState::Exited),
            (Some(monitor(Phase::Created, None, 0)), None, ContainerState::Created),
            (Some(monitor(Phase::Created, None, 0)), Some(&exit), ContainerState::Exited),
            (Some(monitor(Phase::Created, this.clone(), 0)), Some(&exit), ContainerState::Initialized),
            (Some(monitor(Phase::Running, this.clone(), 5)), None, ContainerState::Running),
            (Some(monitor(Phase::Paused, this.clone(), 5)), None, ContainerState::Paused),
            (Some(monitor(Phase::Stopping, this.clone(), 5)), None, ContainerState::Stopping),
            (Some(monitor(Phase::Running, gone.clone(), 5)), None, ContainerState::Exited),
            (Some(monitor(Phase::Created, gone, 0)), None, ContainerState::Created),
            (Some(monitor(Phase::Exited, None, 5)), None, ContainerState::Exited),
            (Some(monitor(Phase::Backoff, None, 5)), Some(&exit), ContainerState::Running),
        ];
        for (monitor, exit, state) in cases {
            assert_eq!(state_of(monitor.as_ref(), exit), state, "{monitor:?}");
        }
    }
}
