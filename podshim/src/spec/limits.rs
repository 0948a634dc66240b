//! Resources of pods and containers, ulimits, shared memory.

use proto::{
    Kind, Refusal,
    refusal::Result,
    ulimit,
    wire::{Resources, Ulimit},
};

use super::text::{no_controls, quoted, shown};

/// What `--cpus` is counted in: the quota of a period of 100 ms.
const PERIOD: u64 = 100_000;

/// Below this no runtime can start a process: its own start already takes more.
const MIN_MEMORY: i64 = 512 << 10;

/// Refuses limits that contradict themselves; derives quota and period of `--cpus`.
pub(super) fn resources(limits: Option<Resources>) -> Result<Option<Resources>> {
    let Some(mut limits) = limits else { return Ok(None) };
    memory(&limits)?;
    cpu(&mut limits)?;
    for (flag, set) in [("cpus", &limits.cpuset_cpus), ("mems", &limits.cpuset_mems)] {
        if !set.is_empty() && !is_cpuset(set) {
            return Err(Refusal::invalid(format!("invalid value {} for cpuset {flag}", shown(set))));
        }
    }
    if limits.pids_limit < -1 {
        return Err(Refusal::invalid(format!("--pids-limit {}: give a number, or -1 for no limit", limits.pids_limit)));
    }
    if limits.blkio_weight != 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return Err(Refusal::invalid("range of blkio weight is from 10 to 1000"));
    }
    for limit in &limits.blkio_weights {
        if !(10..=1000).contains(&limit.value) {
            return Err(Refusal::invalid(format!(
                "invalid weight for device: {}:{}",
                shown(&limit.device),
                limit.value
            )));
        }
    }
    let rates = [&limits.read_bps, &limits.write_bps, &limits.read_iops, &limits.write_iops];
    for limit in rates.into_iter().chain([&limits.blkio_weights]).flatten() {
        let parts = limit.device.split('/').skip(1);
        if !limit.device.starts_with("/dev/") || parts.into_iter().any(|part| matches!(part, "" | "." | "..")) {
            return Err(Refusal::invalid(format!("bad format for device path: {}", shown(&limit.device))));
        }
    }
    if limits.memory_swappiness.is_some_and(|value| value > 100) {
        return Err(Refusal::invalid("invalid memory-swappiness: give a number from 0 to 100"));
    }
    Ok(Some(limits))
}

fn memory(limits: &Resources) -> Result<()> {
    let refuse = |words: &str| Err(Refusal::invalid(words));
    for (flag, bytes) in [("--memory", limits.memory), ("--memory-reservation", limits.memory_reservation)] {
        if bytes < 0 {
            return refuse(&format!("invalid value for {}: invalid size: '{bytes}'", flag.trim_start_matches('-')));
        }
    }
    if limits.memory != 0 && limits.memory < MIN_MEMORY {
        return refuse(&format!("--memory {}: no process can start with less than 512k: give it more", limits.memory));
    }
    if limits.memory_swap < -1 {
        return refuse(&format!("--memory-swap {}: give a size, or -1 for no limit", limits.memory_swap));
    }
    if limits.memory == 0 && limits.memory_swap > 0 {
        return refuse("you should always set a memory limit when using a memoryswap limit, see usage");
    }
    if limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return refuse("minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limits.memory != 0 && limits.memory_reservation > limits.memory {
        return refuse("minimum memory limit cannot be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn cpu(limits: &mut Resources) -> Result<()> {
    let refuse = |words: &str| Err(Refusal::invalid(words));
    if limits.cpus != 0.0 {
        // NaN and infinity fail this, too.
        if !(limits.cpus > 0.0 && limits.cpus <= 1_000_000.0) {
            return refuse(&format!("--cpus {}: give a number of processors above 0", limits.cpus));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let quota = (limits.cpus * PERIOD as f64).round() as i64;
        if limits.cpu_period != 0 && limits.cpu_period != PERIOD {
            return refuse("--cpu-period and --cpus cannot be set together");
        }
        if limits.cpu_quota != 0 && limits.cpu_quota.abs_diff(quota) > 1 {
            return refuse("--cpu-quota and --cpus cannot be set together");
        }
        // Rounded to nothing it would mean no limit at all.
        (limits.cpu_quota, limits.cpu_period) = (quota.max(1), PERIOD);
    }
    if limits.cpu_period != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period) {
        return refuse("CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if limits.cpu_quota != 0 && limits.cpu_quota != -1 && limits.cpu_quota < 1_000 {
        return refuse("CPU cfs quota cannot be less than 1ms (i.e. 1000)");
    }
    if limits.cpu_shares != 0 && !(2..=262_144).contains(&limits.cpu_shares) {
        return refuse(&format!("--cpu-shares {}: give a number from 2 to 262144", limits.cpu_shares));
    }
    Ok(())
}

/// A list of numbers and ranges: `0-2,4` (cpuset(7), "List format").
fn is_cpuset(text: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|n| *n < 8192)
    };
    text.split(',').all(|part| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
    })
}

