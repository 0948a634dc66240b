//! `podctl secret …`

pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod rm;

use crate::args::{Action, Command};

/// The group.
pub static COMMAND: Command = Command {
    name: "secret",
    about: "Manage secrets",
    description: "Manage secrets: small files that containers see in memory or in their environment",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[&create::COMMAND, &exists::COMMAND, &inspect::COMMAND, &list::COMMAND, &rm::COMMAND]),
    ..Command::EMPTY
};
