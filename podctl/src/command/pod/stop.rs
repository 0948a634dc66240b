//! `podctl pod stop`

use crate::{
    args::{Action, Args, Command, int, switch},
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
    name: "stop",
    about: "Stop one or more pods",
    description: "The pod name or ID can be used.\n\nThis command will stop all running containers in each of the specified pods.",
    usage: "[options] POD [POD...]",
    examples: &["pod stop mywebserverpod", "pod stop --latest", "pod stop --time 0 490eb 3557fb"],
    flags: &[
        &[
            switch("ignore", "Ignore errors when a specified pod is missing").short('i'),
            int("time", "Seconds to wait for pod stop before killing the container, -1 = for ever")
                .short('t')
                .alias(&["timeout"]),
        ],
        ALL,
        select::LATEST_POD,
        select::POD_ID_FILE,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let ignore = args.is("ignore");
    engine.block_on(async {
        let pods = select::pods(engine, args, ignore, NO_NAME).await?;
        on_pods(engine, pods, Verb::Stop, &Options::with_time(args), (Shown::Name, ignore), plainly).await
    })
}
