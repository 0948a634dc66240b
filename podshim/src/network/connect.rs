//! One more network for a pod that is up, and one less: as if it had been started that way.

use proto::{
    Id,
    failpoint::{self, Point},
    record::NetworkStatus,
    refusal::Result,
    wire::{NetworkConfig, PortMapping},
};

use super::{
    Networks,
    attachment::attachments,
    bring_up::{self, Order},
    firewall,
    lease::Leases,
    link,
    netlink::Socket,
    take_down,
    worker::{Host, failed, inside, lock_rules},
};

/// A pod that is up.
#[derive(Debug)]
pub(super) struct Running {
    /// What it has.
    pub(super) networks: Vec<NetworkStatus>,
    /// Its published ports.
    pub(super) ports: Vec<PortMapping>,
}

/// Attaches the pod to the last network of `order`, and to nothing where that fails.
pub(super) fn connect(networks: &Networks, order: &Order, running: Running) -> Result<Vec<NetworkStatus>> {
    let attachments = attachments(networks, &order.config, Some(&order.pod))?;
    let Some(new) = attachments.last() else { return Ok(running.networks) };
    let mut host = Host::open()?;
    let mut all = running.networks.clone();
    let attached = bring_up::attach(networks, order, &mut host, new).and_then(|status| {
        let first = all.iter().all(|other| other.gateway.is_empty());
        all.push(status.clone());
        rules(networks, &mut host, order, &all, &running.ports)?;
        failpoint::refuse(Point::ConnectRules)?;
        inside(&order.netns, || {
            let mut route = Socket::route().map_err(|error| failed("opening netlink", error))?;
            bring_up::configure_device(&mut route, new, &status, first)
        })
    });
    match attached {
        Ok(()) => Ok(all),
        Err(refusal) => {
            // The refusal is what the user reads; what is left is found by the pod's id when it stops.
            let _ = leave(networks, order, &new.record.name, &running, host);
            Err(refusal)
        }
    }
}

/// Takes the pod off the network `name`; the others stay as they are. `order` has only those.
pub(super) fn disconnect(
    networks: &Networks,
    order: &Order,
    name: &str,
    mut running: Running,
) -> Result<Vec<NetworkStatus>> {
    let led_out =
        running.networks.iter().find(|status| !status.gateway.is_empty()).map(|status| status.network.clone());
    running.networks.retain(|status| status.network != name);
    leave(networks, order, name, &running, Host::open()?)?;
    if led_out.as_deref() == Some(name)
        && let Some(next) = running.networks.iter().find(|status| !status.gateway.is_empty())
    {
        inside(&order.netns, || lead_out(next))?;
    }
    Ok(running.networks)
}

/// Device, address and rules of the pod on `name` go; `running` is what it has beside that.
fn leave(networks: &Networks, order: &Order, name: &str, running: &Running, mut host: Host) -> Result<()> {
    let leases = Leases::of(&networks.roots, name);
    let device = leases.device(&order.pod);
    if let Some(device) = &device {
        link::remove(&mut host.route, device).map_err(|error| failed(&format!("{name}: removing {device}"), error))?;
    }
    failpoint::refuse(Point::DisconnectDevice)?;
    {
        let _lock = leases.lock()?;
        leases.leave(&order.pod)?;
    }
    {
        let table = firewall::table_name(&networks.roots.run);
        let _lock = lock_rules(&networks.roots)?;
        firewall::remove(&mut host.filter, &table, &order.pod)
            .map_err(|error| failed("removing firewall rules (nf_tables)", error))?;
    }
    failpoint::refuse(Point::DisconnectLeft)?;
    rules(networks, &mut host, order, &running.networks, &running.ports)?;
    take_down::remove_later(networks.clone(), device.into_iter().collect(), host);
    Ok(())
}

/// The rules of a pod that has `status`.
fn rules(
    networks: &Networks,
    host: &mut Host,
    order: &Order,
    status: &[NetworkStatus],
    ports: &[PortMapping],
) -> Result<()> {
    if status.is_empty() {
        return Ok(());
    }
    bring_up::publish(networks, host, &bring_up::share(networks, order.pod.clone(), status, ports))
}

/// The default route by the network of `status`.
fn lead_out(status: &NetworkStatus) -> Result<()> {
    let failed = |error| failed(&format!("{}: the default route", status.network), error);
    let mut route = Socket::route().map_err(failed)?;
    let Some(found) = link::find(&mut route, &status.interface).map_err(failed)? else { return Ok(()) };
    match status.gateway.parse() {
        Ok(gateway) => link::lead_out(&mut route, found.index, gateway).map_err(failed),
        Err(_) => Ok(()),
    }
}

/// The networks of `config` with every device named as it is called when the pod is started with them: one that comes
/// or goes does not rename the others.
pub(super) fn with_interfaces(networks: &Networks, pod: &Id, config: &NetworkConfig) -> Result<NetworkConfig> {
    let found = attachments(networks, config, Some(pod))?;
    let mut config = config.clone();
    if config.networks.is_empty() {
        config.networks = vec![Default::default()];
    }
    for (wanted, attachment) in config.networks.iter_mut().zip(&found) {
        wanted.name.clone_from(&attachment.record.name);
        wanted.interface_name.clone_from(&attachment.interface);
    }
    Ok(config)
}
