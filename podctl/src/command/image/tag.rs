//! `podctl tag`, `podctl untag`

use proto::{serve::deadline, wire::TagImage};

use crate::{
    args::{Action, Args, Command, Operands},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
};

/// `podctl tag`
pub static COMMAND: Command = Command {
    name: "tag",
    about: "Add an additional name to a local image",
    description: "Adds one or more additional names to locally-stored image.",
    usage: "IMAGE TARGET_NAME [TARGET_NAME...]",
    examples: &["tag 0e3bbc2 fedora:latest", "tag imageID:latest myNewImage:newTag"],
    operands: Operands::AtLeast(2),
    action: Action::Run(tag),
    ..Command::EMPTY
};

/// `podctl untag`
pub static UNTAG: Command = Command {
    name: "untag",
    about: "Remove a name from a local image",
    description: "Removes one or more names from a locally-stored image.",
    usage: "IMAGE [IMAGE...]",
    examples: &["untag 0e3bbc2", "untag imageID:latest otherImageName:latest"],
    operands: Operands::AtLeast(1),
    action: Action::Run(untag),
    ..Command::EMPTY
};

fn request(args: &Args) -> Result<TagImage, Failure> {
    let (source, targets) =
        args.operands.split_first().ok_or_else(|| Failure::invalid("image name or ID must be specified"))?;
    Ok(TagImage { source: source.clone(), targets: targets.to_vec() })
}

fn tag(engine: &Engine, args: &Args) -> Outcome {
    let request = request(args)?;
    engine.block_on(async {
        engine.host()?.images().tag(deadline(ASK), &request).await?;
        Ok(0)
    })
}

fn untag(engine: &Engine, args: &Args) -> Outcome {
    let request = request(args)?;
    engine.block_on(async {
        engine.host()?.images().untag(deadline(ASK), &request).await?;
        Ok(0)
    })
}
