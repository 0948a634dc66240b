//! The JSON records at the paths of [`crate::layout`].
//!
//! Each file has one writer and is written whole: a temporary file beside it, fsync where it must survive a power loss,
//! rename. Readers take no lock. A reader caps what it reads, and one bad record never hides the others.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Id,
    alive::Process,
    wire::{ContainerConfig, ExitStatus, HealthConfig, LogConfig, Mount, PodConfig, PortMapping, RestartPolicy},
};

/// Largest record that is read.
pub const MAX: u64 = 16 << 20;

/// Version of the records this program writes and the newest it reads.
pub const SCHEMA: u32 = 1;

/// Whether a record must survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// fsync of the file and its directory: `$STATE`.
    Durable,
    /// No fsync: `$RUN`, which a reboot empties.
    Volatile,
}

/// Writes `value` as JSON to `path`, whole: nobody ever reads half of it.
///
/// # Errors
/// Those of the file system; `path` is then as it was.
pub fn write<T: Serialize>(path: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    write_bytes(path, &text, durability)
}

/// Writes `bytes` to `path`, whole.
///
/// # Errors
/// Those of the file system; `path` is then as it was.
pub fn write_bytes(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a record has a directory"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("record");
    let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)?;
        if durability == Durability::Durable {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    })();
    if result.is_err() {
        // The cause is reported; a leftover of a failed write is only rubbish.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Removes what writers that were killed have left in `directory`, in which nobody writes now.
pub fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp")) {
            // The next one tries.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads the record at `path`.
///
/// # Errors
/// `NotFound` where there is none; `InvalidData` where it is not what it should be (an empty file is, after a power
/// loss, no record).
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let file = File::open(path)?;
    // Room for all of it, and one byte to see the end: two reads. It was renamed here whole and does not grow.
    let size = file.metadata()?.len().min(MAX);
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is larger than {MAX} bytes", path.display()),
        ));
    }
    serde_json::from_slice(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// `pods/ID/pod.json`: what the pod is. Written by whoever creates it, then by its shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// The pod.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: i64,
    /// The id its infra is shown under; absent with `--infra=false` and for a hidden pod of one.
    pub infra: Option<Id>,
    /// What was asked for.
    pub config: PodConfig,
}

impl PodRecord {
    /// The name its infra is shown under.
    pub fn infra_name(&self) -> String {
        if self.config.infra_name.is_empty() {
            format!("{}-infra", self.id.short())
        } else {
            self.config.infra_name.clone()
        }
    }
}

/// `pods/ID/containers/ID/container.json`: what the container is. Written by the pod's shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// The container.
    pub id: Id,
    /// The pod it is a member of.
    pub pod: Id,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: i64,
    /// What was asked for.
    pub config: ContainerConfig,
    /// The image as the store knows it; absent with --rootfs.
    pub image: Option<ImageUse>,
    /// All mounts, with those of the pod and the image, sources resolved (anonymous volumes have their name).
    pub mounts: Vec<Mount>,
    /// The command line after image and options are merged.
    pub args: Vec<String>,
    /// The environment after merging.
    pub env: Vec<String>,
    /// The user as given or by the image, unresolved.
    pub user: String,
    /// The working directory.
    pub workdir: String,
    /// The stop signal, by name.
    pub stop_signal: String,
    /// Anonymous volumes made for it, removed with it.
    #[serde(default)]
    pub anonymous_volumes: Vec<String>,
}

/// The image a container was created from.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageUse {
    /// Its id (digest of its config, 64 hex digits).
    pub id: String,
    /// The name it was found by, in full (`docker.io/library/alpine:latest`).
    pub name: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
}

/// `…/exit.json`: how the container ended. Written by its monitor before anyone is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// How.
    pub status: ExitStatus,
    /// When the run that ended had begun.
    pub started_at: i64,
    /// Restarts by policy before it ended for good.
    #[serde(default)]
    pub restart_count: u32,
    /// Why the last start failed, in the runtime's words; empty where it did not.
    #[serde(default)]
    pub error: String,
    /// Log records lost to a full disk.
    #[serde(default)]
    pub log_dropped: u64,
    /// A user has ended it: `unless-stopped` does not start it at boot.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// While nobody knows how it ended: the container's first process, for when `$RUN` is lost under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Process>,
}

/// `$RUN/pods/ID/state.json`: what of the pod is up. Written by its shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// The infra is up: namespaces, network and ports are there.
    pub started: bool,
    /// The boot this is about; in another boot nothing of it is true.
    pub boot_id: String,
    /// When the infra was started.
    pub started_at: i64,
    /// The shim that wrote it.
    pub shim: Process,
    /// PID 1 of a shared PID namespace (`podshim infra`).
    #[serde(default)]
    pub infra_init: Option<Process>,
    /// Addresses, one per network.
    #[serde(default)]
    pub networks: Vec<NetworkStatus>,
    /// Published ports with the host ports the kernel chose.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Members in the order they were started; stop goes backwards.
    #[serde(default)]
    pub start_order: Vec<Id>,
    /// The pod's cgroup, relative to each hierarchy's mount point.
    #[serde(default)]
    pub cgroup: String,
    /// The infra was paused with the pod.
    #[serde(default)]
    pub paused: bool,
}

