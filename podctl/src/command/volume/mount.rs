//! `podctl volume mount`

use proto::{serve::deadline, wire::VolumeNames};

use super::mounted;
use crate::{
    args::{Action, Args, Command, Operands},
    dial::{ACT, Engine},
    error::Outcome,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "mount",
    about: "Mount a volume's file system on the host",
    description: "Mounts what the volume mounts, and prints where; of any other volume its directory is printed. What is mounted twice is to be unmounted twice.",
    usage: "VOLUME [VOLUME...]",
    examples: &["volume mount myvol"],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = VolumeNames { names: args.operands.clone(), all: false };
    let answer = engine.block_on(async { Ok(engine.host()?.volumes().mount(deadline(ACT), &request).await?) })?;
    mounted(answer)
}
