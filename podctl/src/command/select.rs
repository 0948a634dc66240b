//! Which pods or containers a command is about: names, `--all`, `--latest`, `--filter`, id files.

use proto::wire::{ListContainers, ListPods};

use super::row;
use crate::{
    args::{Args, Flag, container::read_id, list, switch},
    dial::{ASK, Engine, Found},
    error::{Failure, is_missing},
};
use proto::{Id, serve::deadline};

/// `-l`
pub const LATEST_POD: &[Flag] = &[switch("latest", "Act on the latest pod podctl is aware of").short('l')];
/// `-l`
pub const LATEST: &[Flag] = &[switch("latest", "Act on the latest container podctl is aware of").short('l')];
/// `-f`
pub const FILTER: &[Flag] = &[list("filter", "Filter output based on conditions given").short('f')];
/// `--filter`, where `-f` is something else
pub const FILTER_LONG: &[Flag] = &[list("filter", "Filter output based on conditions given")];
/// `--cidfile`
pub const CIDFILE: &[Flag] = &[crate::args::array("cidfile", "Read the container ID from the file")];
/// `--pod-id-file`
pub const POD_ID_FILE: &[Flag] = &[crate::args::array("pod-id-file", "Read the pod ID from the file")];

/// A pod, as it was named.
#[derive(Clone, Debug)]
pub struct Pod {
    /// What was typed.
    pub typed: String,
    /// What it is.
    pub id: Id,
}

/// A container, as it was named.
#[derive(Clone, Debug)]
pub struct Container {
    /// What was typed; the full id where it was not typed.
    pub typed: String,
    /// What it is.
    pub found: Found,
}

fn flag(args: &Args, name: &'static str) -> bool {
    args.knows(name) && args.is(name)
}

fn values(args: &Args, name: &'static str) -> Vec<String> {
    if args.knows(name) { args.all(name) } else { Vec::new() }
}

/// Refuses names together with `--all` and the like.
fn check(args: &Args, id_file: &'static str, none: &str) -> Result<(), Failure> {
    let (all, latest, files) = (flag(args, "all"), flag(args, "latest"), !values(args, id_file).is_empty());
    let named = !args.operands.is_empty();
    let words = if files && (all || latest) {
        format!("--all, --latest, and --{id_file} cannot be used together")
    } else if all && latest {
        "--all and --latest cannot be used together".to_owned()
    } else if all && named {
        "no arguments are needed with --all".to_owned()
    } else if latest && named {
        "--latest and containers cannot be used together".to_owned()
    } else if !all && !latest && !files && !named && values(args, "filter").is_empty() {
        none.to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::invalid(words))
}

/// The words for a command without a name.
pub const NO_NAME: &str = "you must provide at least one name or id";

/// The pods that `args` names; with `ignore`, those that there are. `none` is said when it names none.
///
/// # Errors
/// podman's words; one name that is nothing fails all.
pub async fn pods(engine: &Engine, args: &Args, ignore: bool, none: &str) -> Result<Vec<Pod>, Failure> {
    check(args, "pod-id-file", none)?;
    if flag(args, "all") || flag(args, "latest") {
        let request = ListPods { latest: flag(args, "latest"), ..Default::default() };
        let host = engine.host()?;
        let rows = row::rows(&host.pods().list(deadline(ASK), &request).await?)?;
        if rows.is_empty() && flag(args, "latest") {
            return Err(Failure::invalid("no pods found, --latest names none: no such pod"));
        }
        return rows.iter().map(|row| Pod::listed(row::text(row, "Id"))).collect();
    }
    let mut names = args.operands.clone();
    for file in values(args, "pod-id-file") {
        match read_id("pod ID file", &file) {
            Err(_) if ignore => {}
            other => names.push(other?),
        }
    }
    let mut pods = Vec::new();
    for name in names {
        match engine.pod_id(&name) {
            Ok(id) => pods.push(Pod { typed: name, id }),
            Err(failure) if ignore && is_missing(failure.kind) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(pods)
}

impl Pod {
    /// A pod of a list, by its id.
    ///
    /// # Errors
    /// When that is no id.
    pub fn listed(id: &str) -> Result<Pod, Failure> {
        let parsed =
            id.parse().map_err(|error| Failure::invalid(format!("the engine's list cannot be read: {error}")))?;
        Ok(Pod { typed: id.to_owned(), id: parsed })
    }
}

/// As [`containers`], but what `--all` names has a process: the infra of pods is not among it.
///
/// # Errors
/// As [`containers`].
pub async fn members(engine: &Engine, args: &Args, states: &[&str], none: &str) -> Result<Vec<Container>, Failure> {
    let mut found = containers(engine, args, false, states, none).await?;
    found.retain(|container| !flag(args, "all") || !matches!(container.found, Found::Infra(_)));
    Ok(found)
}

/// The containers that `args` names; see [`pods`]. `states` are the states that `--all` means, empty = every one.
///
/// # Errors
/// podman's words; one name that is nothing fails all.
pub async fn containers(
    engine: &Engine,
    args: &Args,
    ignore: bool,
    states: &[&str],
    none: &str,
) -> Result<Vec<Container>, Failure> {
    check(args, "cidfile", none)?;
    let filters = values(args, "filter");
    if flag(args, "all") || flag(args, "latest") || !filters.is_empty() {
        let states = if flag(args, "all") { states } else { &[] };
        let filters = filters.into_iter().chain(states.iter().map(|state| format!("status={state}"))).collect();
        let request =
            ListContainers { filters, all: true, last: u32::from(flag(args, "latest")), ..Default::default() };
        let host = engine.host()?;
        let rows = row::rows(&host.containers().list(deadline(ASK), &request).await?)?;
        if rows.is_empty() && flag(args, "latest") {
            return Err(Failure::invalid("no containers found, --latest names none: no such container"));
        }
        return Ok(rows.iter().filter_map(|row| Container::listed(engine, row)).collect());
    }
    let mut names = args.operands.clone();
    for file in values(args, "cidfile") {
        match read_id("CIDFile", &file) {
            Err(_) if ignore => {}
            other => names.push(other?),
        }
    }
    let mut containers = Vec::new();
    for name in names {
        match engine.container(&name) {
            Ok(found) => containers.push(Container { typed: name, found }),
            Err(failure) if ignore && is_missing(failure.kind) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(containers)
}

impl Container {
    /// A container of a list; `None` where it has gone meanwhile.
    pub fn listed(engine: &Engine, row: &serde_json::Value) -> Option<Container> {
        let id = row::text(row, "Id");
        let found = engine.container(id).ok()?;
        Some(Container { typed: id.to_owned(), found })
    }
}
