//! A pod's network down, by the pod's id alone; a network's end.
//!
//! What takes the kernel long (links 15–50 ms, the table 20 ms) is removed after the answer, and only after a while,
//! because the next pod would wait for it or have to make it again.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    failpoint::{self, Point},
    refusal::Result,
};

use super::{
    DEFAULT, Networks,
    attachment::mac_of,
    conntrack::Which,
    firewall,
    lease::{self, Leases},
    link,
    store::Layout,
    worker::{Host, STACK, failed, forget_flows, lock_rules},
};

/// How long a bridge and the rules outlive the last pod.
const LINGER: Duration = Duration::from_millis(300);
/// How long the devices of pods that have gone may still be on the bridge of a network that is removed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removals under way, see [`join_removals`].
static REMOVALS: Mutex<Vec<thread::JoinHandle<()>>> = Mutex::new(Vec::new());

/// Takes the pod's network down.
pub(super) fn down(networks: &Networks, pod: &Id) -> Result<()> {
    with(networks, pod, Host::open()?)
}

/// The same with sockets that are open already.
pub(super) fn with(networks: &Networks, pod: &Id, mut host: Host) -> Result<()> {
    let roots = &networks.roots;
    let table = firewall::table_name(&roots.run);
    let published = {
        let _lock = lock_rules(roots)?;
        firewall::remove(&mut host.filter, &table, pod)
            .map_err(|error| failed("removing firewall rules (nf_tables)", error))?
    };
    forget_flows(&mut host.filter, &published, Which::LedTo);
    failpoint::refuse(Point::NetDownRules)?;
    let mut devices = Vec::new();
    for network in lease::networks(roots) {
        let leases = Leases::of(roots, &network);
        if let Some(device) = leases.device(pod) {
            let _lock = leases.lock()?;
            leases.leave(pod)?;
            devices.push(device);
        }
    }
    failpoint::refuse(Point::NetDownLeft)?;
    if !devices.is_empty() || !published.is_empty() {
        remove_later(networks.clone(), devices, host);
    }
    Ok(())
}

/// A removal that is under way: `$RUN/networks/.going-ID`, locked. Where nobody holds the lock it was cut off.
#[derive(Debug)]
struct Going {
    path: PathBuf,
    _lock: Lock,
}

const GOING: &str = ".going-";

