//! Other limits for a cgroup that is there: all of them, or none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proto::{Refusal, refusal::Result, wire::Resources};

use super::{
    block,
    hierarchy::{Hierarchies, Version},
    limits::{self, CPU_PERIOD, memory_swap, settings},
    tree,
};

/// One file and its new content.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    /// The option it is for, for messages.
    flag: String,
    controller: &'static str,
    file: PathBuf,
    value: String,
    /// A kernel without it, or that refuses it, is none the worse.
    optional: bool,
}

/// See [`super::update`].
pub(super) fn update(hierarchies: &Hierarchies, path: &str, limits: &Resources, given: &[String]) -> Result<()> {
    let changes = changes(hierarchies, path, limits, given)?;
    // Between two runs there is none; the next one gets them from the runtime.
    let there = |change: &Change| change.file.parent().is_some_and(|dir| dir.exists());
    let changes: Vec<Change> = changes.into_iter().filter(there).collect();
    let before: Vec<Change> = changes.iter().filter_map(as_it_is).collect();
    write(changes).map_err(|(change, error)| {
        // What was there once can be there again; where it cannot the refusal is still the truth about the rest.
        let _ = write(before);
        match error.kind() {
            io::ErrorKind::NotFound => limits::unavailable(hierarchies, &change.flag, change.controller),
            _ => Refusal::invalid(format!(
                "{}: the kernel refuses {} for {}: {error}",
                change.flag,
                change.value.trim(),
                change.file.file_name().unwrap_or_default().to_string_lossy()
            )),
        }
    })
}

/// The same files as they are now.
fn as_it_is(change: &Change) -> Option<Change> {
    let text = fs::read_to_string(&change.file).ok()?;
    let value = match change.value.split_once(' ').filter(|(device, _)| device.contains(':')) {
        // One line for each device that has a limit.
        Some((device, new)) => {
            let is_its = |line: &&str| line.split_once(' ').is_some_and(|(of, _)| of == device);
            match text.lines().find(is_its) {
                Some(line) => line.to_owned(),
                None => format!("{device} {}", no_limit(&change.file, new)),
            }
        }
        None => text.lines().next().unwrap_or_default().to_owned(),
    };
    Some(Change { value, ..change.clone() })
}

/// What takes a device's limit away in `file` that `new` sets.
fn no_limit(file: &Path, new: &str) -> String {
    match new.split_once('=') {
        Some((key, _)) => format!("{key}=max"),
        None if file.to_string_lossy().contains("weight") => "default".to_owned(),
        None => "0".to_owned(),
    }
}

/// Writes all, in whatever order the kernel takes them: a limit may have to wait for another one that bounds it.
fn write(mut changes: Vec<Change>) -> std::result::Result<(), (Change, io::Error)> {
    loop {
        let (before, mut refused) = (changes.len(), Vec::new());
        for change in changes {
            match tree::put(&change.file, &change.value) {
                Ok(()) => {}
                Err(error) => refused.push((change, error)),
            }
        }
        if refused.len() == before {
            refused.retain(|(change, _)| !change.optional);
            return refused.into_iter().next().map_or(Ok(()), Err);
        }
        changes = refused.into_iter().map(|(change, _)| change).collect();
    }
}

