//! Links, addresses and routes: rtnetlink(7).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use ipnet::Ipv4Net;
use nix::errno::Errno;

use super::netlink::{ACK, CREATE, DUMP, EXCLUSIVE, Message, Socket, split};

/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// Attributes of a bridge's port, of linux/if_link.h.
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
/// Length of struct ifinfomsg.
const LINK_HEADER: usize = 16;
/// The loopback device's index in every namespace.
const LOOPBACK: u32 = 1;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// A link that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// Its kind (`bridge`, `veth`), empty for hardware.
    pub(super) kind: String,
    /// Its hardware address as the kernel has it.
    pub(super) mac: Vec<u8>,
    /// Index of the bridge it is a port of.
    pub(super) master: Option<u32>,
}

/// A pair of devices: one on the host's bridge, one born in a pod's namespace.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    /// Name on the host.
    pub(super) host: &'a str,
    /// Index of the bridge.
    pub(super) bridge: u32,
    /// Name in the pod.
    pub(super) inside: &'a str,
    /// Hardware address in the pod.
    pub(super) mac: Mac,
    /// Largest packet in bytes; `None` = the kernel's.
    pub(super) mtu: Option<u32>,
    /// The pod's namespace.
    pub(super) netns: BorrowedFd<'a>,
    /// The bridge gives the pod back what it sent to itself.
    pub(super) hairpin: bool,
}

