//! `podctl volume rm`

use proto::{serve::deadline, wire::RemoveVolumes};

use crate::{
    args::{Action, Args, Command, switch},
    command::forced,
    dial::{ACT, Engine},
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    aliases: &["remove"],
    about: "Remove one or more volumes",
    description: "Remove one or more existing volumes.\n\nBy default only volumes that are not being used by any containers will be removed. With --force the containers that use them are removed first, and the pods whose infra does.",
    usage: "[options] VOLUME [VOLUME...]",
    examples: &["volume rm myvol1 myvol2", "volume rm --all", "volume rm --force -t 0 myvol"],
    flags: &[
        &[
            switch("all", "Remove all volumes").short('a'),
            switch("force", "Remove a volume by force, even if it is being used by a container").short('f'),
        ],
        forced::TIME,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let all = args.is("all");
    if all != args.operands.is_empty() {
        return Err(Failure::invalid("choose either one or more volumes or all"));
    }
    engine.block_on(forced::remove(engine, args, async |names| {
        let request = RemoveVolumes { names, force: args.is("force"), all };
        Ok(engine.host()?.volumes().remove(deadline(ACT), &request).await?.into())
    }))
}
