//! `HostConfig` of a container's document: how it stands on the host (InspectContainerHostConfig).

use oci_spec::runtime::PosixRlimit;
use proto::{
    human,
    ulimit::signed,
    wire::{BlockLimit, ContainerConfig, Mount, NetworkConfig, Resources},
};
use serde_json::Value;

use super::{
    capabilities,
    container::{Subject, extend},
    mounts, settings,
};
use crate::view::{
    Shown,
    json::{add, map_or_null, object, strings, strings_or_null},
};

/// Size of /dev/shm where none is given (containers.conf(5), shm_size).
const SHM_SIZE: i64 = 65_536_000;

/// The part `HostConfig`. It shows what was asked for, and limits as the runtime was told where that is known.
pub(super) fn document(subject: &Subject<'_>, mounts: &[Mount]) -> Value {
    let none = ContainerConfig::default();
    let config = subject.record.map_or(&none, |record| &record.config);
    let mut document = object([]);
    first(subject, config, mounts, &mut document);
    names(subject, config, mounts, &mut document);
    limits(subject, config, &mut document);
    // podman shows none of these.
    add(&mut document, "ShmSizeSystemd", config.shm_size_systemd);
    add(&mut document, "Personality", config.personality.as_str());
    add(&mut document, "SeccompPolicy", config.seccomp_policy.as_str());
    add(&mut document, "ChrootDirs", strings_or_null(&config.chroot_dirs));
    add(&mut document, "HostUsers", strings_or_null(&config.host_users));
    document
}

fn first(subject: &Subject<'_>, config: &ContainerConfig, volumes: &[Mount], document: &mut Value) {
    let policy = subject.shown.restart_policy();
    let publishes = subject.shown.is_infra() || subject.shown.pod().hidden();
    let ports = if publishes { subject.shown.ports() } else { Vec::new() };
    let volumes_from = match config.volumes_from.as_slice() {
        [] => Value::Null,
        sources => strings(sources),
    };
    extend(
        document,
        [
            ("Binds", mounts::binds(volumes)),
            ("CgroupManager", "cgroupfs".into()),
            ("CgroupMode", mode(subject, "cgroup", &config.cgroupns_mode, "private").into()),
            ("ContainerIDFile", config.cidfile.as_str().into()),
            ("LogConfig", log_config(subject, config)),
            ("NetworkMode", network_mode(subject).into()),
            ("PortBindings", settings::port_bindings(&ports)),
            ("RestartPolicy", object([("Name", policy.name.into()), ("MaximumRetryCount", policy.max_retries.into())])),
            ("AutoRemove", config.auto_remove.into()),
            ("AutoRemoveImage", config.rmi.into()),
            ("Annotations", map_or_null(&config.annotations)),
            ("VolumeDriver", "".into()),
            ("VolumesFrom", volumes_from),
        ],
    );
}

