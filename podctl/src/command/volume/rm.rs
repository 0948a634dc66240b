//! `podctl volume rm`

use proto::{serve::deadline, wire::RemoveVolumes};

use crate::{
    args::{Action, Args, Command, switch},
    command::image::rm::failed,
    dial::{ACT, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    aliases: &["remove"],
    about: "Remove one or more volumes",
    description: "Remove one or more existing volumes.\n\nBy default only volumes that are not being used by any containers will be removed. To remove the volumes anyways, use the --force flag.",
    usage: "[options] VOLUME [VOLUME...]",
    examples: &["volume rm myvol1 myvol2", "volume rm --all", "volume rm --force myvol"],
    flags: &[&[
        switch("all", "Remove all volumes").short('a'),
        switch("force", "Remove a volume by force, even if it is being used by a container").short('f'),
    ]],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("all") != args.operands.is_empty() {
        return Err(Failure::invalid("choose either one or more volumes or all"));
    }
    let request = RemoveVolumes { names: args.operands.clone(), force: args.is("force"), all: args.is("all") };
    let removed = engine.block_on(async { Ok(engine.host()?.volumes().remove(deadline(ACT), &request).await?) })?;
    output::print(&removed.names.iter().map(|name| format!("{}\n", output::escape::line(name))).collect::<String>())?;
    if args.is("force") && removed.missing && !removed.in_use {
        return Ok(0);
    }
    failed(removed.errors, removed.missing, removed.in_use)
}
