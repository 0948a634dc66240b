//! The OCI bundle of a member: `config.json` and the small files it mounts, from a record that is final.
//!
//! | file | what |
//! |---|---|
//! | `user` | who the process is, by the image's own files |
//! | `process` | arguments, environment, working directory |
//! | `capabilities`, `seccomp`, `bpf`, `hidden` | what it may do and see |
//! | `rlimits`, `linux`, `sysctl` | limits, namespaces, kernel parameters |
//! | `mounts`, `mount_options`, `own_files`, `devices` | its file system |
//! | `inside`, `chown` | touching files that others write to |
//!
//! Everything is checked before the first file is written. The runtime trusts `config.json`, so nothing of an image
//! gets into it unread. Works with crun and runc, with or without CAP_SYS_RESOURCE, on cgroup v1, hybrid and v2.

mod accounts;
mod bpf;
pub mod capabilities;
mod chown;
mod devices;
mod hidden;
mod inside;
mod linux;
mod mount_options;
mod mounts;
mod own_files;
mod process;
mod rlimits;
mod seccomp;
mod sysctl;
mod user;

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use oci_spec::{
    image::ImageConfiguration,
    runtime::{Linux, LinuxBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder},
};
use proto::{
    Kind, Refusal,
    record::{self, ContainerRecord, Durability, PodRecord},
    refusal::Result,
    wire,
};

use crate::cgroup;
use capabilities::{Names, Sets};
pub use devices::device_rule;
use inside::Inside;
pub use process::check_init_path;
pub use rlimits::{Ulimit, ulimits};
use user::User;

/// Version of the runtime specification: what crun 1.8 and runc 1.1 speak.
const OCI_VERSION: &str = "1.0.2";
/// Largest `config.json` in bytes.
const LARGEST: usize = 8 << 20;
/// A ready seccomp program for crun; see [`bpf`].
const SECCOMP_PROGRAM: &str = "run.oci.seccomp_bpf_data";
/// Annotations that runtimes, systemd or we would act on.
const RESERVED: [&str; 5] = ["run.oci.", "org.systemd.property.", "io.podctl.", "module.", "org.criu."];

/// Namespaces the container joins; `None` = the runtime makes a new one, except where `host` says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Network.
    pub net: Namespace,
    /// IPC.
    pub ipc: Namespace,
    /// UTS.
    pub uts: Namespace,
    /// PID.
    pub pid: Namespace,
    /// Cgroup.
    pub cgroup: Namespace,
}

/// One namespace of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// A new one of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// The one at this path.
    Path(PathBuf),
}

/// A mount whose source is a path in the engine's mount namespace.
#[derive(Clone, Debug)]
pub struct BoundMount {
    /// The mount as asked.
    pub mount: wire::Mount,
    /// Source: bind source, volume data directory; unused for tmpfs.
    pub source: PathBuf,
}

/// All that decides a bundle.
#[derive(Debug)]
pub struct Input<'a> {
    /// The container.
    pub record: &'a ContainerRecord,
    /// Its pod.
    pub pod: &'a PodRecord,
    /// Its image's config; absent with --rootfs.
    pub image: Option<&'a ImageConfiguration>,
    /// Its mounted root file system.
    pub rootfs: &'a Path,
    /// Where the bundle goes (made if it is not there).
    pub bundle: &'a Path,
    /// Namespaces.
    pub namespaces: &'a Namespaces,
    /// Mounts in the order given; destinations are unique.
    pub mounts: &'a [BoundMount],
    /// Host-side files bind-mounted to /etc/hosts, /etc/resolv.conf, /etc/hostname; absent = the image's stay.
    pub hosts: Option<&'a Path>,
    /// See `hosts`.
    pub resolv_conf: Option<&'a Path>,
    /// See `hosts`.
    pub hostname_file: Option<&'a Path>,
    /// Directory mounted at /dev/shm (shared ipc); absent = a tmpfs of its own.
    pub shm: Option<&'a Path>,
    /// Hostname of a UTS namespace of its own, also HOSTNAME in the environment.
    pub hostname: &'a str,
    /// Its cgroup.
    pub cgroup: &'a str,
    /// Directory with the socket by which it may say that it is ready; absent = it has none.
    pub notify: Option<&'a Path>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The process' uid.
    pub uid: u32,
    /// The process' gid.
    pub gid: u32,
    /// Its supplementary groups, the primary one first.
    pub groups: Vec<u32>,
    /// Its effective capabilities, with `CAP_`, sorted.
    pub effective_caps: Vec<String>,
    /// Its bounding set.
    pub bounding_caps: Vec<String>,
}

