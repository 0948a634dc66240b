//! `podctl start`

use proto::{serve::deadline, wire::ContainerAct};

use crate::{
    args::{Action, Args, Command, switch, text},
    attach::{self, Session, Stdin},
    command::{
        container::{attach::ended, needs, plainly, ready, records, run as run_command},
        select,
        verb::{Options, Verb, on_containers},
    },
    dial::{ACT, Engine, Found},
    error::{Failure, Outcome},
    terminal::{DETACH_KEYS, DetachKeys},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "start",
    about: "Start one or more containers",
    description: "Starts one or more containers.  The container name or ID can be used.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &["start --latest", "start 860a4b231279 5421ab43b45", "start --interactive --attach imageID"],
    flags: &[
        &[
            switch("attach", "Attach container's STDOUT and STDERR").short('a'),
            text("detach-keys", "[a-Z]", "Override the key sequence for detaching a container")
                .default("\"ctrl-p,ctrl-q\""),
            switch("interactive", "Keep STDIN open even if not attached").short('i'),
            switch("sig-proxy", "Proxy received signals to the process").default("true if attaching, false otherwise"),
            switch("all", "Start all containers regardless of their state or configuration"),
        ],
        select::LATEST,
        select::FILTER,
    ],
    action: Action::Run(run),
    starts: true,
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let attached = args.is("attach") || args.is("interactive");
    if args.is("all") && !args.operands.is_empty() {
        return Err(Failure::invalid("either start all containers or the container(s) provided in the arguments"));
    }
    if attached && args.operands.len() > 1 {
        return Err(Failure::invalid("you cannot start and attach multiple containers at once"));
    }
    if attached && args.is("all") {
        return Err(Failure::invalid("you cannot start and attach all containers at once"));
    }
    if args.is("sig-proxy") && !attached {
        return Err(Failure::invalid("you cannot use sig-proxy without --attach"));
    }
    let keys = DetachKeys::parse(args.text("detach-keys").unwrap_or(DETACH_KEYS))?;
    engine.block_on(async {
        let states = ["created", "exited", "initialized"];
        let containers = select::members(engine, args, &states, "start requires at least one argument").await?;
        match containers.as_slice() {
            [container] if attached => match &container.found {
                Found::Container { pod, id } => attach_to(engine, args, (pod, id), keys).await,
                Found::Infra(_) => Err(run_command::no_infra(&container.typed, "attach to")),
            },
            _ => on_containers(engine, containers, Verb::Start, &Options::default(), false, plainly).await,
        }
    })
}

async fn attach_to(engine: &Engine, args: &Args, (pod, id): (&proto::Id, &proto::Id), keys: DetachKeys) -> Outcome {
    let record =
        records(engine, id).await?.ok_or_else(|| Failure::from(proto::Refusal::no_such_container(id.as_str())))?;
    let config = record.get("Config").unwrap_or(&serde_json::Value::Null);
    let is = |key: &str| config.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    let running = matches!(crate::command::container::state_of(&record).0, "running" | "paused");
    let driver = record.pointer("/HostConfig/LogConfig/Type").and_then(serde_json::Value::as_str).unwrap_or_default();
    if driver.starts_with("passthrough") {
        return Err(Failure::invalid(format!(
            "cannot attach to a container with log driver {driver}: its streams are those that podctl run was given"
        )));
    }
    let stdin = match (is("OpenStdin"), args.is("interactive")) {
        (true, true) => Stdin::Ours,
        // Who starts it without -i has nothing to say to it.
        (true, false) if !is("Tty") && !running => Stdin::Ended,
        _ => Stdin::Nothing,
    };
    let session = Session {
        tty: is("Tty"),
        stdin,
        stdout: true,
        stderr: true,
        lossless: !running,
        sig_proxy: args.switch("sig-proxy").unwrap_or(true),
        keys,
    };
    let mut act =
        ContainerAct { container: id.to_string(), notify_socket: ready::notify_socket(), ..Default::default() };
    let shim = engine.pod(pod).await?;
    let start: Option<attach::Start<'_>> = if running {
        None
    } else {
        needs::bring_up(engine, &shim, Verb::Init, &deadline(ACT), &mut act).await?;
        let client = shim.containers();
        Some(Box::pin(async move {
            client.start(deadline(ACT), &act).await?;
            Ok(())
        }))
    };
    let end = attach::run(engine, pod, id, session, start).await?;
    end.code(id, ended(engine, id)).await
}
