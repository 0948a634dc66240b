//! `podctl info`

use proto::{serve::deadline, wire::Empty};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Operands, text},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "info",
    about: "Display system information",
    description: "Display information pertaining to the host, current storage stats, and configured container registries.",
    usage: "[options]",
    examples: &["info", "info --format json", "info --format '{{.Host.OCIRuntime.Name}}'"],
    flags: &[&[text("format", "string", "Change the output format to JSON or a Go template").short('f')]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let document = engine.block_on(async { Ok(engine.host()?.system().info(deadline(ASK), &Empty {}).await?) })?;
    let value: Value = serde_json::from_slice(&document.json)
        .map_err(|error| Failure::invalid(format!("the engine's answer cannot be read: {error}")))?;
    match args.text_or_empty("format") {
        "" => output::print(&output::json::yaml(&value)),
        "json" => output::print(&(output::json::pretty(&value.to_string(), 2) + "\n")),
        format => output::print(&output::template::document("info", format, &value)?),
    }
}
