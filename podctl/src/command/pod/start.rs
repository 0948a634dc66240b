//! `podctl pod start`

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
    name: "start",
    about: "Start one or more pods",
    description: "The pod name or ID can be used.\n\nAll containers defined in the pod will be started.",
    usage: "[options] POD [POD...]",
    examples: &["pod start podID", "pod start --all"],
    flags: &[ALL, select::LATEST_POD, select::POD_ID_FILE],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let pods = select::pods(engine, args, false, NO_NAME).await?;
        on_pods(engine, pods, Verb::Start, &Options::default(), (Shown::Name, false), plainly).await
    })
}
