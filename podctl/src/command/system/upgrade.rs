//! `podctl system upgrade`

use std::collections::BTreeSet;

use proto::{
    Id,
    serve::deadline,
    wire::{Empty, UpgradePod},
};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::row,
    dial::{ACT, ASK, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "upgrade",
    about: "Have running monitors and shims become the programs that are installed now",
    description: "Each monitor and shim whose file on disk has been replaced becomes the new program in place: its process, its descriptors and its containers stay, and no line of output is lost. Attached clients go on; exec sessions end with an error, and what they have started goes on.\n\nProcesses that run the installed file already are left alone. With --check nothing is changed: it says what would be.",
    usage: "[options]",
    examples: &["system upgrade", "system upgrade --check"],
    flags: &[&[switch("check", "Only say which processes would be upgraded")]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

/// PID 1 of a PID namespace that members share.
const INFRA: &str = "podshim infra";

fn run(engine: &Engine, args: &Args) -> Outcome {
    let only_check = args.is("check");
    let (lines, failures) = engine.block_on(async {
        let programs = programs(engine).await?;
        if only_check { Ok((check(engine, &programs).await, Vec::new())) } else { upgrade(engine, &programs).await }
    })?;
    output::print(&lines.iter().map(|line| output::escape::line(line).into_owned() + "\n").collect::<String>())?;
    let mut failures = failures.into_iter();
    match failures.next() {
        None if lines.is_empty() => output::print("nothing to do\n"),
        None => Ok(0),
        Some(mut first) => {
            failures.for_each(|failure| first.join(failure));
            Err(first)
        }
    }
}

async fn programs(engine: &Engine) -> Result<Vec<Value>, Failure> {
    let document = engine.host()?.system().programs(deadline(ASK), &Empty {}).await?;
    let mut value: Value = serde_json::from_slice(&document.json)
        .map_err(|error| Failure::invalid(format!("the engine's answer cannot be read: {error}")))?;
    Ok(value["Programs"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// `podmon 123 of web`
fn title(program: &Value) -> String {
    format!("{} {} of {}", row::text(program, "Program"), program["Pid"], row::text(program, "Name"))
}

/// What would be done, a line for each process.
async fn check(engine: &Engine, programs: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for program in programs {
        let what = if program["Current"] == true { "is current" } else { "would be upgraded" };
        if row::text(program, "Program") == INFRA {
            // It answers nobody.
            lines.push(format!("{}: inode {}, {what}", title(program), program["Inode"]));
            continue;
        }
        let version = match (row::text(program, "Pod").parse::<Id>(), row::text(program, "Container").parse::<Id>()) {
            (Ok(pod), Ok(container)) => engine.monitor_version(&pod, &container).await,
            (Ok(pod), Err(_)) => engine.shim_version(&pod).await,
            _ => None,
        };
        let version = version.unwrap_or_else(|| "unknown".to_owned());
        lines.push(format!("{}: version {version}, inode {}, {what}", title(program), program["Inode"]));
    }
    lines
}

/// Upgrades the monitors of each pod, then its shim.
async fn upgrade(engine: &Engine, programs: &[Value]) -> Result<(Vec<String>, Vec<Failure>), Failure> {
    let old: Vec<&Value> = programs.iter().filter(|program| program["Current"] != true).collect();
    let pods: BTreeSet<&str> = old.iter().map(|program| row::text(program, "Pod")).collect();
    let mut failures = Vec::new();
    for pod in pods {
        let Ok(id) = pod.parse::<Id>() else { continue };
        let of_shim =
            old.iter().any(|program| row::text(program, "Pod") == pod && row::text(program, "Program") == "podshim");
        failures.extend(upgrade_pod(engine, &id, of_shim).await.err());
    }
    let now = self::programs(engine).await?;
    let is_done = |old: &Value| {
        now.iter().any(|now| now["Pid"] == old["Pid"] && now["Program"] == old["Program"] && now["Current"] == true)
    };
    let is_there = |old: &Value| now.iter().any(|now| now["Pid"] == old["Pid"] && now["Program"] == old["Program"]);
    let mut lines = Vec::new();
    for program in old {
        let what = match (is_done(program), is_there(program)) {
            (true, _) => "upgraded",
            (false, true) => "not upgraded",
            (false, false) => "has ended meanwhile",
        };
        if what == "not upgraded" && failures.is_empty() {
            failures.push(Failure::invalid(format!("{} was not upgraded: try again", title(program))));
        }
        lines.push(format!("{}: {what}", title(program)));
    }
    Ok((lines, failures))
}

async fn upgrade_pod(engine: &Engine, pod: &Id, of_shim: bool) -> Result<(), Failure> {
    let request = UpgradePod { pod: pod.to_string(), shim: false };
    let done = engine.pod(pod).await?.pods().upgrade(deadline(ACT), &request).await?;
    let failed = done.monitors.into_iter().find(|monitor| !monitor.error.is_empty());
    if let Some(monitor) = failed {
        let program = if monitor.container.is_empty() { INFRA } else { "podmon" };
        return Err(Failure::invalid(monitor.error).within(&format!("{program} {}", monitor.pid)));
    }
    if of_shim {
        let request = UpgradePod { shim: true, ..request };
        match engine.pod(pod).await?.pods().upgrade(deadline(ACT), &request).await {
            // Its connections end with the program it was; the next answer is the new one's.
            Err(ttrpc::Error::RpcStatus(status)) => return Err(ttrpc::Error::RpcStatus(status).into()),
            _ => drop(engine.pod(pod).await?),
        }
    }
    Ok(())
}
