//! Processes of ours that have lost what they are found by: pods that are up and have no record any more, shims that do
//! not have the lock of their pod, and first processes of PID namespaces of pods that are down.

use std::time::{Duration, Instant};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::{self, Lock, Process},
    record::{self, MonitorState, PodState},
    refusal::Result,
};

use super::{Scene, entries, pods::bury};
use crate::{cgroup, finding::Finding, index, namespace::infra, network, pod::intent, programs};

/// How long killed processes may take to end.
const KILLED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    let run = entries(&roots.run_pods()).into_iter().filter_map(|name| name.parse().ok());
    let mut found: Vec<Finding> = run.filter_map(|id| lost(scene, id)).collect();
    found.extend(scene.pods.iter().filter_map(|pod| abandoned(scene, pod)));
    let shims = programs::of_pods(roots, "pod");
    found.extend(shims.iter().filter_map(stopped));
    found.extend(shims.into_iter().filter_map(|shim| unreachable(scene, shim)));
    found.extend(programs::of_pods(roots, "infra").into_iter().filter_map(|infra| orphan(scene, infra)));
    found
}

/// A pod that is up and was deleted from the store.
fn lost(scene: &Scene<'_>, id: Id) -> Option<Finding> {
    let roots = &scene.engine.roots;
    let is_lost = roots.is_lost(&proto::layout::Target::Pod(id.clone())) && !intent::is_open(roots, &id);
    if !is_lost || !scene.is_held(&id) {
        return None;
    }
    let (roots, object) = (roots.clone(), id.short().to_owned());
    let problem = "is up, and its records were deleted";
    Some(Finding::force("pod", object, problem, "ends it and removes what is left", move || {
        let shim = record::read::<PodState>(&roots.pod_state(&id)).ok().map(|state| state.shim);
        // The shim first: it would start other monitors, and they another shim, but not at once.
        kill_all(shim.into_iter().chain(monitors(&roots, &id)))?;
        bury(&roots, &id)
    }))
}

/// A pod of which members run, but no program of ours any more, and its run directory was deleted.
fn abandoned(scene: &Scene<'_>, pod: &index::Pod) -> Option<Finding> {
    let record = pod.record.as_ref().ok()?;
    if scene.is_held(pod.id()) || !pod.containers.iter().any(index::Container::is_lost) {
        return None;
    }
    let (roots, id, parent) = (scene.engine.roots.clone(), record.id.clone(), record.config.cgroup_parent.clone());
    let problem = "runs without its shim, and its run directory was deleted";
    Some(Finding::force("pod", &record.name, problem, "ends what runs", move || {
        let broken = |error: std::io::Error| Refusal::internal(format!("pod {id}"), error);
        let Some(lock) = intent::lock(&roots, &id).map_err(broken)? else {
            return Err(Refusal::new(Kind::TimedOut, format!("pod {id} is in use by somebody else now")));
        };
        let path = cgroup::pod_path(&id, &parent)?;
        cgroup::kill(&path)?;
        infra::end_of(&id, &roots);
        network::take_down_now(&network::Networks::open(&roots), &id)?;
        cgroup::remove(&path)?;
        cgroup::remove_parents(&path, &roots.run);
        intent::leave_open(&roots, &id);
        drop(lock);
        Ok(())
    }))
}

/// A shim of whose lock nothing is left, or which somebody else has.
fn unreachable(scene: &Scene<'_>, programs::OfPod { process, pod }: programs::OfPod) -> Option<Finding> {
    let roots = &scene.engine.roots;
    let holders = Lock::holders(&roots.pod_lock(&pod));
    if holders.contains(&process.pid) || (holders.is_empty() && scene.is_held(&pod)) {
        return None;
    }
    let problem = format!("of pod {} cannot be reached: its run directory was deleted", pod.short());
    Some(Finding::repair("shim", process.pid, problem, "ends it", move || kill_all([process])))
}

/// A shim that somebody has stopped. Monitors that are stopped go on by themselves.
fn stopped(shim: &programs::OfPod) -> Option<Finding> {
    if alive::state(shim.process.pid) != Some('T') {
        return None;
    }
    let process = shim.process.clone();
    let problem = format!("of pod {} is stopped by a signal", shim.pod.short());
    Some(Finding::repair("shim", process.pid, problem, "lets it go on", move || {
        // It has ended meanwhile: fine.
        let _ = process.pidfd().and_then(|pidfd| alive::pidfd_signal(&pidfd, nix::libc::SIGCONT));
        Ok(())
    }))
}

/// PID 1 of a namespace that no pod has.
fn orphan(scene: &Scene<'_>, programs::OfPod { process, pod }: programs::OfPod) -> Option<Finding> {
    let roots = &scene.engine.roots;
    let known = record::read::<PodState>(&roots.pod_state(&pod)).is_ok_and(|state| state.started);
    if known || scene.is_live(&pod) {
        return None;
    }
    let problem = format!("is the first process of pod {}, which is down", pod.short());
    Some(Finding::repair("process", process.pid, problem, "ends it", move || kill_all([process])))
}

/// The monitors of a pod, by what is in its run directory.
fn monitors(roots: &Roots, pod: &Id) -> Vec<Process> {
    let members = entries(&roots.run_pod(pod).join("containers")).into_iter().filter_map(|name| name.parse().ok());
    members
        .filter_map(|id| record::read::<MonitorState>(&roots.container_state(pod, &id)).ok())
        .map(|state| state.monitor)
        .collect()
}

/// SIGKILL to `processes`, and waits for their ends.
fn kill_all(processes: impl IntoIterator<Item = Process>) -> Result<()> {
    let processes: Vec<Process> = processes.into_iter().collect();
    for process in &processes {
        if let Ok(pidfd) = process.pidfd() {
            // It has ended meanwhile: fine.
            let _ = alive::pidfd_signal(&pidfd, nix::libc::SIGKILL);
        }
    }
    let end = Instant::now() + KILLED;
    while let Some(process) = processes.iter().find(|process| process.is_alive()) {
        if Instant::now() >= end {
            let words = format!("not dead after SIGKILL: {}", proto::patience::who(&[process.pid]));
            return Err(Refusal::new(Kind::TimedOut, words));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
