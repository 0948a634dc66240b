//! `podctl init`

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
    name: "init",
    about: "Initialize one or more containers",
    description: "Initialize one or more containers, creating the OCI runtime's container, mounts and network without starting the command. What was initialized is started with podctl start.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["init 3c45ef19d893", "init --latest", "init --all"],
    flags: &[ALL, select::LATEST],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let states = ["created", "exited"];
        let containers = select::members(engine, args, &states, NO_NAME).await?;
        on_containers(engine, containers, Verb::Init, &Options::default(), false, plainly).await
    })
}
