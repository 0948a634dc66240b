//! Limits of a pod's cgroup: which file takes which value, and which flag is at fault when it cannot.

use std::{fs, io, path::PathBuf};

use proto::{Kind, Refusal, refusal::Result, wire::Resources};

use super::{
    block,
    hierarchy::{Hierarchies, Version},
    tree,
};

/// Period of the CPU quota where none is given, in µs: the kernel's default.
pub(super) const CPU_PERIOD: u64 = 100_000;

/// The time of real-time processes (cgroup v1).
pub(super) const RT_RUNTIME: &str = "cpu.rt_runtime_us";

/// One value for one file.
#[derive(Debug, PartialEq)]
pub(super) struct Setting {
    /// The option and its value, for messages.
    pub flag: String,
    /// Controller by its v1 name.
    pub controller: &'static str,
    /// File and value in v1; `None` = v1 has nothing for it.
    pub v1: Option<(&'static str, String)>,
    /// File and value in v2.
    pub v2: Option<(&'static str, String)>,
}

/// The quota and period of `limits` in µs; `--cpus` counts where no quota is given.
pub(crate) fn cpu_quota(limits: &Resources) -> Option<(i64, u64)> {
    let period = if limits.cpu_period == 0 { CPU_PERIOD } else { limits.cpu_period };
    match limits {
        Resources { cpu_quota, .. } if *cpu_quota != 0 => Some((*cpu_quota, period)),
        // Saturates far above what the kernel takes, which is refused there.
        Resources { cpus, .. } if *cpus > 0.0 => Some(((cpus * period as f64).round() as i64, period)),
        Resources { cpu_period, .. } if *cpu_period != 0 => Some((-1, period)),
        _ => None,
    }
}

/// Memory and swap together in bytes, -1 = no limit; `-m` alone allows as much swap again, as podman does.
pub(crate) fn memory_swap(limits: &Resources) -> Option<i64> {
    match (limits.memory, limits.memory_swap) {
        (0, 0) => None,
        (memory, 0) => Some(memory.saturating_mul(2)),
        (_, swap) => Some(swap),
    }
}

/// Shares (2…262144) as a v2 weight (1…10000), by the formula all runtimes use.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// Bytes as people type them.
pub(super) fn bytes(value: i64) -> String {
    [(30, "g"), (20, "m"), (10, "k")]
        .iter()
        .find(|(shift, _)| value > 0 && value % (1 << shift) == 0)
        .map_or_else(|| value.to_string(), |(shift, unit)| format!("{}{unit}", value >> shift))
}

/// Everything `limits` asks for, in the order in which it must be written.
///
/// # Errors
/// For a device that is none.
pub(super) fn settings(limits: &Resources) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    memory(limits, &mut all);
    cpu(limits, &mut all);
    if limits.pids_limit > 0 {
        let value = limits.pids_limit.to_string();
        all.push(Setting {
            flag: format!("--pids-limit {value}"),
            controller: "pids",
            v1: Some(("pids.max", value.clone())),
            v2: Some(("pids.max", value)),
        });
    }
    all.extend(block::settings(limits)?);
    Ok(all)
}

fn memory(limits: &Resources, all: &mut Vec<Setting>) {
    let mut add = |flag: String, v1: Option<(&'static str, String)>, v2: Option<(&'static str, String)>| {
        all.push(Setting { flag, controller: "memory", v1, v2 });
    };
    if limits.memory > 0 {
        let value = limits.memory.to_string();
        add(
            format!("-m {}", bytes(limits.memory)),
            Some(("memory.limit_in_bytes", value.clone())),
            Some(("memory.max", value)),
        );
    }
    // Both together: v1 refuses a sum below the memory's limit, so it comes after it; v2 wants the swap alone.
    if let Some(swap) = memory_swap(limits).filter(|_| limits.memory_swap != 0) {
        let alone = if swap < 0 { "max".to_owned() } else { (swap - limits.memory).max(0).to_string() };
        add(
            format!("--memory-swap {}", bytes(swap)),
            Some(("memory.memsw.limit_in_bytes", swap.to_string())),
            Some(("memory.swap.max", alone)),
        );
    }
    if limits.memory_reservation > 0 {
        let value = limits.memory_reservation.to_string();
        add(
            format!("--memory-reservation {}", bytes(limits.memory_reservation)),
            Some(("memory.soft_limit_in_bytes", value.clone())),
            Some(("memory.low", value)),
        );
    }
    if let Some(value) = limits.memory_swappiness {
        let setting = Some(("memory.swappiness", value.to_string()));
        add(format!("--memory-swappiness {value}"), setting, None);
    }
    if limits.oom_kill_disable {
        add("--oom-kill-disable".to_owned(), Some(("memory.oom_control", "1".to_owned())), None);
    }
}

/// The option that limits the CPU time.
fn cpu_flag(limits: &Resources) -> String {
    match limits {
        Resources { cpus, .. } if *cpus > 0.0 => format!("--cpus {cpus}"),
        Resources { cpu_quota, .. } if *cpu_quota != 0 => format!("--cpu-quota {cpu_quota}"),
        Resources { cpu_period, .. } => format!("--cpu-period {cpu_period}"),
    }
}

fn cpu(limits: &Resources, all: &mut Vec<Setting>) {
    if limits.cpu_shares > 0 {
        all.push(Setting {
            flag: format!("--cpu-shares {}", limits.cpu_shares),
            controller: "cpu",
            v1: Some(("cpu.shares", limits.cpu_shares.to_string())),
            v2: Some(("cpu.weight", weight_of_shares(limits.cpu_shares).to_string())),
        });
    }
    if let Some((quota, period)) = cpu_quota(limits) {
        let flag = cpu_flag(limits);
        let max = if quota < 0 { "max".to_owned() } else { quota.to_string() };
        let setting =
            |v1: (&'static str, String), v2| Setting { flag: flag.clone(), controller: "cpu", v1: Some(v1), v2 };
        all.push(setting(("cpu.cfs_period_us", period.to_string()), Some(("cpu.max", format!("{max} {period}")))));
        all.push(setting(("cpu.cfs_quota_us", quota.to_string()), None));
    }
    for (flag, file, value) in [
        (format!("--cpu-rt-period {}", limits.cpu_rt_period), "cpu.rt_period_us", i128::from(limits.cpu_rt_period)),
        (format!("--cpu-rt-runtime {}", limits.cpu_rt_runtime), RT_RUNTIME, i128::from(limits.cpu_rt_runtime)),
    ] {
        if value != 0 {
            all.push(Setting { flag, controller: "cpu", v1: Some((file, value.to_string())), v2: None });
        }
    }
    for (flag, file, value) in
        [("--cpuset-cpus", "cpuset.cpus", &limits.cpuset_cpus), ("--cpuset-mems", "cpuset.mems", &limits.cpuset_mems)]
    {
        if !value.is_empty() {
            all.push(Setting {
                flag: format!("{flag} {}", value.escape_debug()),
                controller: "cpuset",
                v1: Some((file, value.clone())),
                v2: Some((file, value.clone())),
            });
        }
    }
}

/// See [`super::check`].
pub(super) fn check(hierarchies: &Hierarchies, limits: &Resources) -> Result<()> {
    for setting in settings(limits)? {
        let Setting { flag, controller, .. } = &setting;
        let Some(hierarchy) = hierarchies.with(controller) else {
            return Err(unavailable(hierarchies, flag, controller));
        };
        let Some((file, _)) = setting.of(hierarchy.version) else {
            if hierarchy.version == Version::V2 && *controller == "cpu" {
                continue;
            }
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("{flag}: cgroup {} has no such limit: leave the option out", hierarchies.name()),
            ));
        };
        // The root of v2 has no limit files, and most of v1 has; these two depend on the kernel's build and the boot.
        if (*file == "memory.memsw.limit_in_bytes" && !hierarchy.mount.join(file).exists())
            || (file.starts_with("cpu.rt_") && !hierarchy.mount.join(file).exists())
            || (*controller == "blkio" && block::file(hierarchy, file).is_none())
        {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("{flag}: this kernel has no {file}: leave the option out"),
            ));
        }
    }
    check_values(hierarchies, limits)
}

