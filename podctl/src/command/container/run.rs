//! `podctl run`

use std::io::IsTerminal;

use proto::{
    Id, Kind, Refusal,
    failpoint::{self, Point},
    serve::deadline,
    wire::{ContainerAct, ContainerCreated},
};

use crate::{
    args::{Action, Args, Command, Operands, block, container, health, network, resources},
    attach::{self, Session, Stdin},
    command::container::{
        attach::ended,
        create::{Until, Wish},
        ready,
    },
    dial::{ACT, Engine, Shim},
    error::{Failure, Outcome, is_missing, warn},
    output, source,
    terminal::{self, DETACH_KEYS, DetachKeys},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "run",
    about: "Run a command in a new container",
    description: "Runs a command in a new container from the given image",
    usage: "[options] IMAGE [COMMAND [ARG...]]",
    examples: &[
        "run imageID ls -alF /etc",
        "run --network=host imageID dnf -y install java",
        "run --volume /var/hostdir:/var/ctrdir -i -t fedora /bin/bash",
        "run -dt --pod pod1 --name principal alpine:latest top",
        "run -d --pod new:web -p 8080:80 nginx",
    ],
    flags: &[
        container::FLAGS,
        health::FLAGS,
        container::RUN_FLAGS,
        network::FLAGS,
        resources::FLAGS,
        block::FLAGS,
        resources::CONTAINER_FLAGS,
        block::CONTAINER_FLAGS,
        resources::PLACE_FLAGS,
        resources::CREATE_FLAGS,
    ],
    operands: Operands::AtLeast(1),
    interspersed: false,
    action: Action::Run(run),
    starts: true,
    ..Command::EMPTY
};

/// Which streams are attached: stdin, stdout, stderr.
fn streams(args: &Args) -> Result<(bool, bool, bool), Failure> {
    let given = args.all("attach");
    if given.is_empty() {
        return Ok((args.is("interactive"), true, true));
    }
    if args.is("detach") {
        return Err(Failure::invalid("cannot specify both --attach and --detach: use one of them"));
    }
    let mut streams = (false, false, false);
    for stream in &given {
        match stream.to_ascii_lowercase().as_str() {
            "stdin" => streams.0 = true,
            "stdout" => streams.1 = true,
            "stderr" => streams.2 = true,
            _ => {
                return Err(Failure::invalid(format!(
                    "invalid stream \"{stream}\" for --attach - must be one of stdin, stdout, or stderr: invalid argument"
                )));
            }
        }
    }
    Ok(streams)
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut wish = Wish::read(args)?;
    let (mut stdin, mut stdout, mut stderr) = streams(args)?;
    if wish.passes_through() {
        if !args.all("attach").is_empty() {
            return Err(Failure::invalid(
                "--attach cannot be used with --log-driver passthrough: all streams are passed",
            ));
        }
        let is_terminal = |is: bool| is && wish.config.log.as_ref().is_some_and(|log| log.driver == "passthrough");
        if is_terminal(
            std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal(),
        ) {
            return Err(Failure::invalid(
                "the '--log-driver passthrough' option cannot be used on a TTY: use passthrough-tty where that is meant",
            ));
        }
        // The container writes itself.
        (stdin, stdout, stderr) = (false, false, false);
    }
    let keys = DetachKeys::parse(args.text("detach-keys").unwrap_or(DETACH_KEYS))?;
    wish.preserved = source::preserved(wish.config.preserve_fds)?;
    // podman keeps stdin open for one who attaches to it by -a stdin.
    wish.config.interactive |= stdin;
    let cidfile = wish.cidfile()?;
    if wish.config.tty && wish.config.interactive && !args.is("detach") && !terminal::stdin_is_terminal() {
        warn("The input device is not a TTY. The --tty and --interactive flags might not work properly");
    }
    engine.block_on(async {
        if args.is("detach") {
            let (_shim, created) = wish.create(engine, Until::Started).await?;
            if let Some(file) = cidfile {
                file.write(&created.id)?;
            }
            let (pod, id) = ids(&created)?;
            ready::wait(engine, &pod, &id).await?;
            return output::line(&created.id);
        }
        let session = Session {
            tty: wish.config.tty,
            stdin: Stdin::ours(stdin),
            stdout,
            stderr,
            lossless: true,
            sig_proxy: args.switch("sig-proxy").unwrap_or(true),
            keys,
        };
        let (shim, created) = wish.create(engine, Until::Init).await?;
        if let Some(file) = cidfile {
            file.write(&created.id)?;
        }
        foreground(engine, &shim, (&created, wish.met), session, wish.config.auto_remove).await
    })
}

