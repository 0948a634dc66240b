//! `podctl pause`

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
    name: "pause",
    about: "Pause all the processes in one or more containers",
    description: "The container name or ID can be used.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["pause mywebserver", "pause --all"],
    flags: &[ALL, select::LATEST, select::FILTER, select::CIDFILE],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let containers = select::members(engine, args, &["running"], NO_NAME).await?;
        on_containers(engine, containers, Verb::Pause, &Options::default(), false, plainly).await
    })
}
