//! `podctl secret rm`

use proto::{serve::deadline, wire::RemoveSecrets};

use crate::{
    args::{Action, Args, Command, switch},
    command::image::rm::failed,
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rm",
    aliases: &["remove"],
    about: "Remove one or more secrets",
    description: "Remove one or more secrets. A container that has one of them cannot be started again without it.",
    usage: "[options] SECRET [SECRET...]",
    examples: &["secret rm mysecret1 mysecret2", "secret rm --all"],
    flags: &[&[
        switch("all", "Remove all secrets").short('a'),
        switch("ignore", "Ignore errors when a specified secret is missing").short('i'),
    ]],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("all") && !args.operands.is_empty() {
        return Err(Failure::invalid("`podctl secret rm --all` takes no arguments"));
    }
    if !args.is("all") && args.operands.is_empty() {
        return Err(Failure::invalid("`podctl secret rm` requires at least one argument"));
    }
    let request = RemoveSecrets { names: args.operands.clone(), all: args.is("all"), ignore: args.is("ignore") };
    let removed = engine.block_on(async { Ok(engine.host()?.secrets().remove(deadline(ASK), &request).await?) })?;
    output::print(&removed.ids.iter().map(|id| format!("{}\n", output::escape::line(id))).collect::<String>())?;
    failed(removed.errors, removed.missing, false)
}
