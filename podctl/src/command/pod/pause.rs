//! `podctl pod pause`

use crate::{
    args::{Action, Args, Command},
    command::{
        pod::{ALL, plainly},
        select::{self, NO_NAME},
        verb::{Options, Shown, Verb, on_pods},
    },
    dial::Engine,
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "pause",
    about: "Pause one or more pods",
    description: "The pod name or ID can be used. All running containers within each specified pod will then be paused.",
    usage: "[options] POD [POD...]",
    examples: &["pod pause podID1 podID2", "pod pause --all"],
    flags: &[ALL, select::LATEST_POD],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let pods = select::pods(engine, args, false, NO_NAME).await?;
        on_pods(engine, pods, Verb::Pause, &Options::default(), (Shown::Id, false), plainly).await
    })
}
