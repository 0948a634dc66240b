//! `podctl network inspect`

use crate::{
    args::{Action, Args, Command},
    command::container::inspect::{FORMAT, show},
    dial::Engine,
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Inspect network",
    description: "Inspect network",
    usage: "[options] NETWORK [NETWORK...]",
    examples: &["network inspect podman", "network inspect --format '{{(index .Subnets 0).Subnet}}' net1"],
    flags: &[FORMAT],
    operands: crate::args::Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    show(engine, args, "network inspect", "network")
}
