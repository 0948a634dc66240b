//! A pod's network, step by step: up in one direction, down by the pod's id alone.
//!
//! All of it runs on a thread of its own ([`on_thread`]): the kernel does the work inside the calls, and the shim's loop
//! goes on meanwhile. What takes the kernel long (links 15–50 ms, the table 20 ms) is removed after the answer, and only
//! after a while, because the next pod would wait for it or have to make it again: see [`settle`].

use std::{
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, setns};
use proto::{
    Id, Kind, Refusal, Roots, id,
    record::NetworkStatus,
    refusal::Result,
    wire::{NetworkConfig, PortMapping},
};

use super::{
    Networks, Up,
    attachment::{Attachment, attachments, is_bridge, mac_of, show_mac},
    conntrack::{self, Which},
    firewall::{self, Published},
    lease::{self, Leases},
    link::{self, Pair},
    netlink::Socket,
    ports,
    store::Layout,
    subnet, sysctl,
};

/// How long bringing a network up or down may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a bridge and the rules outlive the last pod.
const LINGER: Duration = Duration::from_millis(300);
/// How long the devices of pods that have gone may still be on the bridge of a network that is removed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Threads here call into the kernel and little else.
const STACK: usize = 256 << 10;

/// Removals under way, see [`settle`].
static REMOVALS: Mutex<Vec<thread::JoinHandle<()>>> = Mutex::new(Vec::new());

/// Runs `work` on a thread in this thread's namespaces and waits for it.
pub(super) async fn on_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = move || {
        // Nobody listens any more: the caller has given up on us.
        let _ = sender.send(work());
    };
    thread::Builder::new().stack_size(STACK).spawn(run).map_err(|error| Refusal::internal(what, error))?;
    match tokio::time::timeout(DEADLINE, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Refusal::internal(what, "its thread has ended without an answer")),
        Err(_) => {
            Err(Refusal::new(Kind::TimedOut, format!("{what}: no answer of the kernel in {} s", DEADLINE.as_secs())))
        }
    }
}

/// Runs `work` in the network namespace `netns`, on a thread that never comes back from there.
pub(super) fn inside<T: Send>(netns: impl AsFd + Send, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = move || {
        setns(netns, CloneFlags::CLONE_NEWNET)
            .map_err(|error| failed("entering the pod's network namespace", error))?;
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| failed("a thread for the pod's network namespace", error))?;
        thread.join().unwrap_or_else(|_| Err(Refusal::internal("network", "its thread has panicked")))
    })
}

fn failed(what: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::internal(format_args!("network: {what}"), error)
}

/// What a pod wants, owned.
#[derive(Debug)]
pub(super) struct Order {
    /// The pod.
    pub(super) pod: Id,
    /// Names every network knows it by.
    pub(super) names: Vec<String>,
    /// What was asked for.
    pub(super) config: NetworkConfig,
    /// Its network namespace.
    pub(super) netns: OwnedFd,
}

/// Sockets of the host's namespace.
#[derive(Debug)]
struct Host {
    route: Socket,
    filter: Socket,
}

impl Host {
    fn open() -> Result<Host> {
        let open = || Ok(Host { route: Socket::route()?, filter: Socket::netfilter()? });
        open().map_err(|error: std::io::Error| failed("opening netlink", error))
    }
}

/// Brings the pod's network up; on failure nothing is left.
pub(super) fn up(networks: &Networks, order: &Order) -> Result<Up> {
    let attachments = attachments(networks, &order.config)?;
    ports::check(&order.config.ports)?;
    if attachments.is_empty() {
        if order.config.mode == "none" {
            inside(order.netns.as_fd(), || configure_loopback().map(drop))?;
        }
        return Ok(Up { networks: Vec::new(), ports: Vec::new(), holds: Vec::new() });
    }
    // The ports come first: they are what most often fails, and holding them shows that nobody else uses the rules
    // that are there for them.
    let (holds, ports) = ports::bind_all(&order.config.ports)?;
    sysctl::require("ipv4/ip_forward", "1")?;
    let mut host = Host::open()?;
    let result = attach_all(networks, order, &mut host, &attachments, &ports);
    match result {
        Ok(status) => Ok(Up { networks: status, ports, holds }),
        Err(refusal) => {
            // The refusal is what the user reads; what cannot be undone is found by the pod's id at its next start.
            let _ = take_down(networks, &order.pod, host);
            Err(refusal)
        }
    }
}

