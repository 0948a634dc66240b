//! `podctl kill`

use crate::{
    args::{Action, Args, Command, text},
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
    name: "kill",
    about: "Kill one or more running containers with a specific signal",
    description: "The main process inside each container specified will be sent SIGKILL, or any signal specified with option --signal.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["kill mywebserver", "kill --signal TERM mywebserver", "kill --all"],
    flags: &[
        &[text("signal", "string", "Signal to send to the container").short('s').default("\"KILL\"")],
        ALL,
        select::LATEST,
        select::CIDFILE,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let options = Options::with_signal(args)?;
    engine.block_on(async {
        let containers = select::members(engine, args, &["running"], NO_NAME).await?;
        on_containers(engine, containers, Verb::Kill, &options, false, plainly).await
    })
}