fn names(subject: &Subject<'_>, config: &ContainerConfig, volumes: &[Mount], document: &mut Value) {
    let security = config.security.clone().unwrap_or_default();
    let (added, dropped) = match subject.record {
        Some(_) => capabilities::difference(&subject.bounding(), security.privileged),
        None => (Vec::new(), Vec::new()),
    };
    let none = NetworkConfig::default();
    let of_pod = subject.shown.pod().record.as_ref().ok().and_then(|pod| pod.config.network.as_ref());
    let own = config.network.as_ref();
    let publishes = subject.shown.is_infra() || subject.shown.pod().hidden();
    let network = own.filter(|_| !publishes).or(of_pod.filter(|_| publishes)).unwrap_or(&none);
    let hosts = network.add_hosts.iter().map(|entry| format!("{}:{}", entry.names.join(";"), entry.ip));
    extend(
        document,
        [
            ("CapAdd", strings(added)),
            ("CapDrop", strings(dropped)),
            ("Dns", strings(&network.dns_servers)),
            ("DnsOptions", strings(&network.dns_options)),
            ("DnsSearch", strings(&network.dns_search)),
            ("ExtraHosts", hosts.map(Value::from).collect()),
            ("HostsFile", network.hosts_file.as_str().into()),
            ("GroupAdd", strings(&config.groups)),
            ("IpcMode", mode(subject, "ipc", &config.ipc_mode, "shareable").into()),
            ("Cgroup", "".into()),
            ("Cgroups", if config.cgroups == "no-conmon" { "no-conmon" } else { "default" }.into()),
            ("Links", Value::Null),
            ("OomScoreAdj", config.oom_score_adj.into()),
            ("PidMode", mode(subject, "pid", &config.pid_mode, "private").into()),
            ("Privileged", security.privileged.into()),
            ("PublishAllPorts", network.publish_all.into()),
            ("ReadonlyRootfs", config.read_only.into()),
            ("SecurityOpt", strings(&security.security_opt)),
            ("Tmpfs", mounts::tmpfs(volumes)),
            ("UTSMode", mode(subject, "uts", &config.uts_mode, "private").into()),
            ("UsernsMode", config.userns.as_str().into()),
            ("ShmSize", if config.shm_size > 0 { config.shm_size } else { SHM_SIZE }.into()),
            ("Runtime", "oci".into()),
            ("ConsoleSize", vec![0, 0].into()),
            ("Isolation", "".into()),
        ],
    );
}

fn limits(subject: &Subject<'_>, config: &ContainerConfig, document: &mut Value) {
    let none = Resources::default();
    let limits = config.resources.as_ref().unwrap_or(&none);
    let told = subject.spec.as_ref().and_then(|spec| spec.linux().as_ref()?.resources().clone());
    let pids = told.and_then(|resources| resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit));
    let parent = if config.cgroup_parent.is_empty() { pod_cgroup(subject) } else { config.cgroup_parent.clone() };
    // Whole periods only, as podman counts.
    let nano_cpus = if limits.cpu_period == 100_000 { limits.cpu_quota.saturating_mul(10_000) } else { 0 };
    extend(
        document,
        [
            ("CpuShares", limits.cpu_shares.into()),
            ("Memory", limits.memory.into()),
            ("NanoCpus", nano_cpus.into()),
            ("CgroupParent", parent.into()),
            ("BlkioWeight", limits.blkio_weight.into()),
            ("BlkioWeightDevice", block_limits(&limits.blkio_weights, "Weight")),
            ("BlkioDeviceReadBps", block_limits(&limits.read_bps, "Rate")),
            ("BlkioDeviceWriteBps", block_limits(&limits.write_bps, "Rate")),
            ("BlkioDeviceReadIOps", block_limits(&limits.read_iops, "Rate")),
            ("BlkioDeviceWriteIOps", block_limits(&limits.write_iops, "Rate")),
            ("CpuPeriod", limits.cpu_period.into()),
            ("CpuQuota", limits.cpu_quota.into()),
            ("CpuRealtimePeriod", limits.cpu_rt_period.into()),
            ("CpuRealtimeRuntime", limits.cpu_rt_runtime.into()),
            ("CpusetCpus", limits.cpuset_cpus.as_str().into()),
            ("CpusetMems", limits.cpuset_mems.as_str().into()),
            ("Devices", settings::devices(&config.devices)),
            ("DiskQuota", 0.into()),
            ("KernelMemory", 0.into()),
            ("MemoryReservation", limits.memory_reservation.into()),
            ("MemorySwap", limits.memory_swap.into()),
            ("MemorySwappiness", limits.memory_swappiness.map_or(Value::Null, Value::from)),
            ("OomKillDisable", limits.oom_kill_disable.into()),
        ],
    );
    add(document, "Init", config.init);
    extend(
        document,
        [
            ("PidsLimit", pids.unwrap_or(limits.pids_limit).into()),
            ("Ulimits", ulimits(subject, config)),
            ("CpuCount", 0.into()),
            ("CpuPercent", 0.into()),
            ("IOMaximumIOps", 0.into()),
            ("IOMaximumBandwidth", 0.into()),
            ("CgroupConf", map_or_null(&config.cgroup_conf)),
        ],
    );
}