/// What is to be written for the options that were given: the limits, and where one is gone the kernel's own default.
fn changes(hierarchies: &Hierarchies, path: &str, limits: &Resources, given: &[String]) -> Result<Vec<Change>> {
    let given = |names: &[&str]| given.iter().any(|given| names.contains(&given.as_str()));
    let mut part = Resources::default();
    let mut all = Vec::new();
    let mut reset = |flag: &str, controller: &'static str, v1: &[(&str, String)], v2: &[(&str, String)]| {
        let Some(hierarchy) = hierarchies.with(controller) else { return };
        let files = if hierarchy.version == Version::V1 { v1 } else { v2 };
        let dir = hierarchy.dir(path);
        all.extend(files.iter().map(|(file, value)| Change {
            flag: format!("--{flag}"),
            controller,
            file: dir.join(file),
            value: value.clone(),
            optional: file.contains("sw"),
        }));
    };
    let none = |text: &str| text.to_owned();
    if given(&["memory", "memory-swap"]) {
        (part.memory, part.memory_swap) = (limits.memory, limits.memory_swap);
        if limits.memory == 0 {
            let v1 = [("memory.limit_in_bytes", none("-1"))];
            reset("memory", "memory", &v1, &[("memory.max", none("max"))]);
        }
        if limits.memory_swap == 0 {
            // As much again as the memory, or no limit at all.
            let v1 = [("memory.memsw.limit_in_bytes", memory_swap(limits).unwrap_or(-1).to_string())];
            let alone = if limits.memory == 0 { none("max") } else { limits.memory.to_string() };
            reset("memory-swap", "memory", &v1, &[("memory.swap.max", alone)]);
        }
    }
    if given(&["memory-reservation"]) {
        part.memory_reservation = limits.memory_reservation;
        if limits.memory_reservation == 0 {
            let (v1, v2) = ([("memory.soft_limit_in_bytes", none("-1"))], [("memory.low", none("0"))]);
            reset("memory-reservation", "memory", &v1, &v2);
        }
    }
    if given(&["cpu-shares"]) {
        part.cpu_shares = limits.cpu_shares;
        if limits.cpu_shares == 0 {
            reset("cpu-shares", "cpu", &[("cpu.shares", none("1024"))], &[("cpu.weight", none("100"))]);
        }
    }
    if given(&["cpus", "cpu-quota", "cpu-period"]) {
        (part.cpus, part.cpu_quota, part.cpu_period) = (limits.cpus, limits.cpu_quota, limits.cpu_period);
        if limits::cpu_quota(limits).is_none() {
            let v1 = [("cpu.cfs_quota_us", none("-1")), ("cpu.cfs_period_us", CPU_PERIOD.to_string())];
            reset("cpus", "cpu", &v1, &[("cpu.max", format!("max {CPU_PERIOD}"))]);
        }
    }
    for (flag, file, value) in
        [("cpuset-cpus", "cpuset.cpus", &limits.cpuset_cpus), ("cpuset-mems", "cpuset.mems", &limits.cpuset_mems)]
    {
        if given(&[flag]) && value.is_empty() {
            reset(flag, "cpuset", &[(file, of_parent(hierarchies, path, file))], &[(file, none("\n"))]);
        }
    }
    if given(&["cpuset-cpus"]) {
        part.cpuset_cpus.clone_from(&limits.cpuset_cpus);
    }
    if given(&["cpuset-mems"]) {
        part.cpuset_mems.clone_from(&limits.cpuset_mems);
    }
    if given(&["pids-limit"]) {
        part.pids_limit = limits.pids_limit;
        if limits.pids_limit <= 0 {
            reset("pids-limit", "pids", &[("pids.max", none("max"))], &[("pids.max", none("max"))]);
        }
    }
    if given(&["blkio-weight"]) {
        part.blkio_weight = if limits.blkio_weight == 0 { DEFAULT_WEIGHT } else { limits.blkio_weight };
    }
    for (flag, part, limits) in [
        ("blkio-weight-device", &mut part.blkio_weights, &limits.blkio_weights),
        ("device-read-bps", &mut part.read_bps, &limits.read_bps),
        ("device-write-bps", &mut part.write_bps, &limits.write_bps),
        ("device-read-iops", &mut part.read_iops, &limits.read_iops),
        ("device-write-iops", &mut part.write_iops, &limits.write_iops),
    ] {
        if given(&[flag]) {
            part.clone_from(limits);
        }
    }
    all.extend(settings(&part)?.into_iter().filter_map(|setting| {
        let hierarchy = hierarchies.with(setting.controller)?;
        let (file, value) = setting.of(hierarchy.version)?.clone();
        let file = if setting.controller == "blkio" { block::file(hierarchy, file)? } else { file.to_owned() };
        let file = hierarchy.dir(path).join(file);
        Some(Change { flag: setting.flag, controller: setting.controller, file, value, optional: false })
    }));
    Ok(all)
}

/// The kernel's, of v2 and of BFQ.
const DEFAULT_WEIGHT: u32 = 100;

