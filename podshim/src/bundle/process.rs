//! What runs: arguments, environment, working directory.

use std::path::{Component, Path, PathBuf};

use proto::{Kind, Refusal, refusal::Result};

use super::{Input, inside::Inside, user::User};

/// podman's default PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// NOTIFY_SOCKET in the container (podman's place).
const NOTIFY_SOCKET: &str = "/run/notify/notify.sock";
/// Where `--init` is mounted.
pub(super) const INIT: &str = "/run/podman-init";
/// Where catatonit is looked for, in podman's order.
const INITS: [&str; 4] = [
    "/usr/local/libexec/podman/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/lib/podman/catatonit",
    "/usr/bin/catatonit",
];

/// The program that `--init` runs the command under.
///
/// # Errors
/// When there is none, naming the flag.
pub(super) fn init(input: &Input<'_>) -> Result<Option<PathBuf>> {
    if !input.record.config.init {
        return Ok(None);
    }
    let asked = &input.record.config.init_path;
    if !asked.is_empty() {
        return check_init_path(asked).map(|()| Some(PathBuf::from(asked)));
    }
    INITS.iter().map(PathBuf::from).find(|path| path.is_file()).map(Some).ok_or_else(|| {
        Refusal::new(Kind::NotSupported, "--init: no catatonit on this machine: install the package catatonit")
    })
}

/// Refuses an `--init-path` that is no file of the host.
///
/// # Errors
/// Naming the flag.
pub fn check_init_path(path: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(()),
        _ => Err(Refusal::invalid(format!("--init-path {}: there is no such file", path.escape_debug()))),
    }
}

/// The command line.
///
/// # Errors
/// podman's words when there is none.
pub(super) fn args(input: &Input<'_>) -> Result<Vec<String>> {
    if input.record.args.is_empty() {
        return Err(Refusal::invalid(
            "no command or entrypoint provided, and no CMD or ENTRYPOINT from image: invalid argument",
        ));
    }
    if input.record.args.iter().any(|arg| arg.contains('\0')) {
        return Err(Refusal::invalid("the command line has a NUL byte"));
    }
    let own = input.record.args.iter().cloned();
    if input.record.config.init {
        return Ok([INIT.to_owned(), "--".to_owned()].into_iter().chain(own).collect());
    }
    Ok(own.collect())
}

/// The environment: what the record says, then what every container has and nobody has set or unset.
///
/// # Errors
/// An entry that is none.
pub(super) fn env(input: &Input<'_>, user: &User) -> Result<Vec<String>> {
    let mut all = input.record.env.clone();
    for entry in &all {
        if entry.split_once('=').is_none_or(|(key, _)| key.is_empty()) || entry.contains('\0') {
            return Err(Refusal::invalid(format!("environment: \"{}\" is not NAME=VALUE", entry.escape_debug())));
        }
    }
    let config = &input.record.config;
    let mut add = |key: &str, value: &str| {
        let is_set = all.iter().any(|entry| entry.split_once('=').is_some_and(|(had, _)| had == key));
        if !is_set && !value.is_empty() && !config.unset_env.iter().any(|unset| unset == key) {
            all.push(format!("{key}={value}"));
        }
    };
    if !config.unset_env_all {
        add("PATH", PATH);
        // Programs ask it whether they are in a container, by this name.
        add("container", "podman");
        if config.tty {
            add("TERM", "xterm");
        }
        if config.systemd == "always" {
            // What systemd takes for its machine id (systemd.io/CONTAINER_INTERFACE).
            add("container_uuid", input.record.id.as_str().get(..32).unwrap_or_default());
        }
    }
    if input.notify.is_some() {
        add("NOTIFY_SOCKET", NOTIFY_SOCKET);
    }
    add("HOME", &user.home);
    add("HOSTNAME", input.hostname);
    Ok(all)
}

/// The working directory.
///
/// # Errors
/// One that leads out of the container (CVE-2024-21626), or is no absolute path.
pub(super) fn cwd(input: &Input<'_>) -> Result<PathBuf> {
    let text = if input.record.workdir.is_empty() { "/" } else { &input.record.workdir };
    let path = Path::new(text);
    let refuse = |why: &str| Err(Refusal::invalid(format!("workdir \"{}\": {why}", text.escape_debug())));
    if !path.is_absolute() || text.contains('\0') {
        return refuse("the working directory must be an absolute path");
    }
    let mut parts = path.components().skip(1);
    if parts.next() == Some(Component::Normal("proc".as_ref()))
        && let Some(Component::Normal(process)) = parts.next()
        && let Some(process) = process.to_str()
        && (["self", "thread-self"].contains(&process) || process.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return refuse("the working directory must not be in /proc of a process");
    }
    Ok(path.components().collect())
}

/// Makes the image's working directory where the image has none, as docker and podman do; refuses the user's.
///
/// # Errors
/// podman's words for a `-w` that is not there.
pub(super) fn ensure_cwd(input: &Input<'_>, cwd: &Path, user: &User, rootfs: &Inside) -> Result<()> {
    let shown = input.record.workdir.escape_debug();
    if rootfs.exists(cwd).map_err(|error| Refusal::internal(format!("workdir \"{shown}\""), error))? {
        return Ok(());
    }
    if !input.record.config.workdir.is_empty() {
        return Err(Refusal::invalid(format!(
            "workdir \"{shown}\" does not exist on container {}",
            input.record.id.as_str()
        )));
    }
    rootfs
        .make_dirs(cwd, user.uid, user.gid)
        .map_err(|error| Refusal::invalid(format!("workdir \"{shown}\" of the image cannot be made: {error}")))
}
