//! The process of an exec, made from the container's own.
//!
//! Everything that confines the container's first process (rlimits, umask, seccomp, AppArmor and SELinux labels) is
//! inherited; only what was asked for is changed. Capabilities never grow unless `--privileged` was asked for.

use std::path::{Component, Path};

use proto::{Refusal, alive::Process, refusal::Result, wire::ExecRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::user::{self, Identity};
use crate::runtime;

/// Largest `config.json`.
const MAX_CONFIG: u64 = 16 << 20;

/// Names of the capabilities, by number (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What is needed of config.json; the rest (a seccomp profile is most of it) is passed over.
#[derive(Deserialize)]
struct Config {
    process: Value,
}

/// process.json for `request`, in the container with this `bundle` and first process.
///
/// # Errors
/// For a request that cannot be met, in final words.
pub fn spec(request: &ExecRequest, bundle: &Path, init: &Process) -> Result<Value> {
    check(request)?;
    let config = bundle.join("config.json");
    let size = std::fs::metadata(&config).map_or(0, |metadata| metadata.len());
    let text = if size <= MAX_CONFIG { std::fs::read(&config) } else { Err(std::io::ErrorKind::FileTooLarge.into()) };
    let broken = |error: &dyn std::fmt::Display| Refusal::internal(config.display(), error);
    let text = text.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::internal("exec", runtime::DELETED),
        _ => broken(&error),
    })?;
    let Config { mut process } = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
    let container = Identity::of_spec(&process["user"]);
    let (identity, home) = user::resolve(request, &container, init)?;
    let allowed = if request.privileged { permitted() } else { vec![] };
    change(&mut process, request, &container, &identity, &home, &allowed);
    Ok(process)
}

/// Gives the process of `spec` a limit of its own on its time in real time, which nothing comes near to and all that it
/// starts inherits. One that the container has for itself stays.
pub fn mark(spec: &mut Value, mark: u64) {
    const KIND: &str = "RLIMIT_RTTIME";
    let Some(process) = spec.as_object_mut() else { return };
    let limits = process.entry("rlimits").or_insert_with(|| json!([]));
    if let Some(limits) = limits.as_array_mut()
        && !limits.iter().any(|limit| limit["type"] == KIND)
    {
        limits.push(json!({ "type": KIND, "soft": mark, "hard": mark }));
    }
}

/// Refuses what no container can meet.
fn check(request: &ExecRequest) -> Result<()> {
    if request.args.is_empty() {
        return Err(Refusal::invalid("must provide a non-empty command to start an exec session: invalid argument"));
    }
    if request.args.iter().chain(&request.env).chain([&request.workdir]).any(|text| text.contains('\0')) {
        return Err(Refusal::invalid("exec: a NUL byte in an argument"));
    }
    if let Some(entry) = request.env.iter().find(|entry| !entry.contains('=') || entry.starts_with('=')) {
        return Err(Refusal::invalid(format!("invalid environment variable {entry:?}: it must be NAME=VALUE")));
    }
    let has_controls = |entry: &&String| entry.split('=').next().is_some_and(|name| name.chars().any(char::is_control));
    if let Some(entry) = request.env.iter().find(has_controls) {
        return Err(Refusal::invalid(format!(
            "invalid environment variable {entry:?}: its name has control characters"
        )));
    }
    if request.workdir.is_empty() {
        return Ok(());
    }
    if !request.workdir.starts_with('/') {
        let directory = &request.workdir;
        return Err(Refusal::invalid(format!(
            "the working directory {directory:?} is not an absolute path: see --workdir"
        )));
    }
    if is_process_directory(Path::new(&request.workdir)) {
        // A descriptor of the runtime may lead out of the container there (CVE-2024-21626).
        let directory = &request.workdir;
        return Err(Refusal::invalid(format!(
            "the working directory {directory:?} belongs to a process: see --workdir"
        )));
    }
    Ok(())
}