/// What v1 has no word for: everything that the parent has.
fn of_parent(hierarchies: &Hierarchies, path: &str, file: &str) -> String {
    let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
    let dir = hierarchies.with("cpuset").map(|hierarchy| hierarchy.dir(parent));
    dir.and_then(|dir| fs::read_to_string(dir.join(file)).ok()).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::hierarchy::Hierarchy;

    fn machine(mount: &Path, version: Version) -> Hierarchies {
        let controllers = ["memory", "cpu", "cpuset", "pids"].map(str::to_owned).to_vec();
        Hierarchies { all: vec![Hierarchy { version, mount: mount.to_owned(), controllers }] }
    }

    fn written(version: Version, limits: &Resources, given: &[&str]) -> Vec<(String, String)> {
        let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        let name =
            |change: Change| (change.file.file_name().unwrap_or_default().to_string_lossy().into_owned(), change.value);
        changes(&machine(Path::new("/nowhere"), version), "/p/c", limits, &given)
            .expect("changes")
            .into_iter()
            .map(name)
            .collect()
    }

    #[test]
    fn only_what_was_given_is_written() {
        let limits = Resources { memory: 1 << 20, cpus: 0.5, pids_limit: 9, cpu_shares: 7, ..Default::default() };
        let pair = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        assert_eq!(written(Version::V2, &limits, &["pids-limit"]), [pair("pids.max", "9")]);
        assert_eq!(written(Version::V2, &limits, &["cpus"]), [pair("cpu.max", "50000 100000")]);
        assert_eq!(
            written(Version::V1, &limits, &["memory"]),
            [pair("memory.memsw.limit_in_bytes", "2097152"), pair("memory.limit_in_bytes", "1048576")]
        );
        assert_eq!(written(Version::V2, &limits, &["restart"]), []);
    }

    #[test]
    fn a_limit_that_is_gone_is_the_kernels_default() {
        let pair = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        let none = Resources { pids_limit: -1, ..Default::default() };
        let all = ["memory", "memory-reservation", "cpu-shares", "cpus", "cpuset-cpus", "pids-limit"];
        assert_eq!(
            written(Version::V2, &none, &all),
            [
                pair("memory.max", "max"),
                pair("memory.swap.max", "max"),
                pair("memory.low", "0"),
                pair("cpu.weight", "100"),
                pair("cpu.max", "max 100000"),
                pair("cpuset.cpus", "\n"),
                pair("pids.max", "max"),
            ]
        );
    }

    #[test]
    fn what_a_device_had_comes_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let change = |file: &str, text: &str, value: &str| {
            let file = dir.path().join(file);
            fs::write(&file, text).expect("write");
            let change =
                Change { flag: String::new(), controller: "blkio", file, value: value.into(), optional: false };
            as_it_is(&change).expect("readable").value
        };
        assert_eq!(change("blkio.throttle.read_bps_device", "8:0 5\n8:16 6\n", "8:16 9"), "8:16 6");
        assert_eq!(change("blkio.throttle.read_bps_device", "8:0 5\n", "8:16 9"), "8:16 0");
        assert_eq!(change("blkio.bfq.weight_device", "", "8:16 9"), "8:16 default");
        assert_eq!(change("io.max", "8:0 rbps=5 wbps=max\n", "8:16 rbps=9"), "8:16 rbps=max");
        assert_eq!(change("io.max", "8:0 rbps=5 wbps=max\n", "8:0 rbps=9"), "8:0 rbps=5 wbps=max");
    }

    #[test]
    fn what_one_file_refuses_leaves_the_others_as_they_were() {
        let dir = tempfile::tempdir().expect("tempdir");
        let group = dir.path().join("c");
        fs::create_dir(&group).expect("group");
        fs::write(group.join("pids.max"), "5\n").expect("write");
        // Nothing can be written to a directory.
        fs::create_dir(group.join("cpu.max")).expect("directory");
        let limits = Resources { pids_limit: 9, cpus: 0.5, ..Default::default() };
        let given = ["pids-limit", "cpus"].map(str::to_owned);
        let hierarchies = machine(dir.path(), Version::V2);
        let refusal = update(&hierarchies, "/c", &limits, &given).expect_err("refused");
        assert!(refusal.message.starts_with("--cpus 0.5: the kernel refuses 50000 100000 for cpu.max:"), "{refusal}");
        assert!(fs::read_to_string(group.join("pids.max")).expect("read").starts_with('5'));
        assert!(update(&hierarchies, "/gone", &limits, &given).is_ok());
    }
}
