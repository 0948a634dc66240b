//! `podctl pod inspect`

use crate::{
    args::{Action, Args, Command, text},
    command::{container::inspect, select},
    dial::Engine,
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Display a pod configuration",
    description: "Display the configuration for a pod by name or id.\n\nBy default, this will render all results in a JSON array.",
    usage: "[options] POD [POD...]",
    examples: &["pod inspect podID", "pod inspect --format '{{.State}}' mypod"],
    flags: &[
        &[text("format", "string", "Format the output to a Go template or json").short('f').default("\"json\"")],
        select::LATEST_POD,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.operands.is_empty() && !args.is("latest") {
        return Err(Failure::invalid("no names or ids specified"));
    }
    if !args.operands.is_empty() && args.is("latest") {
        return Err(Failure::invalid("--latest and containers cannot be used together"));
    }
    inspect::show(engine, args, "pod inspect", "pod")
}
