//! `podctl image inspect`

use crate::{
    args::{Action, Args, Command},
    command::container::inspect::{FORMAT, show},
    dial::Engine,
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Display the configuration of an image",
    description: "Displays the low-level information of an image identified by name or ID.",
    usage: "[options] IMAGE [IMAGE...]",
    examples: &["image inspect alpine", "image inspect --format '{{.Config.Env}}' alpine"],
    flags: &[FORMAT],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.operands.is_empty() {
        return Err(Failure::invalid("no names or ids specified"));
    }
    show(engine, args, "image inspect", "image")
}
