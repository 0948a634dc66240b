//! What people read of a network: the objects of `network ls --format json` and `network inspect`.

use std::collections::BTreeMap;

use proto::{
    record::{NetworkRecord, NetworkStatus},
    time,
};
use serde::Serialize;

/// A network as podman shows it; field names and their order are podman's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkDocument {
    /// Its name.
    pub name: String,
    /// Its id, 64 hex digits.
    pub id: String,
    /// `bridge`
    pub driver: String,
    /// The bridge on the host.
    pub network_interface: String,
    /// When it was created.
    pub created: String,
    /// Its subnets: one.
    pub subnets: Vec<SubnetDocument>,
    /// Always false.
    pub ipv6_enabled: bool,
    /// No way in or out.
    pub internal: bool,
    /// Names are answered.
    pub dns_enabled: bool,
    /// Servers other names are asked from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_dns_servers: Vec<String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Who leases the addresses.
    pub ipam_options: BTreeMap<String, String>,
    /// Who is on it, by id; in `inspect` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<BTreeMap<String, MemberDocument>>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetDocument {
    /// CIDR.
    pub subnet: String,
    /// The bridge's address.
    pub gateway: String,
    /// Where addresses are leased from, where that is not the subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_range: Option<RangeDocument>,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeDocument {
    /// The first.
    pub start_ip: String,
    /// The last.
    pub end_ip: String,
}

/// Who is on a network: the infra of a pod, or a container without a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberDocument {
    /// Its name.
    pub name: String,
    /// Its devices, by name.
    pub interfaces: BTreeMap<String, InterfaceDocument>,
}

/// A device in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceDocument {
    /// Its addresses: one.
    pub subnets: Vec<AddressDocument>,
    /// Its hardware address.
    pub mac_address: String,
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressDocument {
    /// Address and prefix.
    pub ipnet: String,
    /// Gateway; absent on an internal network.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
}

/// A network in a list.
pub fn document(record: &NetworkRecord) -> NetworkDocument {
    let range = record.ip_range.parse().ok().and_then(super::subnet::host_addresses);
    let lease_range = range.map(|(start, end)| RangeDocument { start_ip: start.to_string(), end_ip: end.to_string() });
    NetworkDocument {
        name: record.name.clone(),
        id: record.id.to_string(),
        driver: record.driver.clone(),
        network_interface: record.interface.clone(),
        created: time::rfc3339(record.created),
        subnets: vec![SubnetDocument { subnet: record.subnet.clone(), gateway: record.gateway.clone(), lease_range }],
        ipv6_enabled: false,
        internal: record.internal,
        dns_enabled: record.dns,
        network_dns_servers: record.dns_servers.clone(),
        labels: record.labels.clone(),
        options: record.options.clone(),
        ipam_options: [("driver".to_owned(), "host-local".to_owned())].into(),
        containers: None,
    }
}

/// A network in `inspect`; `members` are (id, name, what it has on this network).
pub fn inspect_document<'a>(
    record: &NetworkRecord,
    members: impl IntoIterator<Item = (String, String, &'a NetworkStatus)>,
) -> NetworkDocument {
    let member = |(id, name, status): (String, String, &NetworkStatus)| {
        let address =
            AddressDocument { ipnet: format!("{}/{}", status.ip, status.prefix), gateway: status.gateway.clone() };
        let device = InterfaceDocument { subnets: vec![address], mac_address: status.mac.clone() };
        (id, MemberDocument { name, interfaces: [(status.interface.clone(), device)].into() })
    };
    NetworkDocument { containers: Some(members.into_iter().map(member).collect()), ..document(record) }
}

#[cfg(test)]
mod tests {
    use proto::Roots;

    use super::*;
    use crate::network::Networks;

    #[test]
    fn the_text_is_podmans() {
        let roots = Roots { state: "/nonexistent/state".into(), run: "/nonexistent/run".into() };
        let record = NetworkRecord { created: 1, ..Networks::open(&roots).get("podman").expect("default") };
        let text = serde_json::to_string(&document(&record)).expect("json");
        let wanted = concat!(
            r#"{"name":"podman","id":"2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9","driver":"bridge","#,
            r#""network_interface":"podctl0","created":"1970-01-01T00:00:00.000000001Z","#,
            r#""subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"}],"ipv6_enabled":false,"internal":false,"#,
            r#""dns_enabled":false,"ipam_options":{"driver":"host-local"}}"#
        );
        assert_eq!(text, wanted);
        let status = NetworkStatus {
            interface: "eth0".into(),
            ip: "10.88.0.2".into(),
            prefix: 16,
            gateway: "10.88.0.1".into(),
            mac: "0a:58:0a:58:00:02".into(),
            ..Default::default()
        };
        let inspected = inspect_document(&record, [("id".to_owned(), "web".to_owned(), &status)]);
        let text = serde_json::to_string(&inspected.containers).expect("json");
        assert_eq!(
            text,
            r#"{"id":{"name":"web","interfaces":{"eth0":{"subnets":[{"ipnet":"10.88.0.2/16","gateway":"10.88.0.1"}],"mac_address":"0a:58:0a:58:00:02"}}}}"#
        );
    }
}
