//! The host's rules: one nf_tables table per run root, the same rules for every pod, pods as elements of its sets.
//!
//! ```text
//! table ip podctl_<8 hex digits of the run root>        comment: version of the rules
//!   map ports       protocol . port           → address . port    published on every address of the host
//!   map host_ports  address . protocol . port → address . port    published on one of them
//!   set bridges     ours      set outgoing  may leave the host      set same      bridge . bridge: stays on its network
//!   set internal    no way in or out        set isolated, strict    option isolate=true, isolate=strict
//!   set subnets     the networks' addresses
//!   loopback        packets from outside to 127/8 are dropped first (route_localnet lets them pass: CVE-2020-8558)
//!   prerouting, output → ports     only to addresses of this host
//!   postrouting     masquerade what leaves; what a pod or 127.0.0.1 sends by way of a published port comes back the
//!                   same way
//!   forward         internal and isolated networks
//! ```
//! A pod's elements bear its id as their comment: that is all that is needed to remove them. Whoever changes the table
//! holds `$RUN/networks/.lock`. The table goes with the run root's last pod.

use std::{io, net::Ipv4Addr, path::Path};

use ipnet::Ipv4Net;
use proto::{Id, id, wire::PortMapping};
use sha2::{Digest, Sha256};

use super::{
    netlink::Socket,
    nft::{self, Batch, Element, Field, Hook, Rule},
};

/// Raised with every change to [`rules`]: a table of another version gets its chains anew, its elements stay.
const VERSION: &str = "podctl rules 1";

const PORTS: &str = "ports";
const HOST_PORTS: &str = "host_ports";
const SETS: [&str; 5] = ["bridges", "outgoing", "internal", "isolated", "strict"];
const SAME: &str = "same";
const SUBNETS: &str = "subnets";

/// What a network is to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    /// The device.
    pub(super) interface: String,
    /// Whose it is, for people.
    pub(super) network: String,
    /// Its addresses.
    pub(super) subnet: Ipv4Net,
    /// No way in or out.
    pub(super) internal: bool,
    /// Option `isolate`: away from others that are isolated, too.
    pub(super) isolated: bool,
    /// Option `isolate=strict`: away from all others.
    pub(super) strict: bool,
}

/// A published port as the rules have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// The flow's protocol number.
    pub(super) protocol: u8,
    /// The port on the host.
    pub(super) host_port: u16,
    /// Where it leads.
    pub(super) address: Ipv4Addr,
}

impl Published {
    /// All ports of a mapping to `address`.
    pub(super) fn all(port: &PortMapping, address: Ipv4Addr) -> impl Iterator<Item = Published> {
        let protocol = protocol_number(&port.protocol).unwrap_or_default();
        let number = |port: u32| u16::try_from(port).ok();
        (port.host_port..port.host_port.saturating_add(port.range.max(1)))
            .filter_map(number)
            .map(move |host_port| Published { protocol, host_port, address })
    }
}

/// The table of a run root.
pub(super) fn table_name(run: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    format!("podctl_{}", id::hex(&Sha256::digest(run.as_os_str().as_bytes())[..4]))
}

/// Number of a protocol a port can be published for.
pub(super) fn protocol_number(name: &str) -> Option<u8> {
    let number = match name {
        "" | "tcp" => libc::IPPROTO_TCP,
        "udp" => libc::IPPROTO_UDP,
        "sctp" => libc::IPPROTO_SCTP,
        _ => return None,
    };
    u8::try_from(number).ok()
}

/// The elements of one mapping for a pod at `address`: map and elements.
fn mapping(port: &PortMapping, address: Ipv4Addr, pod: &Id) -> (&'static str, Vec<Element>) {
    let protocol = protocol_number(&port.protocol).unwrap_or_default();
    let on = port.host_ip.parse::<Ipv4Addr>().ok().filter(|ip| !ip.is_unspecified());
    let element = |offset: u32| {
        let number = |first: u32| u16::try_from(first + offset).unwrap_or_default().to_be_bytes();
        let mut key = on.map_or_else(Vec::new, |ip| ip.octets().to_vec());
        key.extend([protocol, 0, 0, 0]);
        key.extend(number(port.host_port));
        key.extend([0, 0]);
        let mut data = address.octets().to_vec();
        data.extend(number(port.container_port));
        data.extend([0, 0]);
        Element { key, data, end: false, comment: pod.to_string() }
    };
    (if on.is_some() { HOST_PORTS } else { PORTS }, (0..port.range.max(1)).map(element).collect())
}

/// What the rules know of a pod.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// The pod.
    pub(super) pod: Id,
    /// Its networks.
    pub(super) bridges: Vec<Bridge>,
    /// Where its ports lead.
    pub(super) address: Option<Ipv4Addr>,
    /// Its published ports.
    pub(super) ports: Vec<PortMapping>,
}