/// struct ifinfomsg; `up` sets the link up.
fn link_header(index: u32, up: bool) -> [u8; LINK_HEADER] {
    let flags = if up { libc::IFF_UP as u32 } else { 0 };
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn new_link(index: u32, up: bool, flags: u16) -> Message {
    Message::new(libc::RTM_NEWLINK, ACK | flags).raw(&link_header(index, up))
}

fn with_mtu(message: Message, mtu: Option<u32>) -> Message {
    match mtu {
        Some(mtu) => message.number(libc::IFLA_MTU, mtu),
        None => message,
    }
}

/// The link `name`; `None` when there is none.
pub(super) fn find(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    let message = Message::new(libc::RTM_GETLINK, 0).raw(&link_header(0, false)).text(libc::IFLA_IFNAME, name);
    let answer = match socket.ask_one(&message) {
        Ok(answer) => answer,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (_, link) = read(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(link))
}

/// A link as the kernel tells it, and its name.
fn read(answer: &[u8]) -> Option<(String, Link)> {
    let (header, attributes) = split(answer, LINK_HEADER)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned();
    let index = u32::from_ne_bytes(header[4..8].try_into().unwrap_or_default());
    let name = attributes.get(libc::IFLA_IFNAME).map(text).unwrap_or_default();
    let kind = attributes.inside(libc::IFLA_LINKINFO).and_then(|info| info.get(libc::IFLA_INFO_KIND)).map(text);
    let mac = attributes.get(libc::IFLA_ADDRESS).unwrap_or_default().to_vec();
    let master = attributes.get(libc::IFLA_MASTER).and_then(|index| index.try_into().ok()).map(u32::from_ne_bytes);
    Some((name, Link { index, kind: kind.unwrap_or_default(), mac, master }))
}

/// All bridges, with their names.
pub(super) fn bridges(socket: &mut Socket) -> io::Result<Vec<(String, Link)>> {
    let message = Message::new(libc::RTM_GETLINK, DUMP).raw(&link_header(0, false));
    socket.ask(&message, |link| read(link).filter(|(_, link)| link.kind == "bridge"))
}

/// Makes a bridge with a hardware address of its own (else it changes with its ports), down. That somebody else has
/// made it just now is no error.
pub(super) fn add_bridge(socket: &mut Socket, name: &str, mac: Mac, mtu: Option<u32>) -> io::Result<()> {
    let message = new_link(0, false, CREATE | EXCLUSIVE)
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_ADDRESS, &mac)
        .nest(libc::IFLA_LINKINFO, Message::default().text(libc::IFLA_INFO_KIND, "bridge"));
    match socket.all(vec![with_mtu(message, mtu)]) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Gives `index` its address, if it has not got it, and sets it up.
pub(super) fn address_and_up(socket: &mut Socket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let results = socket.each(vec![new_address(index, address), new_link(index, true, 0)])?;
    for result in results {
        match result {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a pair; the host's end is up and on the bridge, the pod's end is down.
///
/// One queue each, which is what the kernel uses anyway: where that is not said, it makes one for each processor first and
/// waits for a grace period, twice, until it has but one (drivers/net/veth.c, veth_init_queues).
pub(super) fn add_pair(socket: &mut Socket, pair: &Pair<'_>) -> io::Result<()> {
    let netns = u32::try_from(pair.netns.as_raw_fd()).map_err(io::Error::other)?;
    let peer = Message::default()
        .raw(&link_header(0, false))
        .text(libc::IFLA_IFNAME, pair.inside)
        .bytes(libc::IFLA_ADDRESS, &pair.mac)
        .number(libc::IFLA_NUM_TX_QUEUES, 1)
        .number(libc::IFLA_NUM_RX_QUEUES, 1)
        .number(libc::IFLA_NET_NS_FD, netns);
    let data = Message::default().nest(VETH_INFO_PEER, with_mtu(peer, pair.mtu));
    let message = new_link(0, true, CREATE | EXCLUSIVE)
        .text(libc::IFLA_IFNAME, pair.host)
        .number(libc::IFLA_MASTER, pair.bridge)
        .number(libc::IFLA_NUM_TX_QUEUES, 1)
        .number(libc::IFLA_NUM_RX_QUEUES, 1)
        .nest(
            libc::IFLA_LINKINFO,
            Message::default().text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, data),
        );
    let mut messages = vec![with_mtu(message, pair.mtu)];
    if pair.hairpin {
        let port = Message::default().bytes(IFLA_BRPORT_MODE, &[1]);
        let info = Message::default().text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, port);
        messages.push(new_link(0, true, 0).text(libc::IFLA_IFNAME, pair.host).nest(libc::IFLA_LINKINFO, info));
    }
    socket.all(messages)
}

/// Sets the loopback device up.
pub(super) fn loopback_up(socket: &mut Socket) -> io::Result<()> {
    socket.all(vec![new_link(LOOPBACK, true, 0)])
}

/// Configures a pod's device and with `gateway` the default route, in one go.
pub(super) fn configure(
    socket: &mut Socket,
    index: u32,
    address: Ipv4Net,
    gateway: Option<Ipv4Addr>,
) -> io::Result<()> {
    let mut messages = vec![new_address(index, address), new_link(index, true, 0)];
    messages.extend(gateway.map(|gateway| default_route(index, gateway)));
    socket.all(messages)
}

/// Gives the default route to `index`.
pub(super) fn lead_out(socket: &mut Socket, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
    socket.all(vec![default_route(index, gateway)])
}

fn new_address(index: u32, address: Ipv4Net) -> Message {
    let family = libc::AF_INET as u8;
    let mut header = [family, address.prefix_len(), 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let octets = address.addr().octets();
    let message = Message::new(libc::RTM_NEWADDR, ACK | CREATE | EXCLUSIVE)
        .raw(&header)
        .bytes(libc::IFA_LOCAL, &octets)
        .bytes(libc::IFA_ADDRESS, &octets);
    if address.prefix_len() < 31 { message.bytes(libc::IFA_BROADCAST, &address.broadcast().octets()) } else { message }
}

fn default_route(index: u32, gateway: Ipv4Addr) -> Message {
    let header = [
        libc::AF_INET as u8,
        0, // destination: everything
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    Message::new(libc::RTM_NEWROUTE, ACK | CREATE | EXCLUSIVE)
        .raw(&header)
        .bytes(libc::RTA_GATEWAY, &gateway.octets())
        .number(libc::RTA_OIF, index)
}

/// Removes the link `name`; that it is gone already is no error. The kernel takes 15 to 50 ms for it.
pub(super) fn remove(socket: &mut Socket, name: &str) -> io::Result<()> {
    let message = Message::new(libc::RTM_DELLINK, ACK).raw(&link_header(0, false)).text(libc::IFLA_IFNAME, name);
    match socket.all(vec![message]) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Whether any link is a port of the bridge `index`.
pub(super) fn has_ports(socket: &mut Socket, index: u32) -> io::Result<bool> {
    // The kernel filters by bridge where it can; older ones send all links.
    let message = Message::new(libc::RTM_GETLINK, DUMP).raw(&link_header(0, false)).number(libc::IFLA_MASTER, index);
    let is_port = |link: &[u8]| {
        (split(link, LINK_HEADER)?.1.get(libc::IFLA_MASTER) == Some(&index.to_ne_bytes()[..])).then_some(())
    };
    Ok(!socket.ask(&message, is_port)?.is_empty())
}
