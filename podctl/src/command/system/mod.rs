//! Commands about the engine and this program.

pub mod check;
pub mod completion;
pub mod df;
pub mod events;
pub mod failpoints;
pub mod help;
pub mod info;
pub mod manpages;
pub mod prune;
pub mod upgrade;
pub mod version;

use crate::args::{Action, Command};

/// The group.
pub static COMMAND: Command = Command {
    name: "system",
    about: "Manage podctl",
    description: "Manage podctl",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &check::COMMAND,
        &df::COMMAND,
        &events::COMMAND,
        &info::COMMAND,
        &prune::COMMAND,
        &upgrade::COMMAND,
    ]),
    ..Command::EMPTY
};
