//! Addresses: `$RUN/networks/NAME/leases/IP → pod`, and who is on the network: `$RUN/networks/NAME/pods/POD → device`.
//!
//! A lease is a symlink: making it is the check that the address is free. Whoever changes something here holds the
//! network's `lock`. `last` is the address given last; the next one is looked for after it, so that an address is not
//! given to somebody else the moment it is free.

use std::{
    collections::BTreeSet,
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use proto::{
    Id, Kind, Refusal, Roots,
    alive::{self, Lock},
    record::{self, Durability, NetworkStatus, PodState},
    refusal::Result,
};

use super::subnet::host_addresses;

/// How long somebody else may hold a lock: a device is removed under it, which takes 50 ms on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The leases of one network.
#[derive(Clone, Debug)]
pub(super) struct Leases<'a> {
    roots: &'a Roots,
    network: &'a str,
}

/// Takes the lock at `path`, whose directory is made if need be, within [`PATIENCE`].
pub(super) fn lock(path: &Path) -> Result<Lock> {
    let failed = |error: io::Error| Refusal::internal(format_args!("locking {}", path.display()), error);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(dir) = path.parent() {
            make_dir(dir).map_err(failed)?;
        }
        match Lock::take_within(path, PATIENCE) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Refusal::new(Kind::TimedOut, format!("network: {error}")));
            }
            // Its directory was removed between the two lines above.
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < end => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Makes a directory that only we may enter, and those above it.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The names of all networks anybody is or was on since boot.
pub(super) fn networks(roots: &Roots) -> Vec<String> {
    names(&roots.run.join("networks")).into_iter().filter(|name| proto::name::is_valid(name)).collect()
}

/// Whether a pod is on any network of this run root.
pub(super) fn anybody(roots: &Roots) -> bool {
    networks(roots).iter().any(|network| !Leases::of(roots, network).is_empty())
}

/// What the pods that are up have on their networks, by their own records.
fn up(roots: &Roots) -> Vec<(Id, NetworkStatus)> {
    let states = names(&roots.run_pods()).into_iter().filter_map(|name| {
        let pod: Id = name.parse().ok()?;
        let state = record::read::<PodState>(&roots.pod_state(&pod)).ok()?;
        (state.started && state.boot_id == alive::boot_id()).then_some((pod, state.networks))
    });
    states.flat_map(|(pod, all)| all.into_iter().map(move |status| (pod.clone(), status))).collect()
}

