//! `podctl pod …`

pub mod create;
pub mod exists;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod pause;
pub mod prune;
pub mod ps;
pub mod restart;
pub mod rm;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod unpause;

use crate::args::{Action, Command, Flag, switch};

/// The group.
pub static COMMAND: Command = Command {
    name: "pod",
    about: "Manage pods",
    description: "Pods are a group of one or more containers sharing the same network, pid and ipc namespaces.",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &create::COMMAND,
        &exists::COMMAND,
        &inspect::COMMAND,
        &kill::COMMAND,
        &logs::COMMAND,
        &pause::COMMAND,
        &prune::COMMAND,
        &ps::COMMAND,
        &restart::COMMAND,
        &rm::COMMAND,
        &start::COMMAND,
        &stats::COMMAND,
        &stop::COMMAND,
        &top::COMMAND,
        &unpause::COMMAND,
    ]),
    ..Command::EMPTY
};

/// `--all`
const ALL: &[Flag] = &[switch("all", "Act on all pods").short('a')];

/// Exit code of a command for which only success and failure differ.
fn plainly(failure: &crate::error::Failure) -> i32 {
    failure.code
}
