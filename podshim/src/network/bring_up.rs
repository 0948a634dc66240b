//! A pod's network, step by step, up. Whatever fails, [`take_down`] undoes by the pod's id.

use std::{
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use ipnet::Ipv4Net;
use proto::{
    Id, Kind, Refusal,
    failpoint::{self, Point},
    id,
    record::{self, NetworkStatus, PodState},
    refusal::Result,
    wire::{NetworkConfig, PortMapping},
};

use super::{
    Networks, Up,
    attachment::{self, Attachment, attachments, is_bridge, mac_of, show_mac},
    conntrack::Which,
    firewall::{self, Published, Share},
    lease::{self, Leases},
    link::{self, Pair},
    netlink::Socket,
    ports,
    store::Layout,
    subnet, sysctl, take_down,
    worker::{Host, failed, forget_flows, inside, lock_rules},
};

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

/// What can be checked before anything is made.
pub(super) fn check(networks: &Networks, config: &NetworkConfig) -> Result<()> {
    attachments(networks, config, None)?;
    ports::check(&config.ports)?;
    if is_bridge(config) {
        drop(ports::bind_all(&config.ports)?);
    }
    Ok(())
}

/// Brings the pod's network up; on failure nothing is left.
pub(super) fn up(networks: &Networks, order: &Order) -> Result<Up> {
    let attachments = attachments(networks, &order.config, Some(&order.pod))?;
    ports::check(&order.config.ports)?;
    if attachments.is_empty() {
        if order.config.mode == "none" {
            inside(order.netns.as_fd(), || match loopback() {
                // Without CAP_NET_ADMIN even that stays down; it is all the same no network.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
                other => other.map(drop).map_err(|error| failed(LOOPBACK, error)),
            })?;
        }
        return Ok(Up { networks: Vec::new(), ports: Vec::new(), holds: Vec::new() });
    }
    // The ports come first: they are what most often fails, and holding them shows that nobody else uses the rules
    // that are there for them.
    let (holds, ports) = ports::bind_all(&order.config.ports)?;
    failpoint::refuse(Point::NetPorts)?;
    sysctl::require("ipv4/ip_forward", "1")?;
    let mut host = Host::open()?;
    let result = attach_all(networks, order, &mut host, &attachments, &ports);
    match result {
        Ok(status) => Ok(Up { networks: status, ports, holds }),
        Err(refusal) => {
            // The refusal is what the user reads; what cannot be undone is found by the pod's id at its next start.
            let _ = take_down::with(networks, &order.pod, host);
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
    let bridges = attachments.iter().map(|one| attachment::bridge(&one.record, &one.layout)).collect();
    let share = Share { pod: order.pod.clone(), bridges, address: first_address(&status), ports: ports.to_vec() };
    publish(networks, host, &share)?;
    failpoint::refuse(Point::NetRules)?;
    inside(order.netns.as_fd(), || configure(attachments, &status))?;
    failpoint::refuse(Point::NetInside)?;
    Ok(status)
}

/// The host's side of one network: lease, bridge, pair.
pub(super) fn attach(
    networks: &Networks,
    order: &Order,
    host: &mut Host,
    attachment: &Attachment,
) -> Result<NetworkStatus> {
    let (record, layout) = (&attachment.record, &attachment.layout);
    let failed = |what: &str, error| failed(&format!("{}: {what}", record.name), error);
    let device = device_name(&order.pod)?;
    let (ip, old) = join(networks, order, attachment, &device)?;
    failpoint::refuse(Point::NetJoined)?;
    if let Some(old) = old {
        link::remove(&mut host.route, &old).map_err(|error| failed("removing a device left over", error))?;
    }
    let bridge = bridge(&mut host.route, attachment)?;
    failpoint::refuse(Point::NetBridge)?;
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
    failpoint::refuse(Point::NetPair)?;
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

/// Lease and note, and the device of an earlier start that was cut off (its namespace has gone and the device with it,
/// as a rule). From here on nobody removes the bridge: that is why the network's lock is held no longer than this.
fn join(
    networks: &Networks,
    order: &Order,
    attachment: &Attachment,
    device: &str,
) -> Result<(Ipv4Addr, Option<String>)> {
    let leases = Leases::of(&networks.roots, &attachment.record.name);
    let _lock = leases.lock()?;
    if let Err(refusal) = networks.get(&attachment.record.name) {
        // Removed since we looked: nobody would remove what was made for it now.
        leases.clear();
        return Err(refusal);
    }
    let old = leases.device(&order.pod);
    if old.is_some() {
        leases.leave(&order.pod)?;
    }
    leases.join(&order.pod, device)?;
    failpoint::refuse(Point::NetNoted)?;
    let (range, gateway) = (attachment.layout.range, attachment.layout.gateway);
    Ok((leases.lease(range, gateway, attachment.ip, &order.pod)?, old))
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
    failpoint::refuse(Point::NetBridgeMade)?;
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
    let in_the_way = |(net, device): &(Ipv4Net, String)| {
        net.contains(&wanted.network())
            && net.prefix_len() >= wanted.prefix_len()
            // Ours, made by another pod this moment.
            && *device != attachment.record.interface
    };
    match routes.into_iter().find(in_the_way) {
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
pub(super) fn publish(networks: &Networks, host: &mut Host, share: &Share) -> Result<()> {
    let table = firewall::table_name(&networks.roots.run);
    let _lock = lock_rules(&networks.roots)?;
    firewall::add(&mut host.filter, &table, share, || others(networks, &share.pod))
        .map_err(|error| failed("adding firewall rules (nf_tables)", error))?;
    let all = |address: &Ipv4Addr| share.ports.iter().flat_map(|port| Published::all(port, *address)).collect();
    let published: Vec<Published> = share.address.as_ref().map(all).unwrap_or_default();
    forget_flows(&mut host.filter, &published, Which::LedElsewhere);
    Ok(())
}

/// The shares of the pods that are up but `pod`, from their records.
fn others(networks: &Networks, pod: &Id) -> Vec<Share> {
    let mut members: Vec<Id> = lease::networks(&networks.roots)
        .iter()
        .flat_map(|network| Leases::of(&networks.roots, network).members())
        .filter(|member| member != pod)
        .collect();
    members.sort();
    members.dedup();
    members.into_iter().filter_map(|member| share_of(networks, member)).collect()
}

fn share_of(networks: &Networks, pod: Id) -> Option<Share> {
    let state: PodState =
        record::read(&networks.roots.pod_state(&pod)).ok().filter(|state: &PodState| state.started)?;
    Some(share(networks, pod, &state.networks, &state.ports))
}

/// The share of a pod that has `status` and `ports`.
pub(super) fn share(networks: &Networks, pod: Id, status: &[NetworkStatus], ports: &[PortMapping]) -> Share {
    let bridge = |status: &NetworkStatus| {
        let record = networks.get(&status.network).ok()?;
        Some(attachment::bridge(&record, &Layout::of(&record).ok()?))
    };
    let bridges = status.iter().filter_map(bridge).collect();
    Share { pod, bridges, address: first_address(status), ports: ports.to_vec() }
}

/// The address published ports lead to: that on the first network.
fn first_address(status: &[NetworkStatus]) -> Option<Ipv4Addr> {
    status.first()?.ip.parse().ok()
}

const LOOPBACK: &str = "setting the pod's loopback device up";

fn loopback() -> std::io::Result<Socket> {
    let mut route = Socket::route()?;
    link::loopback_up(&mut route)?;
    Ok(route)
}

/// The pod's side, in its namespace.
fn configure(attachments: &[Attachment], status: &[NetworkStatus]) -> Result<()> {
    // ping without CAP_NET_RAW, as containers.conf(5) has it (default_sysctls); a kernel without it has no such sockets.
    if let Err(error) = sysctl::set("ipv4/ping_group_range", "0 0") {
        tracing::debug!(%error, "ping_group_range");
    }
    let mut route = loopback().map_err(|error| failed(LOOPBACK, error))?;
    let mut default = true;
    for (attachment, status) in attachments.iter().zip(status) {
        configure_device(&mut route, attachment, status, default)?;
        default &= attachment.record.internal;
    }
    Ok(())
}

/// One device of the pod, in its namespace; with the default route where it is to lead out and its network does.
pub(super) fn configure_device(
    route: &mut Socket,
    attachment: &Attachment,
    status: &NetworkStatus,
    default: bool,
) -> Result<()> {
    let (record, layout) = (&attachment.record, &attachment.layout);
    let failed = |error| failed(&format!("{}: configuring {}", record.name, attachment.interface), error);
    let found = link::find(route, &attachment.interface).map_err(failed)?;
    let Some(found) = found else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
    sysctl::without_ipv6(&attachment.interface).map_err(failed)?;
    let ip: Ipv4Addr = status.ip.parse().map_err(|error| Refusal::internal("address", error))?;
    let address = Ipv4Net::new(ip, status.prefix).map_err(|error| Refusal::internal("address", error))?;
    let gateway = (default && !record.internal).then_some(layout.gateway);
    link::configure(route, found.index, address, gateway).map_err(failed)
}
