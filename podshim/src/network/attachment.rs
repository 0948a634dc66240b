//! From what was asked for to the networks a pod is attached to, or a refusal, before anything is made.

use std::net::Ipv4Addr;

use proto::{
    Id, Refusal,
    record::NetworkRecord,
    refusal::Result,
    wire::{NetworkAttachment, NetworkConfig},
};

use super::{DEFAULT, Networks, firewall::Bridge, lease::Leases, link::Mac, store::Layout, subnet::host_addresses};

/// One network a pod is attached to.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    /// The network.
    pub(super) record: NetworkRecord,
    /// Its subnet and the like.
    pub(super) layout: Layout,
    /// A static address.
    pub(super) ip: Option<Ipv4Addr>,
    /// A static hardware address.
    pub(super) mac: Option<Mac>,
    /// Names for this network only.
    pub(super) aliases: Vec<String>,
    /// Name of the device in the pod.
    pub(super) interface: String,
}

/// What a network is to the rules.
pub(super) fn bridge(record: &NetworkRecord, layout: &Layout) -> Bridge {
    let isolate = record.options.get("isolate").map_or("", String::as_str);
    Bridge {
        interface: record.interface.clone(),
        network: record.name.clone(),
        subnet: layout.subnet,
        internal: record.internal,
        isolated: matches!(isolate, "true" | "1"),
        strict: isolate == "strict",
    }
}

/// Whether this mode gives the pod a namespace of its own that is attached to bridges.
pub(super) fn is_bridge(config: &NetworkConfig) -> bool {
    matches!(config.mode.as_str(), "" | "bridge" | "private")
}

/// The networks of `config`, in order; the first gives the default route. `pod` is whose they are, where it may have
/// some of them already.
pub(super) fn attachments(networks: &Networks, config: &NetworkConfig, pod: Option<&Id>) -> Result<Vec<Attachment>> {
    if !is_bridge(config) {
        return Ok(Vec::new());
    }
    let default = [NetworkAttachment { name: DEFAULT.to_owned(), ..Default::default() }];
    let asked = if config.networks.is_empty() { &default[..] } else { &config.networks };
    let mut attachments: Vec<Attachment> = Vec::with_capacity(asked.len());
    for (index, wanted) in asked.iter().enumerate() {
        let attachment = attachment(networks, wanted, index, pod)?;
        if attachments.iter().any(|other| other.record.name == attachment.record.name) {
            return Err(Refusal::invalid(format!("--network {}: given twice", wanted.name)));
        }
        if attachments.iter().any(|other| other.interface == attachment.interface) {
            return Err(Refusal::invalid(format!(
                "--network {}: interface name {} is used twice",
                wanted.name, attachment.interface
            )));
        }
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn attachment(networks: &Networks, wanted: &NetworkAttachment, index: usize, pod: Option<&Id>) -> Result<Attachment> {
    let name = if wanted.name.is_empty() { DEFAULT } else { &wanted.name };
    let record = networks.get(name)?;
    let layout = Layout::of(&record)?;
    let ip = (!wanted.ip.is_empty()).then(|| static_ip(&wanted.ip, &record, &layout)).transpose()?;
    if let Some(ip) = ip {
        Leases::of(&networks.roots, &record.name).check_static(ip, pod)?;
    }
    let mac = (!wanted.mac.is_empty()).then(|| parse_mac(&wanted.mac)).transpose()?;
    let interface =
        if wanted.interface_name.is_empty() { format!("eth{index}") } else { wanted.interface_name.clone() };
    let valid = interface.len() < libc::IFNAMSIZ
        && !matches!(interface.as_str(), "." | ".." | "lo")
        && interface.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !valid {
        return Err(Refusal::invalid(format!("--network {name}:interface_name={interface}: no valid interface name")));
    }
    Ok(Attachment { record, layout, ip, mac, aliases: wanted.aliases.clone(), interface })
}

fn static_ip(text: &str, record: &NetworkRecord, layout: &Layout) -> Result<Ipv4Addr> {
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return Err(Refusal::invalid(format!("--ip {text}: \"{text}\" is not an IPv4 address")));
    };
    let usable = host_addresses(layout.subnet).is_some_and(|(first, last)| (first..=last).contains(&ip));
    if !usable {
        return Err(Refusal::invalid(format!("requested static ip {ip} not in any subnet on network {}", record.name)));
    }
    if ip == layout.gateway {
        return Err(Refusal::invalid(format!("requested static ip {ip} is the gateway of network {}", record.name)));
    }
    Ok(ip)
}

/// A hardware address of one device (the lowest bit of the first byte marks a group).
fn parse_mac(text: &str) -> Result<Mac> {
    let refuse = || Refusal::invalid(format!("--mac-address {text}: not a hardware address such as 92:d0:c6:0a:29:33"));
    let bytes: Vec<u8> = text
        .split([':', '-'])
        .map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).map_err(|_| refuse()) } else { Err(refuse()) })
        .collect::<Result<_>>()?;
    let mac: Mac = bytes.try_into().map_err(|_| refuse())?;
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(Refusal::invalid(format!("--mac-address {text}: is the address of a group, not of a device")));
    }
    Ok(mac)
}