/// What a pod has on one network.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStatus {
    /// Name of the network.
    pub network: String,
    /// Name of the interface in the pod.
    pub interface: String,
    /// Name of its other end on the host.
    pub host_interface: String,
    /// Address.
    pub ip: String,
    /// Length of its prefix.
    pub prefix: u8,
    /// Gateway, empty on an internal network.
    pub gateway: String,
    /// Hardware address.
    pub mac: String,
    /// Names other pods reach it by.
    pub aliases: Vec<String>,
    /// The network answers names.
    pub dns: bool,
}

/// `…/start.json`: all a monitor needs to know. Written by the pod's shim before it starts one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// The container.
    pub id: Id,
    /// Its pod.
    pub pod: Id,
    /// Its name, for logs.
    pub name: String,
    /// The OCI bundle (config.json is in it).
    pub bundle: PathBuf,
    /// Absolute path of the OCI runtime.
    pub runtime: PathBuf,
    /// Its state directory (`--root`).
    pub runtime_root: PathBuf,
    /// Where exit.json goes (durable).
    pub exit_record: PathBuf,
    /// Where state.json goes.
    pub state_record: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// Container has a terminal.
    pub tty: bool,
    /// stdin is kept open for attach; else it is /dev/null.
    pub stdin: bool,
    /// Signal of stop, by name.
    pub stop_signal: String,
    /// Grace of stop in milliseconds.
    pub stop_timeout_ms: i64,
    /// SIGKILL after this many seconds; 0 = never.
    #[serde(default)]
    pub timeout_seconds: u32,
    /// Restart policy.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Keys that detach a client, as typed (`ctrl-p,ctrl-q`).
    #[serde(default)]
    pub detach_keys: String,
    /// The container's cgroup, relative to each hierarchy's mount point.
    pub cgroup: String,
    /// Uid and gid the container's process runs as: they may reopen /dev/stdout.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// The directory of the log as whoever asked for the start sees it, where that is mounted for us.
    #[serde(default)]
    pub log_directory: Option<PathBuf>,
    /// Where the pid of the container's process is written at every start, and that of its monitor; empty = nowhere.
    #[serde(default)]
    pub pidfile: String,
    /// See `pidfile`.
    #[serde(default)]
    pub conmon_pidfile: String,
    /// The supervisor reaped the container for a monitor that had died: raw status of wait(2).
    #[serde(default)]
    pub witnessed_exit: Option<i32>,
    /// The directory of events; empty = none are told.
    #[serde(default)]
    pub events: PathBuf,
    /// What its events have in common: id, name, image, pod, labels.
    #[serde(default)]
    pub event: crate::event::Event,
    /// How its health is checked, complete.
    #[serde(default)]
    pub health: Option<HealthConfig>,
    /// Who outside is to hear that it is ready; absent = nobody.
    #[serde(default)]
    pub readiness: Option<Readiness>,
    /// The process that `witnessed_exit` is about: a container that is restarted has had several.
    #[serde(default)]
    pub witnessed_pid: u32,
    /// Files of the container's cgroup that the OCI runtime does not write, and what is written to them before each run.
    #[serde(default)]
    pub limits: Vec<(PathBuf, String)>,
    /// The root file system is not mounted where this monitor is: what runs goes on, but another run needs the shim.
    #[serde(default)]
    pub unmounted: bool,
    /// How the pod gets another shim when the one it has dies; absent where somebody else sees to that.
    #[serde(default)]
    pub heir: Option<Heir>,
}

/// `--sdnotify`, where whoever asked for the start has a NOTIFY_SOCKET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `container`, `conmon` or `healthy`.
    pub mode: String,
    /// The NOTIFY_SOCKET: an absolute path, or `@` and an abstract name.
    pub socket: String,
}

/// See [`StartRecord::heir`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heir {
    /// The pod's lock: while somebody holds it there is a shim.
    pub lock: PathBuf,
    /// The shim's command line, its absolute path first.
    pub args: Vec<PathBuf>,
}

