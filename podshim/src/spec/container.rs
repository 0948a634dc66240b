//! A container as a whole, and what a member of a pod leaves to its pod.

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{ContainerConfig, PodConfig},
};

use super::{
    health, limits, log, modes,
    modes::{Place, Sharing},
    mounts, network, policy, process, requires, secrets, security, signal, text, user,
};

/// Refuses a container that cannot be in `pod` (checked before), and brings what it asks for into its canonical form.
/// Pure. Called before the image is looked up.
///
/// # Errors
/// A [`Refusal`] in its final words, podman's where podman has any.
pub fn check_container(mut config: ContainerConfig, pod: &PodConfig) -> Result<ContainerConfig> {
    text::object_name("container", &config.name)?;
    if !config.rootfs.is_empty() {
        text::host_file("--rootfs", &config.rootfs)?;
    }
    if config.image.is_empty() == config.rootfs.is_empty() {
        return Err(Refusal::invalid("an image is missing: name one after the options"));
    }
    text::no_controls("image", &config.image)?;
    // podman tells a wrong value before it asks for the pod.
    process::init_ctr(&config, pod)?;
    requires::check(&config, pod)?;
    restart(&mut config)?;
    modes::check(&config, pod)?;
    let sharing = Sharing::of(&config, pod);
    network_of_member(&mut config, pod)?;
    hostname(&config, &sharing)?;
    what_runs(&mut config)?;
    mounts_and_limits(&mut config, &sharing)?;
    config.security = security::security(config.security.take())?;
    config.devices = security::devices(std::mem::take(&mut config.devices))?;
    security::sysctls(&config.sysctls, &sharing)?;
    config.log = Some(log::check(config.log.take(), config.tty)?);
    outdated(&config)?;
    Ok(config)
}

/// What works and is likely not what was meant: lines for the user, after the container is there.
pub fn warnings(config: &ContainerConfig, pod: &PodConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let asked = pod.network.as_ref().filter(|_| pod.hidden);
    if let Some(mode) = asked.filter(|network| !network.ports.is_empty()).map(|network| network.mode.as_str())
        && !matches!(mode, "" | "bridge" | "private" | "default")
    {
        lines.push(
            "Port mappings have been discarded as one of the Host, Container, Pod, and None network modes are in use"
                .to_owned(),
        );
    }
    let mode = config.network.as_ref().map_or("", |network| network.mode.as_str());
    if !pod.hidden && !matches!(mode, "" | "pod") && pod.share.iter().any(|shared| shared == "net") {
        lines.push(format!("--network {mode}: the container is not in the network of its pod"));
    }
    lines
}

