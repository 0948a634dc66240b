//! `podctl rm`

use std::collections::BTreeSet;

use proto::{
    serve::deadline,
    wire::{InspectObjects, ListContainers},
};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, int, switch},
    command::{
        container::{ALL, inspect::Found as Inspected},
        row,
        select::{self, Container, NO_NAME},
        verb::{Options, Verb, on_containers},
    },
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome, removal_code},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    about: "Remove one or more containers",
    description: "Removes one or more containers from the host. The container name or ID can be used.\n\nCommand does not remove images. Running or unusable containers will not be removed without the -f option.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["rm ctrID", "rm mywebserver myflaskserver 860a4b23", "rm --force --all", "rm -f c684f0d469f2"],
    flags: &[
        &[
            switch("depend", "Remove container and all containers that depend on the selected container"),
            switch("force", "Force removal of a running or unusable container").short('f'),
            switch("ignore", "Ignore errors when a specified container is missing").short('i'),
            int("time", "Seconds to wait for stop before killing the container, -1 = for ever")
                .short('t')
                .alias(&["timeout"]),
            switch("volumes", "Remove anonymous volumes associated with the container").short('v'),
        ],
        ALL,
        select::LATEST,
        select::FILTER_LONG,
        select::CIDFILE,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.given("time") && !args.is("force") {
        return Err(Failure::invalid("--force option must be specified to use the --time option"));
    }
    let ignore = args.is("ignore") || args.is("force");
    let options = Options {
        force: args.is("force"),
        volumes: args.is("volumes"),
        // Of all none is in the way of another.
        depend: args.is("depend") || args.is("all"),
        ..Options::with_time(args)
    };
    let code = |failure: &Failure| removal_code(failure.kind);
    engine.block_on(async {
        let selected = select::containers(engine, args, ignore, &[], NO_NAME).await;
        let mut containers = selected.map_err(|mut failure| {
            failure.code = code(&failure);
            failure
        })?;
        if args.is("depend") {
            containers = with_dependents(engine, containers).await?;
        }
        containers.retain(|container| !args.is("all") || !matches!(container.found, Found::Infra(_)));
        on_containers(engine, containers, Verb::Remove, &options, ignore, code).await
    })
}

/// `--depend`: with those that need them, and those that need these.
async fn with_dependents(engine: &Engine, mut containers: Vec<Container>) -> Result<Vec<Container>, Failure> {
    let host = engine.host()?;
    let list = ListContainers { all: true, ..Default::default() };
    let rows = row::rows(&host.containers().list(deadline(ASK), &list).await?)?;
    let names = rows.iter().map(|row| row::text(row, "Id").to_owned()).collect();
    let request = InspectObjects { names, ..Default::default() };
    let documents = Inspected::read(&host.containers().inspect(deadline(ASK), &request).await?)?.found;
    let mut known: BTreeSet<String> = containers.iter().filter_map(id_of).collect();
    loop {
        let needs = |document: &&Value| {
            let dependencies = document["Dependencies"].as_array().map_or(&[][..], Vec::as_slice);
            dependencies.iter().filter_map(Value::as_str).any(|id| known.contains(id))
        };
        let new = documents.iter().filter(needs).map(|document| row::text(document, "Id").to_owned());
        let new: Vec<String> = new.filter(|id| !known.contains(id)).collect();
        if new.is_empty() {
            return Ok(containers);
        }
        for id in new {
            if let Ok(found) = engine.container(&id) {
                containers.push(Container { typed: id.clone(), found });
            }
            known.insert(id);
        }
    }
}

fn id_of(container: &Container) -> Option<String> {
    match &container.found {
        Found::Container { id, .. } => Some(id.to_string()),
        Found::Infra(_) => None,
    }
}
