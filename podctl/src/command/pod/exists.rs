//! `podctl pod exists`

use crate::{
    args::{Action, Args, Command, Operands},
    dial::Engine,
    error::{Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if a pod exists in local storage",
    description: "If the named pod exists in local storage, podctl pod exists exits with 0, otherwise the exit code will be 1.",
    usage: "POD",
    examples: &["pod exists podID", "pod exists mypod"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    match engine.pod_id(&args.operands[0]) {
        Ok(_) => Ok(0),
        Err(failure) if is_missing(failure.kind) => Ok(1),
        Err(failure) => Err(failure),
    }
}
