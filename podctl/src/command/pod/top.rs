//! `podctl pod top`

use proto::wire::TopRequest;

use crate::{
    args::{Action, Args, Command},
    command::{container::top, select},
    dial::Engine,
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "top",
    about: "Display the running processes of containers in a pod",
    description: "List the running processes of the containers in a pod. By default: user, pid, ppid, pcpu, etime, tty, time and args.",
    usage: "[options] POD [FORMAT-DESCRIPTORS|ARGS...]",
    examples: &["pod top podID", "pod top --latest", "pod top podID pid seccomp args %C"],
    flags: &[select::LATEST_POD],
    interspersed: false,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let missing = || Failure::invalid("you must provide the name or id of a running pod");
    engine.block_on(async {
        let (pod, descriptors) = if args.is("latest") {
            let only = Args::new(args.command, args.path.clone(), vec![("latest", "true".to_owned())], Vec::new());
            let pods = select::pods(engine, &only, false, "").await?;
            (pods.into_iter().next().ok_or_else(missing)?.id, args.operands.as_slice())
        } else {
            let (name, descriptors) = args.operands.split_first().ok_or_else(missing)?;
            let id = engine.pod_id(name).map_err(|failure| failure.within("unable to look up requested container"))?;
            (id, descriptors)
        };
        let request =
            TopRequest { pod: pod.to_string(), descriptors: top::descriptors(descriptors), ..Default::default() };
        top::show(engine, &request).await
    })
}
