//! The engine and the machine it is on: `info` and `version` (libpod/define/info.go, version.go).

mod machine;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use machine::{Memory, architecture, cgroup_controllers, cgroup_version, cpu_utilization, distribution, uptime};
use nix::sys::{statvfs::statvfs, utsname::uname};
use proto::{refusal::Result, state::ContainerState};
use serde_json::Value;

use super::{
    Shown, View,
    json::{object, strings},
};
use crate::{bundle::capabilities, sys::child};

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest text of a version.
const VERSION_TEXT: usize = 4096;

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
        ("log", strings(["k8s-file", "json-file", "journald", "none", "passthrough", "passthrough-tty"])),
        ("authorization", Value::Null),
    ])
}

fn security() -> Value {
    object([
        (
            "apparmorEnabled",
            fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text == b"Y\n").into(),
        ),
        ("capabilities", capabilities::DEFAULT.join(",").into()),
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
    let name = view.engine.runtime().rsplit('/').next().unwrap_or_default();
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
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (_, said) = child::run(command, PATIENCE, VERSION_TEXT).ok()?;
    Some(String::from_utf8_lossy(&said).trim_end().to_owned())
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
            let (path, written) = (dir.path().join("runtime"), dir.path().join("text"));
            fs::write(&written, text).expect("write");
            fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).expect("chmod");
            // What other tests fork meanwhile has the first one open for writing: that could not be run.
            let copied = std::process::Command::new("cp").arg("-p").args([&written, &path]).status();
            assert!(copied.is_ok_and(|status| status.success()));
            path
        };
        assert_eq!(ask_version(&script("#!/bin/sh\necho crun version 1\n")).as_deref(), Some("crun version 1"));
        assert_eq!(ask_version(&script("#!/bin/sh\nexec yes\n")), None);
        assert_eq!(ask_version(&dir.path().join("missing")), None);
    }
}