fn attach_all(
    networks: &Networks,
    order: &Order,
    host: &mut Host,
    attachments: &[Attachment],
    ports: &[PortMapping],
) -> Result<Vec<NetworkStatus>> {
    let mut status = Vec::with_capacity(attachments.len());
    for attachment in attachments {
        status.push(attach(networks, order, host, attachment)?);
    }
    let address = status.first().and_then(|first| first.ip.parse::<Ipv4Addr>().ok());
    publish(networks, order, host, attachments, address, ports)?;
    inside(order.netns.as_fd(), || configure(attachments, &status))?;
    Ok(status)
}

/// The host's side of one network: lease, bridge, pair.
fn attach(networks: &Networks, order: &Order, host: &mut Host, attachment: &Attachment) -> Result<NetworkStatus> {
    let (record, layout) = (&attachment.record, &attachment.layout);
    let failed = |what: &str, error| failed(&format!("{}: {what}", record.name), error);
    let leases = Leases::of(&networks.roots, &record.name);
    let device = device_name(&order.pod)?;
    let _lock = leases.lock()?;
    if let Some(old) = leases.device(&order.pod) {
        // Of a start that was cut off. Its namespace has gone and the device with it, as a rule.
        link::remove(&mut host.route, &old).map_err(|error| failed("removing a device left over", error))?;
        leases.leave(&order.pod)?;
    }
    leases.join(&order.pod, &device)?;
    let ip = leases.lease(layout.range, layout.gateway, attachment.ip, &order.pod)?;
    let bridge = bridge(&mut host.route, attachment)?;
    let mac = attachment.mac.unwrap_or_else(|| mac_of(ip));
    let pair = Pair {
        host: &device,
        bridge,
        inside: &attachment.interface,
        mac,
        mtu: layout.mtu,
        netns: order.netns.as_fd(),
        hairpin: sysctl::bridges_are_filtered(),
    };
    link::add_pair(&mut host.route, &pair).map_err(|error| failed("making a veth pair", error))?;
    Ok(NetworkStatus {
        network: record.name.clone(),
        interface: attachment.interface.clone(),
        host_interface: device,
        ip: ip.to_string(),
        prefix: layout.subnet.prefix_len(),
        gateway: if record.internal { String::new() } else { layout.gateway.to_string() },
        mac: show_mac(mac),
        aliases: names(order, attachment),
        dns: record.dns,
    })
}

/// A device of a pod that has gone lives on for 20 ms: the name must be another.
fn device_name(pod: &Id) -> Result<String> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| failed("random bytes", error))?;
    Ok(format!("pc{}{}", &pod.as_str()[..8], id::hex(&bytes)))
}

