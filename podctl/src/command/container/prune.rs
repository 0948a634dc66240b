//! `podctl container prune`

use crate::{
    args::{Action, Args, Command, Operands},
    command::{prompt::confirm, prune},
    dial::Engine,
    error::Outcome,
    fan_out,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove all non running containers",
    description: "Removes all non running containers that are in no pod.\n\nThe filters are label, label! and until.",
    usage: "[options]",
    examples: &["container prune", "container prune --force --filter until=24h --filter label=temporary"],
    flags: &[prune::FLAGS],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let filters = prune::filters(args)?;
    if !args.is("force") && !confirm("WARNING! This will remove all non running containers.")? {
        return Ok(0);
    }
    engine.block_on(async { fan_out::report(prune::containers(engine, filters).await?, prune::code) })
}
