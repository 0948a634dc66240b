//! Commands about the engine and this program.

pub mod check;
pub mod completion;
pub mod events;
pub mod failpoints;
pub mod help;
pub mod info;
pub mod manpages;
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
    action: Action::Group(&[&check::COMMAND, &events::COMMAND, &info::COMMAND, &upgrade::COMMAND]),
    ..Command::EMPTY
};