/// Adds a pod's share, and the rules where they are missing, in one transaction. Elements of the pod that are left from
/// before, and elements for the same ports whose owner can only be gone (the pod holds the ports), are replaced. Where
/// the table is missing, the shares of the `others` that are up are added, too: somebody has flushed it.
pub(super) fn add(
    socket: &mut Socket,
    table: &str,
    share: &Share,
    others: impl FnOnce() -> Vec<Share>,
) -> io::Result<()> {
    let found = nft::table_comment(socket, table)?;
    let mut batch = Batch::new(table);
    if found.as_deref() != Some(VERSION) {
        rules(&mut batch, found.is_some());
    }
    if found.is_some() && !share.ports.is_empty() {
        remove_stale(socket, &mut batch, share)?;
    }
    add_share(&mut batch, share);
    if found.is_none() {
        others().iter().for_each(|other| add_share(&mut batch, other));
    }
    batch.commit(socket)
}

fn add_share(batch: &mut Batch<'_>, share: &Share) {
    for bridge in &share.bridges {
        for (set, element) in bridge_elements(bridge) {
            batch.add(set, &[element]);
        }
    }
    for (map, elements) in share.elements() {
        batch.add(map, &elements);
    }
}

impl Share {
    /// The elements of its ports: map and elements.
    fn elements(&self) -> Vec<(&'static str, Vec<Element>)> {
        self.address
            .iter()
            .flat_map(|address| self.ports.iter().map(|port| mapping(port, *address, &self.pod)))
            .collect()
    }
}

fn remove_stale(socket: &mut Socket, batch: &mut Batch<'_>, share: &Share) -> io::Result<()> {
    let wanted = share.elements();
    for map in [PORTS, HOST_PORTS] {
        let is_wanted =
            |old: &Element| wanted.iter().any(|(name, new)| *name == map && new.iter().any(|new| new.key == old.key));
        let mut stale = nft::elements(socket, batch.table, map)?;
        stale.retain(|old| old.comment == share.pod.as_str() || is_wanted(old));
        batch.delete(map, &stale);
    }
    Ok(())
}

/// Removes the pod's elements and gives what they published.
pub(super) fn remove(socket: &mut Socket, table: &str, pod: &Id) -> io::Result<Vec<Published>> {
    let mut batch = Batch::new(table);
    let mut published = Vec::new();
    for map in [PORTS, HOST_PORTS] {
        let ours: Vec<Element> =
            nft::elements(socket, table, map)?.into_iter().filter(|element| element.comment == pod.as_str()).collect();
        published.extend(ours.iter().filter_map(published_by));
        batch.delete(map, &ours);
    }
    batch.commit(socket)?;
    Ok(published)
}

/// Whether the table is there, and the pods that have elements in it.
pub(super) fn owners(socket: &mut Socket, table: &str) -> io::Result<(bool, Vec<Id>)> {
    let there = nft::table_comment(socket, table)?.is_some();
    let mut owners = Vec::new();
    for map in [PORTS, HOST_PORTS] {
        let elements = if there { nft::elements(socket, table, map)? } else { Vec::new() };
        owners.extend(elements.iter().filter_map(|element| element.comment.parse::<Id>().ok()));
    }
    Ok((there, owners))
}

fn published_by(element: &Element) -> Option<Published> {
    // The key ends in protocol and port, padded to four bytes each, with and without an address before them.
    let tail = element.key.len().checked_sub(8)?;
    let address: [u8; 4] = element.data.get(0..4)?.try_into().ok()?;
    Some(Published {
        protocol: *element.key.get(tail)?,
        host_port: u16::from_be_bytes(element.key.get(tail + 4..tail + 6)?.try_into().ok()?),
        address: address.into(),
    })
}

fn bridge_elements(bridge: &Bridge) -> Vec<(&'static str, Element)> {
    let [bridges, outgoing, internal, isolated, strict] = SETS;
    let name = nft::interface(&bridge.interface);
    let element = |key: Vec<u8>| Element { key, comment: of_network(&bridge.network), ..Default::default() };
    let mut elements = vec![(bridges, element(name.to_vec())), (SAME, element([name, name].concat()))];
    elements.extend(range(bridge.subnet).map(|end| (SUBNETS, Element { comment: of_network(&bridge.network), ..end })));
    let kinds = [
        (outgoing, !bridge.internal),
        (internal, bridge.internal),
        (isolated, bridge.isolated || bridge.strict),
        (strict, bridge.strict),
    ];
    elements.extend(kinds.into_iter().filter(|(_, is)| *is).map(|(set, _)| (set, element(name.to_vec()))));
    elements
}

