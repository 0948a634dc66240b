//! Published ports.

use std::net::IpAddr;

use proto::{Kind, Refusal, refusal::Result, wire::PortMapping};

use super::text::{quoted, shown};

/// Most mappings of a pod; a range counts as one.
const MAX: usize = 4096;

/// Refuses mappings that cannot be, fills in defaults, and joins those that say the same twice.
pub(super) fn check(ports: Vec<PortMapping>) -> Result<Vec<PortMapping>> {
    if ports.len() > MAX {
        return Err(Refusal::invalid(format!("--publish: more than {MAX} port mappings: publish ranges instead")));
    }
    let mut checked: Vec<PortMapping> = Vec::with_capacity(ports.len());
    for port in ports {
        let port = one(port)?;
        match overlapping(&mut checked, &port)? {
            Some(known) => known.range = known.range.max(port.host_port - known.host_port + port.range),
            None => checked.push(port),
        }
    }
    Ok(checked)
}

/// One mapping, its defaults filled in.
pub(super) fn one(mut port: PortMapping) -> Result<PortMapping> {
    port.range = port.range.max(1);
    port.protocol = if port.protocol.is_empty() { "tcp".to_owned() } else { port.protocol.to_ascii_lowercase() };
    if !matches!(port.protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Refusal::invalid(format!("unrecognized protocol {} in port mapping", quoted(&port.protocol))));
    }
    if !port.host_ip.is_empty() {
        match port.host_ip.parse() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => port.host_ip.clear(),
            Ok(IpAddr::V4(_)) => {}
            Ok(IpAddr::V6(_)) => {
                return Err(Refusal::new(
                    Kind::NotSupported,
                    format!(
                        "--publish [{}]: IPv6 is not supported by this version: publish on an IPv4 address",
                        port.host_ip
                    ),
                ));
            }
            Err(_) => return Err(Refusal::invalid(format!("cannot parse {} as an IP address", quoted(&port.host_ip)))),
        }
    }
    within("container", port.container_port, port.range)?;
    if port.host_port != 0 {
        within("host", port.host_port, port.range)?;
    }
    Ok(port)
}

/// Every port of a range is between 1 and 65535.
fn within(which: &str, first: u32, range: u32) -> Result<()> {
    let last = u64::from(first) + u64::from(range) - 1;
    for port in [u64::from(first), last] {
        if port == 0 || port > u64::from(u16::MAX) {
            return Err(Refusal::invalid(format!(
                "parsing {which} port: port numbers must be between 1 and 65535 (inclusive), got {port}"
            )));
        }
    }
    Ok(())
}

/// The known mapping that `port` repeats or goes on with. Two that would send one host port to different places, or bind
/// it once on all addresses and once on one, are refused.
fn overlapping<'a>(known: &'a mut [PortMapping], port: &PortMapping) -> Result<Option<&'a mut PortMapping>> {
    if port.host_port == 0 {
        return Ok(None);
    }
    let mut same = None;
    for (index, other) in known.iter().enumerate() {
        let addresses_meet = other.host_ip == port.host_ip || other.host_ip.is_empty() || port.host_ip.is_empty();
        let ports_meet =
            other.host_port < port.host_port + port.range && port.host_port < other.host_port + other.range;
        if other.host_port == 0 || other.protocol != port.protocol || !addresses_meet || !ports_meet {
            continue;
        }
        let same_place = other.host_ip == port.host_ip
            && other.host_port <= port.host_port
            && other.container_port + (port.host_port - other.host_port) == port.container_port;
        if !same_place || same.is_some() {
            return Err(Refusal::invalid(format!(
                "conflicting port mappings for host port {} (protocol {})",
                port.host_port.max(other.host_port),
                shown(&port.protocol)
            )));
        }
        same = Some(index);
    }
    Ok(same.and_then(|index| known.get_mut(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, host_port: u32, container_port: u32, range: u32) -> PortMapping {
        PortMapping { host_ip: host_ip.into(), host_port, container_port, range, ..Default::default() }
    }

    #[test]
    fn the_same_twice_is_once() {
        let ports = check(vec![port("", 8080, 80, 1), port("0.0.0.0", 8080, 80, 1)]).expect("the same");
        assert_eq!(ports, [PortMapping { protocol: "tcp".into(), ..port("", 8080, 80, 1) }]);
        let ports = check(vec![port("", 8080, 80, 3), port("", 8081, 81, 5)]).expect("goes on");
        assert_eq!((ports.len(), ports[0].range), (1, 6));
    }

    #[test]
    fn different_addresses_protocols_and_random_ports_do_not_conflict() {
        let udp = PortMapping { protocol: "UDP".into(), ..port("", 53, 53, 1) };
        let all = vec![port("127.0.0.1", 80, 80, 1), port("127.0.0.2", 80, 81, 1), port("", 53, 53, 1), udp];
        assert_eq!(check(all).expect("no conflict").len(), 4);
        assert_eq!(check(vec![port("", 0, 80, 1), port("", 0, 80, 1)]).expect("random").len(), 2);
    }
}