pub(super) fn unavailable(hierarchies: &Hierarchies, flag: &str, controller: &str) -> Refusal {
    Refusal::new(
        Kind::NotSupported,
        format!(
            "{flag}: {controller} controller not available (cgroup {}): leave the option out or mount the controller",
            hierarchies.name()
        ),
    )
}

/// Values the kernel would refuse only when half of the pod is there.
fn check_values(hierarchies: &Hierarchies, limits: &Resources) -> Result<()> {
    let swap = format!("--memory-swap {}", bytes(limits.memory_swap));
    if limits.memory_swap > 0 && limits.memory == 0 {
        return Err(Refusal::invalid(format!(
            "{swap}: you should always set a memory limit when using a memoryswap limit: add -m"
        )));
    }
    if limits.memory_swap > 0 && limits.memory > limits.memory_swap {
        return Err(Refusal::invalid(format!(
            "{swap}: minimum memoryswap limit should be larger than memory limit, which is {}",
            bytes(limits.memory)
        )));
    }
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        return Err(Refusal::invalid(format!(
            "--memory-reservation {}: minimum memory limit cannot be less than memory reservation limit",
            bytes(limits.memory_reservation)
        )));
    }
    if let Some((quota, _)) = cpu_quota(limits).filter(|(quota, _)| (0..1000).contains(quota)) {
        return Err(Refusal::invalid(format!(
            "{}: CPU cfs quota cannot be less than 1ms (i.e. 1000), this is {quota}",
            cpu_flag(limits)
        )));
    }
    check_cpuset(hierarchies, limits)
}

