//! Flows the kernel remembers: those of UDP outlive the pod they led to, and a client that keeps sending keeps them.

use std::{io, net::Ipv4Addr};

use super::{
    firewall::Published,
    netlink::{ACK, Attributes, DUMP, Message, Socket, split},
};

/// Length of struct nfgenmsg.
const HEADER: usize = 4;

/// Message types and attributes of linux/netfilter/nfnetlink_conntrack.h.
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;

/// A flow, as much of it as a decision needs and a deletion names.
#[derive(Debug)]
struct Flow {
    original: Vec<u8>,
    id: Vec<u8>,
}

fn message(kind: u16, flags: u16) -> Message {
    let subsystem = libc::NFNL_SUBSYS_CTNETLINK as u16;
    Message::new(subsystem << 8 | kind, flags).raw(&[libc::AF_INET as u8, libc::NFNETLINK_V0 as u8, 0, 0])
}

/// Which flows are to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// To these ports and led to these pods: they have gone.
    LedTo,
    /// To these ports and led elsewhere, or nowhere: they began before the ports were published.
    LedElsewhere,
}

/// Forgets the UDP flows of `published`.
///
/// # Errors
/// The kernel's; `EINVAL` or `EOPNOTSUPP` where it has no conntrack netlink.
pub(super) fn forget(socket: &mut Socket, published: &[Published], which: Which) -> io::Result<()> {
    let udp: Vec<&Published> = published.iter().filter(|port| i32::from(port.protocol) == libc::IPPROTO_UDP).collect();
    if udp.is_empty() {
        return Ok(());
    }
    let wanted = |answer: &[u8]| {
        let (_, flow) = split(answer, HEADER)?;
        let (port, answered_by) = udp_flow(flow)?;
        let mut led_to = udp.iter().filter(|published| published.host_port == port).map(|p| p.address == answered_by);
        let matches = match which {
            Which::LedTo => led_to.any(|ours| ours),
            Which::LedElsewhere => led_to.any(|ours| !ours),
        };
        matches.then(|| Some(Flow { original: flow.get(TUPLE_ORIGINAL)?.to_vec(), id: flow.get(ID)?.to_vec() }))?
    };
    let flows = socket.ask(&message(GET, DUMP), wanted)?;
    for flow in flows {
        let delete = message(DELETE, ACK).nest(TUPLE_ORIGINAL, Message::default().raw(&flow.original));
        match socket.all(vec![delete.bytes(ID, &flow.id)]) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Destination port of a UDP flow and the address that answers it.
fn udp_flow(flow: Attributes<'_>) -> Option<(u16, Ipv4Addr)> {
    let protocol = flow.inside(TUPLE_ORIGINAL)?.inside(TUPLE_PROTOCOL)?;
    if i32::from(*protocol.get(PROTOCOL_NUMBER)?.first()?) != libc::IPPROTO_UDP {
        return None;
    }
    let port = u16::from_be_bytes(protocol.get(PROTOCOL_DESTINATION)?.try_into().ok()?);
    let address: [u8; 4] = flow.inside(TUPLE_REPLY)?.inside(TUPLE_IP)?.get(IP_SOURCE)?.try_into().ok()?;
    Some((port, address.into()))
}
