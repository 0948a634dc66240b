//! `rm --force` of volumes and networks: who uses them is removed first.

use proto::wire::{NetworksRemoved, VolumesRemoved};

use super::{
    image::rm::failed,
    select::Container,
    verb::{Options, Verb, each_container},
};
use crate::{
    args::{Args, Flag, int},
    dial::Engine,
    error::{Failure, Outcome, is_missing},
    output,
};

/// `--time`
pub const TIME: &[Flag] =
    &[int("time", "Seconds to wait for running containers to stop before killing them, -1 = for ever")
        .short('t')
        .alias(&["timeout"])];

/// How often users are removed for what they use: others may come meanwhile.
const ROUNDS: usize = 3;

/// What came of a removal.
#[derive(Debug, Default)]
pub struct Removed {
    names: Vec<String>,
    errors: Vec<String>,
    missing: bool,
    in_use: bool,
    users: Vec<String>,
}

impl From<VolumesRemoved> for Removed {
    fn from(answer: VolumesRemoved) -> Removed {
        let VolumesRemoved { names, errors, missing, in_use, users, .. } = answer;
        Removed { names, errors, missing, in_use, users }
    }
}

impl From<NetworksRemoved> for Removed {
    fn from(answer: NetworksRemoved) -> Removed {
        let NetworksRemoved { names, errors, missing, in_use, users } = answer;
        Removed { names, errors, missing, in_use, users }
    }
}

/// Has `remove` remove what the operands of `args` name; with `--force` its users first. Prints what has gone.
///
/// # Errors
/// `--time` without `--force`; what could not be removed, with the exit codes of rm.
pub async fn remove(
    engine: &Engine,
    args: &Args,
    remove: impl AsyncFn(Vec<String>) -> Result<Removed, Failure>,
) -> Outcome {
    let options = Options::of_removal(args)?;
    let mut left = args.operands.clone();
    let mut gone = String::new();
    let mut rounds = 0..ROUNDS;
    let removed = loop {
        let removed = remove(left.clone()).await?;
        left.retain(|name| !removed.names.contains(name));
        gone.extend(removed.names.iter().map(|name| format!("{}\n", output::escape::line(name))));
        if !options.force || removed.users.is_empty() || rounds.next().is_none() {
            break removed;
        }
        users(engine, &removed.users, &options).await?;
    };
    output::print(&gone)?;
    if options.force && removed.missing && !removed.in_use {
        return Ok(0);
    }
    failed(removed.errors, removed.missing, removed.in_use)
}

/// Removes containers, and of an infra the whole pod.
async fn users(engine: &Engine, ids: &[String], options: &Options) -> Result<(), Failure> {
    let mut containers = Vec::new();
    for id in ids {
        match engine.container(id) {
            Ok(found) => containers.push(Container { typed: id.clone(), found }),
            Err(failure) if is_missing(failure.kind) => {}
            Err(failure) => return Err(failure),
        }
    }
    let removed = each_container(engine, containers, Verb::Remove, options, true).await;
    removed.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
}
