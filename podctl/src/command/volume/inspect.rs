//! `podctl volume inspect`

use proto::{serve::deadline, wire::VolumeNames};

use crate::{
    args::{Action, Args, Command, switch},
    command::{
        container::inspect::{FORMAT, show},
        row,
    },
    dial::{ASK, Engine},
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Display detailed information on one or more volumes",
    description: "Display detailed information on one or more volumes.\n\nUse a Go template to change the format from JSON.",
    usage: "[options] VOLUME [VOLUME...]",
    examples: &[
        "volume inspect myvol",
        "volume inspect --all",
        "volume inspect --format '{{.Driver}} {{.Scope}}' myvol",
    ],
    flags: &[FORMAT, &[switch("all", "Inspect all volumes").short('a')]],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("all") != args.operands.is_empty() {
        return Err(Failure::invalid("provide one or more volume names or use --all"));
    }
    if !args.is("all") {
        return show(engine, args, "volume inspect", "volume");
    }
    let request = VolumeNames { names: Vec::new(), all: true };
    let volumes =
        engine.block_on(async { row::rows(&engine.host()?.volumes().inspect(deadline(ASK), &request).await?) })?;
    row::print_documents("volume inspect", args.text_or_empty("format"), &volumes, 5)
}
