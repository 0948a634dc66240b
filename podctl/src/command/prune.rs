//! What the prunes of containers, pods and the system have in common.

use proto::{
    serve::deadline,
    wire::{ListContainers, ListPods},
};
use serde_json::Value;

use super::{
    row,
    select::{Container, Pod},
    verb::{Acted, Options, Shown, Verb, each_container, each_pod},
};
use crate::{
    args::{Args, Flag, array, switch},
    dial::{ASK, Engine},
    error::{Failure, removal_code},
};

/// `--filter` and `--force`
pub const FLAGS: &[Flag] = &[
    array("filter", "Provide filter values (e.g. 'label=<key>=<value>')"),
    switch("force", "Do not prompt for confirmation. The default is false").short('f'),
];

/// The filters of `args`, each `KEY=VALUE`.
///
/// # Errors
/// podman's words for what is none.
pub fn pairs(args: &Args) -> Result<Vec<String>, Failure> {
    let filters = args.all("filter");
    match filters.iter().find(|filter| !filter.contains('=')) {
        None => Ok(filters),
        Some(bad) => {
            Err(Failure::invalid(format!("filter input must be in the form of filter=value: {bad} is invalid")))
        }
    }
}

/// The filters of `args`: those that mean the same for objects of every kind.
///
/// # Errors
/// podman's words for what is none.
pub fn filters(args: &Args) -> Result<Vec<String>, Failure> {
    let filters = pairs(args)?;
    let keys = filters.iter().filter_map(|filter| filter.split_once('='));
    match keys.map(|(key, _)| key).find(|key| !matches!(*key, "label" | "label!" | "until")) {
        None => Ok(filters),
        Some(key) => Err(Failure::invalid(format!("{key} is an invalid filter"))),
    }
}

/// Removes the containers that are not up and in no pod, as far as `filters` leave them.
///
/// # Errors
/// When they cannot be listed, or a filter cannot be.
pub async fn containers(engine: &Engine, filters: Vec<String>) -> Result<Vec<Acted>, Failure> {
    let request = ListContainers { filters, all: true, ..Default::default() };
    let rows = row::rows(&engine.host()?.containers().list(deadline(ASK), &request).await?)?;
    let down = |row: &&Value| matches!(row::text(row, "State"), "created" | "initialized" | "exited");
    let free = rows.iter().filter(down).filter(|row| row::text(row, "Pod").is_empty());
    let free: Vec<Container> = free.filter_map(|row| Container::listed(engine, row)).collect();
    let mut results = each_container(engine, free, Verb::Remove, &Options::default(), true).await;
    // Started since we looked: it is not for us any more.
    results.retain(|result| !matches!(result, Err(failure) if failure.kind == proto::Kind::WrongState));
    Ok(results)
}

/// Removes the pods that are down, as far as `filters` leave them.
///
/// # Errors
/// When they cannot be listed, or a filter cannot be.
pub async fn pods(engine: &Engine, filters: Vec<String>) -> Result<Vec<Acted>, Failure> {
    let request = ListPods { filters, ..Default::default() };
    let rows = row::rows(&engine.host()?.pods().list(deadline(ASK), &request).await?)?;
    let down = rows.iter().filter(|row| matches!(row::text(row, "Status"), "Stopped" | "Exited"));
    let down = down.map(|row| Pod::listed(row::text(row, "Id"))).collect::<Result<Vec<_>, Failure>>()?;
    let options = Options { volumes: true, ..Default::default() };
    Ok(each_pod(engine, down, Verb::Remove, &options, (Shown::Id, true)).await)
}

/// Exit code of a prune: that of the engine, whatever was in the way.
pub fn code(failure: &Failure) -> i32 {
    // Who asks for everything names nothing that could be missing.
    match removal_code(failure.kind) {
        1 | 2 => proto::ENGINE_ERROR,
        code => code,
    }
}
