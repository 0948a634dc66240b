//! `podctl unpause`

use crate::{
    args::{Action, Args, Command},
    command::{
        container::{ALL, plainly},
        select::{self, NO_NAME},
        verb::{Options, Verb, on_containers},
    },
    dial::Engine,
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
        let containers = select::members(engine, args, &["paused"], NO_NAME).await?;
        on_containers(engine, containers, Verb::Unpause, &Options::default(), false, plainly).await
    })
}