/// Writes `config.json`. Blocks for file system calls only, but where `U` gives a whole tree to the container's user.
///
/// # Errors
/// Whatever the record asks for and cannot be: the refusal names flag or object. The directory of the bundle is then
/// gone if it was made here.
pub fn write(input: &Input<'_>) -> Result<Bundle> {
    let made = fs::DirBuilder::new().recursive(false).mode(0o700).create(input.bundle).is_ok();
    let written = write_checked(input);
    if written.is_err() && made {
        // The refusal is what counts; a leftover goes with the container's run directory.
        let _ = fs::remove_dir_all(input.bundle);
    }
    written
}

fn write_checked(input: &Input<'_>) -> Result<Bundle> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(input.bundle)
        .map_err(|error| Refusal::internal(input.bundle.display(), error))?;
    let rootfs = Inside::open(input.rootfs).map_err(|error| Refusal::internal(input.rootfs.display(), error))?;
    let security = security(input);
    let (user, completed) = user(input, &rootfs)?;
    let ours = capabilities::ours()?;
    let sets = capabilities::sets(&security, user.uid, &ours)?;
    let cwd = process::cwd(input)?;
    let process = process(input, &security, &user, &sets, &ours, &cwd)?;
    let mut linux = linux(input, &security, &sets)?;
    let mut annotations = annotations(input)?;
    if security.seccomp.is_empty()
        && let Some(program) = linux.seccomp().as_ref().and_then(|filter| bpf::compile(filter, seccomp::machine()))
    {
        annotations.insert(SECCOMP_PROGRAM.to_owned(), BASE64_STANDARD.encode(program));
    }

    let (passwd, group) = own_files::accounts(input, completed)?;
    let files = mounts::OurFiles {
        passwd,
        group,
        init: process::init(input)?,
        localtime: own_files::localtime(input)?,
        containerenv: own_files::containerenv(input, security.privileged)?,
    };
    let mounts = mounts::mounts(input, &files)?;
    linux.set_rootfs_propagation(mounts.root_propagation.map(str::to_owned));
    if !mounts::is_on_a_mount(&cwd, &mounts.all) {
        process::ensure_cwd(input, &cwd, &user, &rootfs)?;
    }
    for source in &mounts.chown {
        chown::chown_all(source, user.uid, user.gid)
            .map_err(|error| Refusal::internal(format!("option \"U\": chown {}", source.display()), error))?;
    }

    let root =
        RootBuilder::default().path(input.rootfs).readonly(input.record.config.read_only).build().map_err(wrong)?;
    let mut spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .root(root)
        .process(process)
        .mounts(mounts.all)
        .linux(linux)
        .build()
        .map_err(wrong)?;
    // The library's own defaults would name the namespace that the pod shares.
    spec.set_hostname(hostname(input)?).set_annotations(Some(annotations).filter(|all| !all.is_empty()));
    store(input.bundle, &spec)?;
    if let Some(limits) = &input.record.config.resources {
        cgroup::set_block_limits(input.cgroup, limits)?;
        cgroup::make_room(input.cgroup, limits)?;
    }
    Ok(Bundle {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        effective_caps: sets.effective.into_iter().collect(),
        bounding_caps: sets.bounding.into_iter().collect(),
    })
}

fn wrong(error: impl std::fmt::Display) -> Refusal {
    Refusal::internal("config.json", error)
}

fn store(bundle: &Path, spec: &Spec) -> Result<()> {
    let text = serde_json::to_vec(spec).map_err(wrong)?;
    if text.len() > LARGEST {
        return Err(Refusal::invalid(format!(
            "the container's configuration is {} bytes, more than {LARGEST}: use fewer options, mounts or variables",
            text.len()
        )));
    }
    record::write_bytes(&bundle.join("config.json"), &text, Durability::Volatile).map_err(wrong)
}

