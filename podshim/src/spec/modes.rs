//! Namespace modes: their grammar, and where each namespace of a member comes from.

use proto::{
    Id, Kind, Refusal,
    refusal::Result,
    wire::{ContainerConfig, PodConfig},
};

use super::text::{MAX_HOSTNAME, no_controls, shown};

/// Where a namespace of a member comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// A new one, its own.
    #[default]
    Own,
    /// The pod's.
    Pod,
    /// The host's.
    Host,
    /// The one at this path.
    Path(String),
    /// That of another container, as the user named it.
    Container(String),
}

/// Where all namespaces of a member come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Network.
    pub net: Place,
    /// System V IPC, POSIX message queues and /dev/shm.
    pub ipc: Place,
    /// Host name.
    pub uts: Place,
    /// Processes.
    pub pid: Place,
    /// View of the control groups.
    pub cgroup: Place,
}

impl Sharing {
    /// Of a container in a pod, both checked. A pod on the host's network gives its members the host's.
    pub fn of(config: &ContainerConfig, pod: &PodConfig) -> Sharing {
        let shares = |namespace: &str| pod.share.iter().any(|shared| shared == namespace);
        // The network of a container of its own is its hidden pod's, whatever `inspect` is to show of its options.
        let asked = config.network.as_ref().filter(|_| !pod.hidden);
        let net = place(asked.map_or("", |network| &network.mode), shares("net"));
        let pod_on_host = pod.network.as_ref().is_some_and(|network| network.mode == "host");
        Sharing {
            net: if net == Place::Pod && pod_on_host { Place::Host } else { net },
            ipc: place(&config.ipc_mode, shares("ipc")),
            uts: of_pod(place(&config.uts_mode, shares("uts")), &pod.uts_mode),
            pid: of_pod(place(&config.pid_mode, shares("pid")), &pod.pid_mode),
            cgroup: place(&config.cgroupns_mode, shares("cgroup")),
        }
    }
}

/// Where a namespace that is the pod's comes from: `--pid` and `--uts` of `pod create`.
fn of_pod(place: Place, mode: &str) -> Place {
    match place {
        Place::Pod if mode == "host" => Place::Host,
        Place::Pod => mode.strip_prefix("ns:").map_or(Place::Pod, |path| Place::Path(path.to_owned())),
        place => place,
    }
}

/// Whether the pod makes this namespace (`pid`, `uts`) for its members.
pub fn makes(pod: &PodConfig, namespace: &str) -> bool {
    let mode = if namespace == "pid" { &pod.pid_mode } else { &pod.uts_mode };
    pod.share.iter().any(|shared| shared == namespace) && matches!(mode.as_str(), "" | "private")
}

/// The grammar of `--pid` and `--uts` of a pod, whose `share` is final.
pub(super) fn of_pod_check(pod: &PodConfig) -> Result<()> {
    for (flag, namespace, mode) in [("--pid", "pid", &pod.pid_mode), ("--uts", "uts", &pod.uts_mode)] {
        match mode.as_str() {
            "" | "private" => continue,
            "host" => {}
            mode if mode.starts_with("ns:") => named(flag, mode)?,
            _ => {
                return Err(Refusal::invalid(format!(
                    "{flag} {}: a pod's namespace is private, host or ns:PATH",
                    shown(mode)
                )));
            }
        }
        if !pod.share.iter().any(|shared| shared == namespace) {
            return Err(Refusal::invalid(format!(
                "{flag} {}: the members do not share this namespace: add --share +{namespace}",
                shown(mode)
            )));
        }
        if namespace == "uts" && !pod.hostname.is_empty() {
            return Err(Refusal::invalid(
                "cannot set hostname when the pod does not make its UTS namespace: leave --hostname or --uts out",
            ));
        }
    }
    Ok(())
}

/// Where one namespace comes from. An empty mode leaves it to the pod.
fn place(mode: &str, shared: bool) -> Place {
    match mode {
        "" if shared => Place::Pod,
        "pod" => Place::Pod,
        "host" => Place::Host,
        _ => match mode.split_once(':') {
            Some(("ns", path)) => Place::Path(path.to_owned()),
            Some(("container", name)) => Place::Container(name.to_owned()),
            _ => Place::Own,
        },
    }
}

