//! `podctl help`

use crate::{
    PROGRAM,
    args::{Action, Args, Command, help},
    command::ROOT,
    dial::Engine,
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "help",
    about: "Help about any command",
    description: "Help provides help for any command in the application.\nSimply type podctl help [path to command] for full details.",
    usage: "[command]",
    examples: &["help", "help pod create"],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, args: &Args) -> Outcome {
    let (mut command, mut path) = (&ROOT, PROGRAM.to_owned());
    for name in &args.operands {
        let Some(child) = command.child(name) else {
            return Err(Failure::invalid(format!(
                "unrecognized command `{path} {name}`\nTry '{path} --help' for more information"
            )));
        };
        path = format!("{path} {name}");
        command = child;
    }
    output::print(&help::text(command, &path))
}
