//! `podctl network exists`

use proto::{serve::deadline, wire::NetworkNames};

use crate::{
    args::{Action, Args, Command, Operands},
    command::container::inspect::Found,
    dial::{ASK, Engine},
    error::{Failure, Outcome, is_missing},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "exists",
    about: "Check if network exists",
    description: "If the named network exists, podctl network exists exits with 0, otherwise the exit code will be 1.",
    usage: "NETWORK",
    examples: &["network exists net1"],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let request = NetworkNames { names: args.operands.clone() };
        match engine.host()?.networks().inspect(deadline(ASK), &request).await.map_err(Failure::from) {
            Ok(document) => Ok(i32::from(is_empty(&document.json))),
            Err(failure) if is_missing(failure.kind) => Ok(1),
            Err(failure) => Err(failure),
        }
    })
}

/// Whether an answer of `Inspect` holds no document: a list, or what was found beside errors.
pub fn is_empty(json: &[u8]) -> bool {
    match serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(json) {
        Ok(list) => list.is_empty(),
        Err(_) => serde_json::from_slice::<Found>(json).is_ok_and(|found| found.found.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_answer_are_read() {
        for (json, empty) in [
            ("[]", true),
            ("[{}]", false),
            (r#"{"found":[],"errors":["x"]}"#, true),
            (r#"{"found":[{}],"errors":[]}"#, false),
        ] {
            assert_eq!(is_empty(json.as_bytes()), empty, "{json}");
        }
    }
}
