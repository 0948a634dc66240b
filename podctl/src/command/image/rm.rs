//! `podctl rmi`, `podctl image rm`

use proto::{ENGINE_ERROR, serve::deadline, wire::RemoveImages};

use crate::{
    args::{Action, Args, Command, switch},
    dial::{ACT, Engine},
    error::{Failure, Outcome},
    output,
};

const TEMPLATE: Command = Command {
    name: "rm",
    about: "Remove one or more images from local storage",
    description: "Removes one or more previously pulled or locally created images.",
    usage: "[options] IMAGE [IMAGE...]",
    examples: &["image rm imageID", "image rm --force alpine", "image rm c4dfb1609ee2 93fd78260bd1 c0ed59d05ff7"],
    flags: &[&[
        switch("all", "Remove all images").short('a'),
        switch("force", "Force Removal of the image").short('f'),
        switch("no-prune", "Do not remove dangling images: no other image is removed anyway"),
        switch("ignore", "Ignore errors if a specified image does not exist").short('i'),
    ]],
    action: Action::Run(run),
    ..Command::EMPTY
};

/// `podctl image rm`
pub static COMMAND: Command = TEMPLATE;

/// `podctl rmi`
pub static RMI: Command = Command {
    name: "rmi",
    examples: &["rmi imageID", "rmi --force alpine", "rmi c4dfb1609ee2 93fd78260bd1"],
    ..TEMPLATE
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.operands.is_empty() && !args.is("all") {
        return Err(Failure::invalid("image name or ID must be specified"));
    }
    if !args.operands.is_empty() && args.is("all") {
        return Err(Failure::invalid("when using the --all switch, you may not pass any images names or IDs"));
    }
    let request = RemoveImages {
        names: args.operands.clone(),
        force: args.is("force"),
        all: args.is("all"),
        ignore: args.is("ignore") || args.is("force"),
    };
    let removed = engine.block_on(async { Ok(engine.host()?.images().remove(deadline(ACT), &request).await?) })?;
    let mut text = String::new();
    for name in &removed.untagged {
        text.push_str(&format!("Untagged: {}\n", output::escape::line(name)));
    }
    for id in &removed.deleted {
        text.push_str(&format!("Deleted: {}\n", output::escape::line(id)));
    }
    output::print(&text)?;
    failed(removed.errors, removed.missing, removed.in_use)
}

/// The outcome of a removal of several objects at once: 1 = one is missing, 2 = one is in use.
///
/// # Errors
/// With the messages, where there are any.
pub fn failed(errors: Vec<String>, missing: bool, in_use: bool) -> Outcome {
    if errors.is_empty() {
        return Ok(0);
    }
    let code = if missing {
        1
    } else if in_use {
        2
    } else {
        ENGINE_ERROR
    };
    Err(Failure { code, messages: errors, ..Failure::invalid("") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_what_was_wrong() {
        let of = |missing, in_use| failed(vec!["x".to_owned()], missing, in_use).expect_err("failed").code;
        assert_eq!((of(true, true), of(false, true), of(false, false)), (1, 2, 125));
        assert_eq!(failed(Vec::new(), true, true), Ok(0));
    }
}
