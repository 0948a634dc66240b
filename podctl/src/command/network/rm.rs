//! `podctl network rm`

use proto::{serve::deadline, wire::RemoveNetworks};

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::image::rm::failed,
    dial::{ACT, Engine},
    error::Outcome,
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    aliases: &["remove"],
    about: "Remove networks",
    description: "Remove networks",
    usage: "[options] NETWORK [NETWORK...]",
    examples: &["network rm net1", "network rm --force net1 net2"],
    flags: &[&[switch("force", "Remove any containers using network").short('f')]],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = RemoveNetworks { names: args.operands.clone(), force: args.is("force") };
    let removed = engine.block_on(async { Ok(engine.host()?.networks().remove(deadline(ACT), &request).await?) })?;
    output::print(&removed.names.iter().map(|name| format!("{}\n", output::escape::line(name))).collect::<String>())?;
    if args.is("force") && removed.missing && !removed.in_use {
        return Ok(0);
    }
    failed(removed.errors, removed.missing, removed.in_use)
}
