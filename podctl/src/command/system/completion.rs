//! `podctl completion`

use crate::{
    args::{Action, Args, Command, Operands},
    complete,
    dial::Engine,
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "completion",
    about: "Generate shell autocompletions",
    description: "Generate shell autocompletions.\n\nValid arguments are bash, zsh, and fish.",
    usage: "{bash|zsh|fish}",
    examples: &["completion bash", "completion zsh", "completion fish"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, args: &Args) -> Outcome {
    let shell = args.operands[0].as_str();
    match complete::script(shell) {
        Some(script) => output::print(&script),
        None => Err(Failure::invalid(format!(
            "\"{shell}\" is not a supported shell: valid arguments are bash, zsh, and fish"
        ))),
    }
}