fn check_cpuset(hierarchies: &Hierarchies, limits: &Resources) -> Result<()> {
    for (flag, wanted, file) in
        [("--cpuset-cpus", &limits.cpuset_cpus, "cpuset.cpus"), ("--cpuset-mems", &limits.cpuset_mems, "cpuset.mems")]
    {
        if wanted.is_empty() {
            continue;
        }
        let Some(list) = parse_list(wanted) else {
            return Err(Refusal::invalid(format!("{flag} {}: give a list like 0-2,5", wanted.escape_debug())));
        };
        let Some(hierarchy) = hierarchies.with("cpuset") else { continue };
        let file = hierarchy.mount.join(if hierarchy.version == Version::V1 {
            file.to_owned()
        } else {
            format!("{file}.effective")
        });
        let there = fs::read_to_string(file).unwrap_or_default();
        if let Some(have) = parse_list(there.trim())
            && !list.iter().all(|(low, high)| have.iter().any(|(from, to)| from <= low && high <= to))
        {
            return Err(Refusal::invalid(format!(
                "{flag} {wanted}: requested CPUs or memory nodes are not available - available: {}",
                there.trim()
            )));
        }
    }
    Ok(())
}

/// A list of the kernel's (`0-2,5`) as ranges.
fn parse_list(text: &str) -> Option<Vec<(u32, u32)>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some((number(low)?, number(high)?)).filter(|(low, high)| low <= high)
        })
        .collect()
}

/// See [`super::set_block_limits`].
pub(super) fn set_block(hierarchies: &Hierarchies, path: &str, limits: &Resources) -> Result<()> {
    let only = block::only(limits);
    if only == Resources::default() {
        return Ok(());
    }
    tree::create(hierarchies, path)?;
    apply(hierarchies, path, &only)
}

/// See [`super::block_limits`].
pub(super) fn block_files(hierarchies: &Hierarchies, path: &str, limits: &Resources) -> Result<Vec<(PathBuf, String)>> {
    let file = |setting: Setting| {
        let hierarchy = hierarchies.with(setting.controller)?;
        let (file, value) = setting.of(hierarchy.version)?.clone();
        Some((hierarchy.dir(path).join(block::file(hierarchy, file)?), value))
    };
    Ok(settings(&block::only(limits))?.into_iter().filter_map(file).collect())
}

impl Setting {
    /// File and value of `version`.
    pub(super) fn of(&self, version: Version) -> Option<&(&'static str, String)> {
        match version {
            Version::V1 => self.v1.as_ref(),
            Version::V2 => self.v2.as_ref(),
        }
    }
}