/// `/proc/self`, `/proc/thread-self`, `/proc/N` and what is below.
fn is_process_directory(path: &Path) -> bool {
    let mut names: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_str().unwrap_or("?")),
            Component::ParentDir => {
                names.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let Some(["proc", name]) = names.get(..2) else { return false };
    matches!(*name, "self" | "thread-self") || name.bytes().all(|byte| byte.is_ascii_digit())
}

fn change(
    process: &mut Value,
    request: &ExecRequest,
    container: &Identity,
    identity: &Identity,
    home: &str,
    allowed: &[&str],
) {
    process["args"] = json!(request.args);
    process["terminal"] = json!(request.tty);
    if let Some(object) = process.as_object_mut() {
        object.remove("consoleSize");
        object.remove("commandLine");
    }
    if let Some(size) = request.window.filter(|_| request.tty) {
        process["consoleSize"] = json!({ "height": size.rows, "width": size.columns });
    }
    if !request.workdir.is_empty() {
        process["cwd"] = json!(request.workdir);
    }
    process["env"] = environment(&process["env"], request, home);
    process["user"]["uid"] = json!(identity.uid);
    process["user"]["gid"] = json!(identity.gid);
    process["user"]["additionalGids"] = json!(identity.groups);
    change_capabilities(process, request.privileged, container, identity, allowed);
}

/// The container's variables, those asked for over them, and what a command of that user or with a terminal expects.
fn environment(container: &Value, request: &ExecRequest, home: &str) -> Value {
    let mut env: Vec<String> =
        container.as_array().into_iter().flatten().filter_map(|entry| entry.as_str().map(str::to_owned)).collect();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut set = |entry: String, replace: bool| match env.iter_mut().find(|old| name(old) == name(&entry)) {
        Some(old) if replace => *old = entry,
        Some(_) => {}
        None => env.push(entry),
    };
    for entry in &request.env {
        set(entry.clone(), true);
    }
    if !home.is_empty() {
        set(format!("HOME={home}"), false);
    }
    if request.tty {
        set("TERM=xterm".to_owned(), false);
    }
    json!(env)
}

fn change_capabilities(
    process: &mut Value,
    privileged: bool,
    container: &Identity,
    identity: &Identity,
    allowed: &[&str],
) {
    if privileged {
        process["capabilities"] = json!({
            "bounding": allowed, "effective": allowed, "permitted": allowed, "inheritable": [], "ambient": [],
        });
        if let Some(object) = process.as_object_mut() {
            for confined in ["noNewPrivileges", "apparmorProfile"] {
                object.remove(confined);
            }
        }
        return;
    }
    let Some(capabilities) = process.get_mut("capabilities").filter(|value| value.is_object()) else { return };
    capabilities["inheritable"] = json!([]);
    if identity.uid == container.uid {
        return;
    }
    if identity.uid == 0 {
        capabilities["effective"] = capabilities["bounding"].clone();
        capabilities["permitted"] = capabilities["bounding"].clone();
    } else {
        for set in ["effective", "permitted", "ambient"] {
            capabilities[set] = json!([]);
        }
    }
}

