//! `podctl pod restart`

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
    name: "restart",
    about: "Restart one or more pods",
    description: "The pod ID or name can be used.\n\nAll of the containers within each of the specified pods will be restarted. If a container in a pod is not currently running it will be started.",
    usage: "[options] POD [POD...]",
    examples: &["pod restart podID1 podID2", "pod restart --latest", "pod restart --all"],
    flags: &[ALL, select::LATEST_POD],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let pods = select::pods(engine, args, false, NO_NAME).await?;
        on_pods(engine, pods, Verb::Restart, &Options::default(), (Shown::Id, false), plainly).await
    })
}
