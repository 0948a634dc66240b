//! `podctl unpause`

use crate::{
    args::{Action, Args, Command},
    command::{
        container::{ALL, plainly},
        select::{self, NO_NAME},
        verb::{Options, Verb, on_containers},
    },
    dial::{Engine, Found},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "unpause",
    about: "Unpause the processes in one or more containers",
    description: "Unpauses one or more previously paused containers.  The container name or ID can be used.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["unpause mywebserver", "unpause --all"],
    flags: &[ALL, select::LATEST, select::FILTER, select::CIDFILE],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let mut containers = select::containers(engine, args, false, &["paused"], NO_NAME).await?;
        containers.retain(|container| !args.is("all") || !matches!(container.found, Found::Infra(_)));
        on_containers(engine, containers, Verb::Unpause, &Options::default(), false, plainly).await
    })
}