/// `[{Path KEY}]`, or null.
pub(super) fn block_limits(limits: &[BlockLimit], key: &'static str) -> Value {
    if limits.is_empty() {
        return Value::Null;
    }
    limits.iter().map(|limit| object([("Path", limit.device.as_str().into()), (key, limit.value.into())])).collect()
}

/// The mode of a namespace: `container:INFRA` where it is the pod's, else as asked for, else `default`.
fn mode(subject: &Subject<'_>, name: &str, asked: &str, default: &str) -> String {
    let infra = subject.shown.pod().record.as_ref().ok().and_then(|pod| pod.infra.as_ref());
    match (subject.shown, infra) {
        (Shown::Member(..), Some(infra)) if subject.shown.joins(name, asked) => format!("container:{infra}"),
        _ if asked.is_empty() || asked == "private" => default.to_owned(),
        _ => asked.to_owned(),
    }
}

fn network_mode(subject: &Subject<'_>) -> String {
    let pod = subject.shown.pod().record.as_ref().ok();
    let infra = pod.and_then(|pod| pod.infra.as_ref());
    let own = subject.record.and_then(|record| record.config.network.as_ref());
    let of_pod = pod.and_then(|pod| pod.config.network.as_ref());
    match (subject.shown, infra) {
        (Shown::Member(..), Some(infra)) if subject.shown.in_pod_network() => return format!("container:{infra}"),
        _ => {}
    }
    let config = if subject.shown.in_pod_network() { of_pod } else { own };
    config.map(|config| config.mode.as_str()).filter(|mode| !mode.is_empty()).unwrap_or("bridge").to_owned()
}

/// The cgroup of its pod, where it has one that users see.
fn pod_cgroup(subject: &Subject<'_>) -> String {
    let pod = subject.shown.pod();
    match (subject.shown, &pod.state) {
        (Shown::Member(..), Some(state)) if !pod.hidden() => state.cgroup.clone(),
        _ => String::new(),
    }
}

fn log_config(subject: &Subject<'_>, config: &ContainerConfig) -> Value {
    let log = config.log.clone().unwrap_or_default();
    let driver = if log.driver.is_empty() { "k8s-file" } else { &log.driver };
    let own = |record: &proto::record::ContainerRecord| subject.view.roots().log(&record.pod, &record.id);
    let path = match subject.record {
        Some(record) if log.path.is_empty() => own(record).to_string_lossy().into_owned(),
        _ => log.path.clone(),
    };
    object([
        ("Type", driver.into()),
        ("Config", map_or_null(&log.options)),
        ("Path", path.into()),
        ("Tag", log.options.get("tag").map_or("", String::as_str).into()),
        ("Size", human::fine_size(u64::try_from(log.max_size).unwrap_or(0)).into()),
    ])
}

/// As the runtime was told, else as asked for: `RLIMIT_NOFILE`.
fn ulimits(subject: &Subject<'_>, config: &ContainerConfig) -> Value {
    let limit = |name: String, soft: i64, hard: i64| {
        object([("Name", name.into()), ("Soft", soft.into()), ("Hard", hard.into())])
    };
    let told = subject.spec.as_ref().and_then(|spec| spec.process().as_ref()?.rlimits().clone());
    match told {
        Some(told) => told
            .iter()
            .map(|rlimit: &PosixRlimit| {
                let name = serde_json::to_value(rlimit.typ()).ok();
                let name = name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                limit(name, signed(rlimit.soft()), signed(rlimit.hard()))
            })
            .collect(),
        None => config
            .ulimits
            .iter()
            .map(|ulimit| limit(format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()), ulimit.soft, ulimit.hard))
            .collect(),
    }
}