impl Going {
    fn new(roots: &Roots) -> Option<Going> {
        let path = roots.run.join("networks").join(format!("{GOING}{}", Id::random().ok()?.short()));
        Lock::take(&path).ok().map(|lock| Going { path, _lock: lock })
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // What stays makes the next one look.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a removal is under way, or was cut off.
pub(super) fn is_cut_off(networks: &Networks) -> bool {
    let entries = fs::read_dir(networks.roots.run.join("networks")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().as_encoded_bytes().starts_with(GOING.as_bytes()))
}

/// Finishes removals that were cut off: of bridges that nobody is on, and of the table.
pub(super) fn finish(networks: &Networks) -> Result<()> {
    for entry in fs::read_dir(networks.roots.run.join("networks")).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(GOING.as_bytes()) {
            continue;
        }
        if let Ok(Some(lock)) = Lock::try_take(&entry.path()) {
            let _going = Going { path: entry.path(), _lock: lock };
            sweep(networks, &[], &mut Host::open()?)?;
        }
    }
    Ok(())
}

/// Removes devices that outlived their namespace, and what nobody needs any more, after a while. The sockets go along:
/// closing one that has removed rules waits until no processor can be reading them (10 ms).
pub(super) fn remove_later(networks: Networks, devices: Vec<String>, mut host: Host) {
    let going = Going::new(&networks.roots);
    let run = move || {
        thread::sleep(LINGER);
        failpoint::pass(Point::NetDownSwept);
        if let Err(error) = sweep(&networks, &devices, &mut host) {
            // The next pod that goes down removes it.
            tracing::warn!(%error, "bridges or rules that nobody needs are left");
        }
        drop(going);
    };
    let mut removals = REMOVALS.lock().unwrap_or_else(PoisonError::into_inner);
    removals.retain(|removal| !removal.is_finished());
    match thread::Builder::new().stack_size(STACK).spawn(run) {
        Ok(removal) => removals.push(removal),
        Err(error) => tracing::warn!(%error, "bridges or rules that nobody needs are left"),
    }
}

/// Removes `devices`, the bridges of networks nobody is on, and the rules when nobody is on any.
fn sweep(networks: &Networks, devices: &[String], host: &mut Host) -> Result<()> {
    lease::restore(&networks.roots)?;
    for device in devices {
        link::remove(&mut host.route, device).map_err(|error| failed("removing a device", error))?;
    }
    for network in lease::networks(&networks.roots) {
        remove_bridge(networks, &network, host, Duration::ZERO)?;
    }
    let _lock = lock_rules(&networks.roots)?;
    if !lease::anybody(&networks.roots) {
        let table = firewall::table_name(&networks.roots.run);
        firewall::remove_table(&mut host.filter, &table)
            .map_err(|error| failed("removing firewall rules (nf_tables)", error))?;
    }
    Ok(())
}

/// Removes a network's bridge and elements if nobody is on it; `patience` is for devices that are about to go.
fn remove_bridge(networks: &Networks, network: &str, host: &mut Host, patience: Duration) -> Result<()> {
    let leases = Leases::of(&networks.roots, network);
    if !leases.is_empty() {
        return Ok(());
    }
    let Ok(record) = networks.get(network) else { return Ok(()) };
    let _lock = leases.lock()?;
    if !leases.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(&record)?;
    let failed = |error| failed(&format!("removing bridge {}", record.interface), error);
    {
        let _rules = lock_rules(&networks.roots)?;
        let table = firewall::table_name(&networks.roots.run);
        firewall::remove_bridge(&mut host.filter, &table, &record.interface, layout.subnet).map_err(failed)?;
    }
    failpoint::refuse(Point::NetDownBridge)?;
    let Some(found) = link::find(&mut host.route, &record.interface).map_err(failed)? else { return Ok(()) };
    let ours = found.kind == "bridge" && found.mac == mac_of(layout.gateway);
    let end = Instant::now() + patience;
    // Another run root may use a bridge of that name, too.
    while ours && link::has_ports(&mut host.route, found.index).map_err(failed)? && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    if !ours || link::has_ports(&mut host.route, found.index).map_err(failed)? {
        return Ok(());
    }
    link::remove(&mut host.route, &record.interface).map_err(failed)
}

/// Removes a network with all that is there of it.
pub(super) fn remove_network(networks: &Networks, name: &str) -> Result<()> {
    let record = networks.get_to_remove(name)?;
    if record.name == DEFAULT {
        return Err(Refusal::invalid(format!("default network {} cannot be removed", record.name)).about(name));
    }
    let leases = Leases::of(&networks.roots, &record.name);
    if !leases.is_empty() {
        return Err(in_use(name));
    }
    remove_bridge(networks, &record.name, &mut Host::open()?, PATIENCE)?;
    failpoint::refuse(Point::NetworkRmBridge)?;
    let _lock = leases.lock()?;
    if !leases.is_empty() {
        return Err(in_use(name));
    }
    networks.forget(&record.name)?;
    failpoint::pass(Point::NetworkRmForgot);
    leases.clear();
    Ok(())
}

/// podman's words for a network that pods use.
pub(super) fn in_use(name: &str) -> Refusal {
    let words = format!(
        "\"{name}\" has associated containers with it. Use -f to forcefully delete containers and pods: network is being used"
    );
    Refusal::new(Kind::InUse, words).about(name)
}

/// Takes the pod's network down with all its devices, and waits for it. For a pod that nobody has in hand.
pub(super) fn now(networks: &Networks, pod: &Id) -> Result<()> {
    let mut devices = Vec::new();
    for network in lease::networks(&networks.roots) {
        devices.extend(Leases::of(&networks.roots, &network).device(pod));
    }
    down(networks, pod)?;
    sweep(networks, &devices, &mut Host::open()?)
}

/// Removes bridges and rules that nobody needs.
pub(super) fn unneeded(networks: &Networks) -> Result<()> {
    let mut host = Host::open()?;
    sweep(networks, &[], &mut host)?;
    // Those of networks that nobody knows to have been up.
    for record in networks.list()? {
        let found = link::find(&mut host.route, &record.interface).map_err(|error| failed("reading links", error))?;
        if found.is_some() {
            remove_bridge(networks, &record.name, &mut host, PATIENCE)?;
        }
    }
    Ok(())
}

/// Waits for removals under way; a process that exits earlier leaves a bridge or the table to the next.
pub(super) fn join_removals() {
    let removals = std::mem::take(&mut *REMOVALS.lock().unwrap_or_else(PoisonError::into_inner));
    for removal in removals {
        // A panic there has been reported by its hook.
        let _ = removal.join();
    }
}
