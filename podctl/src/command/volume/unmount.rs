//! `podctl volume unmount`

use proto::{serve::deadline, wire::VolumeNames};

use super::mounted;
use crate::{
    args::{Action, Args, Command, Operands},
    dial::{ACT, Engine},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "unmount",
    aliases: &["umount"],
    about: "Unmount a volume",
    description: "Unmounts what `volume mount` has mounted. Containers keep what they have of it.",
    usage: "VOLUME [VOLUME...]",
    examples: &["volume unmount myvol", "volume unmount myvol1 myvol2"],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = VolumeNames { names: args.operands.clone(), all: false };
    let answer = engine.block_on(async { Ok(engine.host()?.volumes().unmount(deadline(ACT), &request).await?) })?;
    mounted(answer)
}
