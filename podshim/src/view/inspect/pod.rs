//! The document of a pod (libpod/define/pod_inspect.go, InspectPodData).

use proto::{
    record::PodRecord,
    wire::{NetworkConfig, Resources},
};
use serde_json::Value;

use super::{
    container::extend,
    mounts,
    settings::{devices, port_bindings},
};
use crate::{
    index::Pod,
    view::{
        Shown, View,
        json::{add, map, object, strings, strings_or_null, time},
        pods::{cgroup_parent, cgroup_path},
        shown::{pod_networks, pod_ports},
    },
};

/// The document of `pod`.
pub(super) fn document(view: &View<'_>, pod: &Pod) -> Value {
    let Ok(record) = &pod.record else {
        return object([
            ("Id", pod.id().as_str().into()),
            ("Name", pod.id().short().into()),
            ("State", pod.status().as_str().into()),
            ("NumContainers", pod.containers.len().into()),
            ("Containers", containers(pod)),
        ]);
    };
    let config = &record.config;
    let mut document = object([
        ("Id", record.id.as_str().into()),
        ("Name", record.name.as_str().into()),
        ("Created", time(record.created)),
    ]);
    add(&mut document, "CreateCommand", strings(&config.create_command));
    add(&mut document, "ExitPolicy", config.exit_policy.as_str());
    extend(&mut document, [("State", pod.status().as_str().into()), ("Hostname", config.hostname.as_str().into())]);
    add(&mut document, "Labels", map(&config.labels));
    extend(&mut document, [("CreateCgroup", (!config.no_share_parent).into())]);
    add(&mut document, "CgroupParent", cgroup_parent(pod));
    add(&mut document, "CgroupPath", cgroup_path(pod));
    extend(&mut document, [("CreateInfra", record.infra.is_some().into())]);
    if let Some(infra) = &record.infra {
        add(&mut document, "InfraContainerID", infra.as_str());
        add(&mut document, "InfraConfig", infra_config(pod, record));
    }
    let mut shared = config.share.clone();
    shared.sort();
    add(&mut document, "SharedNamespaces", strings(shared));
    extend(&mut document, [("NumContainers", Shown::of(pod).count().into())]);
    add(&mut document, "Containers", containers(pod));
    limits(view, record, &mut document);
    document
}

fn containers(pod: &Pod) -> Value {
    let mut containers: Vec<Shown<'_>> = Shown::of(pod).collect();
    containers.sort_by(|a, b| a.id().cmp(b.id()));
    containers
        .into_iter()
        .map(|container| {
            object([
                ("Id", container.id().as_str().into()),
                ("Name", container.name().into()),
                ("State", container.state().as_str().into()),
            ])
        })
        .collect()
}

fn infra_config(pod: &Pod, record: &PodRecord) -> Value {
    let none = NetworkConfig::default();
    let network = record.config.network.as_ref().unwrap_or(&none);
    let limits = record.config.resources.clone().unwrap_or_default();
    let alone = match network.networks.as_slice() {
        [one] => Some(one),
        _ => None,
    };
    let hosts: Vec<String> =
        network.add_hosts.iter().map(|entry| format!("{}:{}", entry.names.join(";"), entry.ip)).collect();
    let shares = |name: &str| record.config.share.iter().any(|shared| shared == name);
    let mut document = object([
        ("PortBindings", port_bindings(&pod_ports(pod))),
        ("HostNetwork", (network.mode == "host").into()),
        ("StaticIP", alone.map_or("", |network| &network.ip).into()),
        ("StaticMAC", alone.map_or("", |network| &network.mac).into()),
        ("NoManageResolvConf", network.dns_servers.iter().any(|server| server == "none").into()),
        ("DNSServer", strings_or_null(&network.dns_servers)),
        ("DNSSearch", strings_or_null(&network.dns_search)),
        ("DNSOption", strings_or_null(&network.dns_options)),
        ("NoManageHostname", record.config.no_hostname.into()),
        ("NoManageHosts", network.no_hosts.into()),
        ("HostAdd", strings_or_null(hosts)),
        ("HostsFile", network.hosts_file.as_str().into()),
        ("Networks", strings_or_null(pod_networks(pod))),
        ("NetworkOptions", Value::Null),
    ]);
    add(&mut document, "cpu_period", limits.cpu_period);
    add(&mut document, "cpu_quota", limits.cpu_quota);
    add(&mut document, "cpuset_cpus", limits.cpuset_cpus);
    let pid = match record.config.pid_mode.as_str() {
        "" | "private" if shares("pid") => "pod",
        "" => "private",
        mode => mode,
    };
    add(&mut document, "pid_ns", pid);
    let userns = record.config.userns.as_str();
    add(&mut document, "userns", if userns.is_empty() { "host" } else { userns });
    let uts = record.config.uts_mode.as_str();
    add(&mut document, "uts_ns", if uts.is_empty() { "private" } else { uts });
    document
}

fn limits(view: &View<'_>, record: &PodRecord, document: &mut Value) {
    let config = &record.config;
    let none = Resources::default();
    let limits = config.resources.as_ref().unwrap_or(&none);
    add(document, "cpu_period", limits.cpu_period);
    add(document, "cpu_quota", limits.cpu_quota);
    add(document, "cpu_shares", limits.cpu_shares);
    add(document, "cpuset_cpus", limits.cpuset_cpus.as_str());
    add(document, "cpuset_mems", limits.cpuset_mems.as_str());
    add(document, "mounts", mounts::list(view, &config.mounts));
    add(document, "devices", devices(&config.devices));
    add(document, "volumes_from", strings(&config.volumes_from));
    add(document, "security_opt", strings(config.security.iter().flat_map(|security| &security.security_opt)));
    add(document, "memory_limit", limits.memory);
    add(document, "memory_swap", limits.memory_swap);
    add(document, "blkio_weight", limits.blkio_weight);
    for (key, limits, value) in [
        ("device_read_bps", &limits.read_bps, "Rate"),
        ("device_write_bps", &limits.write_bps, "Rate"),
        ("blkio_weight_device", &limits.blkio_weights, "Weight"),
    ] {
        add(document, key, super::host_config::block_limits(limits, value));
    }
    add(document, "RestartPolicy", config.restart.as_ref().map_or("", |policy| &policy.name));
    // There is no table of locks; the key is podman's.
    extend(document, [("LockNumber", 0.into())]);
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn the_document_of_a_pod() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let pod = crate::index::pod(&fixture.engine.roots, &web.pod).expect("pod");
        let document = document(&fixture.view(), &pod);
        let keys: Vec<&str> = document.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(
            keys.join(" "),
            "Id Name Created ExitPolicy State Hostname Labels CreateCgroup CgroupParent CgroupPath \
             CreateInfra InfraContainerID InfraConfig SharedNamespaces NumContainers Containers mounts \
             LockNumber"
        );
        assert_eq!(document["SharedNamespaces"].to_string(), r#"["ipc","net","uts"]"#);
        assert_eq!((&document["NumContainers"], &document["State"]), (&3.into(), &"Degraded".into()));
        assert_eq!(document["CgroupParent"], "/podctl");
        assert_eq!(document["InfraConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
        assert_eq!(document["InfraConfig"]["Networks"][0], "net1");
        assert_eq!(document["mounts"][0]["Name"], "vol1");
        let ids: Vec<&str> =
            document["Containers"].as_array().expect("array").iter().filter_map(|row| row["Id"].as_str()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
