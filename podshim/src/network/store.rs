//! The store of networks: `$STATE/networks/NAME.json`, and the default network, which needs no file.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use ipnet::Ipv4Net;
use nix::net::if_::if_nametoindex;
use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    event::{self, Event},
    failpoint::{self, Point},
    id, name,
    record::{self, Durability, NetworkRecord, SCHEMA},
    refusal::Result,
    time, wire,
};
use sha2::{Digest, Sha256};

use super::{DEFAULT, lease, subnet};

/// The default network's bridge; those of others have its name with another number.
pub(super) const BRIDGE: &str = "podctl";
const DEFAULT_SUBNET: &str = "10.88.0.0/16";
const DEFAULT_GATEWAY: &str = "10.88.0.1";
/// Names `--network` gives another meaning.
const MODES: [&str; 7] = ["bridge", "container", "default", "host", "none", "ns", "private"];
/// Smallest packet IPv4 must carry (RFC 791), and the largest.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

/// The store of networks.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(super) roots: Roots,
}

impl Networks {
    /// Opens it.
    pub fn open(roots: &Roots) -> Networks {
        Networks { roots: roots.clone() }
    }

    /// Creates a network (bridge device and rules come with the first pod).
    ///
    /// # Errors
    /// podman's words for a name in use, a bad subnet, gateway, range, driver or option.
    pub fn create(&self, request: &wire::CreateNetwork) -> Result<NetworkRecord> {
        check_request(request)?;
        let dir = self.roots.networks();
        let cannot = |error| Refusal::internal(format_args!("creating network {}", request.name), error);
        lease::make_dir(&dir).map_err(cannot)?;
        // Held for the microseconds in which the name, the subnet and the bridge's name are chosen.
        let _lock = Lock::take(&dir.join(".lock")).map_err(cannot)?;
        record::sweep(&dir);
        let existing = self.list()?;
        let name = if request.name.is_empty() { free_name(&existing) } else { request.name.clone() };
        if let Some(there) = existing.iter().find(|network| network.name == name) {
            if request.ignore {
                return Ok(there.clone());
            }
            let words = format!("network name {name} already used: network already exists");
            return Err(Refusal::new(Kind::NameInUse, words).about(name));
        }
        let record = self.record(request, name, &existing)?;
        failpoint::check(Point::NetworkCreate).map_err(cannot)?;
        record::write(&self.path(&record.name), &record, Durability::Durable).map_err(cannot)?;
        failpoint::pass(Point::NetworkCreated);
        event::note(&self.roots, &Event::new("network", "create", record.id.as_str(), &record.name));
        Ok(record)
    }

    fn record(&self, request: &wire::CreateNetwork, name: String, existing: &[NetworkRecord]) -> Result<NetworkRecord> {
        let mut used: Vec<Ipv4Net> = existing.iter().filter_map(|network| network.subnet.parse().ok()).collect();
        let routes = subnet::host_routes().map_err(|error| Refusal::internal("reading the host's routes", error))?;
        used.extend(routes.into_iter().map(|(net, _)| net));
        let plan = subnet::plan(&request.subnet, &request.gateway, &request.ip_range, &used)?;
        Ok(NetworkRecord {
            schema: SCHEMA,
            id: id_of(&name)?,
            name,
            driver: "bridge".to_owned(),
            interface: interface_name(&request.interface_name, existing)?,
            created: time::now(),
            subnet: plan.subnet.to_string(),
            gateway: plan.gateway.to_string(),
            ip_range: if plan.range == plan.subnet { String::new() } else { plan.range.to_string() },
            internal: request.internal,
            dns: !request.disable_dns,
            dns_servers: request.dns.clone(),
            labels: request.labels.clone(),
            options: request.options.clone(),
        })
    }

