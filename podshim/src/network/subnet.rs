//! Subnets of networks: which may be asked for, which is the next free one, and what the host uses already.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;
use proto::{Refusal, refusal::Result};

/// Second octet of the pool user networks come from: 10.89.0.0/24, 10.89.1.0/24 … 10.255.255.0/24.
const POOL: std::ops::RangeInclusive<u8> = 89..=255;

/// What a network is on layer 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The subnet.
    pub(super) subnet: Ipv4Net,
    /// The bridge's address.
    pub(super) gateway: Ipv4Addr,
    /// Addresses are leased from here; the subnet itself where nothing else was asked for.
    pub(super) range: Ipv4Net,
}

/// Checks a wish for a network against what is `used`.
///
/// # Errors
/// podman's words for a subnet, gateway or range that cannot be.
pub(super) fn plan(subnet: &str, gateway: &str, range: &str, used: &[Ipv4Net]) -> Result<Plan> {
    if subnet.is_empty() {
        if !gateway.is_empty() || !range.is_empty() {
            return Err(Refusal::invalid("cannot set gateway or range without subnet"));
        }
        let subnet = next_free(used)
            .ok_or_else(|| Refusal::invalid("could not find free subnet from subnet pools: name one with --subnet"))?;
        return Ok(Plan { subnet, gateway: first_host(subnet)?, range: subnet });
    }
    let subnet = network_of(subnet, "--subnet")?;
    let overlaps = |other: &&Ipv4Net| subnet.contains(*other) || other.contains(&subnet);
    if used.iter().any(|other| overlaps(&other)) {
        return Err(Refusal::invalid(format!("subnet {subnet} is already used on the host or by another config")));
    }
    let first = first_host(subnet)?;
    let gateway = if gateway.is_empty() { first } else { address_of(gateway, "--gateway")? };
    if !subnet.contains(&gateway) {
        return Err(Refusal::invalid(format!("gateway {gateway} not in subnet {subnet}")));
    }
    let range = if range.is_empty() { subnet } else { network_of(range, "--ip-range")? };
    if !subnet.contains(&range) {
        let start = host_addresses(range).map_or(range.network(), |(start, _)| start);
        return Err(Refusal::invalid(format!("lease range start ip {start} not in subnet {subnet}")));
    }
    Ok(Plan { subnet, gateway, range })
}

/// An IPv4 subnet as typed, its host bits cleared.
fn network_of(text: &str, flag: &str) -> Result<Ipv4Net> {
    match text.parse::<Ipv4Net>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) if text.parse::<ipnet::Ipv6Net>().is_ok() => {
            Err(Refusal::invalid(format!("{flag} {text}: only IPv4 subnets are supported")))
        }
        Err(_) => Err(Refusal::invalid(format!("invalid CIDR address: {text}"))),
    }
}

/// An IPv4 address as typed.
fn address_of(text: &str, flag: &str) -> Result<Ipv4Addr> {
    match text.parse() {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err(Refusal::invalid(format!("{flag} {text}: only IPv4 addresses are supported"))),
        Err(_) => Err(Refusal::invalid(format!("invalid argument \"{text}\" for \"{flag}\" flag: failed to parse IP"))),
    }
}

/// The first address for a gateway.
fn first_host(subnet: Ipv4Net) -> Result<Ipv4Addr> {
    match host_addresses(subnet) {
        Some((first, last)) if first < last => Ok(first),
        _ => Err(Refusal::invalid(format!(
            "subnet {subnet} is too small for a gateway and a pod: use a prefix of 30 or less"
        ))),
    }
}

/// First and last address that a host may have; `None` where there is none.
pub(super) fn host_addresses(net: Ipv4Net) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
    if net.prefix_len() >= 31 {
        return Some((first.into(), last.into()));
    }
    Some((first.checked_add(1)?.into(), last.checked_sub(1)?.into()))
}

fn next_free(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    POOL.flat_map(|second| (0..=255).map(move |third| Ipv4Addr::new(10, second, third, 0)))
        .filter_map(|address| Ipv4Net::new(address, 24).ok())
        .find(|candidate| !used.iter().any(|other| other.contains(candidate) || candidate.contains(other)))
}

/// Destinations the host has routes to, but for the default route, with the name of the interface.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(super) fn host_routes() -> io::Result<Vec<(Ipv4Net, String)>> {
    // This thread's namespace, which /proc/net (the first thread's) need not be.
    Ok(routes_of(&fs::read_to_string("/proc/thread-self/net/route")?))
}

fn routes_of(text: &str) -> Vec<(Ipv4Net, String)> {
    let route = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let interface = fields.next()?;
        let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
        let destination = hex(fields.next()?)?;
        let mask = hex(fields.nth(5)?)?;
        let net = Ipv4Net::with_netmask(destination.into(), mask.into()).ok()?;
        (net.prefix_len() > 0).then(|| (net.trunc(), interface.to_owned()))
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|text| text.parse().expect("a net")).collect()
    }

    #[test]
    fn the_next_free_subnet_avoids_what_is_used() {
        let used = nets(&["10.88.0.0/16", "10.89.0.0/24", "10.89.1.128/25", "10.89.2.0/23"]);
        let plan = plan("", "", "", &used).expect("free");
        assert_eq!(plan.subnet.to_string(), "10.89.4.0/24");
        assert_eq!(plan.gateway, Ipv4Addr::new(10, 89, 4, 1));
        assert!(super::plan("", "", "", &nets(&["10.0.0.0/8"])).is_err());
    }

    #[test]
    fn refusals_are_podmans() {
        let used = nets(&["10.88.0.0/16"]);
        for (subnet, gateway, range, words) in [
            ("foo", "", "", "invalid CIDR address: foo"),
            ("10.88.5.0/24", "", "", "subnet 10.88.5.0/24 is already used on the host or by another config"),
            ("0.0.0.0/0", "", "", "subnet 0.0.0.0/0 is already used on the host or by another config"),
            ("10.1.0.0/24", "10.2.0.1", "", "gateway 10.2.0.1 not in subnet 10.1.0.0/24"),
            ("10.1.0.0/24", "x", "", "invalid argument \"x\" for \"--gateway\" flag: failed to parse IP"),
            ("10.1.0.0/24", "", "10.2.0.0/25", "lease range start ip 10.2.0.1 not in subnet 10.1.0.0/24"),
            ("", "10.3.0.1", "", "cannot set gateway or range without subnet"),
            ("", "", "10.6.0.0/25", "cannot set gateway or range without subnet"),
            ("fd00::/64", "", "", "--subnet fd00::/64: only IPv4 subnets are supported"),
            (
                "10.5.0.0/32",
                "",
                "",
                "subnet 10.5.0.0/32 is too small for a gateway and a pod: use a prefix of 30 or less",
            ),
        ] {
            assert_eq!(plan(subnet, gateway, range, &used).expect_err(subnet).message, words);
        }
        assert_eq!(plan("10.4.0.5/24", "", "", &used).expect("good").subnet.to_string(), "10.4.0.0/24");
    }

    #[test]
    fn routes_of_the_host() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010010AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    podman0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                    junk\n";
        let routes = routes_of(text);
        assert_eq!(routes, [("10.88.0.0/16".parse().expect("a net"), "podman0".to_owned())]);
    }
}