/// Pod and container.
fn ids(created: &ContainerCreated) -> Result<(Id, Id), Failure> {
    let parse = |text: &str| {
        text.parse::<Id>()
            .map_err(|error| Failure::invalid(format!("the engine's answer: {error}: is podshim of another version?")))
    };
    Ok((parse(&created.pod)?, parse(&created.id)?))
}

async fn foreground(
    engine: &Engine,
    shim: &Shim,
    (created, met): (&ContainerCreated, Vec<String>),
    session: Session,
    remove: bool,
) -> Outcome {
    failpoint::pass(Point::ClientRun);
    let (pod, id) = ids(created)?;
    let client = shim.containers();
    let act = ContainerAct { container: created.id.clone(), met, ..Default::default() };
    let start: attach::Start<'_> = Box::pin(async move {
        client.start(deadline(ACT), &act).await?;
        Ok(())
    });
    let end = match attach::run(engine, &pod, &id, session, Some(start)).await {
        Ok(end) => end,
        Err(failure) => {
            // It never ran. With --rm it goes; without, it stays as podman leaves it, to be looked at.
            if remove {
                let _ = gone(shim, &created.id).await;
            }
            return Err(failure);
        }
    };
    failpoint::pass(Point::ClientRan);
    let over = !matches!(end, attach::End::Detached | attach::End::Signal(_) | attach::End::Unread(_));
    let code = end.code(&id, ended(engine, &id)).await;
    if remove && over {
        gone(shim, &created.id).await?;
    }
    code
}

/// Waits until a container with --rm, whose name may be used again at once, has been removed: by the shim, or now.
async fn gone(shim: &Shim, id: &str) -> Result<(), Failure> {
    let act = ContainerAct { container: id.to_owned(), force: true, volumes: true, ..Default::default() };
    match shim.containers().remove(deadline(ACT), &act).await.map_err(Failure::from) {
        // The shim of a pod of one ends with it.
        Err(failure) if !is_missing(failure.kind) && failure.kind != Kind::Gone => Err(failure),
        _ => Ok(()),
    }
}

/// An infra has no process that could be acted on in this way.
pub fn no_infra(name: &str, act: &str) -> Failure {
    Refusal::new(
        Kind::NotSupported,
        format!(
            "cannot {act} {name}: it is the infra of a pod, which has no process of its own: name a member of the pod"
        ),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn args(line: &str) -> Args {
        match scan::parse(&crate::command::ROOT, line.split(' ').map(str::to_owned).collect()) {
            Ok(Parsed::Run { args, .. }) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn streams_are_attached_as_asked() {
        assert_eq!(streams(&args("run x")).expect("default"), (false, true, true));
        assert_eq!(streams(&args("run -i x")).expect("stdin"), (true, true, true));
        assert_eq!(streams(&args("run -a STDIN -a stderr x")).expect("chosen"), (true, false, true));
        for (line, words) in [
            (
                "run -a bogus x",
                "invalid stream \"bogus\" for --attach - must be one of stdin, stdout, or stderr: invalid argument",
            ),
            ("run -d -a stdout x", "cannot specify both --attach and --detach: use one of them"),
        ] {
            assert_eq!(streams(&args(line)).expect_err(line).to_string(), words);
        }
    }
}
