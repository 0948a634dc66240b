//! `podctl volume …`

pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod prune;
pub mod rm;

use crate::args::{Action, Command};

/// The group.
pub static COMMAND: Command = Command {
    name: "volume",
    about: "Manage volumes",
    description: "Volumes are created in and can be shared between containers",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &create::COMMAND,
        &exists::COMMAND,
        &inspect::COMMAND,
        &list::COMMAND,
        &prune::COMMAND,
        &rm::COMMAND,
    ]),
    ..Command::EMPTY
};
