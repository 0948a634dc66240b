//! `network connect` and `disconnect`: the networks of a pod change, in its record and, while it is up, at once.

use std::{collections::BTreeSet, os::fd::AsFd, sync::Arc, time::Duration};

use proto::{
    Kind, Refusal,
    failpoint::{self, Point},
    record::{self, Durability, NetworkStatus, PodRecord},
    refusal::Result,
    wire::{NetworkAttachment, NetworkConfig, PodResult},
};

use super::{Pod, bring_up::Core, files};
use crate::{
    namespace::pin::{self, Kind as Namespace},
    network, spec,
};

/// How often a damaged network is mended before it is left to whoever starts the pod anew, and the pause in between.
const MEND_TRIES: u32 = 5;
const MEND_PAUSE: Duration = Duration::from_secs(1);

impl Pod {
    /// Puts the pod on one more network, now if it is up, and at every start.
    ///
    /// # Errors
    /// When it has no networks of its own, is on it already, or what is asked for cannot be had; nothing has changed then.
    pub async fn connect(&self, mut new: NetworkAttachment) -> Result<PodResult> {
        let _gate = self.gate.write().await;
        let mut core = self.core.lock().await;
        let (pod, old) = self.networks_of(&core)?;
        let name = self.networks.get(&new.name)?.name;
        if old.networks.iter().any(|network| network.name == name) {
            return Err(Refusal::new(
                Kind::WrongState,
                format!(
                    "container {} is already connected to network \"{name}\": network is already connected",
                    self.called(&pod)
                ),
            ));
        }
        new.name = name;
        if new.interface_name.is_empty() {
            let taken: BTreeSet<&str> = old.networks.iter().map(|network| network.interface_name.as_str()).collect();
            let free = (0..).map(|number| format!("eth{number}")).find(|name| !taken.contains(name.as_str()));
            new.interface_name = free.unwrap_or_default();
        }
        let mut config = old;
        config.networks.push(new);
        spec::check_network(&config, pod.config.hidden)?;
        let config = network::with_interfaces(&self.networks, &self.id, &config)?;
        if core.is_up() {
            let names = self.names(&pod);
            let netns = self.netns()?;
            let request = network::Request { pod: &pod.id, names: &names, config: &config, netns: netns.as_fd() };
            let state = core.state().cloned().ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))?;
            let networks = network::connect(&self.networks, request, &state).await?;
            failpoint::pass(Point::ConnectUp);
            self.changed_networks(&mut core, &config, networks)?;
        }
        self.record_networks(&mut core, &pod, config)
    }

    /// What the user calls it: a hidden pod has the name of its container.
    fn called(&self, pod: &PodRecord) -> String {
        let members = if pod.config.hidden { self.members() } else { Vec::new() };
        let of_container = members.into_iter().find_map(|member| Some(member.record.ok()?.name));
        of_container.unwrap_or_else(|| pod.name.clone())
    }

    /// Takes the pod off a network. With `force` not being on it is fine.
    ///
    /// # Errors
    /// When it is not on it.
    pub async fn disconnect(&self, name: &str, force: bool) -> Result<PodResult> {
        let _gate = self.gate.write().await;
        let mut core = self.core.lock().await;
        let (pod, mut config) = self.networks_of(&core)?;
        let found = self.networks.get(name).map(|network| network.name);
        let name = match found {
            Err(_) if force => return Ok(super::whole::answer(&pod)),
            found => found?,
        };
        let before = config.networks.len();
        config.networks.retain(|network| network.name != name);
        if config.networks.len() == before {
            if force {
                return Ok(super::whole::answer(&pod));
            }
            return Err(Refusal::new(
                Kind::WrongState,
                format!("container {} is not connected to network {name}: network is not connected", self.called(&pod)),
            ));
        }
        if config.networks.is_empty() && !config.ports.is_empty() {
            return Err(Refusal::new(
                Kind::WrongState,
                format!(
                    "network {name} is the only one of {}, whose published ports lead there: connect another first",
                    self.called(&pod)
                ),
            ));
        }
        if config.networks.is_empty() {
            // No networks in the record would mean the default one at the next start.
            "none".clone_into(&mut config.mode);
        }
        if core.is_up() {
            let names = self.names(&pod);
            let netns = self.netns()?;
            let request = network::Request { pod: &pod.id, names: &names, config: &config, netns: netns.as_fd() };
            let state = core.state().cloned().ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))?;
            let networks = network::disconnect(&self.networks, request, &name, &state).await?;
            failpoint::pass(Point::DisconnectUp);
            self.changed_networks(&mut core, &config, networks)?;
        }
        self.record_networks(&mut core, &pod, config)
    }

    /// The pod, and its networks with the names of their devices.
    fn networks_of(&self, core: &Core) -> Result<(Arc<PodRecord>, NetworkConfig)> {
        let pod = core.record.clone().ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))?;
        let mut config = pod.config.network.clone().unwrap_or_default();
        let shares = pod.config.hidden || pod.config.share.iter().any(|shared| shared == "net");
        let left_all = config.mode == "none" && core.state().is_some_and(|state| state.networks.is_empty());
        match config.mode.as_str() {
            "" | "bridge" | "private" if shares && !pod.config.no_infra => {
                Ok((pod, network::with_interfaces(&self.networks, &self.id, &config)?))
            }
            "none" if shares && (left_all || core.state().is_none()) => {
                // With a first network it is as if it had been made with it.
                "bridge".clone_into(&mut config.mode);
                Ok((pod, config))
            }
            mode => Err(Refusal::new(
                Kind::WrongState,
                format!("\"{mode}\" is not supported: invalid network mode: only who has a bridge can be connected"),
            )),
        }
    }

    /// Puts back what somebody has removed of its network, while it is up.
    pub(super) async fn mend(&self) {
        for attempt in 1..=MEND_TRIES {
            match self.try_to_mend().await {
                Ok(()) => return,
                Err(refusal) => tracing::error!("pod {}: its network is damaged: {refusal}", self.id),
            }
            if attempt < MEND_TRIES {
                tokio::time::sleep(MEND_PAUSE).await;
            }
        }
    }

    async fn try_to_mend(&self) -> Result<()> {
        let mut core = self.core.lock().await;
        let Some(state) = core.state().filter(|state| !state.networks.is_empty()).cloned() else { return Ok(()) };
        let (pod, config) = self.networks_of(&core)?;
        let (names, netns) = (self.names(&pod), self.netns()?);
        let request = network::Request { pod: &pod.id, names: &names, config: &config, netns: netns.as_fd() };
        let mended = network::mend(&self.networks, request, &state).await?;
        if mended.rules {
            tracing::warn!("somebody has removed the firewall rules of pod {}: they are back", self.id);
        }
        if let Some(networks) = mended.links {
            tracing::warn!("somebody has removed links of pod {}: they are back", self.id);
            self.changed_networks(&mut core, &config, networks)?;
        }
        Ok(())
    }

    fn netns(&self) -> Result<std::os::fd::OwnedFd> {
        pin::open(&self.engine.roots.namespaces(&self.id), Namespace::Net)
            .map_err(|error| Refusal::internal("the pod's network namespace", error))
    }

    /// Files, names and state follow.
    fn changed_networks(&self, core: &mut Core, config: &NetworkConfig, networks: Vec<NetworkStatus>) -> Result<()> {
        let run = self.engine.roots.run_pod(&self.id);
        let Some(old) = core.state().cloned() else { return Ok(()) };
        let state = proto::record::PodState { networks, ..old.clone() };
        let resolv_conf = network::resolv_conf(&self.networks, config, &state.networks)?;
        files::write(&run.join("resolv.conf"), &resolv_conf)
            .and_then(|()| files::readdress(&run.join("hosts"), old.networks.first(), state.networks.first()))
            .map_err(|error| Refusal::internal("the pod's files", error))?;
        let dns = self.serve_dns(&state)?;
        let guard = self.guard(&state);
        core.replace(state, dns, guard);
        self.write_core(core);
        Ok(())
    }

    fn record_networks(&self, core: &mut Core, pod: &PodRecord, config: NetworkConfig) -> Result<PodResult> {
        failpoint::pass(Point::ConnectState);
        let mut changed = pod.clone();
        changed.config.network = Some(config);
        record::write(&self.engine.roots.pod_record(&self.id), &changed, Durability::Durable)
            .map_err(|error| Refusal::internal(format!("pod {}: its record", pod.name), error))?;
        failpoint::pass(Point::ConnectRecorded);
        let answer = super::whole::answer(&changed);
        core.record = Some(Arc::new(changed));
        Ok(answer)
    }
}