/// The host name of a member with a UTS namespace of its own, or of the pod (`config` absent): what was asked for, else
/// the pod's name, else the short id. A pod may have a longer name than the kernel takes as host name; it is cut.
pub fn hostname(config: Option<(&Id, &ContainerConfig)>, pod_name: &str, pod: &PodConfig) -> String {
    let name = match config {
        Some((_, config)) if !config.hostname.is_empty() => &config.hostname,
        Some((id, config)) if Sharing::of(config, pod).uts != Place::Pod => id.short(),
        _ if pod.hostname.is_empty() => pod_name,
        _ => &pod.hostname,
    };
    // Names and host names are ASCII; should one not be, it is shown whole and refused by the kernel.
    let cut = name.get(..MAX_HOSTNAME).unwrap_or(name);
    if cut.len() < name.len() { cut.trim_end_matches(['-', '.', '_']).to_owned() } else { cut.to_owned() }
}

/// The grammar of `--pid`, `--ipc`, `--uts` and `--cgroupns` of a container.
pub(super) fn check(config: &ContainerConfig, pod: &PodConfig) -> Result<()> {
    let modes = [
        ("--pid", &config.pid_mode, &["private", "host", "pod"][..]),
        ("--ipc", &config.ipc_mode, &["private", "shareable", "none", "host", "pod"]),
        ("--uts", &config.uts_mode, &["private", "host", "pod"]),
        ("--cgroupns", &config.cgroupns_mode, &["private", "host", "pod"]),
    ];
    for (flag, mode, known) in modes {
        if !mode.is_empty() && !known.contains(&mode.as_str()) {
            named(flag, mode)?;
        }
        if mode == "pod" {
            joins_pod(pod)?;
        }
    }
    let joins = !pod.hidden && !pod.no_infra;
    if joins && !matches!(config.userns.as_str(), "" | "host") && !config.userns.starts_with("container:") {
        return Err(Refusal::invalid(
            "cannot set user namespace mode when joining pod with infra container: invalid argument",
        ));
    }
    userns(&config.userns)
}

/// podman's words for a container that a member shares a namespace with, or requires, and that is not in its pod.
pub fn not_a_member(pod: &Id, dependency: &Id) -> Refusal {
    Refusal::invalid(format!(
        "container has joined pod {pod} and dependency container {dependency} is not a member of the pod: invalid argument"
    ))
}

/// `ns:PATH` and `container:NAME`; anything else is unknown.
pub(super) fn named(flag: &str, mode: &str) -> Result<()> {
    no_controls(flag, mode)?;
    match mode.split_once(':') {
        Some(("ns", path)) if path.starts_with('/') => Ok(()),
        Some(("ns", path)) => {
            Err(Refusal::invalid(format!("{flag} ns:{}: the path of a namespace is absolute", shown(path))))
        }
        Some(("container", name)) if !name.is_empty() => Ok(()),
        Some(("container", _)) => {
            Err(Refusal::invalid(format!("{flag} container: the name or ID of a container is missing")))
        }
        _ => Err(Refusal::invalid(format!("unrecognized namespace mode {} passed", shown(mode)))),
    }
}

/// Mode `pod` needs a pod with an infra to join.
pub(super) fn joins_pod(pod: &PodConfig) -> Result<()> {
    if pod.hidden || pod.no_infra {
        return Err(Refusal::invalid(
            "cannot use pod namespace as container is not joining a pod or pod has no infra container: invalid argument",
        ));
    }
    Ok(())
}

/// User namespaces come with rootless pods.
pub(super) fn userns(mode: &str) -> Result<()> {
    match mode {
        "" | "host" => Ok(()),
        "auto" | "keep-id" | "nomap" | "private" | "pod" => Err(not_yet(mode)),
        _ if ["auto:", "keep-id:", "ns:", "container:"].iter().any(|prefix| mode.starts_with(prefix)) => {
            Err(not_yet(mode))
        }
        _ => Err(Refusal::invalid(format!("unrecognized namespace mode {} passed", shown(mode)))),
    }
}

fn not_yet(mode: &str) -> Refusal {
    Refusal::new(
        Kind::NotSupported,
        format!("--userns {}: user namespaces are not supported by this version: leave --userns away", shown(mode)),
    )
}

