//! `podctl restart`

use crate::{
    args::{Action, Args, Command, int, switch},
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
    name: "restart",
    about: "Restart one or more containers",
    description: "Restarts one or more running containers. The container ID or name can be used.\n\nA timeout before forcibly stopping can be set, but defaults to 10 seconds.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["restart ctrID", "restart --latest", "restart --time 5 ctrID1 ctrID2"],
    flags: &[
        &[
            switch("running", "Restart only running containers"),
            int("time", "Seconds to wait for stop before killing the container, -1 = for ever")
                .short('t')
                .alias(&["timeout"]),
        ],
        ALL,
        select::LATEST,
        select::FILTER,
        select::CIDFILE,
    ],
    action: Action::Run(run),
    starts: true,
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let running = args.is("running");
        // --running without names is --all of those that run.
        let all = Args::new(args.command, args.path.clone(), vec![("all", "true".to_owned())], Vec::new());
        let args_of = if running && args.operands.is_empty() { &all } else { args };
        let states: &[&str] = if running { &["running"] } else { &[] };
        let containers = select::members(engine, args_of, states, NO_NAME).await?;
        on_containers(engine, containers, Verb::Restart, &Options::with_time(args), false, plainly).await
    })
}
