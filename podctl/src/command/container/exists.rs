//! `podctl container exists`

use crate::{
    args::{Action, Args, Command, Operands, switch},
    dial::Engine,
    error::{Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if a container exists in local storage",
    description: "If the named container exists in local storage, podctl container exists exits with 0, otherwise the exit code will be 1.",
    usage: "CONTAINER",
    examples: &["container exists containerID", "container exists --external mycontainer"],
    flags: &[&[switch("external", "Check external storage containers as well as podctl's: there are none")]],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    match engine.container(&args.operands[0]) {
        Ok(_) => Ok(0),
        Err(failure) if is_missing(failure.kind) => Ok(1),
        Err(failure) => Err(failure),
    }
}