/// Writes the limits of the cgroup `path`.
pub(super) fn apply(hierarchies: &Hierarchies, path: &str, limits: &Resources) -> Result<()> {
    for setting in settings(limits)? {
        let Setting { flag, controller, .. } = &setting;
        let Some(hierarchy) = hierarchies.with(controller) else {
            return Err(unavailable(hierarchies, flag, controller));
        };
        let Some((file, value)) = setting.of(hierarchy.version) else { continue };
        let file = match *controller {
            "blkio" => block::file(hierarchy, file).unwrap_or_else(|| (*file).to_owned()),
            _ => (*file).to_owned(),
        };
        tree::put(&hierarchy.dir(path).join(&file), value).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unavailable(hierarchies, flag, controller),
            _ => Refusal::invalid(format!("{flag}: the kernel refuses {value} for {file}: {error}")),
        })?;
    }
    // `-m` alone: as much swap again. Where swap is not accounted there is nothing to set.
    if limits.memory > 0
        && limits.memory_swap == 0
        && let Some(hierarchy) = hierarchies.with("memory")
    {
        let (file, value) = match hierarchy.version {
            Version::V1 => ("memory.memsw.limit_in_bytes", memory_swap(limits).unwrap_or(-1)),
            Version::V2 => ("memory.swap.max", limits.memory),
        };
        let _ = tree::put(&hierarchy.dir(path).join(file), &value.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::hierarchy::Hierarchy, *};

    fn v1(controllers: &[&str]) -> Hierarchies {
        let all = controllers
            .iter()
            .map(|name| Hierarchy {
                version: Version::V1,
                mount: PathBuf::from("/nowhere").join(name),
                controllers: vec![(*name).to_owned()],
            })
            .collect();
        Hierarchies { all }
    }

    #[test]
    fn a_limit_without_its_controller_names_its_flag() {
        for (limits, words) in [
            (Resources { memory: 20 << 20, ..Default::default() }, "-m 20m: memory controller not available"),
            (Resources { cpus: 0.5, ..Default::default() }, "--cpus 0.5: cpu controller not available"),
            (Resources { cpu_quota: 1000, ..Default::default() }, "--cpu-quota 1000: cpu controller"),
            (Resources { pids_limit: 5, ..Default::default() }, "--pids-limit 5: pids controller"),
            (Resources { cpuset_cpus: "0".into(), ..Default::default() }, "--cpuset-cpus 0: cpuset controller"),
            (Resources { blkio_weight: 10, ..Default::default() }, "--blkio-weight 10: blkio controller"),
            (Resources { oom_kill_disable: true, ..Default::default() }, "--oom-kill-disable: memory controller"),
        ] {
            let refusal = check(&v1(&["freezer"]), &limits).expect_err(words);
            assert!(refusal.message.starts_with(words), "{refusal}");
            assert_eq!(refusal.kind, Kind::NotSupported);
        }
        assert!(check(&v1(&[]), &Resources { pids_limit: -1, ..Default::default() }).is_ok());
    }

    #[test]
    fn values_that_can_never_be_are_refused_before_anything_is_made() {
        let all = v1(&["cpuset", "memory"]);
        for limits in [
            Resources { cpuset_cpus: "0-".into(), ..Default::default() },
            Resources { cpuset_cpus: "0\n1".into(), ..Default::default() },
            Resources { cpuset_mems: "+1".into(), ..Default::default() },
            Resources { cpuset_cpus: "3-1".into(), ..Default::default() },
        ] {
            let refusal = check(&all, &limits).expect_err("bad list");
            assert!(refusal.message.starts_with("--cpuset-") && !refusal.message.contains('\n'), "{refusal}");
        }
        for (limits, words) in [
            (Resources { memory_swap: 100 << 20, ..Default::default() }, "--memory-swap 100m: you should always set"),
            (Resources { memory: 9, memory_swap: 8, ..Default::default() }, "--memory-swap 8: minimum memoryswap"),
            (Resources { memory: 9, memory_reservation: 10, ..Default::default() }, "--memory-reservation 10: minimum"),
            (Resources { cpus: 0.0001, ..Default::default() }, "--cpus 0.0001: CPU cfs quota cannot be less than 1ms"),
            (Resources { cpu_quota: 5, ..Default::default() }, "--cpu-quota 5: CPU cfs quota"),
        ] {
            let refusal = check_values(&all, &limits).expect_err(words);
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
    }

    #[test]
    fn v2_takes_swap_alone_and_weights() {
        let limits = Resources { memory: 100, memory_swap: 150, cpu_shares: 1024, cpus: 1.5, ..Default::default() };
        let v2: Vec<_> = settings(&limits).expect("settings").into_iter().filter_map(|setting| setting.v2).collect();
        assert_eq!(
            v2,
            [
                ("memory.max", "100".to_owned()),
                ("memory.swap.max", "50".to_owned()),
                ("cpu.weight", "39".to_owned()),
                ("cpu.max", "150000 100000".to_owned()),
            ]
        );
        assert_eq!((weight_of_shares(2), weight_of_shares(262_144)), (1, 10_000));
    }

    #[test]
    fn derived_numbers() {
        assert_eq!(memory_swap(&Resources { memory: 5, ..Default::default() }), Some(10));
        assert_eq!(memory_swap(&Resources { memory: 5, memory_swap: -1, ..Default::default() }), Some(-1));
        assert_eq!(cpu_quota(&Resources { cpus: 0.25, cpu_period: 1000, ..Default::default() }), Some((250, 1000)));
        assert_eq!(cpu_quota(&Resources::default()), None);
        assert_eq!((bytes(20 << 20), bytes(1500), bytes(-1)), ("20m".into(), "1500".into(), "-1".into()));
        assert_eq!(parse_list("0-2,5"), Some(vec![(0, 2), (5, 5)]));
        assert_eq!(parse_list(""), None);
    }
}
