//! What the kernel and the distribution say of the machine.

use std::{fs, path::Path};

use nix::sys::{
    statfs::{CGROUP2_SUPER_MAGIC, statfs},
    sysinfo::sysinfo,
};
use serde_json::Value;

use crate::view::json::{add, object};

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// As Go names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `v2`, or `v1` where any hierarchy of version 1 is in use.
pub(super) fn cgroup_version() -> &'static str {
    match statfs(CGROUPS) {
        Ok(stat) if stat.filesystem_type() == CGROUP2_SUPER_MAGIC => "v2",
        _ => "v1",
    }
}

/// Controllers that can be used.
pub(super) fn cgroup_controllers(version: &str) -> Vec<String> {
    if version == "v2" {
        let text = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).unwrap_or_default();
        return text.split_ascii_whitespace().map(str::to_owned).collect();
    }
    // NAME HIERARCHY CGROUPS ENABLED; a controller without a hierarchy is mounted nowhere.
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let mounted = *fields.get(1)? != "0" && *fields.get(3)? == "1";
            mounted.then(|| fields[0].to_owned())
        })
        .collect()
}

/// Shares of the time since boot in percent.
pub(super) fn cpu_utilization() -> Value {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let times: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let total: f64 = times.iter().sum::<f64>().max(1.0);
    let percent = |time: usize| ((times.get(time).copied().unwrap_or(0.0) / total * 10_000.0).round() / 100.0).into();
    object([("userPercent", percent(0)), ("systemPercent", percent(2)), ("idlePercent", percent(3))])
}

/// os-release(5)
pub(super) fn distribution() -> Value {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let or_unknown = |value: String| if value.is_empty() { "unknown".to_owned() } else { value };
    let mut document = object([("distribution", or_unknown(of("ID")).into())]);
    add(&mut document, "variant", of("VARIANT_ID"));
    crate::view::inspect::extend(&mut document, [("version", or_unknown(of("VERSION_ID")).into())]);
    add(&mut document, "codename", of("VERSION_CODENAME"));
    document
}

/// `/proc/meminfo` in bytes.
pub(super) struct Memory(String);

impl Memory {
    /// As it is now.
    pub(super) fn read() -> Memory {
        Memory(fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    /// The value of `key`, 0 where there is none.
    pub(super) fn of(&self, key: &str) -> u64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

/// `0h 30m 8.00s`, with days where there are any.
pub(super) fn uptime() -> String {
    let seconds = sysinfo().map_or(0, |info| info.uptime().as_secs());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{hours}h {minutes}m {seconds}.00s");
    match hours / 24 {
        0 => text,
        // As podman counts.
        1 => format!("{text} (Approximately 1.00 days)"),
        days => format!("{text} (Approximately {days}.00 days)"),
    }
}
