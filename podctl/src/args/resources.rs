//! Limits: memory, CPUs, pids, block I/O.

use proto::wire::Resources;

use super::{Args, Flag, block, float, int, switch, text, uint, value};
use crate::error::Failure;

const SIZE: &str = "<number>[<unit>]";

/// Flags that pods and containers share, and that can be changed later.
pub const FLAGS: &[Flag] = &[
    text("blkio-weight", "string", "Block IO weight (relative weight) accepts a weight value between 10 and 1000."),
    uint("cpu-shares", "CPU shares (relative weight)").short('c'),
    float("cpus", "Number of CPUs. The default is 0.000 which means no limit"),
    text("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    text("cpuset-mems", "string", "Memory nodes (MEMs) in which to allow execution (0-3, 0,1). Only effective on NUMA systems."),
    text("memory", SIZE, "Memory limit (format: <number>[<unit>], where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))").short('m'),
    text("memory-swap", "string", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
];

/// Flags that pods and containers share, and that hold from their creation on.
pub const PLACE_FLAGS: &[Flag] = &[text("cgroup-parent", "string", "Optional parent cgroup for the container")];

/// Flags of containers alone.
pub const CONTAINER_FLAGS: &[Flag] = &[
    uint("cpu-period", "Limit the CPU CFS (Completely Fair Scheduler) period"),
    int("cpu-quota", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
    uint("cpu-rt-period", "Limit the CPU real-time period in microseconds (cgroup v1)"),
    int("cpu-rt-runtime", "Limit the CPU real-time runtime in microseconds (cgroup v1)"),
    text(
        "memory-reservation",
        SIZE,
        "Memory soft limit (format: <number>[<unit>], where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))",
    ),
    int("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
];

/// Flags of containers alone that hold from their creation on.
pub const CREATE_FLAGS: &[Flag] = &[
    int("memory-swappiness", "Tune container memory swappiness (0 to 100, or -1 for system default)").default("-1"),
    switch("oom-kill-disable", "Disable OOM Killer"),
];

/// Length of the CPU period that `--cpus` counts in, µs.
const PERIOD: u64 = 100_000;

/// The flags as a message; those a command does not have are not asked for.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args) -> Result<Resources, Failure> {
    let resources = given(args)?;
    if resources.memory_swap > 0 && resources.memory == 0 {
        return Err(Failure::invalid("you should always set a memory limit when using a memoryswap limit, see usage"));
    }
    Ok(resources)
}

/// As [`config`], where what is not given may be there already.
///
/// # Errors
/// podman's words.
pub fn given(args: &Args) -> Result<Resources, Failure> {
    let mut resources = Resources {
        memory: memory(args, "memory")?,
        cpu_shares: args.uint("cpu-shares").unwrap_or(0),
        cpuset_cpus: cpus_of("cpus", args.text_or_empty("cpuset-cpus"))?,
        cpuset_mems: cpus_of("mems", args.text_or_empty("cpuset-mems"))?,
        blkio_weight: match args.text("blkio-weight") {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Failure::invalid(format!(
                    "invalid value for blkio-weight: strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ))
            })?,
        },
        ..Default::default()
    };
    resources.memory_swap = match args.text("memory-swap") {
        None => 0,
        Some("-1") => -1,
        Some(_) => memory(args, "memory-swap")?,
    };
    if resources.memory_swap > 0 && resources.memory_swap < resources.memory {
        return Err(Failure::invalid("minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    let of_container = args.knows("cpu-quota");
    if let Some(cpus) = args.float("cpus") {
        for flag in ["cpu-quota", "cpu-period"] {
            if of_container && args.given(flag) {
                return Err(Failure::invalid(format!("--{flag} and --cpus cannot be set together")));
            }
        }
        if !(0.0..=100_000.0).contains(&cpus) {
            return Err(Failure::invalid(format!(
                "invalid value {cpus} for --cpus: must be a number of CPUs, 0 = no limit"
            )));
        }
        resources.cpus = cpus;
        if cpus > 0.0 {
            resources.cpu_period = PERIOD;
            resources.cpu_quota = (cpus * PERIOD as f64) as i64;
        }
    }
    block::config(args, &mut resources)?;
    if of_container {
        container(args, &mut resources)?;
    }
    Ok(resources)
}

fn container(args: &Args, resources: &mut Resources) -> Result<(), Failure> {
    resources.cpu_quota = args.int("cpu-quota").unwrap_or(resources.cpu_quota);
    resources.cpu_period = args.uint("cpu-period").unwrap_or(resources.cpu_period);
    resources.cpu_rt_period = args.uint("cpu-rt-period").unwrap_or(0);
    resources.cpu_rt_runtime = args.int("cpu-rt-runtime").unwrap_or(0);
    resources.memory_reservation = memory(args, "memory-reservation")?;
    if resources.memory > 0 && resources.memory_reservation > resources.memory {
        return Err(Failure::invalid("minimum memory limit cannot be less than memory reservation limit, see usage"));
    }
    resources.memory_swappiness = match args.knows("memory-swappiness").then(|| args.int("memory-swappiness")).flatten()
    {
        None | Some(-1) => None,
        Some(value) => Some(u32::try_from(value).ok().filter(|value| *value <= 100).ok_or_else(|| {
            Failure::invalid(format!(
                "invalid memory-swappiness {value}: give a number from 0 to 100, or -1 for the system's default"
            ))
        })?),
    };
    resources.oom_kill_disable = args.knows("oom-kill-disable") && args.is("oom-kill-disable");
    resources.pids_limit = args.int("pids-limit").map_or(0, |limit| limit.max(-1));
    Ok(())
}

fn memory(args: &Args, flag: &'static str) -> Result<i64, Failure> {
    let text = args.text_or_empty(flag);
    if text.is_empty() {
        return Ok(0);
    }
    value::size(text).map_err(|why| Failure::invalid(format!("invalid value for memory: {why}")))
}

/// A list of numbers and ranges: `0-3,5`.
fn cpus_of(what: &str, text: &str) -> Result<String, Failure> {
    let number = |text: &str| text.parse::<u32>().is_ok();
    let is_range =
        |part: &str| part.split_once('-').map_or_else(|| number(part), |(from, to)| number(from) && number(to));
    if text.is_empty() || text.split(',').all(is_range) {
        Ok(text.to_owned())
    } else {
        Err(Failure::invalid(format!("invalid value {text} for cpuset {what}")))
    }
}

/// `--shm-size-systemd`
pub const SHM_SIZE_SYSTEMD: Flag = text(
    "shm-size-systemd",
    SIZE,
    "Size of systemd specific tmpfs mounts (/run, /run/lock, /tmp and /var/log/journal; format: <number>[<unit>], where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))",
);

/// `--shm-size`, `--shm-size-systemd`; 0 = not given.
///
/// # Errors
/// `unable to translate --shm-size: invalid size: 'x'`
pub fn shm_size(args: &Args, flag: &'static str) -> Result<i64, Failure> {
    let text = args.text_or_empty(flag);
    if text.is_empty() {
        return Ok(0);
    }
    value::size(text).map_err(|why| Failure::invalid(format!("unable to translate --{flag}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn parse(line: &str) -> Result<Resources, Failure> {
        let words = format!("run {line} image").split_whitespace().map(str::to_owned).collect();
        match scan::parse(&crate::command::ROOT, words)? {
            Parsed::Run { args, .. } => config(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn limits() {
        let found = parse("-m 64m --memory-swap -1 --cpus 1.5 --cpuset-cpus 0-1,3 --pids-limit -1").expect("limits");
        assert_eq!((found.memory, found.memory_swap, found.pids_limit), (64 << 20, -1, -1));
        assert_eq!((found.cpu_quota, found.cpu_period, found.cpus), (150_000, 100_000, 1.5));
        assert_eq!(parse("--cpu-quota 5 --cpu-period 9").expect("limits").cpu_period, 9);
        assert_eq!(parse("").expect("none"), Resources::default());
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            ("-m 5x", "invalid value for memory: invalid size: '5x'"),
            ("-m -1", "invalid value for memory: invalid size: '-1'"),
            ("--memory-swap 1m", "you should always set a memory limit when using a memoryswap limit, see usage"),
            ("-m 10m --memory-swap 5m", "minimum memoryswap limit should be larger than memory limit, see usage"),
            (
                "-m 10m --memory-reservation 20m",
                "minimum memory limit cannot be less than memory reservation limit, see usage",
            ),
            (
                "--memory-swappiness 101",
                "invalid memory-swappiness 101: give a number from 0 to 100, or -1 for the system's default",
            ),
            ("--cpus 1 --cpu-quota 5", "--cpu-quota and --cpus cannot be set together"),
            ("--cpus 1 --cpu-period 5", "--cpu-period and --cpus cannot be set together"),
            ("--cpus=-1", "invalid value -1 for --cpus: must be a number of CPUs, 0 = no limit"),
            ("--cpuset-cpus x", "invalid value x for cpuset cpus"),
            ("--cpuset-mems 1-", "invalid value 1- for cpuset mems"),
            ("--blkio-weight x", "invalid value for blkio-weight: strconv.ParseUint: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), words, "{line}");
        }
    }
}