/// The elements of a range: its first address, and the first after it.
fn range(subnet: Ipv4Net) -> impl Iterator<Item = Element> {
    let after = u32::from(subnet.broadcast()).checked_add(1);
    let keys = [(Some(u32::from(subnet.network())), false), (after, true)];
    let element =
        |(key, end): (Option<u32>, bool)| Some(Element { key: key?.to_be_bytes().to_vec(), end, ..Default::default() });
    keys.into_iter().filter_map(element)
}

/// Removes a network's elements.
pub(super) fn remove_bridge(socket: &mut Socket, table: &str, interface: &str, subnet: Ipv4Net) -> io::Result<()> {
    let mut batch = Batch::new(table);
    let name = nft::interface(interface);
    for set in SETS.into_iter().chain([SAME]) {
        let ours: Vec<Element> =
            nft::elements(socket, table, set)?.into_iter().filter(|element| element.key.starts_with(&name)).collect();
        batch.delete(set, &ours);
    }
    let known = nft::elements(socket, table, SUBNETS)?;
    let is_ours = |end: &Element| known.iter().any(|known| (&known.key, known.end) == (&end.key, end.end));
    batch.delete(SUBNETS, &range(subnet).filter(is_ours).collect::<Vec<_>>());
    batch.commit(socket)
}

/// Whether the table is there with all its rules.
pub(super) fn is_whole(socket: &mut Socket, table: &str) -> io::Result<bool> {
    let mut wanted = Batch::new(table);
    rules(&mut wanted, false);
    Ok(nft::table_comment(socket, table)?.as_deref() == Some(VERSION) && nft::rules(socket, table)? >= wanted.rules())
}