/// The capabilities that we can give: asking for more fails in the runtime.
fn permitted() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let set = mask("CapPrm:").unwrap_or(0) & mask("CapBnd:").unwrap_or(0);
    CAPABILITIES.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Value {
        json!({
            "terminal": true, "consoleSize": {"height": 1, "width": 2}, "args": ["sleep"], "cwd": "/srv",
            "env": ["PATH=/bin", "A=1"], "noNewPrivileges": true, "apparmorProfile": "x", "oomScoreAdj": 5,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
            "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [0]},
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                             "inheritable": ["CAP_KILL"]},
        })
    }

    fn made(request: &ExecRequest, uid: u32) -> Value {
        let mut process = container();
        let root = Identity { uid: 0, gid: 0, groups: vec![0] };
        let identity = Identity { uid, gid: uid, groups: vec![uid] };
        change(&mut process, request, &root, &identity, "/home/x", &["CAP_CHOWN"]);
        process
    }

    #[test]
    fn what_confines_the_container_confines_the_command() {
        let request = ExecRequest {
            args: vec!["id".into()],
            env: vec!["A=2".into(), "B=3".into()],
            workdir: "/tmp".into(),
            ..ExecRequest::default()
        };
        let process = made(&request, 0);
        assert_eq!(process["args"], json!(["id"]));
        assert_eq!(process["env"], json!(["PATH=/bin", "A=2", "B=3", "HOME=/home/x"]));
        assert_eq!(process["terminal"], json!(false));
        assert!(process.get("consoleSize").is_none());
        assert_eq!(process["cwd"], json!("/tmp"));
        assert_eq!(process["user"]["umask"], json!(18));
        assert_eq!(process["rlimits"], container()["rlimits"]);
        assert_eq!(process["apparmorProfile"], json!("x"));
        assert_eq!(process["capabilities"]["effective"], json!(["CAP_KILL"]));
        assert_eq!(process["capabilities"]["inheritable"], json!([]));
    }

    #[test]
    fn another_user_has_no_capabilities_and_root_has_no_more_than_the_bounding_set() {
        let request = ExecRequest { args: vec!["id".into()], ..ExecRequest::default() };
        let process = made(&request, 1000);
        assert_eq!(process["capabilities"]["effective"], json!([]));
        assert_eq!(process["capabilities"]["bounding"], json!(["CAP_KILL"]));
        let privileged = ExecRequest { privileged: true, ..request };
        let process = made(&privileged, 0);
        assert_eq!(process["capabilities"]["effective"], json!(["CAP_CHOWN"]));
        assert!(process.get("noNewPrivileges").is_none());
    }

    #[test]
    fn a_mark_is_a_limit_beside_those_of_the_container() {
        let mut process = container();
        mark(&mut process, 7);
        mark(&mut process, 8);
        assert_eq!(process["rlimits"].as_array().map(Vec::len), Some(2));
        assert_eq!(process["rlimits"][1], json!({"type": "RLIMIT_RTTIME", "soft": 7, "hard": 7}));
        let mut bare = json!({});
        mark(&mut bare, 7);
        assert_eq!(bare["rlimits"][0]["hard"], json!(7));
    }

    #[test]
    fn a_terminal_has_a_size_and_a_kind() {
        let request = ExecRequest {
            args: vec!["sh".into()],
            tty: true,
            window: Some(proto::wire::WindowSize { rows: 24, columns: 80 }),
            ..ExecRequest::default()
        };
        let process = made(&request, 0);
        assert_eq!(process["consoleSize"], json!({"height": 24, "width": 80}));
        assert!(process["env"].as_array().expect("array").contains(&json!("TERM=xterm")));
    }

    #[test]
    fn what_no_container_can_meet_is_refused() {
        let request = |change: fn(&mut ExecRequest)| {
            let mut request = ExecRequest { args: vec!["x".into()], ..ExecRequest::default() };
            change(&mut request);
            check(&request)
        };
        assert!(request(|_| ()).is_ok());
        assert!(request(|request| request.workdir = "/proc/sys".into()).is_ok());
        assert!(request(|request| request.args.clear()).is_err());
        assert!(request(|request| request.env.push("NOVALUE".into())).is_err());
        assert!(request(|request| request.env.push("=x".into())).is_err());
        assert!(request(|request| request.args.push("a\0b".into())).is_err());
        for directory in ["relative", "/proc/self/fd/7", "//proc//self", "/x/../proc/1/root", "/proc/thread-self"] {
            let mut asked = ExecRequest { args: vec!["x".into()], ..ExecRequest::default() };
            asked.workdir = directory.into();
            assert!(check(&asked).is_err(), "{directory}");
        }
    }
}
