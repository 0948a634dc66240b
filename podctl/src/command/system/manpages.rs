//! `podctl manpages`: what `make install` asks for.

use std::path::Path;

use crate::{
    args::{Action, Args, Command, Operands},
    complete,
    dial::Engine,
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "manpages",
    about: "Write the man pages into a directory",
    usage: "DIR",
    examples: &["manpages /usr/local/share/man/man1"],
    operands: Operands::Exactly(1),
    hidden: true,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, args: &Args) -> Outcome {
    let dir = Path::new(&args.operands[0]);
    complete::man_pages(dir).map_err(|error| Failure::io(format!("write man pages to {}", dir.display()), &error))?;
    Ok(0)
}
