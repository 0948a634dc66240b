//! `podctl secret exists`

use proto::{serve::deadline, wire::SecretNames};

use crate::{
    args::{Action, Args, Command, Operands},
    dial::{ASK, Engine},
    error::{Failure, Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if a secret exists",
    description: "If the given secret exists, podctl secret exists exits with 0, otherwise the exit code will be 1.",
    usage: "SECRET",
    examples: &["secret exists mysecret"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let request = SecretNames { names: args.operands.clone(), show: false };
        match engine.host()?.secrets().inspect(deadline(ASK), &request).await.map_err(Failure::from) {
            Ok(_) => Ok(0),
            Err(failure) if is_missing(failure.kind) => Ok(1),
            Err(failure) => Err(failure),
        }
    })
}