/// Changes a bundle whose container may be run again from it: limits, and what `change` does to the environment.
///
/// # Errors
/// When `config.json` cannot be read or written, and those of [`cgroup::check`].
pub fn amend(
    bundle: &Path,
    limits: &wire::Resources,
    wished: &[wire::Ulimit],
    change: impl FnOnce(&mut Vec<String>),
) -> Result<()> {
    let mut spec: Spec = record::read(&bundle.join("config.json")).map_err(wrong)?;
    let mut linux = spec.linux().clone().unwrap_or_default();
    let before = linux.resources().clone().unwrap_or_default();
    let devices = before.devices().clone().unwrap_or_default();
    let files = before.unified().clone().unwrap_or_default().into_iter().collect();
    linux.set_resources(Some(linux::resources(limits, devices, &files)?));
    spec.set_linux(Some(linux));
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        change(&mut env);
        process.set_env(Some(env));
        let changed = ulimits(wished)?;
        let mut all = process.rlimits().clone().unwrap_or_default();
        all.retain(|limit| !changed.iter().any(|other| other.is(limit)));
        for ulimit in &changed {
            all.push(ulimit.to_oci()?);
        }
        process.set_rlimits(Some(all));
        spec.set_process(Some(process));
    }
    store(bundle, &spec)
}

/// The member's security options with what it inherits from its pod: its own word counts, lists add up.
fn security(input: &Input<'_>) -> wire::Security {
    let mut own = input.record.config.security.clone().unwrap_or_default();
    if let Some(pod) = &input.pod.config.security {
        own.no_new_privileges |= pod.no_new_privileges;
        for (mine, pods) in [(&mut own.seccomp, &pod.seccomp), (&mut own.apparmor, &pod.apparmor)] {
            if mine.is_empty() {
                mine.clone_from(pods);
            }
        }
        own.mask.extend(pod.mask.iter().cloned());
        own.unmask.extend(pod.unmask.iter().cloned());
        if own.label_opts.is_empty() {
            own.label_opts.clone_from(&pod.label_opts);
        }
    }
    own
}

/// Uid and gid of the user a container runs as, by the files in its root file system at `root`.
///
/// # Errors
/// podman's words for a user that the files do not know.
pub fn owner(record: &proto::record::ContainerRecord, root: &Path) -> Result<(u32, u32)> {
    let broken = |error: std::io::Error| Refusal::invalid(format!("the users of the container: {error}"));
    let root = Inside::open(root).map_err(broken)?;
    let read = |path: &str| root.read(path, user::LARGEST_FILE).map(Option::unwrap_or_default).map_err(broken);
    let files = user::Files::new(&read("/etc/passwd")?, &read("/etc/group")?)?;
    let user = user::resolve(&record.user, &[], &files)?;
    Ok((user.uid, user.gid))
}

/// The user, and the files that know them where the image's do not.
fn user(input: &Input<'_>, rootfs: &Inside) -> Result<(User, accounts::Completed)> {
    let read = |path: &str| {
        let found = match mounts::bound_at(input, path) {
            Some(source) => nix::fcntl::open(
                source,
                nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            )
            .map_err(std::io::Error::from)
            .and_then(|file| inside::read_regular(&file, user::LARGEST_FILE))
            .map(Some),
            None => rootfs.read(path, user::LARGEST_FILE),
        };
        found
            .map(Option::unwrap_or_default)
            .map_err(|error| Refusal::invalid(format!("{path} of the container: {error}")))
    };
    let files = user::Files::new(&read("/etc/passwd")?, &read("/etc/group")?)?;
    let user = user::resolve(&input.record.user, &input.record.config.groups, &files)?;
    let has = |path: &str| rootfs.read(path, user::LARGEST_FILE).is_ok_and(|text| text.is_some());
    let guests = accounts::guests(input, &files)?;
    let completed = accounts::completed(input, &files, &user, &guests, has);
    Ok((user, completed))
}

fn process(
    input: &Input<'_>,
    security: &wire::Security,
    user: &User,
    sets: &Sets,
    ours: &Names,
    cwd: &Path,
) -> Result<Process> {
    let config = &input.record.config;
    let may_raise = ours.contains("CAP_SYS_RESOURCE");
    let ids = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .umask(umask(&config.umask)?)
        .additional_gids(user.groups.clone())
        .build()
        .map_err(wrong)?;
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(ids)
        .args(process::args(input)?)
        .env(process::env(input, user)?)
        .cwd(cwd)
        .capabilities(sets.to_oci()?)
        .rlimits(rlimits::rlimits(&config.ulimits, &rlimits::Machine::this(may_raise))?)
        .no_new_privileges(security.no_new_privileges);
    if let Some(profile) = apparmor(security)? {
        process = process.apparmor_profile(profile);
    }
    let mut process = process.build().map_err(wrong)?;
    process.set_oom_score_adj(Some(linux::oom_score(config.oom_score_adj, linux::our_oom_score(), may_raise)?));
    Ok(process)
}

