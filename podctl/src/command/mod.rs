//! What podctl can do: one file per verb. A verb reads its arguments, asks once, and prints.

pub mod container;
mod forced;
pub mod healthcheck;
pub mod image;
pub mod network;
pub mod pod;
mod prompt;
mod prune;
mod row;
pub mod secret;
pub mod select;
mod stats;
pub mod system;
mod verb;
pub mod volume;

use crate::args::{Action, Command, Flag, switch};

const VERSION: &[Flag] = &[switch("version", "Version of podctl").short('v')];

/// All commands.
pub static ROOT: Command = Command {
    name: crate::PROGRAM,
    about: "Manage pods, containers and images",
    usage: "[options] [command]",
    flags: &[VERSION],
    interspersed: false,
    action: Action::Group(&[
        &container::attach::COMMAND,
        &system::completion::COMMAND,
        &container::COMMAND,
        &container::cp::COMMAND,
        &container::create::COMMAND,
        &system::events::COMMAND,
        &container::exec::COMMAND,
        &system::failpoints::COMMAND,
        &healthcheck::COMMAND,
        &system::help::COMMAND,
        &image::history::COMMAND,
        &image::COMMAND,
        &image::list::IMAGES,
        &system::info::COMMAND,
        &container::init::COMMAND,
        &container::inspect::ANY,
        &container::kill::COMMAND,
        &image::load::COMMAND,
        &container::logs::COMMAND,
        &system::manpages::COMMAND,
        &network::COMMAND,
        &container::pause::COMMAND,
        &pod::COMMAND,
        &container::port::COMMAND,
        &container::ps::COMMAND,
        &image::pull::COMMAND,
        &container::rename::COMMAND,
        &container::restart::COMMAND,
        &container::rm::COMMAND,
        &image::rm::RMI,
        &container::run::COMMAND,
        &image::save::COMMAND,
        &secret::COMMAND,
        &container::start::COMMAND,
        &container::stats::COMMAND,
        &container::stop::COMMAND,
        &system::COMMAND,
        &image::tag::COMMAND,
        &container::top::COMMAND,
        &container::unpause::COMMAND,
        &image::tag::UNTAG,
        &container::update::COMMAND,
        &system::version::COMMAND,
        &volume::COMMAND,
        &container::wait::COMMAND,
    ]),
    ..Command::EMPTY
};