/// `--ulimit`.
pub(super) fn ulimits(limits: &[Ulimit]) -> Result<()> {
    for limit in limits {
        let typed = if limit.soft == limit.hard {
            format!("{}={}", limit.name, limit.soft)
        } else {
            format!("{}={}:{}", limit.name, limit.soft, limit.hard)
        };
        let refuse = |why: String| {
            Err(Refusal::invalid(format!(
                "ulimit option {} requires name=SOFT:HARD, failed to be parsed: {why}",
                quoted(&typed)
            )))
        };
        if ulimit::find(&limit.name).is_none() {
            return refuse(format!("invalid ulimit type: {}", shown(&limit.name)));
        }
        if limit.soft < -1 || limit.hard < -1 {
            return refuse("a limit is a number, or -1 for none".to_owned());
        }
        // -1 stands for no limit: above every number.
        if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
            return refuse(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            ));
        }
    }
    Ok(())
}

/// `--cgroup-conf`: files of a cgroup of v2 (cgroups(7)) that are for limits, each with a line for it.
pub(super) fn cgroup_conf(files: &std::collections::BTreeMap<String, String>) -> Result<()> {
    for (file, value) in files {
        let is_file = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
        if !file.contains('.') || file.starts_with('.') || file.starts_with("cgroup.") || !file.bytes().all(is_file) {
            return Err(Refusal::invalid(format!(
                "--cgroup-conf {}: give a file of a controller, as memory.high",
                quoted(file)
            )));
        }
        no_controls("--cgroup-conf", value)?;
    }
    Ok(())
}

/// `--shm-size`; 0 = not given.
pub(super) fn shm_size(bytes: i64) -> Result<()> {
    if bytes < 0 {
        return Err(Refusal::invalid(format!("unable to translate --shm-size: invalid size: '{bytes}'")));
    }
    Ok(())
}

/// `--oom-score-adj`.
pub(super) fn oom_score_adj(score: i32) -> Result<()> {
    if (-1000..=1000).contains(&score) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("--oom-score-adj {score}: give a number from -1000 to 1000")))
}

/// `--cgroup-parent`: a path below the root of the hierarchies.
pub(super) fn cgroup_parent(path: &str) -> Result<()> {
    super::text::no_controls("--cgroup-parent", path)?;
    if path.ends_with(".slice") && !path.contains('/') {
        return Err(Refusal::new(
            Kind::NotSupported,
            format!(
                "--cgroup-parent {}: systemd slices are not supported by this version: give a cgroup path",
                shown(path)
            ),
        ));
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) || path.contains("//") {
        return Err(Refusal::invalid(format!("--cgroup-parent {}: give a path without . and ..", quoted(path))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_quota_and_period() {
        let limits = resources(Some(Resources { cpus: 1.5, ..Default::default() })).expect("fine").expect("some");
        assert_eq!((limits.cpu_quota, limits.cpu_period), (150_000, 100_000));
        // Whoever derived them before us said the same.
        assert_eq!(resources(Some(limits.clone())).expect("fine"), Some(limits));
    }

    #[test]
    fn limits_of_devices_name_devices() {
        let of = |device: &str, value| {
            let limit = proto::wire::BlockLimit { device: device.into(), value };
            resources(Some(Resources { blkio_weights: vec![limit], ..Default::default() })).map(|_| ())
        };
        assert!(of("/dev/a/b", 10).is_ok());
        for (device, value) in [("/dev/a", 9), ("/dev/../x", 10), ("/etc/x", 10), ("/dev//x", 10), ("/dev/", 10)] {
            assert!(of(device, value).is_err(), "{device}:{value}");
        }
    }

    #[test]
    fn cpusets() {
        for good in ["0", "0-2,4", "7,7"] {
            assert!(is_cpuset(good), "{good}");
        }
        for bad in ["abc", "", ",", "2-1", "0-", "-1", "0 1", "99999", "+1", "0\n"] {
            assert!(!is_cpuset(bad), "{bad:?}");
        }
    }

    #[test]
    fn no_limit_is_above_every_limit() {
        let limit = |soft, hard| ulimits(&[Ulimit { name: "nofile".into(), soft, hard }]);
        assert!(limit(-1, -1).is_ok() && limit(10, -1).is_ok() && limit(10, 10).is_ok() && limit(0, 0).is_ok());
        assert!(limit(-1, 10).is_err() && limit(11, 10).is_err() && limit(-2, -2).is_err());
    }
}