fn umask(text: &str) -> Result<u32> {
    if text.is_empty() {
        return Ok(0o022);
    }
    u32::from_str_radix(text, 8).ok().filter(|umask| *umask <= 0o777 && !text.starts_with('+')).ok_or_else(|| {
        Refusal::invalid(format!("--umask: invalid umask string {}: want up to four octal digits", text.escape_debug()))
    })
}

/// The AppArmor profile to run under, where the kernel has AppArmor. Labels of SELinux are checked here too: without
/// SELinux they mean nothing, and with it we set none.
fn apparmor(security: &wire::Security) -> Result<Option<String>> {
    if Path::new("/sys/fs/selinux/enforce").exists()
        && let Some(label) = security.label_opts.iter().find(|label| !["disable", "nested"].contains(&label.as_str()))
    {
        return Err(Refusal::new(
            Kind::NotSupported,
            format!("--security-opt label={}: podctl sets no SELinux labels: leave it out", label.escape_debug()),
        ));
    }
    let is_enabled =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
    match security.apparmor.as_str() {
        "" => Ok(None),
        "unconfined" => Ok(is_enabled.then(|| "unconfined".to_owned())),
        profile if is_enabled => Ok(Some(profile.to_owned())),
        profile => Err(Refusal::new(
            Kind::NotSupported,
            format!(
                "apparmor profile \"{}\" specified, but Apparmor is not enabled on this system",
                profile.escape_debug()
            ),
        )),
    }
}

fn linux(input: &Input<'_>, security: &wire::Security, sets: &Sets) -> Result<Linux> {
    let (config, pod) = (&input.record.config, &input.pod.config);
    let asked: Vec<wire::Device> = pod.devices.iter().chain(&config.devices).cloned().collect();
    let devices = devices::devices(&asked, &config.device_rules, security.privileged)?;
    let sysctl = sysctl::sysctls(pod.sysctls.iter().chain(&config.sysctls), input.namespaces)?;
    let limits = config.resources.clone().unwrap_or_default();
    let hidden = hidden::paths(security.privileged, &security.mask, &security.unmask)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(linux::namespaces(input.namespaces)?)
        .resources(linux::resources(&limits, devices.rules, &config.cgroup_conf)?)
        .cgroups_path(input.cgroup)
        .devices(devices.nodes)
        .sysctl(sysctl.into_iter().collect::<std::collections::HashMap<_, _>>())
        .masked_paths(hidden.masked)
        .readonly_paths(hidden.read_only)
        .build()
        .map_err(wrong)?;
    linux.set_personality(linux::personality(&config.personality)?);
    // A privileged container is filtered only by a profile that was asked for.
    let filter = if security.privileged && security.seccomp.is_empty() { "unconfined" } else { &security.seccomp };
    let context = seccomp::Context { bounding: &sets.bounding, machine: seccomp::machine(), kernel: seccomp::kernel() };
    linux.set_seccomp(seccomp::filter(filter, &context)?);
    // The library's default is a set of its own.
    linux.set_rootfs_propagation(None);
    Ok(linux)
}

/// Annotations are for people and hooks; those that something acts on are refused.
fn annotations(input: &Input<'_>) -> Result<std::collections::HashMap<String, String>> {
    let all = &input.record.config.annotations;
    if let Some(key) = all.keys().find(|key| RESERVED.iter().any(|reserved| key.starts_with(reserved))) {
        return Err(Refusal::invalid(format!(
            "--annotation {}: annotations of this name change what the runtime does: leave it out",
            key.escape_debug()
        )));
    }
    if all.keys().any(String::is_empty) {
        return Err(Refusal::invalid("--annotation: an annotation must have a name"));
    }
    Ok(all.clone().into_iter().collect())
}

/// The name of a UTS namespace of its own; a shared one has its name already.
fn hostname(input: &Input<'_>) -> Result<Option<String>> {
    if input.namespaces.uts != Namespace::Private || input.hostname.is_empty() {
        return Ok(None);
    }
    // sethostname(2) takes 64 bytes; the rest is what a line of /etc/hosts can hold.
    if input.hostname.len() > 64 || input.hostname.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Refusal::invalid(format!(
            "--hostname {}: want at most 64 characters without blanks",
            input.hostname.escape_debug()
        )));
    }
    Ok(Some(input.hostname.to_owned()))
}