/// Notes again who is on which network, where somebody has deleted all notes.
pub(super) fn restore(roots: &Roots) -> Result<()> {
    if !networks(roots).is_empty() {
        return Ok(());
    }
    let names: BTreeSet<String> = up(roots).into_iter().map(|(_, status)| status.network).collect();
    for network in &names {
        let leases = Leases::of(roots, network);
        let _lock = leases.lock()?;
        leases.restore()?;
    }
    Ok(())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

impl<'a> Leases<'a> {
    /// Those of `network`.
    pub(super) fn of(roots: &'a Roots, network: &'a str) -> Leases<'a> {
        Leases { roots, network }
    }

    fn dir(&self) -> PathBuf {
        self.roots.run_network(self.network)
    }

    fn leases(&self) -> PathBuf {
        self.dir().join("leases")
    }

    fn pods(&self) -> PathBuf {
        self.dir().join("pods")
    }

    /// Takes the network's lock.
    pub(super) fn lock(&self) -> Result<Lock> {
        lock(&self.dir().join("lock"))
    }

    fn failed(&self) -> impl Fn(io::Error) -> Refusal {
        move |error| Refusal::internal(format_args!("network {}: leases", self.network), error)
    }

    /// Notes that `pod` is on the network with `device` on the host. It comes before the lease and goes after it.
    pub(super) fn join(&self, pod: &Id, device: &str) -> Result<()> {
        if !self.leases().exists() || !self.pods().exists() {
            self.restore()?;
        }
        symlink(device, self.pods().join(pod.as_str())).map_err(self.failed())
    }

    /// Leases `wanted`, or the next free address of `range` that is not the gateway's.
    pub(super) fn lease(
        &self,
        range: Ipv4Net,
        gateway: Ipv4Addr,
        wanted: Option<Ipv4Addr>,
        pod: &Id,
    ) -> Result<Ipv4Addr> {
        if let Some(address) = wanted {
            return self.lease_static(address, pod);
        }
        for _ in 0..2 {
            if let Some(address) = self.next(range, gateway, pod)? {
                // Only a hint: without it the search begins at the front.
                let _ =
                    record::write_bytes(&self.dir().join("last"), address.to_string().as_bytes(), Durability::Volatile);
                return Ok(address);
            }
            self.collect();
        }
        let (first, last) = host_addresses(range).unwrap_or((range.network(), range.broadcast()));
        Err(Refusal::new(
            Kind::InUse,
            format!(
                "IPAM error: failed to find free IP in range: {first} - {last} of network {}: end a pod that is on it, or give --network another one (podctl network create)",
                self.network
            ),
        ))
    }

    fn next(&self, range: Ipv4Net, gateway: Ipv4Addr, pod: &Id) -> Result<Option<Ipv4Addr>> {
        let Some((first, last)) = host_addresses(range) else { return Ok(None) };
        let (first, last) = (u32::from(first), u32::from(last));
        let given = fs::read_to_string(self.dir().join("last")).ok().and_then(|text| text.trim().parse().ok());
        let start = given.map_or(first, |given: Ipv4Addr| u32::from(given).wrapping_add(1));
        let start = if (first..=last).contains(&start) { start } else { first };
        for candidate in (start..=last).chain(first..start).map(Ipv4Addr::from).filter(|ip| *ip != gateway) {
            if self.take(candidate, pod)? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn lease_static(&self, address: Ipv4Addr, pod: &Id) -> Result<Ipv4Addr> {
        self.check_static(address, None)?;
        if !self.take(address, pod)? {
            // It can only be stale now.
            fs::remove_file(self.leases().join(address.to_string())).map_err(self.failed())?;
            if !self.take(address, pod)? {
                return Err(Refusal::internal("IPAM error", format_args!("{address} cannot be leased")));
            }
        }
        Ok(address)
    }

    /// Whether `address` may be leased now, by `pod` if it is known: it may have it already.
    ///
    /// # Errors
    /// podman's words when a pod has it.
    pub(super) fn check_static(&self, address: Ipv4Addr, pod: Option<&Id>) -> Result<()> {
        match self.holder(&address.to_string()) {
            Some(owner) if pod != Some(&owner) && !self.is_stale(&owner) => {
                let words = format!("IPAM error: requested ip address {address} is already allocated to pod {owner:?}");
                Err(Refusal::new(Kind::InUse, words).about(address.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the directories. Somebody may have deleted them under pods that are up: what those have is noted again.
    fn restore(&self) -> Result<()> {
        make_dir(&self.leases()).map_err(self.failed())?;
        make_dir(&self.pods()).map_err(self.failed())?;
        for (pod, status) in up(self.roots).into_iter().filter(|(_, status)| status.network == self.network) {
            // It is there: then nothing was lost.
            let _ = symlink(&status.host_interface, self.pods().join(pod.as_str()));
            let _ = symlink(pod.as_str(), self.leases().join(&status.ip));
        }
        Ok(())
    }

    /// What `pod` has by `status`, where somebody has deleted the notes of it.
    pub(super) fn note_again(&self, pod: &Id, status: &NetworkStatus) -> Result<()> {
        let _lock = self.lock()?;
        if self.device(pod).is_none() {
            self.join(pod, &status.host_interface)?;
        }
        match status.ip.parse() {
            Ok(address) if self.holder(&status.ip).as_ref() != Some(pod) => self.lease_static(address, pod).map(drop),
            _ => Ok(()),
        }
    }

    /// `false` when somebody has it.
    fn take(&self, address: Ipv4Addr, pod: &Id) -> Result<bool> {
        match symlink(pod.as_str(), self.leases().join(address.to_string())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed()(error)),
        }
    }

    fn holder(&self, address: &str) -> Option<Id> {
        fs::read_link(self.leases().join(address)).ok()?.to_str()?.parse().ok()
    }

    /// The addresses that are leased, and to whom; `None` = to nobody who could be.
    pub(super) fn all(&self) -> Vec<(String, Option<Id>)> {
        let with_owner = |address: String| {
            let owner = self.holder(&address);
            (address, owner)
        };
        names(&self.leases()).into_iter().map(with_owner).collect()
    }

    /// Whether nothing of `pod` is up: nobody holds its lock, and it has no state (members may outlive their shim).
    fn is_stale(&self, pod: &Id) -> bool {
        !Lock::is_held(&self.roots.pod_lock(pod)) && !self.roots.pod_state(pod).exists()
    }

    /// Removes the leases and notes of pods of which nothing is up, and leases that are nobody's.
    pub(super) fn collect(&self) {
        for address in names(&self.leases()) {
            if self.holder(&address).is_none_or(|owner| self.is_stale(&owner)) {
                let _ = fs::remove_file(self.leases().join(address));
            }
        }
        for pod in self.members().iter().filter(|pod| self.is_stale(pod)) {
            let _ = fs::remove_file(self.pods().join(pod.as_str()));
        }
    }

    /// The device of `pod` on the host; `None` when it is not on the network.
    pub(super) fn device(&self, pod: &Id) -> Option<String> {
        fs::read_link(self.pods().join(pod.as_str())).ok()?.into_os_string().into_string().ok()
    }

    /// The pods on the network.
    pub(super) fn members(&self) -> Vec<Id> {
        names(&self.pods()).iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Removes the leases of `pod`, then its note.
    pub(super) fn leave(&self, pod: &Id) -> Result<()> {
        for address in names(&self.leases()) {
            if self.holder(&address).as_ref() == Some(pod) {
                remove_if_there(&self.leases().join(address)).map_err(self.failed())?;
            }
        }
        remove_if_there(&self.pods().join(pod.as_str())).map_err(self.failed())
    }

    /// Whether no pod is on the network.
    pub(super) fn is_empty(&self) -> bool {
        names(&self.pods()).is_empty()
    }

    /// Removes the directory of a network that is removed. Its lock is held; who waits for it finds the file gone.
    pub(super) fn clear(&self) {
        // $RUN only: what is left of it is read by nobody once the network's record has gone.
        let _ = fs::remove_dir_all(self.dir());
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

    fn roots(dir: &tempfile::TempDir) -> Roots {
        Roots { state: dir.path().join("state"), run: dir.path().join("run") }
    }

    fn id(digit: char) -> Id {
        digit.to_string().repeat(64).parse().expect("id")
    }

    /// A pod of which something is up.
    fn living(roots: &Roots, digit: char) -> (Id, Lock) {
        let pod = id(digit);
        let lock = lock(&roots.pod_lock(&pod)).expect("lock");
        (pod, lock)
    }

    #[test]
    fn addresses_follow_each_other_and_are_not_reused_at_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = roots(&dir);
        let leases = Leases::of(&roots, "x");
        let range: Ipv4Net = "10.9.0.0/29".parse().expect("net");
        let (pod, _lock) = living(&roots, 'a');
        leases.join(&pod, "veth").expect("join");
        let next = || leases.lease(range, GATEWAY, None, &pod).map(|ip| ip.octets()[3]);
        assert_eq!((next().expect("lease"), next().expect("lease")), (2, 3));
        leases.leave(&pod).expect("leave");
        assert!(leases.is_empty() && leases.device(&pod).is_none());
        assert_eq!((next().expect("lease"), next().expect("lease"), next().expect("lease")), (4, 5, 6));
        assert_eq!(next().expect("wraps"), 2);
        assert_eq!(next().expect("wraps"), 3);
        assert!(next().expect_err("full").message.contains("failed to find free IP in range: 10.9.0.1 - 10.9.0.6"));
    }

    #[test]
    fn a_static_address_is_refused_while_its_pod_lives() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = roots(&dir);
        let leases = Leases::of(&roots, "x");
        let (wanted, range) = (Ipv4Addr::new(10, 9, 0, 5), "10.9.0.0/24".parse().expect("net"));
        let (first, lock) = living(&roots, 'a');
        let (second, _lock) = living(&roots, 'b');
        leases.join(&first, "veth").expect("join");
        assert_eq!(leases.lease(range, GATEWAY, Some(wanted), &first).expect("free"), wanted);
        let refused = leases.lease(range, GATEWAY, Some(wanted), &second).expect_err("taken").message;
        assert_eq!(refused, "IPAM error: requested ip address 10.9.0.5 is already allocated to pod aaaaaaaaaaaa");
        drop(lock);
        assert_eq!(leases.lease(range, GATEWAY, Some(wanted), &second).expect("stale"), wanted);
    }

    #[test]
    fn stale_leases_are_collected_when_the_range_is_full() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = roots(&dir);
        let leases = Leases::of(&roots, "x");
        let range: Ipv4Net = "10.9.0.0/30".parse().expect("net");
        leases.join(&id('a'), "veth").expect("join");
        let address = leases.lease(range, GATEWAY, None, &id('a')).expect("lease");
        let (pod, _lock) = living(&roots, 'b');
        assert_eq!(leases.lease(range, GATEWAY, None, &pod).expect("collected"), address);
        let (other, _lock) = living(&roots, 'c');
        assert!(leases.lease(range, GATEWAY, None, &other).is_err());
    }
}
