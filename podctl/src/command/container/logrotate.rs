//! `podctl container logrotate`

use proto::{Kind, Refusal, serve::deadline, wire::Empty};

use crate::{
    args::{Action, Args, Command},
    command::{
        container::{ALL, exec, plainly},
        select::{self, NO_NAME},
    },
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
    fan_out,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "logrotate",
    about: "Begin new log files for one or more running containers",
    description: "Keeps the log of each container under another name (ctr.log becomes ctr.log.1) and goes on in a new file. A log that somebody else has renamed already, as logrotate and the kubelet do, is only opened anew: this is the command for their postrotate scripts. No line is lost or doubled.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["container logrotate mywebserver", "container logrotate --all"],
    flags: &[ALL, select::LATEST, select::FILTER, select::CIDFILE],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    engine.block_on(async {
        let containers = select::containers(engine, args, false, &["running"], NO_NAME).await?;
        // Of all, those that keep none are passed over.
        let all = args.is("all");
        let results = fan_out::each(containers, async |container| {
            let Found::Container { pod, id } = &container.found else {
                return if all { Ok(None) } else { Err(no_log(&container.typed)) };
            };
            let Some(monitor) = exec::running_monitor(engine, pod, id).await? else {
                let words = format!("container {} is not running: its log is rotated when it is", container.typed);
                return Err(Refusal::new(Kind::WrongState, words).about(&container.typed).into());
            };
            match monitor.client().rotate_log(deadline(ASK), &Empty {}).await.map_err(Failure::from) {
                Ok(_) => Ok(Some(container.typed)),
                Err(failure) if all && failure.kind == Kind::Invalid => Ok(None),
                Err(failure) => Err(failure),
            }
        })
        .await;
        fan_out::report(results, plainly)
    })
}

fn no_log(typed: &str) -> Failure {
    Failure::invalid(format!("{typed} is the infra of a pod: it keeps no log"))
}
