//! `podctl network rm`

use proto::{serve::deadline, wire::RemoveNetworks};

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::forced,
    dial::{ACT, Engine},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    aliases: &["remove"],
    about: "Remove networks",
    description: "Remove networks",
    usage: "[options] NETWORK [NETWORK...]",
    examples: &["network rm net1", "network rm --force -t 0 net1 net2"],
    flags: &[&[switch("force", "Remove the containers and pods that use the network, too").short('f')], forced::TIME],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(forced::remove(engine, args, async |names| {
        let request = RemoveNetworks { names, force: args.is("force") };
        Ok(engine.host()?.networks().remove(deadline(ACT), &request).await?.into())
    }))
}