    /// By name or unique beginning of the id.
    ///
    /// # Errors
    /// `NoSuchNetwork` in podman's words; `Invalid` where several ids begin with it.
    pub fn get(&self, name: &str) -> Result<NetworkRecord> {
        if name == DEFAULT {
            return default_network();
        }
        if name::is_valid(name) {
            match record::read::<NetworkRecord>(&self.path(name)) {
                Ok(record) => return Ok(record),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Refusal::internal(format_args!("reading network {name}"), error)),
            }
        }
        let mut matching = Vec::new();
        if id::is_prefix(name) {
            matching = self.list()?;
            matching.retain(|network| network.id.as_str().starts_with(name));
        }
        if matching.len() > 1 {
            return Err(Refusal::invalid(format!("more than one result for network ID {name}: use more of it")));
        }
        matching.pop().ok_or_else(|| {
            let words = format!("unable to find network with name or ID {name}: network not found");
            Refusal::new(Kind::NoSuchNetwork, words).about(name)
        })
    }

    /// The network as far as its removal needs it: of one whose record cannot be read, its name and id.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_to_remove(&self, name: &str) -> Result<NetworkRecord> {
        match self.get(name) {
            Err(refusal) if refusal.kind == Kind::Internal => Ok(NetworkRecord {
                name: name.to_owned(),
                id: id_of(name)?,
                interface: String::new(),
                ..default_network()?
            }),
            other => other,
        }
    }

    /// All, the default network first.
    ///
    /// # Errors
    /// When the directory cannot be read; a record that cannot be read is left out.
    pub fn list(&self) -> Result<Vec<NetworkRecord>> {
        let entries = match fs::read_dir(self.roots.networks()) {
            Ok(entries) => entries.flatten().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Refusal::internal("reading the networks", error)),
        };
        let mut networks: Vec<NetworkRecord> = entries
            .iter()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
            .filter(|name| name::is_valid(name) && name != DEFAULT)
            .filter_map(|name| record::read(&self.path(&name)).ok())
            .collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks.insert(0, default_network()?);
        Ok(networks)
    }

    /// Removes the record; the device and the rules are the caller's.
    pub(super) fn forget(&self, name: &str) -> Result<()> {
        fs::remove_file(self.path(name))
            .map_err(|error| Refusal::internal(format_args!("removing network {name}"), error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.roots.networks().join(format!("{name}.json"))
    }
}

fn default_network() -> Result<NetworkRecord> {
    Ok(NetworkRecord {
        schema: SCHEMA,
        name: DEFAULT.to_owned(),
        id: id_of(DEFAULT)?,
        driver: "bridge".to_owned(),
        interface: format!("{BRIDGE}0"),
        created: time::now(),
        subnet: DEFAULT_SUBNET.to_owned(),
        gateway: DEFAULT_GATEWAY.to_owned(),
        ip_range: String::new(),
        internal: false,
        dns: false,
        dns_servers: Vec::new(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    })
}

/// A network's id is the digest of its name, as podman's is.
fn id_of(name: &str) -> Result<Id> {
    id::hex(&Sha256::digest(name)).parse().map_err(|error| Refusal::internal("network id", error))
}

/// What can be said without looking at anything.
fn check_request(request: &wire::CreateNetwork) -> Result<()> {
    let name = &request.name;
    if !name.is_empty() && !name::is_valid(name) {
        return Err(Refusal::invalid(format!("network name {name} invalid: {}", name::rule(name))));
    }
    if MODES.contains(&name.as_str()) {
        return Err(Refusal::invalid(format!(
            "cannot create network with name \"{name}\" because it conflicts with a valid network mode"
        )));
    }
    // `default_network` has no file that would show it.
    if name == DEFAULT && !request.ignore {
        let words = format!("network name {name} already used: network already exists");
        return Err(Refusal::new(Kind::NameInUse, words).about(name));
    }
    if !matches!(request.driver.as_str(), "" | "bridge") {
        return Err(Refusal::invalid(format!("unsupported driver {}: invalid argument", request.driver)));
    }
    for server in &request.dns {
        if server.parse::<IpAddr>().is_err() {
            return Err(Refusal::invalid(format!("unable to parse ip {server}: --dns takes IP addresses")));
        }
    }
    request.options.iter().try_for_each(|(key, value)| check_option(key, value))
}

fn check_option(key: &str, value: &str) -> Result<()> {
    let good = match key {
        "mtu" | "com.docker.network.driver.mtu" => value.parse().is_ok_and(|mtu: u32| mtu == 0 || MTU.contains(&mtu)),
        "isolate" => matches!(value, "true" | "false" | "1" | "0" | "strict"),
        _ => return Err(Refusal::invalid(format!("unsupported bridge network option {key}"))),
    };
    if good { Ok(()) } else { Err(Refusal::invalid(format!("--opt {key}={value}: no valid value of this option"))) }
}

/// The bridge's name: the one asked for, or the next free.
fn interface_name(wanted: &str, existing: &[NetworkRecord]) -> Result<String> {
    let taken = |name: &str| existing.iter().any(|network| network.interface == name) || if_nametoindex(name).is_ok();
    if wanted.is_empty() {
        return (1u32..)
            .map(|number| format!("{BRIDGE}{number}"))
            .find(|name| !taken(name))
            .ok_or_else(|| Refusal::invalid("no bridge name is free"));
    }
    // dev_valid_name() of the kernel.
    let valid = wanted.len() < libc::IFNAMSIZ
        && !matches!(wanted, "." | "..")
        && wanted.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    if !valid {
        return Err(Refusal::invalid(format!("--interface-name {wanted}: no valid interface name")));
    }
    if taken(wanted) {
        return Err(Refusal::invalid(format!("bridge name {wanted} already in use")));
    }
    Ok(wanted.to_owned())
}

fn free_name(existing: &[NetworkRecord]) -> String {
    (1u32..)
        .map(|number| format!("podman{number}"))
        .find(|name| !existing.iter().any(|network| network.name == *name))
        .unwrap_or_default()
}

/// What of a record decides how a pod is attached.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The subnet.
    pub(super) subnet: Ipv4Net,
    /// The bridge's address in it.
    pub(super) gateway: Ipv4Addr,
    /// Addresses are leased from here.
    pub(super) range: Ipv4Net,
    /// Largest packet in bytes; `None` = the kernel's.
    pub(super) mtu: Option<u32>,
}

impl Layout {
    /// Reads a record's texts.
    ///
    /// # Errors
    /// When someone has edited the record and it makes no sense any more.
    pub(super) fn of(record: &NetworkRecord) -> Result<Layout> {
        let bad =
            |what| Refusal::internal(format_args!("network {}", record.name), format_args!("bad {what} in its record"));
        let subnet: Ipv4Net = record.subnet.parse().map_err(|_| bad("subnet"))?;
        let range = if record.ip_range.is_empty() { Ok(subnet) } else { record.ip_range.parse() };
        let mtu = ["mtu", "com.docker.network.driver.mtu"].iter().find_map(|key| record.options.get(*key));
        let mtu: Option<u32> = mtu.map(|mtu| mtu.parse()).transpose().map_err(|_| bad("mtu"))?;
        Ok(Layout {
            subnet,
            gateway: record.gateway.parse().map_err(|_| bad("gateway"))?,
            range: range.map_err(|_| bad("range"))?,
            mtu: mtu.filter(|mtu| *mtu != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Networks) {
        let dir = tempfile::tempdir().expect("tempdir");
        let networks = Networks::open(&Roots { state: dir.path().join("state"), run: dir.path().join("run") });
        (dir, networks)
    }

    fn request(name: &str) -> wire::CreateNetwork {
        wire::CreateNetwork { name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn networks_are_made_found_listed_and_forgotten() {
        let (_dir, networks) = store();
        let mired = networks.create(&request("mired")).expect("create");
        assert!(mired.dns && mired.subnet.starts_with("10.") && mired.interface.starts_with("podctl"));
        let other = networks.create(&request("a")).expect("create");
        assert_ne!((&mired.subnet, &mired.interface), (&other.subnet, &other.interface));
        assert_eq!(networks.get("mired").expect("get"), mired);
        assert_eq!(networks.get(&mired.id.as_str()[..12]).expect("get").name, "mired");
        let names: Vec<String> = networks.list().expect("list").into_iter().map(|network| network.name).collect();
        assert_eq!(names, [DEFAULT, "a", "mired"]);
        let again = networks.create(&request("mired")).expect_err("taken");
        assert_eq!(again.message, "network name mired already used: network already exists");
        let ignored = networks.create(&wire::CreateNetwork { ignore: true, ..request("mired") }).expect("ignored");
        assert_eq!(ignored, mired);
        networks.forget("mired").expect("forget");
        let missing = networks.get("mired").expect_err("gone");
        assert_eq!(missing.message, "unable to find network with name or ID mired: network not found");
    }

    #[test]
    fn the_default_network_is_always_there() {
        let (_dir, networks) = store();
        let podman = networks.get(DEFAULT).expect("get");
        assert_eq!(podman.id.short(), "2f259bab93aa");
        assert_eq!((podman.subnet.as_str(), podman.dns), ("10.88.0.0/16", false));
        assert_eq!(networks.create(&request(DEFAULT)).expect_err("taken").kind, Kind::NameInUse);
    }

    #[test]
    fn a_bad_record_never_hides_the_others() {
        let (_dir, networks) = store();
        networks.create(&request("good")).expect("create");
        fs::write(networks.path("bad"), "{").expect("write");
        fs::write(networks.path("podman"), "{}").expect("write");
        assert_eq!(networks.list().expect("list").len(), 2);
        assert!(networks.get("bad").is_err());
        assert!(networks.get("../state/networks/good").is_err());
    }

    #[test]
    fn bad_requests_are_refused() {
        let (_dir, networks) = store();
        let with = |key: &str, value: &str| wire::CreateNetwork {
            options: [(key.to_owned(), value.to_owned())].into(),
            ..request("x")
        };
        for (request, words) in [
            (request("a/b"), "network name a/b invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
            (
                request("host"),
                "cannot create network with name \"host\" because it conflicts with a valid network mode",
            ),
            (
                wire::CreateNetwork { driver: "../x".into(), ..request("x") },
                "unsupported driver ../x: invalid argument",
            ),
            (with("foo", "bar"), "unsupported bridge network option foo"),
            (with("mtu", "abc"), "--opt mtu=abc: no valid value of this option"),
            (with("isolate", "maybe"), "--opt isolate=maybe: no valid value of this option"),
            (
                wire::CreateNetwork { interface_name: "a/b".into(), ..request("x") },
                "--interface-name a/b: no valid interface name",
            ),
            (wire::CreateNetwork { interface_name: "lo".into(), ..request("x") }, "bridge name lo already in use"),
            (
                wire::CreateNetwork { dns: vec!["x".into()], ..request("x") },
                "unable to parse ip x: --dns takes IP addresses",
            ),
        ] {
            assert_eq!(networks.create(&request).expect_err(words).message, words);
        }
        assert_eq!(networks.list().expect("list").len(), 1);
    }
}
