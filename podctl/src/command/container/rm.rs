//! `podctl rm`

use proto::{serve::deadline, wire::ListContainers};

use crate::{
    args::{Action, Args, Command, int, switch},
    command::{
        container::ALL,
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
    let ignore = args.is("ignore") || args.is("force");
    let options = Options {
        volumes: args.is("volumes"),
        // Of all none is in the way of another.
        depend: args.is("depend") || args.is("all"),
        ..Options::of_removal(args)?
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
    let needing: Vec<String> = containers.iter().filter_map(id_of).collect();
    if needing.is_empty() {
        return Ok(containers);
    }
    let list = ListContainers { all: true, needing, ..Default::default() };
    let rows = row::rows(&engine.host()?.containers().list(deadline(ASK), &list).await?)?;
    containers.extend(rows.iter().filter_map(|row| Container::listed(engine, row)));
    Ok(containers)
}

fn id_of(container: &Container) -> Option<String> {
    match &container.found {
        Found::Container { id, .. } => Some(id.to_string()),
        Found::Infra(_) => None,
    }
}