/// All names of the pod on a network, each once.
fn names(order: &Order, attachment: &Attachment) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in order.names.iter().chain(&order.config.aliases).chain(&attachment.aliases) {
        if !name.is_empty() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The network's bridge, made if it is not there; its index.
fn bridge(route: &mut Socket, attachment: &Attachment) -> Result<u32> {
    let (name, layout) = (attachment.record.interface.as_str(), &attachment.layout);
    let failed = |error| failed(&format!("bridge {name}"), error);
    let mac = mac_of(layout.gateway);
    let mut found = link::find(route, name).map_err(failed)?;
    if found.is_none() {
        refuse_overlap(attachment)?;
        link::add_bridge(route, name, mac, layout.mtu).map_err(failed)?;
        found = link::find(route, name).map_err(failed)?;
    }
    let Some(found) = found else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
    if found.kind != "bridge" || found.mac != mac {
        return Err(Refusal::new(
            Kind::InUse,
            format!(
                "network {}: interface {name} is there and belongs to somebody else: remove it, or use another network",
                attachment.record.name
            ),
        ));
    }
    // Also when it was there: whoever made it may have been killed before it came so far.
    sysctl::without_ipv6(name).map_err(failed)?;
    sysctl::require(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    let address =
        Ipv4Net::new(layout.gateway, layout.subnet.prefix_len()).map_err(|error| Refusal::internal("bridge", error))?;
    link::address_and_up(route, found.index, address).map_err(failed)?;
    Ok(found.index)
}

/// Two devices with routes to one subnet: one of them would be cut off.
fn refuse_overlap(attachment: &Attachment) -> Result<()> {
    let wanted = attachment.layout.subnet;
    let routes = subnet::host_routes().map_err(|error| failed("reading the host's routes", error))?;
    let other =
        routes.into_iter().find(|(net, _)| net.contains(&wanted.network()) && net.prefix_len() >= wanted.prefix_len());
    match other {
        Some((net, device)) => Err(Refusal::new(
            Kind::InUse,
            format!(
                "network {}: subnet {wanted} is already used on the host by {device} ({net}): stop what uses it, or use another network",
                attachment.record.name
            ),
        )),
        None => Ok(()),
    }
}

/// The rules: the networks' elements and the pod's ports.
fn publish(
    networks: &Networks,
    order: &Order,
    host: &mut Host,
    attachments: &[Attachment],
    address: Option<Ipv4Addr>,
    ports: &[PortMapping],
) -> Result<()> {
    let bridges: Vec<_> = attachments.iter().map(Attachment::bridge).collect();
    let table = firewall::table_name(&networks.roots.run);
    let _lock = lock_rules(&networks.roots)?;
    firewall::add(&mut host.filter, &table, &order.pod, &bridges, address, ports)
        .map_err(|error| failed("adding firewall rules (nf_tables)", error))?;
    let published: Vec<Published> =
        address.iter().flat_map(|address| ports.iter().flat_map(|port| Published::all(port, *address))).collect();
    forget_flows(&mut host.filter, &published, Which::LedElsewhere);
    Ok(())
}

/// A kernel without conntrack netlink keeps its flows until they time out; nothing else depends on it.
fn forget_flows(filter: &mut Socket, published: &[Published], which: Which) {
    if let Err(error) = conntrack::forget(filter, published, which) {
        tracing::warn!(%error, "UDP flows of a published port could not be forgotten");
    }
}

fn lock_rules(roots: &Roots) -> Result<proto::alive::Lock> {
    lease::lock(&roots.run.join("networks/.lock"))
}

fn configure_loopback() -> Result<Socket> {
    let up = || {
        let mut route = Socket::route()?;
        link::loopback_up(&mut route)?;
        Ok(route)
    };
    up().map_err(|error: std::io::Error| failed("setting the pod's loopback device up", error))
}

/// The pod's side, in its namespace.
fn configure(attachments: &[Attachment], status: &[NetworkStatus]) -> Result<()> {
    let mut route = configure_loopback()?;
    let mut default = true;
    for (attachment, status) in attachments.iter().zip(status) {
        let (record, layout) = (&attachment.record, &attachment.layout);
        let failed = |error| failed(&format!("{}: configuring {}", record.name, attachment.interface), error);
        let found = link::find(&mut route, &attachment.interface).map_err(failed)?;
        let Some(found) = found else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
        sysctl::without_ipv6(&attachment.interface).map_err(failed)?;
        let ip: Ipv4Addr = status.ip.parse().map_err(|error| Refusal::internal("address", error))?;
        let address = Ipv4Net::new(ip, status.prefix).map_err(|error| Refusal::internal("address", error))?;
        let gateway = (default && !record.internal).then_some(layout.gateway);
        default &= gateway.is_none();
        link::configure(&mut route, found.index, address, gateway).map_err(failed)?;
    }
    Ok(())
}

/// Takes the pod's network down.
pub(super) fn down(networks: &Networks, pod: &Id) -> Result<()> {
    take_down(networks, pod, Host::open()?)
}

fn take_down(networks: &Networks, pod: &Id, mut host: Host) -> Result<()> {
    let roots = &networks.roots;
    let table = firewall::table_name(&roots.run);
    let published = {
        let _lock = lock_rules(roots)?;
        firewall::remove(&mut host.filter, &table, pod)
            .map_err(|error| failed("removing firewall rules (nf_tables)", error))?
    };
    forget_flows(&mut host.filter, &published, Which::LedTo);
    let mut devices = Vec::new();
    for network in lease::networks(roots) {
        let leases = Leases::of(roots, &network);
        if let Some(device) = leases.device(pod) {
            let _lock = leases.lock()?;
            leases.leave(pod)?;
            devices.push(device);
        }
    }
    if !devices.is_empty() || !published.is_empty() {
        remove_later(networks.clone(), devices, host);
    }
    Ok(())
}

/// Removes devices that outlived their namespace, and what nobody needs any more, after a while. The sockets go along:
/// closing one that has removed rules waits until no processor can be reading them (10 ms).
fn remove_later(networks: Networks, devices: Vec<String>, mut host: Host) {
    let run = move || {
        thread::sleep(LINGER);
        if let Err(error) = sweep(&networks, &devices, &mut host) {
            // The next pod that goes down removes it.
            tracing::warn!(%error, "bridges or rules that nobody needs are left");
        }
    };
    let mut removals = REMOVALS.lock().unwrap_or_else(PoisonError::into_inner);
    removals.retain(|removal| !removal.is_finished());
    match thread::Builder::new().stack_size(STACK).spawn(run) {
        Ok(removal) => removals.push(removal),
        Err(error) => tracing::warn!(%error, "bridges or rules that nobody needs are left"),
    }
}

/// Removes `devices`, the bridges of networks nobody is on, and the rules when nobody is on any.
fn sweep(networks: &Networks, devices: &[String], host: &mut Host) -> Result<()> {
    for device in devices {
        link::remove(&mut host.route, device).map_err(|error| failed("removing a device", error))?;
    }
    for network in lease::networks(&networks.roots) {
        remove_bridge(networks, &network, host, Duration::ZERO)?;
    }
    let _lock = lock_rules(&networks.roots)?;
    if !lease::anybody(&networks.roots) {
        let table = firewall::table_name(&networks.roots.run);
        firewall::remove_table(&mut host.filter, &table)
            .map_err(|error| failed("removing firewall rules (nf_tables)", error))?;
    }
    Ok(())
}

/// Removes a network's bridge and elements if nobody is on it; `patience` is for devices that are about to go.
fn remove_bridge(networks: &Networks, network: &str, host: &mut Host, patience: Duration) -> Result<()> {
    let leases = Leases::of(&networks.roots, network);
    if !leases.is_empty() {
        return Ok(());
    }
    let Ok(record) = networks.get(network) else { return Ok(()) };
    let _lock = leases.lock()?;
    if !leases.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(&record)?;
    let failed = |error| failed(&format!("removing bridge {}", record.interface), error);
    {
        let _rules = lock_rules(&networks.roots)?;
        let table = firewall::table_name(&networks.roots.run);
        firewall::remove_bridge(&mut host.filter, &table, &record.interface, layout.subnet).map_err(failed)?;
    }
    let Some(found) = link::find(&mut host.route, &record.interface).map_err(failed)? else { return Ok(()) };
    let ours = found.kind == "bridge" && found.mac == mac_of(layout.gateway);
    let end = Instant::now() + patience;
    // Another run root may use a bridge of that name, too.
    while ours && link::has_ports(&mut host.route, found.index).map_err(failed)? && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    if !ours || link::has_ports(&mut host.route, found.index).map_err(failed)? {
        return Ok(());
    }
    link::remove(&mut host.route, &record.interface).map_err(failed)
}

/// Removes a network with all that is there of it.
pub(super) fn remove_network(networks: &Networks, name: &str) -> Result<()> {
    let record = networks.get(name)?;
    if record.name == super::DEFAULT {
        return Err(Refusal::invalid(format!("default network {} cannot be removed", record.name)).about(name));
    }
    let leases = Leases::of(&networks.roots, &record.name);
    if !leases.is_empty() {
        return Err(in_use(name));
    }
    remove_bridge(networks, &record.name, &mut Host::open()?, PATIENCE)?;
    let _lock = leases.lock()?;
    if !leases.is_empty() {
        return Err(in_use(name));
    }
    networks.forget(&record.name)?;
    leases.clear();
    Ok(())
}

/// podman's words for a network that pods use.
pub(super) fn in_use(name: &str) -> Refusal {
    let words = format!(
        "\"{name}\" has associated containers with it. Use -f to forcefully delete containers and pods: network is being used"
    );
    Refusal::new(Kind::InUse, words).about(name)
}

/// Waits for removals under way; a process that exits earlier leaves a bridge or the table to the next.
pub(super) fn join_removals() {
    let removals = std::mem::take(&mut *REMOVALS.lock().unwrap_or_else(PoisonError::into_inner));
    for removal in removals {
        // A panic there has been reported by its hook.
        let _ = removal.join();
    }
}

/// What can be checked before anything is made.
pub(super) fn check(networks: &Networks, config: &NetworkConfig) -> Result<()> {
    attachments(networks, config)?;
    ports::check(&config.ports)?;
    if is_bridge(config) {
        drop(ports::bind_all(&config.ports)?);
    }
    Ok(())
}
