//! Who has which name on the networks of a pod: read from the records of the pods on them, and kept while those do not
//! change.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use proto::{
    Id, Roots, alive,
    record::{self, NetworkStatus, PodState},
};

use crate::network::lease::Leases;

/// Looking at the records takes at most one part in so many of the time.
const SHARE: u32 = 10;

/// Names on some networks.
#[derive(Debug)]
pub(super) struct Names {
    roots: Roots,
    networks: Vec<Ipv4Net>,
    names: Vec<String>,
    seen: Mutex<Seen>,
}

/// What is known, and how new it is.
#[derive(Debug, Default)]
struct Seen {
    /// By pod: which file it was, and what it said.
    records: HashMap<Id, (Stamp, Vec<NetworkStatus>)>,
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    pods: BTreeMap<Ipv4Addr, String>,
    again: Option<Instant>,
}

/// A record is written whole by rename: another inode is another record.
type Stamp = (u64, i64, i64);

impl Names {
    /// Those on the networks of `status` that answer names.
    pub(super) fn new(roots: &Roots, status: &[NetworkStatus]) -> Names {
        let with_dns: Vec<&NetworkStatus> = status.iter().filter(|status| status.dns).collect();
        let net = |status: &&NetworkStatus| Some(Ipv4Net::new(status.ip.parse().ok()?, status.prefix).ok()?.trunc());
        Names {
            roots: roots.clone(),
            networks: with_dns.iter().filter_map(net).collect(),
            names: with_dns.iter().map(|status| status.network.clone()).collect(),
            seen: Mutex::default(),
        }
    }

    /// Addresses of a name in lower case; `None` when nobody has it.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.look(|seen| seen.addresses.get(name).cloned())
    }

    /// A name of an address of these networks; `None` when it is of another network.
    pub(super) fn name_of(&self, address: Ipv4Addr) -> Option<Option<String>> {
        if !self.networks.iter().any(|net| net.contains(&address)) {
            return None;
        }
        Some(self.look(|seen| seen.pods.get(&address).cloned()))
    }

    fn look<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        if seen.again.is_none_or(|again| begin >= again) {
            self.refresh(&mut seen);
            let cost = begin.elapsed();
            seen.again = Some(begin + cost.max(Duration::from_micros(10)) * SHARE);
        }
        what(&seen)
    }

    fn refresh(&self, seen: &mut Seen) {
        let mut changed = false;
        let mut records = HashMap::new();
        for pod in self.names.iter().flat_map(|network| Leases::of(&self.roots, network).members()) {
            // Not written yet, or gone: a pod without a state has no names.
            let Ok(file) = fs::metadata(self.roots.pod_state(&pod)) else { continue };
            let stamp = (file.ino(), file.mtime(), file.mtime_nsec());
            let known = seen.records.remove(&pod).filter(|(old, _)| *old == stamp);
            changed |= known.is_none();
            let entry = known.unwrap_or_else(|| (stamp, self.read(&pod)));
            records.insert(pod, entry);
        }
        changed |= !seen.records.is_empty();
        seen.records = records;
        if changed {
            self.index(seen);
        }
    }

    fn read(&self, pod: &Id) -> Vec<NetworkStatus> {
        let state = record::read::<PodState>(&self.roots.pod_state(pod)).ok();
        state.filter(|state| state.boot_id == alive::boot_id()).map(|state| state.networks).unwrap_or_default()
    }

    fn index(&self, seen: &mut Seen) {
        seen.addresses.clear();
        seen.pods.clear();
        for status in seen.records.values().flat_map(|(_, networks)| networks) {
            let Some(address) = status.ip.parse().ok().filter(|_| self.names.contains(&status.network)) else {
                continue;
            };
            for name in &status.aliases {
                let addresses = seen.addresses.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            seen.pods.extend(status.aliases.first().map(|name| (address, name.to_ascii_lowercase())));
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::record::{Durability, SCHEMA};

    use super::*;

    fn status(network: &str, ip: &str, aliases: &[&str]) -> NetworkStatus {
        NetworkStatus {
            network: network.into(),
            ip: ip.into(),
            prefix: 24,
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            dns: true,
            ..Default::default()
        }
    }

    fn write(roots: &Roots, pod: &Id, networks: Vec<NetworkStatus>) {
        let state = PodState {
            schema: SCHEMA,
            started: true,
            boot_id: alive::boot_id().into(),
            started_at: 1,
            shim: Default::default(),
            infra_init: None,
            networks,
            ports: Vec::new(),
            start_order: Vec::new(),
            cgroup: String::new(),
            paused: false,
        };
        fs::create_dir_all(roots.run_pod(pod)).expect("dir");
        record::write(&roots.pod_state(pod), &state, Durability::Volatile).expect("write");
    }

    /// The next look is at the records.
    fn fresh(names: &Names) {
        names.seen.lock().expect("lock").again = None;
    }

    #[test]
    fn names_come_and_go_with_the_pods_on_the_network() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        let (one, two): (Id, Id) = ("a".repeat(64).parse().expect("id"), "b".repeat(64).parse().expect("id"));
        let names = Names::new(&roots, &[status("net", "10.89.0.2", &["self"])]);
        assert_eq!(names.addresses("web"), None);
        let leases = Leases::of(&roots, "net");
        leases.join(&one, "x").expect("join");
        write(
            &roots,
            &one,
            vec![status("net", "10.89.0.3", &["Web", "api"]), status("other", "10.90.0.3", &["hidden"])],
        );
        fresh(&names);
        let address = Ipv4Addr::new(10, 89, 0, 3);
        assert_eq!(names.addresses("web"), Some(vec![address]));
        assert_eq!(names.addresses("hidden"), None);
        assert_eq!(names.name_of(address), Some(Some("web".to_owned())));
        assert_eq!(names.name_of(Ipv4Addr::new(10, 89, 0, 9)), Some(None));
        assert_eq!(names.name_of(Ipv4Addr::new(10, 90, 0, 3)), None);
        leases.join(&two, "y").expect("join");
        write(&roots, &two, vec![status("net", "10.89.0.4", &["api"])]);
        fresh(&names);
        assert_eq!(names.addresses("api").map(|addresses| addresses.len()), Some(2));
        leases.leave(&one).expect("leave");
        fresh(&names);
        assert_eq!(names.addresses("web"), None);
        assert_eq!(names.addresses("api"), Some(vec![Ipv4Addr::new(10, 89, 0, 4)]));
    }
}
