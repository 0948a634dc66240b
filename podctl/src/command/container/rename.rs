//! `podctl rename`

use proto::{name, serve::deadline, wire::RenameContainer};

use crate::{
    args::{Action, Args, Command, Operands},
    command::container::run::no_infra,
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "rename",
    about: "Rename an existing container",
    description: "The podctl rename command allows you to rename an existing container",
    usage: "CONTAINER NAME",
    examples: &["rename containerA newName"],
    operands: Operands::Exactly(2),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let [old, new] = args.operands.as_slice() else { return Err(Failure::invalid("accepts 2 arg(s)")) };
    if !name::is_valid(new) {
        return Err(Failure::invalid(name::rule(new)));
    }
    match engine.container(old)? {
        Found::Infra(_) => Err(no_infra(old, "rename")),
        Found::Container { pod, id } => engine.block_on(async {
            let request = RenameContainer { container: id.to_string(), name: new.clone() };
            engine.pod(&pod).await?.containers().rename(deadline(ASK), &request).await?;
            Ok(0)
        }),
    }
}
