//! The mounts of a member, in the order the runtime makes them: parents before children.
//!
//! Destinations are resolved by the runtime inside the root file system; nothing is made there from our side.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};
use proto::{Refusal, refusal::Result, wire, wire::mount::Kind};

use super::{BoundMount, Input, Namespace, mount_options};

/// Most mounts of one container: the runtime's own messages have limits (CVE-2021-43784).
const MOST: usize = 1024;
/// Where the directory of the notify socket is in the container (podman's place).
const NOTIFY: &str = "/run/notify";
/// podman's default size of /dev/shm.
const SHM: i64 = 64 << 20;

/// Files of ours that are bind-mounted, made by the caller.
#[derive(Debug, Default)]
pub(super) struct OurFiles {
    /// /run/.containerenv
    pub containerenv: PathBuf,
    /// /etc/localtime
    pub localtime: Option<PathBuf>,
    /// /etc/passwd
    pub passwd: Option<PathBuf>,
    /// /etc/group
    pub group: Option<PathBuf>,
    /// /run/podman-init
    pub init: Option<PathBuf>,
}

/// The mounts, and what they say of the propagation of the root.
#[derive(Debug)]
pub(super) struct Mounts {
    /// In order.
    pub all: Vec<Mount>,
    /// `linux.rootfsPropagation`; absent = private.
    pub root_propagation: Option<&'static str>,
    /// Sources to be given to the container's user.
    pub chown: Vec<PathBuf>,
}

/// All mounts of `input`.
///
/// # Errors
/// Options and destinations that cannot be; more than [`MOST`] mounts.
pub(super) fn mounts(input: &Input<'_>, ours: &OurFiles) -> Result<Mounts> {
    if input.mounts.len() > MOST {
        return Err(Refusal::invalid(format!("{} mounts: a container has at most {MOST}", input.mounts.len())));
    }
    let mut made = Mounts { all: Vec::new(), root_propagation: None, chown: Vec::new() };
    let users: Vec<PathBuf> =
        input.mounts.iter().map(|bound| destination(&bound.mount.destination)).collect::<Result<_>>()?;
    for mount in defaults(input, ours)? {
        if !is_superseded(mount.destination(), &users) {
            made.all.push(mount);
        }
    }
    for (bound, destination) in input.mounts.iter().zip(users) {
        let parsed = mount_options::parse(bound.mount.kind(), &bound.mount.destination, &bound.mount.options)?;
        match parsed.propagation {
            "shared" | "rshared" => made.root_propagation = Some("shared"),
            "slave" | "rslave" => made.root_propagation = made.root_propagation.or(Some("rslave")),
            _ => {}
        }
        if parsed.chown && bound.mount.kind() != Kind::Tmpfs {
            made.chown.push(bound.source.clone());
        }
        made.all.push(users_mount(bound, &destination, parsed.options)?);
    }
    // Stable: of two at the same depth the earlier stays the earlier.
    made.all.sort_by_key(|mount| mount.destination().components().count());
    Ok(made)
}

fn users_mount(bound: &BoundMount, destination: &Path, options: Vec<String>) -> Result<Mount> {
    let (typ, source) = match bound.mount.kind() {
        Kind::Tmpfs => ("tmpfs", Path::new("tmpfs")),
        Kind::Devpts => ("devpts", Path::new("devpts")),
        Kind::Bind | Kind::Volume | Kind::Image => ("bind", bound.source.as_path()),
    };
    build(destination, typ, source, options)
}

/// A destination is absolute, below the root, and stays there.
fn destination(text: &str) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("mount at \"{}\": {why}", text.escape_debug())));
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse("the destination must be an absolute path");
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) || text.contains('\0') {
        return refuse("the destination must not have a ..");
    }
    let path: PathBuf = path.components().collect();
    if path == Path::new("/") {
        return refuse("the destination must not be the root");
    }
    Ok(path)
}

