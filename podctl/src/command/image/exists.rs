//! `podctl image exists`

use proto::{serve::deadline, wire::ImageName};

use crate::{
    args::{Action, Args, Command, Operands},
    dial::{ASK, Engine},
    error::{Failure, Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if an image exists in local storage",
    description: "If the named image exists in local storage, podctl image exists exits with 0, otherwise the exit code will be 1.",
    usage: "IMAGE",
    examples: &["image exists ID", "image exists IMAGE"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let request = ImageName { name: args.operands[0].clone() };
        match engine.host()?.images().resolve(deadline(ASK), &request).await.map_err(Failure::from) {
            Ok(_) => Ok(0),
            Err(failure) if is_missing(failure.kind) => Ok(1),
            Err(failure) => Err(failure),
        }
    })
}
