//! Figures of `stats`: what containers use, read from their cgroups and their network namespaces.
//!
//! No monitor is asked: one answer covers any number of containers, and a monitor that is being replaced changes nothing.
//! Rates are the client's business, which has the figures of a moment before.

use std::{collections::BTreeSet, fs};

use proto::{
    Id,
    alive::Process,
    layout::Target,
    record::{self, StartRecord},
    refusal::Result,
    state::ContainerState,
    time,
    wire::StatsRequest,
};
use serde_json::Value;

use super::{Shown, View, json::object};
use crate::{
    cgroup::{self, Figures},
    index::{self, Pod},
};

/// A row for each container that `request` asks for, oldest first: bytes, nanoseconds, and whether it runs at all. Infras
/// have none: their process is the pod's shim. What has gone meanwhile is left out.
///
/// # Errors
/// When the records cannot be listed.
pub fn rows(view: &View<'_>, request: &StatsRequest) -> Result<Value> {
    let pods = pods(view, request)?;
    let named = !request.containers.is_empty() || !request.pods.is_empty();
    let wanted = |pod: &Pod, id: &Id, state: ContainerState| {
        let running = matches!(state, ContainerState::Running | ContainerState::Paused | ContainerState::Stopping);
        let by_name = request.containers.iter().any(|name| name == id.as_str())
            || request.pods.iter().any(|name| name == pod.id().as_str());
        if named { by_name } else { request.all || running }
    };
    let memory = total_memory();
    let mut rows: Vec<(i64, Value)> = Vec::new();
    for pod in &pods {
        for member in &pod.containers {
            if wanted(pod, member.id(), member.state) {
                let shown = Shown::Member(pod, member);
                rows.push((shown.created(), row(view, shown, memory)));
            }
        }
    }
    rows.sort_by_key(|(created, _)| *created);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The pods in which something may be asked for.
fn pods(view: &View<'_>, request: &StatsRequest) -> Result<Vec<Pod>> {
    if request.containers.is_empty() && request.pods.is_empty() {
        return view.pods();
    }
    let mut ids = BTreeSet::new();
    for name in request.containers.iter().chain(&request.pods) {
        match view.roots().resolve(name)? {
            Some(Target::Pod(pod) | Target::Container { pod, .. }) => drop(ids.insert(pod)),
            Some(Target::Infra(_)) | None => {}
        }
    }
    Ok(ids.iter().filter_map(|id| index::pod(view.roots(), id)).collect())
}

fn row(view: &View<'_>, shown: Shown<'_>, memory: u64) -> Value {
    let process = shown.process().filter(|_| shown.state() != ContainerState::Initialized);
    let start = record::read::<StartRecord>(&view.roots().start_record(shown.pod().id(), shown.id()));
    let figures = match (&process, &start) {
        (Some(_), Ok(start)) => cgroup::figures(&start.cgroup),
        _ => Figures::default(),
    };
    let (received, sent) = process.and_then(traffic).unwrap_or_default();
    let limit = if figures.memory_limit == 0 { memory } else { figures.memory_limit.min(memory) };
    object([
        ("Id", shown.id().as_str().into()),
        ("Name", shown.name().into()),
        ("Pod", shown.pod_id().map_or("", Id::as_str).into()),
        ("Running", process.is_some().into()),
        ("StartedAt", shown.started().into()),
        ("Now", time::now().into()),
        ("CPUNano", figures.cpu_nanoseconds.into()),
        ("PerCPU", figures.cpu_each_nanoseconds.into()),
        ("SystemNano", figures.cpu_system_nanoseconds.into()),
        ("MemUsage", figures.memory.into()),
        ("MemLimit", if process.is_some() { limit } else { 0 }.into()),
        ("NetInput", received.into()),
        ("NetOutput", sent.into()),
        ("BlockInput", figures.block_read.into()),
        ("BlockOutput", figures.block_written.into()),
        ("PIDs", figures.pids.into()),
    ])
}

/// Memory of the machine, bytes.
fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    total.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024))
}

/// Bytes received and sent in the network namespace of `process`; `None` where it is the host's, whose traffic is not the
/// container's.
fn traffic(process: &Process) -> Option<(u64, u64)> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let pid = process.pid.to_string();
    if namespace(&pid)? == namespace("self")? {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    // Read by its pid: only now is it known that it was this process's.
    process.is_alive().then(|| of_devices(&text))
}

/// Sums of `/proc/net/dev` (proc_pid_net(5)), loopback left out.
fn of_devices(text: &str) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for (name, counters) in text.lines().skip(2).filter_map(|line| line.split_once(':')) {
        if name.trim() == "lo" {
            continue;
        }
        let mut counters = counters.split_ascii_whitespace().map(|text| text.parse::<u64>().unwrap_or(0));
        sums.0 = sums.0.saturating_add(counters.next().unwrap_or(0));
        sums.1 = sums.1.saturating_add(counters.nth(7).unwrap_or(0));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_that_of_all_devices_but_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n\
            \x20face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
            \x20   lo:     840      10    0    0    0     0          0         0      840      10    0    0    0     0       0          0\n\
            \x20 eth0:    1500      12    0    0    0     0          0         0      700       9    0    0    0     0       0          0\n\
            \x20 eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(of_devices(text), (1501, 702));
        assert_eq!(of_devices(""), (0, 0));
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(total_memory() > 1 << 20 && total_memory() < u64::MAX);
    }
}
