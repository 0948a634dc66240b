//! `podctl load`

use std::os::fd::{AsFd, OwnedFd};

use proto::{raw, wire::LoadImage};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Operands, file, switch, text},
    dial::Engine,
    error::{Failure, Outcome, plain},
    output, terminal,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "load",
    about: "Load image(s) from a tar archive",
    description: "Loads an image from a locally stored archive (tar file), or a directory of the format oci-dir or docker-dir, into container storage.",
    usage: "[options]",
    examples: &["load --input httpd.tar", "load < httpd.tar", "load --input httpd-dir"],
    flags: &[&[
        text("input", "string", "Load images from the specified archive or directory (default: stdin)").short('i'),
        switch("quiet", "Suppress the output").short('q'),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

/// The archive, opened here: it is the caller's.
fn archive(args: &Args) -> Result<(OwnedFd, String), Failure> {
    match args.text("input") {
        Some(path) => {
            let file = file::open(path).map_err(|error| Failure::invalid(format!("stat {path}: {}", plain(&error))))?;
            Ok((file.into(), path.to_owned()))
        }
        None if terminal::stdin_is_terminal() => {
            Err(Failure::invalid("cannot read from terminal, use command-line redirection or the --input flag"))
        }
        None => {
            let stdin = std::io::stdin();
            let fd = stdin.as_fd().try_clone_to_owned().map_err(|error| Failure::io("read stdin", &error))?;
            Ok((fd, "stdin".to_owned()))
        }
    }
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    let (archive, path) = archive(args)?;
    engine.block_on(async {
        let words = |error: std::io::Error| Failure::io("hand the archive to podshim", &error);
        let host = engine.host()?;
        let token = raw::token().map_err(words)?;
        host.raw().map_err(words)?.deposit(&token, &[archive.as_fd()]).await.map_err(words)?;
        drop(archive);
        // However long it takes: an archive may come from a slow pipe.
        let loaded = host.images().load(Context::default(), &LoadImage { token, path }).await?;
        let text: String =
            loaded.names.iter().map(|name| format!("Loaded image: {}\n", output::escape::line(name))).collect();
        output::print(&text)
    })
}
