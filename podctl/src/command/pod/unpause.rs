//! `podctl pod unpause`

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
    name: "unpause",
    about: "Unpause one or more pods",
    description: "The command will unpause all 'paused' containers assigned to the pod.",
    usage: "[options] POD [POD...]",
    examples: &["pod unpause podID1 podID2", "pod unpause --all"],
    flags: &[ALL, select::LATEST_POD],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let pods = select::pods(engine, args, false, NO_NAME).await?;
        on_pods(engine, pods, Verb::Unpause, &Options::default(), (Shown::Id, false), plainly).await
    })
}
