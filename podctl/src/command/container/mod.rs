//! `podctl container …`, and the same verbs without the word.

pub mod attach;
mod copy;
pub mod cp;
pub mod create;
pub mod exec;
pub mod exists;
pub mod init;
pub mod inspect;
pub mod kill;
pub mod logrotate;
pub mod logs;
pub mod needs;
pub mod pause;
pub mod port;
pub mod prune;
pub mod ps;
pub mod ready;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod unpause;
pub mod update;
pub mod wait;

use proto::{Id, serve::deadline, wire::InspectObjects};
use serde_json::Value;

use super::row;
use crate::{
    args::{Action, Command, Flag, switch},
    dial::{ASK, Engine},
    error::Failure,
};

/// The group.
pub static COMMAND: Command = Command {
    name: "container",
    about: "Manage containers",
    description: "Manage containers",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[
        &attach::COMMAND,
        &cp::COMMAND,
        &create::COMMAND,
        &exec::COMMAND,
        &exists::COMMAND,
        &init::COMMAND,
        &inspect::COMMAND,
        &kill::COMMAND,
        &ps::LIST,
        &logrotate::COMMAND,
        &logs::COMMAND,
        &pause::COMMAND,
        &port::COMMAND,
        &prune::COMMAND,
        &rename::COMMAND,
        &restart::COMMAND,
        &rm::COMMAND,
        &run::COMMAND,
        &start::COMMAND,
        &stats::COMMAND,
        &stop::COMMAND,
        &top::COMMAND,
        &unpause::COMMAND,
        &update::COMMAND,
        &wait::COMMAND,
    ]),
    ..Command::EMPTY
};

/// `--all`
const ALL: &[Flag] = &[switch("all", "Act on all containers").short('a')];

/// Exit code of a command for which only success and failure differ.
fn plainly(failure: &Failure) -> i32 {
    failure.code
}

/// What the records tell of a container, by the keys of `inspect`; `None` when there is none.
///
/// # Errors
/// When the engine does not answer.
pub async fn records(engine: &Engine, container: &Id) -> Result<Option<Value>, Failure> {
    let request =
        InspectObjects { names: vec![container.to_string()], r#type: "container".to_owned(), ..Default::default() };
    let document = engine.host()?.system().inspect(deadline(ASK), &request).await?;
    let found = inspect::Found::read(&document)?;
    Ok(found.found.into_iter().next())
}

/// The state of a container in the words of `inspect`, and its exit code.
pub fn state_of(record: &Value) -> (&str, i64) {
    let state = record.get("State").unwrap_or(&Value::Null);
    (row::text(state, "Status"), row::number(state, "ExitCode"))
}
