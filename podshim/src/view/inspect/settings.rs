//! `NetworkSettings`: what a container has of the network, its own or its pod's.

use std::collections::BTreeMap;

use proto::{
    record::{NetworkStatus, PodState},
    wire::{Device, PortMapping},
};
use serde_json::Value;

use crate::{
    network,
    view::{
        Shown, View,
        json::{add, map_or_null, object, strings, strings_or_null},
        shown::pod_networks,
    },
};

/// Published ports by `PORT/PROTOCOL`: `[{HostIp HostPort}]`.
pub(super) fn port_bindings(ports: &[PortMapping]) -> Value {
    let mut by_port = BTreeMap::<String, Vec<Value>>::new();
    for port in ports {
        let host_ip = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
        for step in 0..port.range.max(1) {
            let key = format!("{}/{}", port.container_port.saturating_add(step), port.protocol);
            let host_port = port.host_port.saturating_add(step).to_string();
            let binding = object([("HostIp", host_ip.into()), ("HostPort", host_port.into())]);
            by_port.entry(key).or_default().push(binding);
        }
    }
    Value::Object(by_port.into_iter().map(|(port, bindings)| (port, Value::Array(bindings))).collect())
}

/// Devices as they were asked for: `[{PathOnHost PathInContainer CgroupPermissions}]`.
pub(super) fn devices(asked: &[Device]) -> Value {
    let one = |device: &Device| {
        object([
            ("PathOnHost", device.host_path.as_str().into()),
            ("PathInContainer", device.container_path.as_str().into()),
            ("CgroupPermissions", device.permissions.as_str().into()),
        ])
    };
    asked.iter().map(one).collect()
}

/// The `NetworkSettings` of `container`. A member that is in its pod's network shows the pod's.
pub(super) fn document(view: &View<'_>, container: Shown<'_>) -> Value {
    let in_pod = container.in_pod_network();
    let up = container.pod().up().filter(|_| in_pod);
    let names = if in_pod { pod_networks(container.pod()) } else { container.networks() };
    let status = |name: &str| up.and_then(|state| state.networks.iter().find(|status| status.network == name));
    // Where the default network is the only one its addresses stand at the top too.
    let alone =
        Some(names.as_slice()).filter(|names| *names == [network::DEFAULT]).and_then(|_| status(network::DEFAULT));

    let mut settings = basics(alone);
    let mut set = |key: &str, value: Value| {
        if let Some(map) = settings.as_object_mut() {
            map.insert(key.to_owned(), value);
        }
    };
    set("Bridge", "".into());
    set("SandboxID", "".into());
    set("HairpinMode", false.into());
    set("LinkLocalIPv6Address", "".into());
    set("LinkLocalIPv6PrefixLen", 0.into());
    set("Ports", ports(container));
    set("SandboxKey", sandbox(view, container, up).into());
    let mode = mode(container);
    if names.is_empty() && !mode.is_empty() {
        let nothing = object([(mode, network(view, mode, None))]);
        set("Networks", nothing);
    } else {
        let networks = names.iter().map(|name| (name.clone(), network(view, name, status(name))));
        set("Networks", Value::Object(networks.collect()));
    }
    settings
}

/// The mode of its network where it is none with addresses of ours: `none`, `host`.
fn mode<'a>(container: Shown<'a>) -> &'a str {
    let own = container.record().and_then(|record| record.config.network.as_ref());
    let of_pod = container.pod().record.as_ref().ok().and_then(|pod| pod.config.network.as_ref());
    let config = if container.in_pod_network() { of_pod } else { own };
    config.map_or("", |config| &config.mode)
}

/// Published ports with their bindings, exposed ones with null.
fn ports(container: Shown<'_>) -> Value {
    let mut ports = port_bindings(&container.ports());
    let exposed = container.record().and_then(|record| record.config.network.as_ref()).map(|network| &network.exposed);
    for port in exposed.into_iter().flatten() {
        for step in 0..port.range.max(1) {
            let key = format!("{}/{}", port.container_port.saturating_add(step), port.protocol);
            if let Some(map) = ports.as_object_mut() {
                map.entry(key).or_insert(Value::Null);
            }
        }
    }
    ports
}

/// A path at which the network namespace can be opened from outside the engine's mount namespace.
fn sandbox(view: &View<'_>, container: Shown<'_>, up: Option<&PodState>) -> String {
    match (container, container.process(), up) {
        (Shown::Member(..), Some(process), _) => format!("/proc/{}/ns/net", process.pid),
        // The shim's own is the host's; the pod's is pinned in its mount namespace.
        (Shown::Infra(pod, ..), Some(shim), Some(_)) => {
            format!("/proc/{}/root{}", shim.pid, view.roots().namespaces(pod.id()).join("net").display())
        }
        _ => String::new(),
    }
}

/// One entry of `Networks`.
fn network(view: &View<'_>, name: &str, status: Option<&NetworkStatus>) -> Value {
    let id = view.stores.network(name).map_or_else(|| name.to_owned(), |network| network.id.to_string());
    let mut document = basics(status);
    add(&mut document, "NetworkID", id);
    if let Some(map) = document.as_object_mut() {
        map.insert("DriverOpts".to_owned(), map_or_null(&BTreeMap::new()));
        map.insert("IPAMConfig".to_owned(), Value::Null);
        map.insert("Links".to_owned(), strings_or_null::<&str>([]));
    }
    add(&mut document, "Aliases", strings(status.map_or(&[][..], |status| &status.aliases)));
    document
}

/// The keys that a network and the whole have in common.
fn basics(status: Option<&NetworkStatus>) -> Value {
    let none = NetworkStatus::default();
    let status = status.unwrap_or(&none);
    let six = status.ip.contains(':');
    let (ip, ip6) = if six { ("", status.ip.as_str()) } else { (status.ip.as_str(), "") };
    let (gateway, gateway6) = if six { ("", status.gateway.as_str()) } else { (status.gateway.as_str(), "") };
    let (prefix, prefix6) = if six { (0, status.prefix) } else { (status.prefix, 0) };
    object([
        ("EndpointID", "".into()),
        ("Gateway", gateway.into()),
        ("IPAddress", ip.into()),
        ("IPPrefixLen", prefix.into()),
        ("IPv6Gateway", gateway6.into()),
        ("GlobalIPv6Address", ip6.into()),
        ("GlobalIPv6PrefixLen", prefix6.into()),
        ("MacAddress", status.mac.as_str().into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_single_ports() {
        let port =
            PortMapping { host_port: 8000, container_port: 80, protocol: "tcp".into(), range: 2, ..Default::default() };
        assert_eq!(
            port_bindings(&[port]).to_string(),
            r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8000"}],"81/tcp":[{"HostIp":"0.0.0.0","HostPort":"8001"}]}"#
        );
    }
}
