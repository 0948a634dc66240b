//! The engine and the machine it is on: `info` and `version` (libpod/define/info.go, version.go).

use std::{
    fs,
    io::Read,
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
        statvfs::statvfs,
        sysinfo::sysinfo,
        utsname::uname,
    },
};
use proto::{refusal::Result, state::ContainerState};
use serde_json::Value;

use super::{
    Shown, View,
    inspect::DEFAULT_CAPABILITIES,
    json::{add, object, strings},
};

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest text of a version.
const VERSION_TEXT: u64 = 4096;

/// `info`.
///
/// # Errors
/// When the records of the containers cannot be listed.
pub fn document(view: &View<'_>) -> Result<Value> {
    Ok(object([
        ("host", host(view)),
        ("store", store(view)?),
        ("registries", object([])),
        ("plugins", plugins()),
        ("version", version()),
    ]))
}

/// What `version` shows of the client, and `info` under `version`.
pub fn version() -> Value {
    object([
        ("APIVersion", proto::VERSION.into()),
        ("Version", proto::VERSION.into()),
        ("GoVersion", "".into()),
        ("GitCommit", "".into()),
        ("BuiltTime", "Thu Jan  1 00:00:00 1970".into()),
        ("Built", 0.into()),
        ("OsArch", format!("linux/{}", architecture()).into()),
        ("Os", "linux".into()),
    ])
}

fn host(view: &View<'_>) -> Value {
    let names = uname().ok();
    let name = |of: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        names.as_ref().map_or_else(String::new, |names| of(names).to_string_lossy().into_owned())
    };
    let memory = Memory::read();
    let version = cgroup_version();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let none: Vec<&str> = Vec::new();
    object([
        ("arch", architecture().into()),
        ("buildahVersion", "".into()),
        ("cgroupManager", "cgroupfs".into()),
        ("cgroupVersion", version.into()),
        ("cgroupControllers", strings(cgroup_controllers(version))),
        ("conmon", monitor()),
        ("cpus", cpus.into()),
        ("cpuUtilization", cpu_utilization()),
        ("databaseBackend", "files".into()),
        ("distribution", distribution()),
        ("eventLogger", "file".into()),
        ("hostname", name(nix::sys::utsname::UtsName::nodename).into()),
        ("idMappings", object([("gidmap", Value::Null), ("uidmap", Value::Null)])),
        ("kernel", name(nix::sys::utsname::UtsName::release).into()),
        ("logDriver", "k8s-file".into()),
        ("memFree", memory.of("MemFree").into()),
        ("memTotal", memory.of("MemTotal").into()),
        ("networkBackend", "podctl".into()),
        (
            "networkBackendInfo",
            object([("backend", "podctl".into()), ("version", proto::VERSION.into()), ("dns", strings(none))]),
        ),
        ("ociRuntime", runtime(view)),
        ("os", "linux".into()),
        ("rootlessNetworkCmd", "".into()),
        ("serviceIsRemote", false.into()),
        ("security", security()),
        ("pasta", object([("executable", "".into()), ("package", "".into()), ("version", "".into())])),
        ("swapFree", memory.of("SwapFree").into()),
        ("swapTotal", memory.of("SwapTotal").into()),
        ("uptime", uptime().into()),
        ("variant", "".into()),
        ("linkmode", if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" }.into()),
    ])
}

fn store(view: &View<'_>) -> Result<Value> {
    let roots = view.roots();
    let pods = view.pods()?;
    let states: Vec<ContainerState> = pods.iter().flat_map(Shown::of).map(Shown::state).collect();
    let count = |wanted: &[ContainerState]| states.iter().filter(|state| wanted.contains(state)).count();
    let (running, paused) = (count(&[ContainerState::Running]), count(&[ContainerState::Paused]));
    let disk = statvfs(&roots.state).ok();
    // The kernel's types differ by architecture: fragments are never larger than a page's multiple.
    let bytes = |blocks: fn(&nix::sys::statvfs::Statvfs) -> u64| {
        disk.as_ref().map_or(0, |disk| blocks(disk).saturating_mul(disk.fragment_size()))
    };
    let path = |path: &Path| Value::from(path.to_string_lossy());
    Ok(object([
        ("configFile", "".into()),
        (
            "containerStore",
            object([
                ("number", states.len().into()),
                ("paused", paused.into()),
                ("running", running.into()),
                ("stopped", (states.len() - running - paused).into()),
            ]),
        ),
        ("graphDriverName", "overlay".into()),
        ("graphOptions", object([])),
        ("graphRoot", path(&roots.state)),
        ("graphRootAllocated", bytes(nix::sys::statvfs::Statvfs::blocks).into()),
        ("graphRootUsed", bytes(|disk| disk.blocks().saturating_sub(disk.blocks_free())).into()),
        ("graphStatus", object([])),
        ("imageCopyTmpDir", std::env::temp_dir().to_string_lossy().into()),
        ("imageStore", object([("number", view.stores.images().into())])),
        ("runRoot", path(&roots.run)),
        ("volumePath", path(&roots.volumes())),
        ("transientStore", false.into()),
    ]))
}

