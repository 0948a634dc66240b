//! `podctl secret inspect`

use proto::{serve::deadline, wire::SecretNames};

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{container::inspect::FORMAT, row},
    dial::{ASK, Engine},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Inspect a secret",
    description: "Display detailed information on one or more secrets; what they hold only on request",
    usage: "[options] SECRET [SECRET...]",
    examples: &["secret inspect mysecret", "secret inspect --showsecret --format '{{.SecretData}}' mysecret"],
    flags: &[FORMAT, &[switch("showsecret", "Display the secret")]],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = SecretNames { names: args.operands.clone(), show: args.is("showsecret") };
    let secrets =
        engine.block_on(async { row::rows(&engine.host()?.secrets().inspect(deadline(ASK), &request).await?) })?;
    row::print_documents("secret inspect", args.text_or_empty("format"), &secrets, 4)
}
