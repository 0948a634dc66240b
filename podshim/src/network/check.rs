//! What of networks belongs to pods that are gone: leases, notes, rules, devices, bridges.

use std::{collections::BTreeSet, fs, net::Ipv4Addr};

use proto::{Id, refusal::Result};

use super::{
    DEFAULT, Networks,
    attachment::mac_of,
    firewall,
    lease::{self, Leases},
    link,
    store::{BRIDGE, Layout},
    take_down,
    worker::{Host, failed},
};
use crate::finding::{Finding, Mend, shown};

/// What is wrong; `is_up` says whether anything of a pod is up or in somebody's hands.
///
/// # Errors
/// When the kernel does not even list its rules.
pub fn scan(networks: &Networks, is_up: impl Fn(&Id) -> bool) -> Result<Vec<Finding>> {
    let roots = &networks.roots;
    let mut found = records(networks);
    let mut stale: BTreeSet<Id> = BTreeSet::new();
    let known: BTreeSet<String> = networks.list()?.into_iter().map(|network| network.name).collect();
    for network in lease::networks(roots) {
        let leases = Leases::of(roots, &network);
        for (address, owner) in leases.all() {
            match owner {
                Some(pod) if is_up(&pod) => {}
                owner => {
                    stale.extend(owner);
                    found.push(lease(networks, &network, address));
                }
            }
        }
        let members = leases.members();
        stale.extend(members.iter().filter(|pod| !is_up(pod)).cloned());
        if !known.contains(&network) && network != DEFAULT && !members.iter().any(&is_up) {
            let path = roots.run_network(&network);
            let problem = "is the run directory of a network that is gone";
            let own = path.clone();
            found.push(Finding::repair(
                "network",
                shown(&path),
                problem,
                "removes it",
                move || match fs::remove_dir_all(&own) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("a directory", error)),
                    _ => Ok(()),
                },
            ));
        }
    }
    let mut host = Host::open()?;
    let table = firewall::table_name(&roots.run);
    let cannot = |error| failed("reading firewall rules (nf_tables)", error);
    let (there, owners) = firewall::owners(&mut host.filter, &table).map_err(cannot)?;
    stale.extend(owners.into_iter().filter(|pod| !is_up(pod)));
    for pod in stale {
        let own = networks.clone();
        let problem = "is down or gone, and its rules and devices are left";
        found.push(Finding::repair("network of pod", pod.short().to_owned(), problem, "removes them", move || {
            take_down::now(&own, &pod)
        }));
    }
    if there && !lease::anybody(roots) {
        let own = networks.clone();
        let problem = "is a table of rules that no pod needs";
        found.push(Finding::repair("firewall", format!("table ip {table}"), problem, "removes it", move || {
            take_down::unneeded(&own)
        }));
    }
    found.extend(bridges(networks, &mut host)?);
    Ok(found)
}

/// Networks whose records cannot be read.
fn records(networks: &Networks) -> Vec<Finding> {
    let dir = networks.roots.networks();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let path = entry.path();
        match proto::record::read::<proto::record::NetworkRecord>(&path) {
            Ok(record) if record.schema > proto::record::SCHEMA => {
                let way = "install that version again".to_owned();
                found.push(Finding::new("network", name, "was written by a newer podctl", Mend::User(way)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let problem = "has a record that cannot be read";
                found.push(Finding::force("network", name, problem, "removes it", move || {
                    fs::remove_file(&path).map_err(|error| failed("a record", error))
                }));
            }
            _ => {}
        }
    }
    found
}

fn lease(networks: &Networks, network: &str, address: String) -> Finding {
    let (own, name) = (networks.clone(), network.to_owned());
    let object = format!("{address} of {network}");
    Finding::repair("lease", object, "is held by a pod that is down or gone", "frees it", move || {
        let leases = Leases::of(&own.roots, &name);
        let _lock = leases.lock()?;
        leases.collect();
        Ok(())
    })
}

/// Whether a bridge is as we make them: one of our names, and a hardware address like those that follow from a gateway's.
fn is_ours(name: &str, link: &link::Link) -> bool {
    let number = name.strip_prefix(BRIDGE).unwrap_or_default();
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && link.mac.starts_with(&mac_of(Ipv4Addr::UNSPECIFIED)[..2])
}

/// Bridges of networks nobody is on, which no other run root uses either.
fn bridges(networks: &Networks, host: &mut Host) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let cannot = |error| failed("reading links", error);
    let records = networks.list()?;
    for (name, link) in link::bridges(&mut host.route).map_err(cannot)? {
        let known = records.iter().any(|record| record.interface == name);
        if known || !is_ours(&name, &link) || link::has_ports(&mut host.route, link.index).map_err(cannot)? {
            continue;
        }
        let problem = "is the bridge of a network that is gone";
        found.push(Finding::repair("bridge", name.clone(), problem, "removes it", move || {
            let mut host = Host::open()?;
            let still = link::find(&mut host.route, &name).map_err(cannot)?.is_some_and(|now| now.index == link.index);
            // Another run root may have it after all.
            if !still || link::has_ports(&mut host.route, link.index).map_err(cannot)? {
                return Ok(());
            }
            link::remove(&mut host.route, &name).map_err(|error| failed(&format!("removing bridge {name}"), error))
        }));
    }
    for record in records {
        if !Leases::of(&networks.roots, &record.name).is_empty() {
            continue;
        }
        let Some(link) = link::find(&mut host.route, &record.interface).map_err(cannot)? else { continue };
        let ours = link.kind == "bridge" && link.mac == mac_of(Layout::of(&record)?.gateway);
        if !ours || link::has_ports(&mut host.route, link.index).map_err(cannot)? {
            continue;
        }
        let own = networks.clone();
        let problem = "is the bridge of a network nobody is on";
        found.push(Finding::repair("bridge", &record.interface, problem, "removes it", move || {
            take_down::unneeded(&own)
        }));
    }
    Ok(found)
}
