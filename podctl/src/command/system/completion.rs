//! `podctl completion`

use crate::{
    args::{Action, Args, Command, Operands, switch, text},
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
    examples: &["completion bash", "completion zsh", "completion -f /etc/fish/completions/podctl.fish fish"],
    flags: &[&[
        text("file", "string", "Output the completion to file rather than stdout").short('f'),
        switch("no-desc", "Don't include descriptions in the completion output: there are none"),
    ]],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, args: &Args) -> Outcome {
    let shell = args.operands[0].as_str();
    match complete::script(shell) {
        Some(script) if args.given("file") => {
            let file = args.text_or_empty("file");
            std::fs::write(file, script).map_err(|error| Failure::io(format!("--file {file}"), &error))?;
            Ok(0)
        }
        Some(script) => output::print(&script),
        None => Err(Failure::invalid(format!(
            "\"{shell}\" is not a supported shell: valid arguments are bash, zsh, and fish"
        ))),
    }
}
