//! `podctl pod prune`

use proto::{serve::deadline, wire::ListPods};

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{
        pod::plainly,
        prompt::confirm,
        row,
        select::Pod,
        verb::{Options, Shown, Verb, on_pods},
    },
    dial::{ASK, Engine},
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove all stopped pods and their containers",
    usage: "[options]",
    examples: &["pod prune", "pod prune -f"],
    flags: &[&[switch("force", "Do not prompt for confirmation").short('f')]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if !args.is("force") && !confirm("WARNING! This will remove all stopped/exited pods..")? {
        return Ok(0);
    }
    engine.block_on(async {
        let host = engine.host()?;
        let rows = row::rows(&host.pods().list(deadline(ASK), &ListPods::default()).await?)?;
        drop(host);
        let ended = rows.iter().filter(|row| matches!(row::text(row, "Status"), "Stopped" | "Exited"));
        let pods = ended
            .map(|row| {
                let id = row::text(row, "Id");
                let parsed = id.parse().map_err(|error| Failure::invalid(format!("the engine's list: {error}")))?;
                Ok(Pod { typed: id.to_owned(), id: parsed })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let options = Options { volumes: true, ..Default::default() };
        on_pods(engine, pods, Verb::Remove, &options, (Shown::Id, true), plainly).await
    })
}
