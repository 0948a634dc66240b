//! `podctl volume …`

pub mod create;
pub mod exists;
pub mod inspect;
pub mod list;
pub mod mount;
pub mod prune;
pub mod rm;
pub mod unmount;

use proto::wire::VolumesMounted;

use crate::{
    args::{Action, Command},
    error::{Failure, Outcome},
    output,
};

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
        &mount::COMMAND,
        &prune::COMMAND,
        &rm::COMMAND,
        &unmount::COMMAND,
    ]),
    ..Command::EMPTY
};

/// Prints where volumes are mounted, or were; fails with what did not succeed.
fn mounted(answer: VolumesMounted) -> Outcome {
    output::print(&answer.paths.iter().map(|path| format!("{}\n", output::escape::line(path))).collect::<String>())?;
    if answer.errors.is_empty() {
        return Ok(0);
    }
    Err(Failure { messages: answer.errors, ..Failure::invalid("") })
}