/// `--restart`, which `--rm` contradicts.
pub(super) fn restart(config: &mut ContainerConfig) -> Result<()> {
    config.restart = policy::restart("container", config.restart.take())?;
    let again = config.restart.as_ref().is_some_and(|policy| !matches!(policy.name.as_str(), "no" | "on-failure"));
    if config.auto_remove && again {
        return Err(Refusal::invalid(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    Ok(())
}

/// The pod has the network: a member may leave it for the host's or none, and configure nothing.
fn network_of_member(config: &mut ContainerConfig, pod: &PodConfig) -> Result<()> {
    let Some(mut network) = config.network.take() else { return Ok(()) };
    if pod.hidden {
        // Its network is that of the hidden pod, which was checked; what is left here is only for `inspect`.
        network::dns(&network)?;
        network::hosts(&network)?;
        config.network = Some(network);
        return Ok(());
    }
    let pod_has_it = pod.share.iter().any(|shared| shared == "net");
    let refuse = |what: &str, flag: &str, way_out: &str| {
        Err(if pod_has_it {
            Refusal::invalid(format!(
                "invalid config provided: {what}: network cannot be configured when it is shared with a pod"
            ))
        } else {
            Refusal::new(
                Kind::NotSupported,
                format!("{flag}: a member of a pod has no network of its own in this version: {way_out}"),
            )
        })
    };
    if !network.ports.is_empty() || network.publish_all {
        let what = "published or exposed ports must be defined when the pod is created";
        return refuse(what, "--publish", "publish the port when the pod is created with --share net");
    }
    let bridge = matches!(network.mode.as_str(), "bridge" | "default" | "private")
        || network.mode.starts_with("slirp4netns")
        || network.mode.starts_with("pasta");
    if bridge || !network.networks.is_empty() || !network.aliases.is_empty() {
        let what = "networks must be defined when the pod is created";
        return refuse(what, "--network", "attach the pod to the network when it is created with --share net");
    }
    if !network.add_hosts.is_empty() && pod_has_it && matches!(network.mode.as_str(), "" | "pod") {
        return refuse("extra host entries must be specified on the pod", "--add-host", "");
    }
    match network.mode.as_str() {
        "" | "none" | "host" => {}
        "pod" => modes::joins_pod(pod)?,
        mode => modes::named("--network", mode)?,
    }
    network.exposed = network.exposed.into_iter().map(super::ports::one).collect::<Result<_>>()?;
    network::dns(&network)?;
    network::hosts(&network)?;
    config.network = Some(network);
    Ok(())
}

/// `--hostname` needs a UTS namespace of the container's own.
fn hostname(config: &ContainerConfig, sharing: &Sharing) -> Result<()> {
    if config.hostname.is_empty() {
        return Ok(());
    }
    let refuse = |what: &str| {
        Err(Refusal::invalid(format!(
            "invalid config provided: cannot set hostname when {what}: invalid configuration"
        )))
    };
    match sharing.uts {
        Place::Pod => refuse("joining the pod UTS namespace"),
        Place::Host => refuse("running in the host UTS namespace"),
        Place::Container(_) | Place::Path(_) => refuse("joining another UTS namespace"),
        Place::Own => text::hostname(&config.hostname),
    }
}

/// The process: who, where, with what.
fn what_runs(config: &mut ContainerConfig) -> Result<()> {
    process::arguments(config)?;
    text::env(&config.env)?;
    text::env(&config.env_merge)?;
    text::host_file("--init-path", &config.init_path)?;
    text::no_controls("--passwd-entry", &config.passwd_entry)?;
    text::no_controls("--group-entry", &config.group_entry)?;
    for name in &config.unset_env {
        text::no_controls("--unsetenv", name)?;
    }
    text::labels("--label", &config.labels)?;
    text::labels("--annotation", &config.annotations)?;
    user::check("--user", &config.user)?;
    config.groups.iter().try_for_each(|group| user::group(group))?;
    if !config.workdir.is_empty() {
        config.workdir = text::workdir("--workdir", &config.workdir)?;
    }
    if !config.stop_signal.is_empty() {
        config.stop_signal = signal::canonical(&config.stop_signal)?;
    }
    config.volumes_from.iter().try_for_each(|source| mounts::source(source))?;
    for (flag, path) in [("--pidfile", &config.pidfile), ("--conmon-pidfile", &config.conmon_pidfile)] {
        text::host_file(flag, path)?;
    }
    secrets::check(&config.secrets)?;
    process::personality(&config.personality)?;
    process::seccomp_policy(config)?;
    for user in &config.host_users {
        text::no_controls("--hostuser", user)?;
    }
    for dir in &mut config.chroot_dirs {
        *dir = text::workdir("--chrootdirs", dir)?;
    }
    process::umask(&config.umask)?;
    process::timezone(&config.timezone)?;
    process::detach_keys(&config.detach_keys)?;
    health::check(config)?;
    process::readiness(config)
}

/// Mounts and limits.
fn mounts_and_limits(config: &mut ContainerConfig, sharing: &Sharing) -> Result<()> {
    config.mounts = mounts::check(std::mem::take(&mut config.mounts))?;
    if !matches!(config.image_volume_mode.as_str(), "" | "anonymous" | "bind" | "tmpfs" | "ignore") {
        return Err(Refusal::invalid(format!(
            "invalid image volume mode {} required value: bind, tmpfs, ignore",
            text::quoted(&config.image_volume_mode)
        )));
    }
    config.resources = limits::resources(config.resources.take())?;
    limits::ulimits(&config.ulimits)?;
    if !matches!(config.cgroups.as_str(), "" | "enabled" | "no-conmon") {
        return Err(Refusal::invalid(format!("invalid cgroups mode {}", text::quoted(&config.cgroups))));
    }
    limits::cgroup_conf(&config.cgroup_conf)?;
    limits::shm_size(config.shm_size)?;
    limits::shm_size(config.shm_size_systemd)?;
    if config.shm_size != 0 && sharing.ipc == Place::Host {
        return Err(Refusal::invalid(
            "invalid config provided: cannot set shmsize when running in the host IPC Namespace",
        ));
    }
    limits::oom_score_adj(config.oom_score_adj)?;
    limits::cgroup_parent(&config.cgroup_parent)
}

fn outdated(config: &ContainerConfig) -> Result<()> {
    if !config.tmpfs.is_empty() {
        return Err(Refusal::invalid("--tmpfs: given in an outdated form: use the podctl of this version"));
    }
    Ok(())
}