fn plugins() -> Value {
    object([
        ("volume", strings(["local"])),
        ("network", strings(["bridge"])),
        ("log", strings(["k8s-file", "none"])),
        ("authorization", Value::Null),
    ])
}

fn security() -> Value {
    object([
        (
            "apparmorEnabled",
            fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text == b"Y\n").into(),
        ),
        ("capabilities", DEFAULT_CAPABILITIES.join(",").into()),
        ("rootless", (!nix::unistd::geteuid().is_root()).into()),
        ("seccompEnabled", Path::new("/proc/sys/kernel/seccomp").exists().into()),
        ("seccompProfilePath", "".into()),
        ("selinuxEnabled", Path::new("/sys/fs/selinux/enforce").exists().into()),
    ])
}

/// podmon, which is looked for beside this program.
fn monitor() -> Value {
    let own = std::env::current_exe().ok();
    let path = own.and_then(|own| Some(own.parent()?.join("podmon"))).filter(|path| path.exists());
    object([
        ("package", "Unknown".into()),
        ("path", path.map_or_else(String::new, |path| path.to_string_lossy().into_owned()).into()),
        ("version", format!("podmon version {}", proto::VERSION).into()),
    ])
}

fn runtime(view: &View<'_>) -> Value {
    let path = view.engine.runtime_path("").ok();
    let name = view.engine.runtime.rsplit('/').next().unwrap_or_default();
    let version = path.as_deref().and_then(ask_version).unwrap_or_default();
    object([
        ("name", name.into()),
        ("package", "Unknown".into()),
        ("path", path.map_or_else(String::new, |path| path.to_string_lossy().into_owned()).into()),
        ("version", version.into()),
    ])
}

/// What `program --version` prints, when it does so in time.
fn ask_version(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    let mut text = Vec::new();
    let mut output = child.stdout.take()?;
    let finished = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        let ready =
            poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)).is_ok_and(|ready| ready > 0);
        let mut block = [0; 1024];
        match ready.then(|| output.read(&mut block)) {
            Some(Ok(0)) => break true,
            Some(Ok(length)) if (text.len() + length) as u64 <= VERSION_TEXT => {
                text.extend_from_slice(&block[..length])
            }
            _ => break false,
        }
    };
    if !finished {
        // It is stuck or talks without end; nothing else waits for it.
        let _ = child.kill();
    }
    let _ = child.wait();
    finished.then(|| String::from_utf8_lossy(&text).trim_end().to_owned())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn cgroup_version() -> &'static str {
    match statfs(CGROUPS) {
        Ok(stat) if stat.filesystem_type() == CGROUP2_SUPER_MAGIC => "v2",
        _ => "v1",
    }
}

fn cgroup_controllers(version: &str) -> Vec<String> {
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
fn cpu_utilization() -> Value {
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
fn distribution() -> Value {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let or_unknown = |value: String| if value.is_empty() { "unknown".to_owned() } else { value };
    let mut document = object([("distribution", or_unknown(of("ID")).into())]);
    add(&mut document, "variant", of("VARIANT_ID"));
    super::inspect::extend(&mut document, [("version", or_unknown(of("VERSION_ID")).into())]);
    add(&mut document, "codename", of("VERSION_CODENAME"));
    document
}

/// `/proc/meminfo` in bytes.
struct Memory(String);

impl Memory {
    fn read() -> Memory {
        Memory(fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn of(&self, key: &str) -> u64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

/// `0h 30m 8.00s`, with days where there are any.
fn uptime() -> String {
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

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn what_scripts_ask_for() {
        let fixture = Fixture::new();
        fixture.web();
        let document = document(&fixture.view()).expect("info");
        let keys: Vec<&String> = document.as_object().expect("object").keys().collect();
        assert_eq!(keys, ["host", "store", "registries", "plugins", "version"]);
        let host = &document["host"];
        assert_eq!(host["ociRuntime"]["name"], "crun");
        assert_eq!((&host["logDriver"], &host["cgroupManager"]), (&"k8s-file".into(), &"cgroupfs".into()));
        assert!(["v1", "v2"].contains(&host["cgroupVersion"].as_str().expect("text")));
        assert!(host["memTotal"].as_u64().expect("number") > 0);
        let store = &document["store"];
        assert_eq!(store["graphDriverName"], "overlay");
        assert_eq!(store["containerStore"].to_string(), r#"{"number":3,"paused":0,"running":2,"stopped":1}"#);
        assert_eq!(version()["Os"], "linux");
    }

    #[test]
    fn a_program_that_does_not_answer_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let script = |text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join("runtime");
            fs::write(&path, text).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            path
        };
        assert_eq!(ask_version(&script("#!/bin/sh\necho crun version 1\n")).as_deref(), Some("crun version 1"));
        assert_eq!(ask_version(&script("#!/bin/sh\nexec yes\n")), None);
        assert_eq!(ask_version(&dir.path().join("missing")), None);
    }
}