/// A mount of the user's takes the place of ours; one over /dev or /sys also hides what we put below it, but for
/// /dev/shm, which stays the container's own.
fn is_superseded(ours: &Path, users: &[PathBuf]) -> bool {
    users.iter().any(|theirs| {
        theirs == ours
            || (ours.starts_with(theirs)
                && (theirs == Path::new("/dev") || theirs == Path::new("/sys"))
                && ours != Path::new("/dev/shm"))
    })
}

fn build(destination: &Path, typ: &str, source: &Path, options: Vec<String>) -> Result<Mount> {
    MountBuilder::default()
        .destination(destination)
        .typ(typ)
        .source(source)
        .options(options)
        .build()
        .map_err(|error| Refusal::internal("mounts", error))
}

fn owned(options: &[&str]) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).collect()
}

fn defaults(input: &Input<'_>, ours: &OurFiles) -> Result<Vec<Mount>> {
    let config = &input.record.config;
    let privileged = config.security.as_ref().is_some_and(|security| security.privileged);
    let mut all = kernel_mounts(input, privileged)?;
    if config.ipc_mode != "none" {
        all.push(shm(input)?);
    }
    all.extend(files(input, ours)?);
    if let Some(directory) = input.notify {
        all.push(build(
            Path::new(NOTIFY),
            "bind",
            directory,
            owned(&["bind", "rprivate", "nosuid", "noexec", "nodev"]),
        )?);
    }
    if config.read_only && config.read_only_tmpfs != Some(false) {
        for path in ["/run", "/tmp", "/var/tmp"] {
            all.push(build(
                Path::new(path),
                "tmpfs",
                Path::new("tmpfs"),
                owned(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]),
            )?);
        }
    }
    if config.systemd == "always" {
        for path in ["/run", "/run/lock", "/tmp", "/var/log/journal"] {
            if all.iter().all(|mount| mount.destination() != Path::new(path)) {
                let mut options = owned(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]);
                if config.shm_size_systemd > 0 {
                    options.push(format!("size={}", config.shm_size_systemd));
                }
                all.push(build(Path::new(path), "tmpfs", Path::new("tmpfs"), options)?);
            }
        }
    }
    Ok(all)
}

