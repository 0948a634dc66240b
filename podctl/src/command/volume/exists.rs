//! `podctl volume exists`

use proto::{serve::deadline, wire::VolumeNames};

use crate::{
    args::{Action, Args, Command, Operands},
    command::network::exists::is_empty,
    dial::{ASK, Engine},
    error::{Failure, Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if volume exists",
    description: "If the given volume exists, podctl volume exists exits with 0, otherwise the exit code will be 1.",
    usage: "VOLUME",
    examples: &["volume exists myvol"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let request = VolumeNames { names: args.operands.clone(), all: false };
        match engine.host()?.volumes().inspect(deadline(ASK), &request).await.map_err(Failure::from) {
            Ok(document) => Ok(i32::from(is_empty(&document.json))),
            Err(failure) if is_missing(failure.kind) => Ok(1),
            Err(failure) => Err(failure),
        }
    })
}
