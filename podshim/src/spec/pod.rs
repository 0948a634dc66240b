//! A pod as a whole.

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{NetworkConfig, PodConfig, mount},
};

use super::{
    limits, modes,
    modes::{Place, Sharing},
    mounts, network, policy, security, text,
};

/// Refuses a pod that cannot be, and fills in defaults (share, exit policy, network mode, names of anonymous volumes;
/// hostname stays "" = pod name). `share` is the list of what is shared afterwards, so this is asked once per pod.
/// Pure but for random names: touches nothing.
///
/// # Errors
/// A [`Refusal`] in its final words, podman's where podman has any.
pub fn check_pod(mut config: PodConfig) -> Result<PodConfig> {
    text::object_name(if config.hidden { "container" } else { "pod" }, &config.name)?;
    if !config.hostname.is_empty() && !proto::name::is_valid(&config.hostname) {
        // podman checks a pod's host name as if it were a name.
        text::object_name("pod", &config.hostname)?;
    }
    text::hostname(&config.hostname)?;
    text::object_name("container", &config.infra_name)?;
    text::labels("--label", &config.labels)?;
    text::no_controls("--infra-command", &config.infra_command)?;
    if !config.infra_command.is_empty() {
        return Err(Refusal::new(
            Kind::NotSupported,
            "--infra-command: a pod's infra is a process of the engine, which runs no command: leave it out",
        ));
    }
    text::no_controls("--infra-image", &config.infra_image)?;
    if config.no_infra {
        without_infra(&config)?;
    }
    share(&mut config)?;
    modes::of_pod_check(&config)?;
    config.exit_policy = policy::exit(&config.exit_policy)?;
    config.restart = policy::restart("pod", config.restart.take())?;
    if !config.no_infra {
        config.network = Some(network::check(config.network.take().unwrap_or_default(), config.hidden)?);
    }
    config.mounts = mounts::check(std::mem::take(&mut config.mounts))?;
    for mount in config.mounts.iter_mut().filter(|mount| mount.kind() == mount::Kind::Volume && mount.source.is_empty())
    {
        // Named here and not per member: the members of a pod see the same volume.
        mount.source = mounts::anonymous()?;
    }
    config.volumes_from.iter().try_for_each(|source| mounts::source(source))?;
    text::host_file("--infra-conmon-pidfile", &config.infra_conmon_pidfile)?;
    limits_and_security(config)
}

/// What no pod without an infra can have: nobody would hold it.
fn without_infra(config: &PodConfig) -> Result<()> {
    let refuse = |words: &str| Err(Refusal::invalid(words));
    let exclusive =
        |option: &str| refuse(&format!("NoInfra and {option} are mutually exclusive pod options: invalid pod spec"));
    let shared: Vec<&str> =
        config.share.iter().map(String::as_str).filter(|name| !matches!(*name, "" | "none")).collect();
    if !shared.is_empty() {
        return refuse(&format!(
            "cannot set share({}) namespaces without an infra container",
            text::shown(&shared.join(","))
        ));
    }
    if !config.infra_name.is_empty() {
        return exclusive("InfraName");
    }
    let none = NetworkConfig::default();
    let network = config.network.as_ref().unwrap_or(&none);
    if !network.ports.is_empty() || !network.exposed.is_empty() || network.publish_all {
        return refuse("you must have an infra container to publish port bindings to the host");
    }
    if network.no_hosts {
        return refuse("cannot specify --no-hosts without an infra container");
    }
    if network.networks.iter().any(|attachment| !attachment.ip.is_empty()) {
        return refuse("cannot set --ip without infra container: invalid argument");
    }
    if network.networks.iter().any(|attachment| !attachment.mac.is_empty()) {
        return refuse("cannot set --mac-address without infra container: invalid argument");
    }
    if !network.mode.is_empty() && network.networks.is_empty() {
        return refuse("NoInfra and network modes cannot be used together");
    }
    if !network.networks.is_empty() || !network.aliases.is_empty() {
        return refuse("cannot set networks options without infra container");
    }
    for (given, option) in [
        (!network.dns_servers.is_empty(), "DNSServer"),
        (!network.dns_options.is_empty(), "DNSOption"),
        (!network.dns_search.is_empty(), "DNSSearch"),
        (!network.add_hosts.is_empty(), "HostAdd"),
        (!network.hosts_file.is_empty(), "HostsFile"),
    ] {
        if given {
            return exclusive(option);
        }
    }
    Ok(())
}

/// What is shared, and what does not go with it.
fn share(config: &mut PodConfig) -> Result<()> {
    config.share = if config.no_infra {
        Vec::new()
    } else if config.hidden && config.share.is_empty() {
        // The one member of a hidden pod gives its own name and IPC; the pod has the network because a pod has it.
        vec!["net".to_owned()]
    } else {
        policy::share(&config.share)?
    };
    if !config.no_share_parent && config.share.iter().any(|name| name == "cgroup") {
        return Err(Refusal::invalid(
            "cannot define the pod as the cgroup parent at the same time as joining the infra container's cgroupNS: \
             invalid argument",
        ));
    }
    Ok(())
}

fn limits_and_security(mut config: PodConfig) -> Result<PodConfig> {
    config.resources = limits::resources(config.resources.take())?;
    limits::cgroup_parent(&config.cgroup_parent)?;
    limits::shm_size(config.shm_size)?;
    limits::shm_size(config.shm_size_systemd)?;
    modes::userns(&config.userns)?;
    config.security = security::security(config.security.take())?;
    config.devices = security::devices(std::mem::take(&mut config.devices))?;
    let on_host = config.network.as_ref().is_some_and(|network| network.mode == "host");
    let host = |is: bool| if is { Place::Host } else { Place::Own };
    let sharing = Sharing { net: host(on_host), uts: host(config.uts_mode == "host"), ..Default::default() };
    security::sysctls(&config.sysctls, &sharing)?;
    Ok(config)
}
