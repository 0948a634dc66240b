//! The document of a network (containers/common libnetwork/types, Network; with the containers that are on it).

use proto::{
    record::{NetworkRecord, NetworkStatus},
    refusal::Result,
};
use serde_json::{Map, Value};

use crate::{
    index::Pod,
    view::{
        Shown, View,
        json::{add, map, object, strings, time},
    },
};

/// The document of `network`.
///
/// # Errors
/// When the records of the pods that are on it cannot be listed.
pub(super) fn document(view: &View<'_>, network: &NetworkRecord) -> Result<Value> {
    let mut subnet = object([("subnet", network.subnet.as_str().into())]);
    add(&mut subnet, "gateway", network.gateway.as_str());
    if let Some((first, last)) = network.ip_range.split_once('-') {
        add(&mut subnet, "lease_range", object([("start_ip", first.into()), ("end_ip", last.into())]));
    } else {
        add(&mut subnet, "lease_range", network.ip_range.as_str());
    }
    let mut document = object([
        ("name", network.name.as_str().into()),
        ("id", network.id.as_str().into()),
        ("driver", network.driver.as_str().into()),
        ("network_interface", network.interface.as_str().into()),
        ("created", time(network.created)),
        ("subnets", vec![subnet].into()),
        ("ipv6_enabled", network.subnet.contains(':').into()),
        ("internal", network.internal.into()),
        ("dns_enabled", network.dns.into()),
    ]);
    add(&mut document, "network_dns_servers", strings(&network.dns_servers));
    add(&mut document, "labels", map(&network.labels));
    add(&mut document, "options", map(&network.options));
    let pods = view.pods()?;
    let containers: Map<String, Value> = pods.iter().filter_map(|pod| container(pod, &network.name)).collect();
    super::container::extend(
        &mut document,
        [("ipam_options", object([("driver", "host-local".into())])), ("containers", Value::Object(containers))],
    );
    Ok(document)
}

/// Who of `pod` is on `network`: its infra, or the only container of a hidden one.
fn container(pod: &Pod, network: &str) -> Option<(String, Value)> {
    let status = pod.up()?.networks.iter().find(|status| status.network == network)?;
    let shown = Shown::of(pod).next()?;
    let interfaces = object([(status.interface.as_str(), interface(status))]);
    Some((shown.id().to_string(), object([("name", shown.name().into()), ("interfaces", interfaces)])))
}

fn interface(status: &NetworkStatus) -> Value {
    let mut subnet = object([("ipnet", format!("{}/{}", status.ip, status.prefix).into())]);
    add(&mut subnet, "gateway", status.gateway.as_str());
    object([("subnets", vec![subnet].into()), ("mac_address", status.mac.as_str().into())])
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn the_infra_is_what_is_on_the_network() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let view = fixture.view();
        let network = view.stores.network("net1").expect("network");
        let document = super::document(&view, &network).expect("document");
        assert_eq!(document["subnets"].to_string(), r#"[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1"}]"#);
        assert_eq!(
            document["containers"][web.infra.as_str()]["interfaces"].to_string(),
            r#"{"eth0":{"subnets":[{"ipnet":"10.89.0.2/24","gateway":"10.89.0.1"}],"mac_address":"aa:bb:cc:dd:ee:ff"}}"#
        );
    }
}