fn kernel_mounts(input: &Input<'_>, privileged: bool) -> Result<Vec<Mount>> {
    let mut proc = owned(&["nosuid", "noexec", "nodev"]);
    proc.extend(proc_options(input)?);
    let access = if privileged { "rw" } else { "ro" };
    // An init system makes groups for what it starts, below its own. On v1 it could lift its own limits as well.
    let systemd = input.record.config.systemd == "always"
        && input.namespaces.cgroup == Namespace::Private
        && crate::cgroup::Hierarchies::of_this_machine().name() == "v2";
    let groups = if systemd { "rw" } else { access };
    let mut dev = vec!["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"];
    if input.record.config.read_only && input.record.config.read_only_tmpfs == Some(false) {
        dev.push("ro");
    }
    let mount = |path: &str, typ: &str, options: Vec<String>| build(Path::new(path), typ, Path::new(typ), options);
    Ok(vec![
        mount("/proc", "proc", proc)?,
        mount("/dev", "tmpfs", owned(&dev))?,
        mount("/sys", "sysfs", owned(&["nosuid", "noexec", "nodev", access]))?,
        mount(
            "/dev/pts",
            "devpts",
            owned(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        )?,
        mount("/dev/mqueue", "mqueue", owned(&["nosuid", "noexec", "nodev"]))?,
        mount("/sys/fs/cgroup", "cgroup", owned(&["rprivate", "nosuid", "noexec", "nodev", "relatime", groups]))?,
    ])
}

/// `--security-opt proc-opts=hidepid=2,subset=pid`: proc(5)'s own two.
fn proc_options(input: &Input<'_>) -> Result<Vec<String>> {
    let security = [&input.pod.config.security, &input.record.config.security];
    let typed = security.into_iter().flatten().flat_map(|security| &security.security_opt);
    let mut options = Vec::new();
    for text in typed.filter_map(|option| option.strip_prefix("proc-opts=")) {
        for option in text.split(',') {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let fits = match key {
                "hidepid" => ["0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable"].contains(&value),
                "subset" => value == "pid",
                _ => false,
            };
            if !fits {
                return Err(Refusal::invalid(format!(
                    "--security-opt proc-opts={}: give hidepid=0|1|2|4 or subset=pid",
                    text.escape_debug()
                )));
            }
            options.push(option.to_owned());
        }
    }
    Ok(options)
}

fn shm(input: &Input<'_>) -> Result<Mount> {
    let path = Path::new("/dev/shm");
    let bind = owned(&["bind", "rprivate", "nosuid", "noexec", "nodev"]);
    if let Some(shared) = input.shm {
        return build(path, "bind", shared, bind);
    }
    if input.namespaces.ipc == Namespace::Host {
        return build(path, "bind", path, bind);
    }
    let config = &input.record.config;
    let size = if config.shm_size > 0 { config.shm_size } else { SHM };
    let mut options = owned(&["nosuid", "noexec", "nodev", "mode=1777"]);
    options.push(format!("size={size}"));
    if config.read_only && config.read_only_tmpfs == Some(false) {
        options.push("ro".to_owned());
    }
    build(path, "tmpfs", Path::new("shm"), options)
}

fn files(input: &Input<'_>, ours: &OurFiles) -> Result<Vec<Mount>> {
    let mut options = owned(&["bind", "rprivate"]);
    if input.record.config.read_only {
        options.extend(owned(&["ro", "nosuid", "noexec", "nodev"]));
    }
    let files = [
        ("/etc/hosts", input.hosts),
        ("/etc/resolv.conf", input.resolv_conf),
        ("/etc/hostname", input.hostname_file),
        ("/etc/localtime", ours.localtime.as_deref()),
        ("/etc/passwd", ours.passwd.as_deref()),
        ("/etc/group", ours.group.as_deref()),
        ("/run/.containerenv", Some(ours.containerenv.as_path())),
    ];
    let files = files.into_iter().filter_map(|(path, source)| Some((path, source?)));
    let mut all: Vec<Mount> =
        files.map(|(path, source)| build(Path::new(path), "bind", source, options.clone())).collect::<Result<_>>()?;
    for dir in &input.record.config.chroot_dirs {
        let [hosts, resolv_conf, hostname] = [input.hosts, input.resolv_conf, input.hostname_file];
        for (name, source) in [("hosts", hosts), ("resolv.conf", resolv_conf), ("hostname", hostname)] {
            if let Some(source) = source {
                all.push(build(&Path::new(dir).join("etc").join(name), "bind", source, options.clone())?);
            }
        }
    }
    if let Some(init) = &ours.init {
        all.push(build(Path::new(super::process::INIT), "bind", init, owned(&["bind", "ro", "rprivate"]))?);
    }
    Ok(all)
}

/// Where `path` in the container is not in its root file system but on a mount.
pub(super) fn is_on_a_mount(path: &Path, mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| path.starts_with(mount.destination()))
}

/// The source of the user's bind mount exactly at `path`.
pub(super) fn bound_at<'a>(input: &'a Input<'_>, path: &str) -> Option<&'a Path> {
    let bound = |bound: &&BoundMount| {
        bound.mount.destination == path && matches!(bound.mount.kind(), wire::mount::Kind::Bind | Kind::Volume)
    };
    input.mounts.iter().find(bound).map(|bound| bound.source.as_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_stay_inside() {
        assert_eq!(destination("/a//b/.").expect("clean"), Path::new("/a/b"));
        for bad in ["", "a", "/", "//", "/a/../b", "/.", "/a\0"] {
            assert!(destination(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_users_mount_takes_the_place_of_ours() {
        let users = [PathBuf::from("/dev"), PathBuf::from("/etc/hosts")];
        for (path, gone) in [
            ("/dev", true),
            ("/dev/pts", true),
            ("/dev/shm", false),
            ("/etc/hosts", true),
            ("/etc/hostname", false),
            ("/sys/fs/cgroup", false),
        ] {
            assert_eq!(is_superseded(Path::new(path), &users), gone, "{path}");
        }
    }
}
