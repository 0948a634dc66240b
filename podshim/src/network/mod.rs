//! Networks, and what a pod has of them: addresses, published ports, names.
//!
//! ```text
//! store        $STATE/networks/NAME.json, the default network     subnet    which subnets may be used
//! attachment   what was asked for → networks, or a refusal        lease     who has which address
//! bring_up, take_down, connect                                    ports     host ports, bound and held
//! worker       the thread that does it                            sysctl    /proc/sys/net
//! link | firewall | conntrack                                     dns       names, answered in the pod's namespace
//! netlink, nft the kernel's protocols                             resolv    /etc/resolv.conf
//! document     what people read of a network                      filter    which they want to read of
//! check        what is left of pods that have gone                guard, mend  what somebody removes comes back
//! ```
//! A pod that is up has: a lease and a note in `$RUN/networks/NAME`, a veth pair whose one end is a port of the
//! network's bridge, elements in the run root's nf_tables table that bear its id, bound host ports. The bridge and the
//! table come with the first pod and go with the last.

mod attachment;
mod bring_up;
pub mod check;
mod connect;
mod conntrack;
mod dns;
mod document;
pub mod filter;
mod firewall;
mod guard;
mod lease;
mod link;
mod mend;
mod netlink;
mod nft;
mod ports;
mod resolv;
mod store;
mod subnet;
mod sysctl;
mod take_down;
#[cfg(test)]
mod tests;
mod worker;

use std::os::fd::{BorrowedFd, OwnedFd};

use proto::{
    Id,
    record::{NetworkStatus, PodState},
    refusal::Result,
    wire,
};

pub use self::{
    dns::{DnsServer, serve as serve_dns},
    document::{NetworkDocument, document, inspect_document},
    guard::{Guard, guard},
    mend::Mended,
    resolv::resolv_conf,
    store::Networks,
};

/// Name of the network that is always there.
pub const DEFAULT: &str = "podman";

/// Domain of the names pods have on a network that answers names.
pub const DOMAIN: &str = "dns.podman";

impl Networks {
    /// Removes the record, the bridge, its rules and leases; the caller has checked that no pod uses it.
    ///
    /// # Errors
    /// The default network is refused, and one a pod is on right now.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let (networks, name) = (self.clone(), name.to_owned());
        worker::on_thread("network removal", move || take_down::remove_network(&networks, &name)).await
    }
}

