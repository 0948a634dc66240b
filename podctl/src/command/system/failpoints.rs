//! `podctl failpoints`: what the tests ask for.

use proto::failpoint::Point;

use crate::{
    args::{Action, Args, Command, Operands},
    dial::Engine,
    error::Outcome,
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "failpoints",
    about: "List the places where a test makes a program of the engine fail",
    usage: "",
    examples: &["failpoints"],
    operands: Operands::None,
    hidden: true,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, _: &Args) -> Outcome {
    let line = |point: &Point| format!("{} {}\n", point.name(), if point.fails() { "fails" } else { "passes" });
    output::print(&Point::ALL.iter().map(line).collect::<String>())
}
