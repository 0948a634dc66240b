//! Namespaces, limits and the score of the out-of-memory killer.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPersonality, LinuxPersonalityBuilder, LinuxPersonalityDomain, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder,
};
use proto::{Kind, Refusal, refusal::Result, wire::Resources};

use super::{Namespace, Namespaces};
use crate::cgroup;

/// podman's default number of processes.
const PIDS: i64 = 2048;

fn wrong(error: impl std::fmt::Display) -> Refusal {
    Refusal::internal("config.json", error)
}

/// Those the runtime makes or joins; the host's are not in the list. The mount namespace is always its own.
pub(super) fn namespaces(namespaces: &Namespaces) -> Result<Vec<LinuxNamespace>> {
    let Namespaces { net, ipc, uts, pid, cgroup } = namespaces;
    let private = Namespace::Private;
    [
        (LinuxNamespaceType::Pid, pid),
        (LinuxNamespaceType::Network, net),
        (LinuxNamespaceType::Ipc, ipc),
        (LinuxNamespaceType::Uts, uts),
        (LinuxNamespaceType::Mount, &private),
        (LinuxNamespaceType::Cgroup, cgroup),
    ]
    .into_iter()
    .filter_map(|(typ, namespace)| {
        let entry = LinuxNamespaceBuilder::default().typ(typ);
        match namespace {
            Namespace::Host => None,
            Namespace::Private => Some(entry.build()),
            Namespace::Path(path) => Some(entry.path(path).build()),
        }
    })
    .collect::<std::result::Result<_, _>>()
    .map_err(wrong)
}

