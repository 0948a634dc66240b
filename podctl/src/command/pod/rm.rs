//! `podctl pod rm`

use crate::{
    args::{Action, Args, Command, int, switch},
    command::{
        pod::ALL,
        select::{self, NO_NAME},
        verb::{Options, Shown, Verb, on_pods},
    },
    dial::Engine,
    error::{Failure, Outcome, removal_code},
};
use proto::{ENGINE_ERROR, Kind};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    about: "Remove one or more pods",
    description: "podctl pod rm will remove one or more stopped pods and their containers from the host.\n\nThe pod name or ID can be used. A pod with running containers will not be removed without --force.",
    usage: "[options] POD [POD...]",
    examples: &["pod rm mywebserverpod", "pod rm -f 860a4b23", "pod rm -f -a"],
    flags: &[
        &[
            switch("force", "Force removal of a running pod by first stopping all containers, then removing all containers in the pod").short('f'),
            switch("ignore", "Ignore errors when a specified pod is missing").short('i'),
            int("time", "Seconds to wait for pod stop before killing the container, -1 = for ever").short('t').alias(&["timeout"]),
        ],
        ALL,
        select::LATEST_POD,
        select::POD_ID_FILE,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let ignore = args.is("ignore") || args.is("force");
    let options = Options { volumes: true, ..Options::of_removal(args)? };
    let outcome = engine.block_on(async {
        let pods = select::pods(engine, args, ignore, NO_NAME).await.map_err(|mut failure| {
            failure.code = code(&failure);
            failure
        })?;
        on_pods(engine, pods, Verb::Remove, &options, (Shown::Id, ignore), code).await
    })?;
    for file in args.all("pod-id-file") {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io(format!("remove pod ID file {file}"), &error));
            }
            _ => {}
        }
    }
    Ok(outcome)
}

/// 1 = no such pod, 2 = something depends on it; a running member is a plain failure.
pub fn code(failure: &Failure) -> i32 {
    match failure.kind {
        Kind::WrongState => ENGINE_ERROR,
        kind => removal_code(kind),
    }
}
