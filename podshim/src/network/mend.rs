//! What somebody has removed of the network of a pod that is up is put back: links, elements, rules.

use proto::{record::NetworkStatus, refusal::Result};

use super::{
    Networks,
    attachment::{Attachment, attachments},
    bring_up::{self, Order},
    connect::Running,
    firewall, link,
    netlink::Socket,
    worker::{Host, failed, inside, lock_rules},
};

/// What was missing.
#[derive(Debug, Default)]
pub struct Mended {
    /// Rules, or elements of sets.
    pub rules: bool,
    /// Links: what the pod has now.
    pub links: Option<Vec<NetworkStatus>>,
}

/// Looks at everything that the pod of `order` should have on the host, and makes what is not there.
pub(super) fn mend(networks: &Networks, order: &Order, running: Running) -> Result<Mended> {
    let mut host = Host::open()?;
    let mut all = running.networks;
    let mut relinked = false;
    for attachment in attachments(networks, &order.config, Some(&order.pod))? {
        let Some(at) = all.iter().position(|status| status.network == attachment.record.name) else { continue };
        if is_attached(&mut host.route, &attachment, &all[at])? {
            continue;
        }
        let first = all[..at].iter().all(|other| other.gateway.is_empty());
        all[at] = attach_again(networks, order, &mut host, attachment, &all[at], first)?;
        relinked = true;
    }
    let share = bring_up::share(networks, order.pod.clone(), &all, &running.ports);
    let table = firewall::table_name(&networks.roots.run);
    let cannot = |error| failed("firewall rules (nf_tables)", error);
    let rules = {
        let _lock = lock_rules(&networks.roots)?;
        let whole = firewall::is_whole(&mut host.filter, &table).map_err(cannot)?;
        if !whole {
            // Half a table is none.
            firewall::remove_table(&mut host.filter, &table).map_err(cannot)?;
        }
        !whole || !firewall::has(&mut host.filter, &table, &share).map_err(cannot)?
    };
    if rules {
        bring_up::publish(networks, &mut host, &share)?;
    }
    Ok(Mended { rules, links: relinked.then_some(all) })
}

/// Whether the pod's device is there and is a port of the network's bridge.
fn is_attached(route: &mut Socket, attachment: &Attachment, status: &NetworkStatus) -> Result<bool> {
    let failed = |error| failed(&format!("{}: looking at {}", status.network, status.host_interface), error);
    let device = link::find(route, &status.host_interface).map_err(failed)?;
    let bridge = link::find(route, &attachment.record.interface).map_err(failed)?;
    Ok(device.zip(bridge).is_some_and(|(device, bridge)| device.master == Some(bridge.index)))
}

/// A new pair with the address it had; what is left of the old one goes.
fn attach_again(
    networks: &Networks,
    order: &Order,
    host: &mut Host,
    attachment: Attachment,
    before: &NetworkStatus,
    leads_out: bool,
) -> Result<NetworkStatus> {
    let attachment = Attachment { ip: before.ip.parse().ok(), ..attachment };
    let status = bring_up::attach(networks, order, host, &attachment)?;
    inside(&order.netns, || {
        let mut route = Socket::route().map_err(|error| failed("opening netlink", error))?;
        bring_up::configure_device(&mut route, &attachment, &status, leads_out)
    })?;
    Ok(NetworkStatus { aliases: before.aliases.clone(), ..status })
}
