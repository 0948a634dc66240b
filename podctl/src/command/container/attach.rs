//! `podctl attach`

use proto::{Id, wire::ExitStatus};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, switch, text},
    attach::{self, Session, Stdin},
    command::{
        container::{exec, records, run::no_infra, state_of},
        row, select,
    },
    dial::{Engine, Found},
    error::{Failure, Outcome},
    terminal::{DETACH_KEYS, DetachKeys},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "attach",
    about: "Attach to a running container",
    description: "The podctl attach command allows you to attach to a running container using the container's ID or name, either to view its ongoing output or to control it interactively.",
    usage: "[options] CONTAINER",
    examples: &["attach ctrID", "attach --latest", "attach --no-stdin foobar"],
    flags: &[
        &[
            text("detach-keys", "[a-Z]", "Override the key sequence for detaching a container")
                .default("\"ctrl-p,ctrl-q\""),
            switch("no-stdin", "Do not attach STDIN"),
            switch("sig-proxy", "Proxy received signals to the process").default("true"),
        ],
        select::LATEST,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

const NO_NAME: &str = "\"podctl attach\" requires a name, id, or the \"--latest\" flag";

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.operands.len() > 1 {
        return Err(Failure::invalid("attach can only be used with one container: too many arguments"));
    }
    let keys = DetachKeys::parse(args.text("detach-keys").unwrap_or(DETACH_KEYS))?;
    engine.block_on(async {
        let containers = select::containers(engine, args, false, &[], NO_NAME).await?;
        let Some(container) = containers.first() else { return Err(Failure::invalid(NO_NAME)) };
        let Found::Container { pod, id } = &container.found else {
            return Err(no_infra(&container.typed, "attach to"));
        };
        let record = records(engine, id).await?;
        let Some(record) = record else { return Err(proto::Refusal::no_such_container(&container.typed).into()) };
        if !matches!(state_of(&record).0, "running" | "paused" | "initialized") {
            return Err(Failure::invalid("you can only attach to running containers"));
        }
        // One that was killed has a successor in a moment: it is waited for.
        if exec::running_monitor(engine, pod, id).await?.is_none() {
            return Err(Failure::invalid("you can only attach to running containers"));
        }
        let config = record.get("Config").unwrap_or(&Value::Null);
        let is = |key: &str| config.get(key).and_then(Value::as_bool) == Some(true);
        let session = Session {
            tty: is("Tty"),
            stdin: Stdin::ours(!args.is("no-stdin") && is("OpenStdin")),
            stdout: true,
            stderr: true,
            lossless: false,
            sig_proxy: args.switch("sig-proxy").unwrap_or(true),
            keys,
        };
        attach::run(engine, pod, id, session, None).await?.code(id, ended(engine, id)).await
    })
}

/// How a container ended whose monitor has gone: from its records, which may take a moment to say so.
///
/// # Errors
/// When it has not ended, or is gone.
pub async fn ended(engine: &Engine, id: &Id) -> Result<ExitStatus, Failure> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let Some(record) = records(engine, id).await? else {
            return Err(Failure::invalid(format!("container {id} was removed before its exit code was read")));
        };
        let (state, code) = state_of(&record);
        if matches!(state, "exited" | "stopped") {
            let code = i32::try_from(code).unwrap_or(-1);
            return Ok(ExitStatus { known: code >= 0, code, ..Default::default() });
        }
        if std::time::Instant::now() >= end {
            let name = row::text(&record, "Name");
            return Err(Failure::invalid(format!(
                "the connection to container {name} was lost while it is {state}: attach to it again"
            )));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
