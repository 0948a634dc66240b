//! Networks: stub.
use std::os::fd::{BorrowedFd, OwnedFd};

use proto::{
    Id, Roots,
    record::{NetworkRecord, NetworkStatus},
    refusal::Result,
    wire,
};

/// Name of the network that is always there.
pub const DEFAULT: &str = "podman";

/// The store of networks.
#[derive(Clone, Debug)]
pub struct Networks {
    _roots: Roots,
}

impl Networks {
    /// Opens it.
    pub fn open(roots: &Roots) -> Networks {
        Networks { _roots: roots.clone() }
    }
    /// Creates a network (bridge device and rules come with the first pod).
    pub fn create(&self, _request: &wire::CreateNetwork) -> Result<NetworkRecord> {
        unimplemented!()
    }
    /// By name or unique beginning of the id.
    pub fn get(&self, _name: &str) -> Result<NetworkRecord> {
        unimplemented!()
    }
    /// All, the default network first.
    pub fn list(&self) -> Result<Vec<NetworkRecord>> {
        unimplemented!()
    }
    /// Removes the record, the bridge, its rules and leases; the caller has checked that no pod uses it.
    pub async fn remove(&self, _name: &str) -> Result<()> {
        unimplemented!()
    }
}

/// What a pod wants of the network.
#[derive(Debug)]
pub struct Request<'a> {
    /// The pod.
    pub pod: &'a Id,
    /// Names every network knows it by (pod name, hostname, container names, 12-digit id).
    pub names: &'a [String],
    /// What `pod create` asked for.
    pub config: &'a wire::NetworkConfig,
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
}

/// What is up. Dropping it releases the host ports; everything else stays until [`down`].
#[derive(Debug)]
pub struct Up {
    /// One per network.
    pub networks: Vec<NetworkStatus>,
    /// Ports with the host ports chosen.
    pub ports: Vec<wire::PortMapping>,
    /// Bound host ports.
    pub holds: Vec<OwnedFd>,
}

/// Checks everything that can be checked before anything is made: networks exist, addresses fit, ports are free.
pub fn check(_networks: &Networks, _config: &wire::NetworkConfig) -> Result<()> {
    unimplemented!()
}

/// Brings the pod's network up; on failure nothing is left.
pub async fn up(_networks: &Networks, _request: Request<'_>) -> Result<Up> {
    unimplemented!()
}

/// Takes it down: rules, port elements, leases, conntrack entries by the pod's label. Needs no namespace, may be asked twice.
pub async fn down(_networks: &Networks, _pod: &Id) -> Result<()> {
    unimplemented!()
}

/// A shim that adopts a running pod binds its host ports again and flushes nothing.
pub fn hold_ports(_ports: &[wire::PortMapping]) -> Result<Vec<OwnedFd>> {
    unimplemented!()
}

/// Answers DNS inside the pod's network namespace until the returned handle is dropped.
pub fn serve_dns(
    _networks: &Networks,
    _pod: &Id,
    _netns: BorrowedFd<'_>,
    _status: &[NetworkStatus],
) -> Result<DnsServer> {
    unimplemented!()
}

/// A running DNS server.
#[derive(Debug)]
pub struct DnsServer {}

/// Text of the pod's /etc/resolv.conf.
pub fn resolv_conf(_networks: &Networks, _config: &wire::NetworkConfig, _status: &[NetworkStatus]) -> Result<String> {
    unimplemented!()
}
