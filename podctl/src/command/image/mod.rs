//! `podctl image …`, and the same verbs without the word.

pub mod exists;
pub mod history;
pub mod inspect;
pub mod list;
pub mod load;
pub mod prune;
pub mod pull;
pub mod rm;
pub mod save;
pub mod tag;

use crate::args::{Action, Command};

/// The group.
pub static COMMAND: Command = Command {
    name: "image",
    about: "Manage images",
    description: "Manage images",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &exists::COMMAND,
        &history::COMMAND,
        &inspect::COMMAND,
        &list::COMMAND,
        &load::COMMAND,
        &prune::COMMAND,
        &pull::COMMAND,
        &rm::COMMAND,
        &save::COMMAND,
        &tag::COMMAND,
        &tag::UNTAG,
    ]),
    ..Command::EMPTY
};