/// The limits of the member's cgroup, but for those of block I/O, which are set without the runtime.
///
/// # Errors
/// See [`cgroup::check`]; `files` of v2 where there is none.
pub(super) fn resources(
    limits: &Resources,
    devices: Vec<LinuxDeviceCgroup>,
    files: &BTreeMap<String, String>,
) -> Result<LinuxResources> {
    cgroup::check(limits)?;
    let mut all = LinuxResourcesBuilder::default().devices(devices);
    if let Some(file) = files.keys().next() {
        let hierarchies = cgroup::Hierarchies::of_this_machine().name();
        if hierarchies != "v2" {
            let words =
                format!("--cgroup-conf {file}: this machine has cgroup {hierarchies}, not v2: leave the option out");
            return Err(Refusal::new(Kind::NotSupported, words));
        }
        all = all.unified(files.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
    }
    if limits.memory > 0
        || limits.memory_swap != 0
        || limits.memory_reservation > 0
        || limits.oom_kill_disable
        || limits.memory_swappiness.is_some()
    {
        let mut memory = LinuxMemoryBuilder::default();
        if limits.memory > 0 {
            memory = memory.limit(limits.memory);
        }
        if let Some(swap) = cgroup::memory_swap(limits) {
            memory = memory.swap(swap);
        }
        if limits.memory_reservation > 0 {
            memory = memory.reservation(limits.memory_reservation);
        }
        if let Some(value) = limits.memory_swappiness {
            memory = memory.swappiness(value);
        }
        if limits.oom_kill_disable {
            memory = memory.disable_oom_killer(true);
        }
        all = all.memory(memory.build().map_err(wrong)?);
    }
    if let Some(cpu) = cpu(limits) {
        all = all.cpu(cpu.build().map_err(wrong)?);
    }
    let pids = if limits.pids_limit == 0 && cgroup::has("pids") { PIDS } else { limits.pids_limit };
    if pids > 0 {
        all = all.pids(LinuxPidsBuilder::default().limit(pids).build().map_err(wrong)?);
    }
    all.build().map_err(wrong)
}

fn cpu(limits: &Resources) -> Option<LinuxCpuBuilder> {
    let quota = cgroup::cpu_quota(limits);
    let real_time = limits.cpu_rt_period > 0 || limits.cpu_rt_runtime != 0;
    let is_limited = real_time
        || quota.is_some()
        || limits.cpu_shares > 0
        || !limits.cpuset_cpus.is_empty()
        || !limits.cpuset_mems.is_empty();
    let mut cpu = LinuxCpuBuilder::default();
    if let Some((quota, period)) = quota {
        cpu = cpu.quota(quota).period(period);
    }
    if limits.cpu_rt_period > 0 {
        cpu = cpu.realtime_period(limits.cpu_rt_period);
    }
    if limits.cpu_rt_runtime != 0 {
        cpu = cpu.realtime_runtime(limits.cpu_rt_runtime);
    }
    if limits.cpu_shares > 0 {
        cpu = cpu.shares(limits.cpu_shares);
    }
    if !limits.cpuset_cpus.is_empty() {
        cpu = cpu.cpus(limits.cpuset_cpus.clone());
    }
    if !limits.cpuset_mems.is_empty() {
        cpu = cpu.mems(limits.cpuset_mems.clone());
    }
    is_limited.then_some(cpu)
}

/// The execution domain (personality(2)).
pub(super) fn personality(name: &str) -> Result<Option<LinuxPersonality>> {
    let domain = match name {
        "" => return Ok(None),
        "LINUX32" => LinuxPersonalityDomain::PerLinux32,
        _ => LinuxPersonalityDomain::PerLinux,
    };
    LinuxPersonalityBuilder::default().domain(domain).build().map(Some).map_err(wrong)
}

/// The score of the process: what was asked for; else ours, but never the protection that we and monitors give ourselves.
/// Said in any case: else it would be that of its monitor.
///
/// `ours` is our own score; `may_lower`: we have CAP_SYS_RESOURCE.
///
/// # Errors
/// A wish the kernel would refuse, naming the flag.
pub(super) fn oom_score(asked: i32, ours: i32, may_lower: bool) -> Result<i32> {
    if asked == 0 {
        return Ok(ours.max(0));
    }
    if !(-1000..=1000).contains(&asked) {
        return Err(Refusal::invalid(format!("--oom-score-adj {asked}: want a number from -1000 to 1000")));
    }
    if asked < ours && !may_lower {
        return Err(Refusal::new(
            Kind::NotSupported,
            format!("--oom-score-adj {asked}: below podctl's own {ours}, which only CAP_SYS_RESOURCE may lower"),
        ));
    }
    Ok(asked)
}

/// Our own score.
pub(super) fn our_oom_score() -> i32 {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_never_lowered_by_accident() {
        assert_eq!(oom_score(0, 0, false).expect("default"), 0);
        assert_eq!(oom_score(0, 300, false).expect("default"), 300);
        assert_eq!(oom_score(0, -998, true).expect("default"), 0);
        assert_eq!(oom_score(500, 0, false).expect("raised"), 500);
        assert_eq!(oom_score(-500, 0, true).expect("lowered"), -500);
        assert!(oom_score(-500, 0, false).expect_err("refused").message.starts_with("--oom-score-adj -500"));
        assert!(oom_score(1001, 0, true).is_err());
    }

    #[test]
    fn the_hosts_namespaces_are_not_listed() {
        let asked = Namespaces {
            net: Namespace::Path("/n".into()),
            pid: Namespace::Host,
            cgroup: Namespace::Host,
            ..Default::default()
        };
        let json = serde_json::to_string(&namespaces(&asked).expect("list")).expect("json");
        assert_eq!(json, r#"[{"type":"network","path":"/n"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]"#);
    }

    #[test]
    fn limits_are_derived_as_podman_does() {
        let limits = Resources { memory: 20 << 20, cpus: 0.5, ..Default::default() };
        let json =
            serde_json::to_value(resources(&limits, Vec::new(), &BTreeMap::new()).expect("limits")).expect("json");
        assert_eq!(json["memory"]["swap"], 40 << 20);
        assert_eq!((json["cpu"]["quota"].as_i64(), json["cpu"]["period"].as_i64()), (Some(50_000), Some(100_000)));
    }
}