/// podman's refusal to remove a network that pods use.
pub fn in_use(name: &str) -> proto::Refusal {
    take_down::in_use(name)
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

impl Request<'_> {
    fn order(&self) -> Result<bring_up::Order> {
        let netns = self.netns.try_clone_to_owned();
        Ok(bring_up::Order {
            pod: self.pod.clone(),
            names: self.names.to_vec(),
            config: self.config.clone(),
            netns: netns.map_err(|error| proto::Refusal::internal("network namespace", error))?,
        })
    }
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
///
/// # Errors
/// A refusal in its final words.
pub fn check(networks: &Networks, config: &wire::NetworkConfig) -> Result<()> {
    bring_up::check(networks, config)
}

/// Brings the pod's network up; on failure nothing is left. The pod's lock is held by the caller: it is what keeps the
/// leases.
///
/// With mode `none` only the loopback device is set up; with a mode that has no namespace of its own nothing is done.
///
/// # Errors
/// A refusal in its final words.
pub async fn up(networks: &Networks, request: Request<'_>) -> Result<Up> {
    let order = request.order()?;
    let networks = networks.clone();
    worker::on_thread("network", move || bring_up::up(&networks, &order)).await
}

/// The networks of `config`, which are or will be those of `pod`, their devices named as they are when the pod is up: so others may come and go.
///
/// # Errors
/// When one of them is not there.
pub fn with_interfaces(networks: &Networks, pod: &Id, config: &wire::NetworkConfig) -> Result<wire::NetworkConfig> {
    connect::with_interfaces(networks, pod, config)
}

/// Attaches a pod that is up, with `state`, to the last network of the request; what it has then.
///
/// # Errors
/// A refusal in its final words; nothing has changed then.
pub async fn connect(networks: &Networks, request: Request<'_>, state: &PodState) -> Result<Vec<NetworkStatus>> {
    let (networks, order, running) = (networks.clone(), request.order()?, running(state));
    worker::on_thread("network connect", move || connect::connect(&networks, &order, running)).await
}

/// Takes a pod that is up, with `state`, off the network `name`, which the request does not name any more; what it has
/// then.
///
/// # Errors
/// When the kernel refuses.
pub async fn disconnect(
    networks: &Networks,
    request: Request<'_>,
    name: &str,
    state: &PodState,
) -> Result<Vec<NetworkStatus>> {
    let (networks, order, running, name) = (networks.clone(), request.order()?, running(state), name.to_owned());
    worker::on_thread("network disconnect", move || connect::disconnect(&networks, &order, &name, running)).await
}

/// Puts back what somebody has removed of the network of a pod that is up, with `state`; the request is what it was
/// brought up with.
///
/// # Errors
/// When the kernel refuses.
pub async fn mend(networks: &Networks, request: Request<'_>, state: &PodState) -> Result<Mended> {
    let (networks, order, running) = (networks.clone(), request.order()?, running(state));
    worker::on_thread("network", move || mend::mend(&networks, &order, running)).await
}

fn running(state: &PodState) -> connect::Running {
    connect::Running { networks: state.networks.clone(), ports: state.ports.clone() }
}

/// Notes again what a pod that is up has on its networks, where somebody has deleted the notes.
///
/// # Errors
/// When somebody else has got its address meanwhile, or keeps a lock.
pub fn note_again(networks: &Networks, pod: &Id, status: &[NetworkStatus]) -> Result<()> {
    status.iter().try_for_each(|status| lease::Leases::of(&networks.roots, &status.network).note_again(pod, status))
}

/// Takes it down: rules, port elements, leases, conntrack entries by the pod's label. Needs no namespace, may be asked
/// twice. The host's end of the veth pair goes with the namespace; that, the bridge and the table are seen to after the
/// answer, see [`settle`].
///
/// # Errors
/// When the kernel refuses; what is left is then removed by asking again.
pub async fn down(networks: &Networks, pod: &Id) -> Result<()> {
    let (networks, pod) = (networks.clone(), pod.clone());
    worker::on_thread("network", move || take_down::down(&networks, &pod)).await
}

/// Whether something of the pod's network is still noted, be it up or left over.
pub fn has_left(networks: &Networks, pod: &Id) -> bool {
    let noted = |network: &String| lease::Leases::of(&networks.roots, network).device(pod).is_some();
    lease::networks(&networks.roots).iter().any(noted)
}

/// Removes bridges and rules that nobody needs, where the notes of who is on which network are lost.
///
/// # Errors
/// When the kernel refuses.
pub async fn tidy(networks: &Networks) -> Result<()> {
    let networks = networks.clone();
    worker::on_thread("network", move || take_down::unneeded(&networks)).await
}

/// As [`down`], with all that is put off there; blocks. For a pod that nobody has in hand.
///
/// # Errors
/// As there.
pub fn take_down_now(networks: &Networks, pod: &Id) -> Result<()> {
    take_down::now(networks, pod)
}

/// Does what [`down`] put off in a program that was killed.
///
/// # Errors
/// When the kernel refuses.
pub async fn finish(networks: &Networks) -> Result<()> {
    if !take_down::is_cut_off(networks) {
        return Ok(());
    }
    let networks = networks.clone();
    worker::on_thread("network", move || take_down::finish(&networks)).await
}

/// Waits until what [`down`] put off is done (less than a second as a rule). A program calls it last before it exits,
/// when it has given its answers and released its locks.
pub async fn settle() {
    let wait = || {
        take_down::join_removals();
        Ok(())
    };
    if let Err(error) = worker::on_thread("network", wait).await {
        tracing::warn!(%error, "a bridge or rules that nobody needs may be left");
    }
}

/// A shim that adopts a running pod binds its host ports again and flushes nothing.
///
/// # Errors
/// When somebody has taken one meanwhile.
pub fn hold_ports(ports: &[wire::PortMapping]) -> Result<Vec<OwnedFd>> {
    Ok(ports::bind_all(ports)?.0)
}
