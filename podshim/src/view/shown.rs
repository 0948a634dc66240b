//! A container as users see it: a member of a pod, or the pod's infra, which is no container of its own.
//!
//! What rows, filters and documents need of either is asked here, so that they cannot differ.

use std::{collections::BTreeMap, fs, time::UNIX_EPOCH};

use proto::{
    Id, Roots,
    alive::Process,
    record::{ContainerRecord, ExitRecord, HealthState, MonitorState, Phase, PodRecord},
    state::ContainerState,
    wire::{PortMapping, RestartPolicy},
};

use crate::{
    index::{self, Container, Pod},
    network,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// A container of a pod, perhaps of a hidden pod of one.
    Member(&'a Pod, &'a Container),
    /// The infra of a pod.
    Infra(&'a Pod, &'a PodRecord, &'a Id),
}

impl<'a> Shown<'a> {
    /// What `pod` shows: its infra, then its members, oldest first.
    pub fn of(pod: &'a Pod) -> impl Iterator<Item = Shown<'a>> {
        Shown::infra_of(pod).into_iter().chain(pod.containers.iter().map(move |member| Shown::Member(pod, member)))
    }

    /// The infra of `pod`, where it has one.
    pub fn infra_of(pod: &'a Pod) -> Option<Shown<'a>> {
        let record = pod.record.as_ref().ok()?;
        Some(Shown::Infra(pod, record, record.infra.as_ref()?))
    }

    /// The pod it is of, hidden or not.
    pub fn pod(self) -> &'a Pod {
        match self {
            Shown::Member(pod, _) | Shown::Infra(pod, ..) => pod,
        }
    }

    /// The record of a member; absent for an infra and where it cannot be read.
    pub fn record(self) -> Option<&'a ContainerRecord> {
        match self {
            Shown::Member(_, member) => member.record.as_ref().ok(),
            Shown::Infra(..) => None,
        }
    }

    /// Whether it is an infra.
    pub fn is_infra(self) -> bool {
        matches!(self, Shown::Infra(..))
    }

    /// Its id.
    pub fn id(self) -> &'a Id {
        match self {
            Shown::Member(_, member) => member.id(),
            Shown::Infra(_, _, id) => id,
        }
    }

    /// Its name; the short id where its record cannot be read.
    pub fn name(self) -> String {
        match self {
            Shown::Infra(_, record, _) => record.infra_name(),
            Shown::Member(_, member) => {
                member.record.as_ref().map_or_else(|_| member.id().short().to_owned(), |record| record.name.clone())
            }
        }
    }

    /// When it was created.
    pub fn created(self) -> i64 {
        match self {
            Shown::Infra(_, record, _) => record.created,
            Shown::Member(..) => self.record().map_or(0, |record| record.created),
        }
    }

    /// In which state it is.
    pub fn state(self) -> ContainerState {
        match self {
            Shown::Member(_, member) => member.state,
            Shown::Infra(pod, ..) => pod.infra.unwrap_or(ContainerState::Unknown),
        }
    }

    /// Its labels; an infra has those of its pod.
    pub fn labels(self) -> &'a BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match self {
            Shown::Infra(_, record, _) => &record.config.labels,
            Shown::Member(..) => self.record().map_or(&NONE, |record| &record.config.labels),
        }
    }

    /// The id of its pod; absent for a container without one.
    pub fn pod_id(self) -> Option<&'a Id> {
        Some(self.pod()).filter(|pod| !pod.hidden()).map(Pod::id)
    }

    /// When its last run began; 0 where there was none.
    pub fn started(self) -> i64 {
        match self {
            Shown::Infra(pod, ..) => pod.state.as_ref().map_or(0, |state| state.started_at),
            Shown::Member(_, member) => {
                let last = member.exit.as_ref().map_or(0, |exit| exit.started_at);
                member.monitor.as_ref().map_or(0, |monitor| monitor.started_at).max(last)
            }
        }
    }

    /// When it last ended; 0 where it never did or nobody knows.
    pub fn finished(self, roots: &Roots) -> i64 {
        match self {
            Shown::Member(_, member) => member.exit.as_ref().map_or(0, |exit| exit.status.finished_at),
            // Nobody records it; the shim left its mark when it stopped the pod.
            Shown::Infra(pod, ..) if self.state() == ContainerState::Exited => {
                fs::metadata(index::ran(roots, pod.id()))
                    .and_then(|metadata| metadata.modified())
                    .ok()
                    .and_then(|time| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok())
                    .unwrap_or(0)
            }
            Shown::Infra(..) => 0,
        }
    }

    /// The code it ended with: -1 where nobody knows it, 0 while it has not ended.
    pub fn exit_code(self) -> i32 {
        match self {
            Shown::Member(_, member) if self.state() == ContainerState::Exited => {
                // An exit from before this run began is an earlier run's; that of this one was lost.
                let began = member.monitor.as_ref().map_or(0, |monitor| monitor.started_at);
                let this_run = |exit: &&ExitRecord| exit.started_at == began || exit.status.finished_at >= began;
                member.exit.as_ref().filter(this_run).map_or(-1, |exit| exit.status.code)
            }
            _ => 0,
        }
    }

    /// What checks of its health have found; absent where it has none.
    pub fn health(self) -> Option<&'a HealthState> {
        match self {
            Shown::Member(_, member) => member.health.as_ref(),
            Shown::Infra(..) => None,
        }
    }

    /// Records its log has lost because it could not be written.
    pub fn log_dropped(self) -> u64 {
        match self {
            Shown::Member(_, member) => {
                let running = member.monitor.as_ref().map(|monitor| monitor.log_dropped);
                running.or(member.exit.as_ref().map(|exit| exit.log_dropped)).unwrap_or(0)
            }
            Shown::Infra(..) => 0,
        }
    }

    /// How its last run ended, where it has ended and the restart policy is about to begin another.
    pub fn restarting(self) -> Option<&'a ExitRecord> {
        let Shown::Member(_, member) = self else { return None };
        let between = |monitor: &MonitorState| monitor.phase == Phase::Backoff && member.init().is_none();
        let exit = member.exit.as_ref().filter(|exit| exit.status.finished_at != 0);
        exit.filter(|_| self.state() == ContainerState::Running && member.monitor.as_ref().is_some_and(between))
    }

    /// A user has ended its last run.
    pub fn stopped_by_user(self) -> bool {
        let Shown::Member(_, member) = self else { return false };
        member.exit.as_ref().is_some_and(|exit| exit.stopped_by_user)
    }

    /// Restarts by policy.
    pub fn restarts(self) -> u32 {
        let Shown::Member(_, member) = self else { return 0 };
        member
            .monitor
            .as_ref()
            .map(|monitor| monitor.restart_count)
            .or(member.exit.as_ref().map(|exit| exit.restart_count))
            .unwrap_or(0)
    }

    /// Its first process while it has one. The process of an infra is its pod's shim.
    pub fn process(self) -> Option<&'a Process> {
        match self {
            Shown::Member(_, member) => member.init(),
            Shown::Infra(pod, ..) => pod.up().map(|state| &state.shim).filter(|shim| shim.is_alive()),
        }
    }

    /// The restart policy that holds: its own, else the pod's, else `no`.
    pub fn restart_policy(self) -> RestartPolicy {
        let of_pod = self.pod().record.as_ref().ok().and_then(|pod| pod.config.restart.clone());
        let config = self.record().map(|record| &record.config);
        // An init container has to end, and --rm asks for one life.
        let inherits = config.is_none_or(|config| config.init_ctr.is_empty() && !config.auto_remove);
        let of_pod = of_pod.filter(|_| inherits);
        let own = config.and_then(|config| config.restart.clone());
        let mut policy = own.filter(|policy| !policy.name.is_empty()).or(of_pod).unwrap_or_default();
        if policy.name.is_empty() {
            policy.name = "no".to_owned();
        }
        policy
    }

    /// Whether it is in its pod's network namespace.
    pub fn in_pod_network(self) -> bool {
        let Shown::Member(pod, _) = self else { return true };
        self.joins("net", self.record().and_then(|r| r.config.network.as_ref()).map_or("", |network| &network.mode))
            || (pod.hidden()
                && self.record().is_some_and(|r| r.config.network.as_ref().is_none_or(|n| n.mode.is_empty())))
    }

    /// Whether `mode` of the namespace `name` means the pod's.
    pub fn joins(self, name: &str, mode: &str) -> bool {
        let shares = || {
            self.pod()
                .record
                .as_ref()
                .is_ok_and(|pod| pod.infra.is_some() && pod.config.share.iter().any(|shared| shared == name))
        };
        mode == "pod" || (mode.is_empty() && shares())
    }

    /// Published ports: those of the pod on all that are in its network, with the host ports the kernel chose while up.
    pub fn ports(self) -> Vec<PortMapping> {
        if self.in_pod_network() { pod_ports(self.pod()) } else { Vec::new() }
    }

    /// Names of the networks it is itself on. A member that joins its pod's network is on none of its own.
    pub fn networks(self) -> Vec<String> {
        match self {
            Shown::Infra(pod, ..) => pod_networks(pod),
            Shown::Member(pod, _) if self.in_pod_network() => {
                if pod.hidden() {
                    pod_networks(pod)
                } else {
                    Vec::new()
                }
            }
            Shown::Member(..) => self
                .record()
                .and_then(|record| record.config.network.as_ref())
                .map_or_else(Vec::new, |network| configured_networks(Some(network))),
        }
    }
}

/// Published ports of `pod`.
pub(super) fn pod_ports(pod: &Pod) -> Vec<PortMapping> {
    if let Some(up) = pod.up() {
        return up.ports.clone();
    }
    let config = pod.record.as_ref().ok().and_then(|record| record.config.network.as_ref());
    config.map_or_else(Vec::new, |network| network.ports.clone())
}

/// Names of the networks of `pod`.
pub(super) fn pod_networks(pod: &Pod) -> Vec<String> {
    if let Some(up) = pod.up() {
        return up.networks.iter().map(|status| status.network.clone()).collect();
    }
    pod.record.as_ref().map_or_else(|_| Vec::new(), |record| configured_networks(record.config.network.as_ref()))
}

/// Names of the networks that were asked for.
fn configured_networks(config: Option<&proto::wire::NetworkConfig>) -> Vec<String> {
    let Some(config) = config else { return vec![network::DEFAULT.to_owned()] };
    match config.mode.as_str() {
        "" | "bridge" | "private" if config.networks.is_empty() => vec![network::DEFAULT.to_owned()],
        "" | "bridge" | "private" => config.networks.iter().map(|network| network.name.clone()).collect(),
        _ => Vec::new(),
    }
}