/// Whether the pod's elements and those of its networks are there.
pub(super) fn has(socket: &mut Socket, table: &str, share: &Share) -> io::Result<bool> {
    let mut wanted: Vec<(&str, Vec<Element>)> = share.elements();
    let of_bridges = share.bridges.iter().flat_map(bridge_elements);
    wanted.extend(of_bridges.map(|(set, element)| (set, vec![element])));
    wanted.sort_by_key(|(set, _)| *set);
    let mut found: (&str, Vec<Element>) = ("", Vec::new());
    for (set, elements) in wanted {
        if found.0 != set {
            found = (set, nft::elements(socket, table, set)?);
        }
        let is_there =
            |element: &Element| found.1.iter().any(|there| (&there.key, there.end) == (&element.key, element.end));
        if !elements.iter().all(is_there) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The comment of a network's elements.
pub(super) fn of_network(name: &str) -> String {
    format!("network {name}")
}

/// Removes the whole table; that there is none is no error.
pub(super) fn remove_table(socket: &mut Socket, table: &str) -> io::Result<()> {
    if nft::table_comment(socket, table)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::new(table);
    batch.delete_table();
    match batch.commit(socket) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Sets, chains and rules. `again` = the table is there with the rules of another version.
fn rules(batch: &mut Batch<'_>, again: bool) {
    batch.table(VERSION);
    batch.set(PORTS, &[Field::Protocol, Field::Port], &[Field::Address, Field::Port]);
    batch.set(HOST_PORTS, &[Field::Address, Field::Protocol, Field::Port], &[Field::Address, Field::Port]);
    for set in SETS {
        batch.set(set, &[Field::Interface], &[]);
    }
    batch.set(SAME, &[Field::Interface, Field::Interface], &[]);
    batch.ranges(SUBNETS, Field::Address);
    let chains = [
        (PORTS, None),
        ("loopback", Some(Hook { kind: "filter", number: libc::NF_INET_PRE_ROUTING, priority: -300 })),
        ("prerouting", Some(Hook { kind: "nat", number: libc::NF_INET_PRE_ROUTING, priority: -100 })),
        ("output", Some(Hook { kind: "nat", number: libc::NF_INET_LOCAL_OUT, priority: -100 })),
        ("postrouting", Some(Hook { kind: "nat", number: libc::NF_INET_POST_ROUTING, priority: 100 })),
        ("forward", Some(Hook { kind: "filter", number: libc::NF_INET_FORWARD, priority: 0 })),
    ];
    for (name, hook) in chains {
        batch.chain(name, hook);
        if again {
            batch.flush(name);
        }
    }
    translation(batch);
    filtering(batch);
}

fn translation(batch: &mut Batch<'_>) {
    // The chain that is jumped to; registers 9 and 10 follow the first four bytes of register 1.
    batch.rule(PORTS, Rule::default().destination(4, 1).protocol(9).port(10).map(HOST_PORTS, 1, 1).dnat(1, 9));
    batch.rule(PORTS, Rule::default().protocol(1).port(9).map(PORTS, 1, 1).dnat(1, 9));
    for chain in ["prerouting", "output"] {
        batch.rule(chain, Rule::default().for_this_host().jump(PORTS));
    }
    let [bridges, outgoing, internal, ..] = SETS;
    // A pod that reaches a neighbour, or itself, by a published port: the answer must come back through us. By address,
    // because with br_netfilter the packet has only crossed the bridge and has no input interface here.
    let from_pods = Rule::default().translated().source(4, 1).within(SUBNETS, 1);
    batch.rule("postrouting", from_pods.output(1).within(bridges, 1).masquerade());
    batch.rule("postrouting", Rule::default().input(1).output(2).within(SAME, 1).accept());
    // The host itself by 127.0.0.1, which means something else to the pod.
    let from_loopback = Rule::default().translated().source(1, 1).equal(1, &[127]);
    batch.rule("postrouting", from_loopback.output(1).within(bridges, 1).masquerade());
    // A pod without a default route can only answer its neighbours.
    batch.rule("postrouting", Rule::default().translated().output(1).within(internal, 1).masquerade());
    batch.rule("postrouting", Rule::default().input(1).within(outgoing, 1).masquerade());
}

fn filtering(batch: &mut Batch<'_>) {
    let [bridges, _, internal, isolated, strict] = SETS;
    let outside = Rule::default().input(1).differs(1, &nft::interface("lo"));
    batch.rule("loopback", outside.destination(1, 1).equal(1, &[127]).discard());
    // Frames that only cross a bridge come by here where br_netfilter is loaded.
    batch.rule("forward", Rule::default().input(1).output(2).within(SAME, 1).accept());
    batch.rule("forward", Rule::default().input(1).within(internal, 1).discard());
    batch.rule("forward", Rule::default().output(1).within(internal, 1).discard());
    for (from, to) in [(isolated, isolated), (strict, bridges), (bridges, strict)] {
        batch.rule("forward", Rule::default().input(1).within(from, 1).output(1).within(to, 1).discard());
    }
}

/// Sends what a pod asks `gateways` on port 53 to these ports of its own 127.0.0.1, in this thread's namespace.
pub(super) fn redirect_dns(socket: &mut Socket, gateways: &[Ipv4Addr], udp: u16, tcp: u16) -> io::Result<()> {
    let table = "podctl_dns";
    let mut batch = Batch::new(table);
    if nft::table_comment(socket, table)?.is_some() {
        // With the ports of an earlier server.
        batch.delete_table();
    }
    batch.table(VERSION);
    batch.chain("output", Some(Hook { kind: "nat", number: libc::NF_INET_LOCAL_OUT, priority: -100 }));
    for gateway in gateways {
        for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
            let asks = Rule::default().destination(4, 1).equal(1, &gateway.octets());
            let asks = asks.protocol(1).equal(1, &[protocol as u8]).port(1).equal(1, &53u16.to_be_bytes());
            batch.rule("output", asks.redirect(port));
        }
    }
    batch.commit(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Id {
        "ab".repeat(32).parse().expect("id")
    }

    #[test]
    fn a_range_is_one_element_per_port() {
        let port =
            PortMapping { host_port: 8000, container_port: 80, protocol: "udp".into(), range: 3, ..Default::default() };
        let (map, elements) = mapping(&port, Ipv4Addr::new(10, 88, 0, 2), &pod());
        assert_eq!(map, PORTS);
        assert_eq!(elements.len(), 3);
        assert_eq!(
            published_by(&elements[2]),
            Some(Published { protocol: 17, host_port: 8002, address: Ipv4Addr::new(10, 88, 0, 2) })
        );
        assert_eq!(elements[2].data, [10, 88, 0, 2, 0, 82, 0, 0]);
    }

    #[test]
    fn an_address_of_the_host_has_a_map_of_its_own() {
        let port = |host_ip: &str| PortMapping { host_ip: host_ip.into(), host_port: 1, ..Default::default() };
        let address = Ipv4Addr::new(10, 88, 0, 2);
        let (map, elements) = mapping(&port("127.0.0.1"), address, &pod());
        assert_eq!((map, &elements[0].key[..8]), (HOST_PORTS, &[127, 0, 0, 1, 6, 0, 0, 0][..]));
        assert_eq!(published_by(&elements[0]).map(|published| published.host_port), Some(1));
        assert_eq!(mapping(&port("0.0.0.0"), address, &pod()).0, PORTS);
    }

    #[test]
    fn a_run_root_has_a_table_of_its_own() {
        let (one, two) = (table_name(Path::new("/run/podctl")), table_name(Path::new("/tmp/run")));
        assert_ne!(one, two);
        assert_eq!(one.len(), "podctl_".len() + 8);
    }
}
