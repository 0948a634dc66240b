//! `podctl pod kill`

use crate::{
    args::{Action, Args, Command, text},
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
    name: "kill",
    about: "Send the specified signal or SIGKILL to containers in pod",
    description: "The main process of each container inside the specified pod will be sent SIGKILL, or any signal specified with option --signal.",
    usage: "[options] POD [POD...]",
    examples: &["pod kill podID", "pod kill --signal TERM mywebserver", "pod kill --all"],
    flags: &[
        &[text("signal", "string", "Signal to send to the containers in the pod").short('s').default("\"KILL\"")],
        ALL,
        select::LATEST_POD,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let options = Options::with_signal(args)?;
    engine.block_on(async {
        let pods = select::pods(engine, args, false, NO_NAME).await?;
        on_pods(engine, pods, Verb::Kill, &options, (Shown::Id, false), plainly).await
    })
}