/// `$RUN/…/state.json`: the container now. Written by its monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitorState {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// The monitor.
    pub monitor: Process,
    /// What the runtime was told last.
    pub phase: Phase,
    /// The container's first process; absent before create and after its end.
    pub init: Option<Process>,
    /// When it was started; 0 = not yet.
    pub started_at: i64,
    /// The same as [`uptime`](crate::time::uptime), which nobody sets; 0 = not yet.
    #[serde(default)]
    pub begun: i64,
    /// When the grace of the stop that is under way is over, likewise; 0 = none is, [`i64::MAX`] = never.
    #[serde(default)]
    pub grace_ends: i64,
    /// Restarts by policy.
    #[serde(default)]
    pub restart_count: u32,
    /// Ids of exec sessions that run.
    #[serde(default)]
    pub execs: Vec<String>,
    /// Log records lost to a full disk.
    #[serde(default)]
    pub log_dropped: u64,
    /// Out-of-memory kills seen.
    #[serde(default)]
    pub oom_kills: u64,
    /// Milliseconds between the end of the last run and the next one; 0 = nothing was restarted yet.
    #[serde(default)]
    pub backoff_ms: u64,
    /// Which restart that pause is before, counted from 1.
    #[serde(default)]
    pub backoff_before: u32,
    /// The run that is being made is counted in `restart_count` already.
    #[serde(default)]
    pub counted: bool,
}

impl MonitorState {
    /// What follows from the placeholder `exit` alone, where state.json was deleted or cannot be read while the container
    /// runs; `None` where it does not.
    pub fn outlived(exit: &ExitRecord) -> Option<MonitorState> {
        let init = exit.init.as_ref().filter(|init| exit.status.finished_at == 0 && init.is_alive())?;
        Some(MonitorState {
            schema: SCHEMA,
            phase: Phase::Running,
            init: Some(init.clone()),
            started_at: exit.started_at,
            restart_count: exit.restart_count,
            log_dropped: exit.log_dropped,
            ..MonitorState::default()
        })
    }
}

/// See [`MonitorState::phase`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Runtime create has been, or is being, called.
    #[default]
    Created,
    /// Runtime start has succeeded.
    Running,
    /// Frozen.
    Paused,
    /// A stop is under way.
    Stopping,
    /// Between two runs of a restart policy.
    Backoff,
    /// Over; exit.json tells how.
    Exited,
}

/// `$RUN/…/health.json`: what the checks of a container have found. Written by its monitor after each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthState {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// When the run it is about was started.
    pub started_at: i64,
    /// What follows from them.
    pub status: Health,
    /// Failures in a row that count.
    pub failing_streak: u32,
    /// The last checks, oldest first.
    pub log: Vec<HealthCheck>,
    /// The startup checks have succeeded, or there are none.
    pub startup_passed: bool,
    /// Of startup checks, in a row.
    pub startup_successes: u32,
    /// See `startup_successes`.
    pub startup_failures: u32,
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// When it began.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// 0 = healthy, 1 = not, -1 = it took too long, 125 = it could not be run.
    pub exit_code: i32,
    /// What it said, cut.
    pub output: String,
}

/// A container's health, in the words users see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    #[default]
    Starting,
    /// The last check succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

impl Health {
    /// The word in `ps`, `inspect` and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// `volumes/NAME/volume.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: i64,
    /// Labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Driver options.
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
    /// Made for one container and removed with it.
    #[serde(default)]
    pub anonymous: bool,
    /// The image's content was copied in, or something was mounted over the chance: it never happens again.
    #[serde(default)]
    pub copied_up: bool,
    /// Uid and gid of its directory that were asked for: an image's content does not change them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

/// `networks/NAME.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// [`SCHEMA`] of its writer.
    pub schema: u32,
    /// Its name.
    pub name: String,
    /// Its id, 64 hex digits.
    pub id: Id,
    /// `bridge`
    pub driver: String,
    /// Name of the bridge on the host.
    pub interface: String,
    /// When it was created.
    pub created: i64,
    /// Subnet, CIDR.
    pub subnet: String,
    /// Gateway, the bridge's address.
    pub gateway: String,
    /// Addresses are leased from here; empty = the subnet.
    #[serde(default)]
    pub ip_range: String,
    /// No way out.
    #[serde(default)]
    pub internal: bool,
    /// Names are answered.
    pub dns: bool,
    /// Servers the rest is forwarded to; empty = the host's.
    #[serde(default)]
    pub dns_servers: Vec<String>,
    /// Labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Options (mtu, isolate …).
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_whole_and_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("exit.json");
        let record = ExitRecord {
            schema: SCHEMA,
            status: ExitStatus { known: true, code: 7, ..Default::default() },
            started_at: 5,
            restart_count: 0,
            error: String::new(),
            log_dropped: 0,
            stopped_by_user: false,
            init: None,
        };
        write(&path, &record, Durability::Durable).expect("write");
        assert_eq!(read::<ExitRecord>(&path).expect("read"), record);
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_empty_or_torn_record_is_invalid_data() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("exit.json");
        for text in ["", "{", "{\"schema\":1}"] {
            fs::write(&path, text).expect("write");
            assert_eq!(read::<ExitRecord>(&path).expect_err("bad").kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }

    #[test]
    fn a_message_of_an_older_version_takes_defaults() {
        let config: PodConfig = serde_json::from_str(r#"{"name":"x","unknown":1}"#).expect("reads");
        assert_eq!(config.name, "x");
        assert!(!config.hidden);
    }
}