#[cfg(test)]
mod tests {
    use proto::wire::NetworkConfig;

    use super::*;

    fn pod(share: &[&str]) -> PodConfig {
        PodConfig { share: share.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }
    }

    #[test]
    fn a_member_takes_what_the_pod_shares_unless_it_says_otherwise() {
        let mut config = ContainerConfig::default();
        let sharing = Sharing::of(&config, &pod(&["ipc", "net", "uts"]));
        assert_eq!((&sharing.net, &sharing.ipc, &sharing.uts), (&Place::Pod, &Place::Pod, &Place::Pod));
        assert_eq!((&sharing.pid, &sharing.cgroup), (&Place::Own, &Place::Own));
        config.pid_mode = "pod".into();
        config.ipc_mode = "private".into();
        config.uts_mode = "host".into();
        config.cgroupns_mode = "ns:/proc/1/ns/cgroup".into();
        config.network = Some(NetworkConfig { mode: "container:db".into(), ..Default::default() });
        let sharing = Sharing::of(&config, &pod(&["ipc", "net", "uts"]));
        assert_eq!(sharing.pid, Place::Pod);
        assert_eq!(sharing.ipc, Place::Own);
        assert_eq!(sharing.uts, Place::Host);
        assert_eq!(sharing.cgroup, Place::Path("/proc/1/ns/cgroup".into()));
        assert_eq!(sharing.net, Place::Container("db".into()));
        let alone = PodConfig { hidden: true, ..pod(&["net"]) };
        assert_eq!(Sharing::of(&config, &alone).net, Place::Pod);
        let host = NetworkConfig { mode: "host".into(), ..Default::default() };
        let on_host = PodConfig { network: Some(host), ..pod(&["net"]) };
        assert_eq!(Sharing::of(&ContainerConfig::default(), &on_host).net, Place::Host);
    }

    #[test]
    fn host_names_of_pods_and_members() {
        let id: Id = "a".repeat(64).parse().expect("id");
        let config = ContainerConfig::default();
        assert_eq!(hostname(Some((&id, &config)), "web", &pod(&["uts"])), "web");
        assert_eq!(hostname(Some((&id, &config)), "web", &pod(&["net"])), "aaaaaaaaaaaa");
        assert_eq!(hostname(None, "web", &PodConfig { hostname: "h".into(), ..pod(&["uts"]) }), "h");
        let named = ContainerConfig { hostname: "own".into(), ..Default::default() };
        assert_eq!(hostname(Some((&id, &named)), "web", &pod(&["net"])), "own");
        assert_eq!(hostname(None, &format!("{}-{}", "x".repeat(63), "y"), &pod(&[])), "x".repeat(63));
    }

    #[test]
    fn a_pod_has_its_members_in_the_hosts_namespace_or_another() {
        let on = |mode: &str| PodConfig { uts_mode: mode.into(), pid_mode: mode.into(), ..pod(&["pid", "uts"]) };
        let of = |mode: &str| {
            let sharing = Sharing::of(&ContainerConfig::default(), &on(mode));
            (sharing.uts, sharing.pid)
        };
        assert_eq!(of("private"), (Place::Pod, Place::Pod));
        assert_eq!(of("host"), (Place::Host, Place::Host));
        assert_eq!(of("ns:/x").0, Place::Path("/x".into()));
        assert!(makes(&on(""), "pid") && !makes(&on("host"), "uts") && !makes(&pod(&["net"]), "pid"));
        for mode in ["pod", "container:x", "bogus"] {
            let refusal = of_pod_check(&on(mode)).expect_err(mode);
            assert_eq!(refusal.message, format!("--pid {mode}: a pod's namespace is private, host or ns:PATH"));
        }
        let refusal = of_pod_check(&PodConfig { share: vec!["net".into()], ..on("host") }).expect_err("not shared");
        assert_eq!(refusal.message, "--pid host: the members do not share this namespace: add --share +pid");
        let refusal = of_pod_check(&PodConfig { hostname: "h".into(), ..on("host") }).expect_err("a name for the host");
        assert!(refusal.message.starts_with("cannot set hostname when the pod does not make its UTS namespace"));
    }
}