/// A locally administered hardware address that belongs to `ip`: a neighbour that remembers the one is right about the
/// other, even when the address has gone to another pod.
pub(super) fn mac_of(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// A hardware address as people write it.
pub(super) fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use proto::{Roots, wire};

    use super::*;

    fn networks() -> (tempfile::TempDir, Networks) {
        let dir = tempfile::tempdir().expect("tempdir");
        let networks = Networks::open(&Roots { state: dir.path().join("state"), run: dir.path().join("run") });
        let request = wire::CreateNetwork { name: "net".into(), subnet: "198.18.5.0/24".into(), ..Default::default() };
        networks.create(&request).expect("create");
        (dir, networks)
    }

    fn on(name: &str) -> NetworkAttachment {
        NetworkAttachment { name: name.into(), ..Default::default() }
    }

    fn config(networks: Vec<NetworkAttachment>) -> NetworkConfig {
        NetworkConfig { mode: "bridge".into(), networks, ..Default::default() }
    }

    #[test]
    fn without_a_network_it_is_the_default_one() {
        let (_dir, networks) = networks();
        let found = attachments(&networks, &NetworkConfig::default(), None).expect("default");
        assert_eq!((found.len(), found[0].record.name.as_str(), found[0].interface.as_str()), (1, DEFAULT, "eth0"));
        let none = NetworkConfig { mode: "none".into(), ..Default::default() };
        assert!(attachments(&networks, &none, None).expect("none").is_empty());
    }

    #[test]
    fn devices_are_numbered() {
        let (_dir, networks) = networks();
        let found = attachments(&networks, &config(vec![on("net"), on(DEFAULT)]), None).expect("two");
        let names: Vec<&str> = found.iter().map(|attachment| attachment.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (_dir, networks) = networks();
        let net = |ip: &str, mac: &str, interface_name: &str| NetworkAttachment {
            ip: ip.into(),
            mac: mac.into(),
            interface_name: interface_name.into(),
            ..on("net")
        };
        for (wanted, words) in [
            (vec![on("nope")], "unable to find network with name or ID nope: network not found"),
            (vec![on("net"), on("net")], "--network net: given twice"),
            (vec![net("", "", "eth1"), on(DEFAULT)], "--network podman: interface name eth1 is used twice"),
            (vec![net("10.1.2.3", "", "")], "requested static ip 10.1.2.3 not in any subnet on network net"),
            (vec![net("198.18.5.255", "", "")], "requested static ip 198.18.5.255 not in any subnet on network net"),
            (vec![net("198.18.5.1", "", "")], "requested static ip 198.18.5.1 is the gateway of network net"),
            (vec![net("x", "", "")], "--ip x: \"x\" is not an IPv4 address"),
            (vec![net("", "1:2", "")], "--mac-address 1:2: not a hardware address such as 92:d0:c6:0a:29:33"),
            (
                vec![net("", "01:00:5e:00:00:01", "")],
                "--mac-address 01:00:5e:00:00:01: is the address of a group, not of a device",
            ),
            (vec![net("", "", "a/b")], "--network net:interface_name=a/b: no valid interface name"),
        ] {
            assert_eq!(attachments(&networks, &config(wanted), None).expect_err(words).message, words);
        }
    }
}
