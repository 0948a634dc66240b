//! `podctl network …`

pub mod connect;
pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod prune;
pub mod rm;

use crate::args::{Action, Command};

/// The group.
pub static COMMAND: Command = Command {
    name: "network",
    about: "Manage networks",
    description: "Manage networks",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &connect::CONNECT,
        &create::COMMAND,
        &connect::DISCONNECT,
        &exists::COMMAND,
        &inspect::COMMAND,
        &list::COMMAND,
        &prune::COMMAND,
        &rm::COMMAND,
    ]),
    ..Command::EMPTY
};
