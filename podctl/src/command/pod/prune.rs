//! `podctl pod prune`

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{prompt::confirm, prune},
    dial::Engine,
    error::Outcome,
    fan_out,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove all stopped pods and their containers",
    usage: "[options]",
    examples: &["pod prune", "pod prune -f"],
    flags: &[&[switch("force", "Do not prompt for confirmation").short('f')]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if !args.is("force") && !confirm("WARNING! This will remove all stopped/exited pods..")? {
        return Ok(0);
    }
    engine.block_on(async { fan_out::report(prune::pods(engine, Vec::new()).await?, prune::code) })
}
