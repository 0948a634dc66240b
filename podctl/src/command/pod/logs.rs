//! `podctl pod logs`

use proto::{Kind, Refusal};

use crate::{
    args::{Action, Args, Command, text},
    command::{container::logs, select},
    dial::{Engine, Found},
    error::{Failure, Outcome},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "logs",
    about: "Fetch logs for pod with one or more containers",
    description: "The pod logs command will fetch logs of one or more containers in a pod that are present at the time of execution.",
    usage: "[options] POD",
    examples: &["pod logs -f mywebserverpod", "pod logs --tail 2 -c web mypod", "pod logs --since 10m mypod"],
    flags: &[
        &[text("container", "string", "Filter logs by container name or id which belongs to pod").short('c')],
        logs::FLAGS,
        select::LATEST_POD,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut request = logs::request(args)?;
    match args.operands.as_slice() {
        [] if !args.is("latest") => return Err(Failure::invalid("specify at least one pod name or ID to log")),
        [_] if args.is("latest") => return Err(Failure::invalid("--latest and containers cannot be used together")),
        [_, _, ..] => return Err(Failure::invalid("requires exactly 1 arg")),
        _ => {}
    }
    engine.block_on(async {
        let pods = select::pods(engine, args, false, "specify at least one pod name or ID to log").await?;
        let Some(pod) = pods.first() else { return Ok(0) };
        match args.text("container") {
            None => {
                request.pod = pod.id.to_string();
                request.prefix = true;
            }
            Some(name) => match engine.container(name) {
                Ok(Found::Container { pod: of, id }) if of == pod.id => request.containers = vec![id.to_string()],
                Ok(Found::Infra(of)) if of == pod.id => return Ok(0),
                _ => {
                    let words = format!("container {name} is not in pod {}: no such container", pod.typed);
                    return Err(Refusal::new(Kind::NoSuchContainer, words).into());
                }
            },
        }
        logs::show(engine, request).await
    })
}
