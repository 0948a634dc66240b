//! `podctl stop`

use crate::{
    args::{Action, Args, Command, int, switch},
    command::{
        container::{ALL, plainly},
        select::{self, NO_NAME},
        verb::{Options, Verb, on_containers},
    },
    dial::{Engine, Found},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "stop",
    about: "Stop one or more containers",
    description: "Stops one or more running containers.  The container name or ID can be used.\n\nA timeout to forcibly stop the container can also be set but defaults to 10 seconds otherwise.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["stop ctrID", "stop --latest", "stop --time 2 mywebserver 6e534f14da9d"],
    flags: &[
        &[
            switch("ignore", "Ignore errors when a specified container is missing").short('i'),
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
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let ignore = args.is("ignore");
    engine.block_on(async {
        let mut containers = select::containers(engine, args, ignore, &["running", "paused"], NO_NAME).await?;
        if args.is("all") {
            // Stopping an infra stops its pod: its members need no word of their own.
            let pods: Vec<_> = containers
                .iter()
                .filter_map(|container| match &container.found {
                    Found::Infra(pod) => Some(pod.clone()),
                    Found::Container { .. } => None,
                })
                .collect();
            containers.retain(|container| {
                matches!(container.found, Found::Infra(_)) || !pods.contains(container.found.pod())
            });
        }
        let all = args.is("all");
        on_containers(engine, containers, Verb::Stop, &Options::with_time(args), ignore || all, plainly).await
    })
}
