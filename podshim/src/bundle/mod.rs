//! The OCI bundle of a member: stub.
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use proto::{
    record::{ContainerRecord, PodRecord},
    refusal::Result,
    wire,
};

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
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The process' uid.
    pub uid: u32,
    /// The process' gid.
    pub gid: u32,
}

/// Writes `config.json`.
pub fn write(_input: &Input<'_>) -> Result<Bundle> {
    unimplemented!()
}
