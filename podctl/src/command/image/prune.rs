//! `podctl image prune`

use proto::{
    serve::deadline,
    wire::{ImagesRemoved, PruneImages},
};

use super::rm::failed;
use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{prompt::confirm, prune},
    dial::{ACT, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove unused images",
    description: "Removes dangling images, which have no name, or with --all those that no container uses. An image that a container uses stays.",
    usage: "[options]",
    examples: &["image prune", "image prune --all --force", "image prune -a --filter until=240h"],
    flags: &[
        &[switch("all", "Remove all images not in use by containers, not just dangling ones").short('a')],
        &[switch("external", "Remove images even when they are used by external containers: there are none")],
        prune::FLAGS,
    ],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let filters = prune::pairs(args)?;
    if !args.is("force") && !confirm(warning(args.is("all")))? {
        return Ok(0);
    }
    engine.block_on(async {
        let removed = images(engine, args.is("all"), filters).await?;
        output::print(&removed.deleted.iter().map(|id| format!("{}\n", output::escape::line(id))).collect::<String>())?;
        failed(removed.errors, removed.missing, removed.in_use)
    })
}

fn warning(all: bool) -> &'static str {
    if all {
        "WARNING! This command removes all images without at least one container associated with them."
    } else {
        "WARNING! This command removes all dangling images."
    }
}

/// Removes images that no container uses, as far as `filters` leave them: all, or those without a name.
///
/// # Errors
/// When a filter cannot be.
pub async fn images(engine: &Engine, all: bool, filters: Vec<String>) -> Result<ImagesRemoved, Failure> {
    Ok(engine.host()?.images().prune(deadline(ACT), &PruneImages { all, filters }).await?)
}
