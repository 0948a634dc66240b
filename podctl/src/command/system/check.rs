//! `podctl system check`

use std::time::{Duration, Instant};

use proto::{
    serve::deadline,
    wire::{CheckRequest, ContainerAct},
};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Operands, duration, switch, text},
    command::row,
    dial::{ACT, Engine, Found},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "check",
    about: "Check the engine for what a person or a crash has broken, and repair it",
    description: "Looks for names of nothing, records that cannot be read, directories, leases, rules, devices, mounts, control groups and processes of pods that are gone, shims that a signal has stopped, half unpacked layers, and images that lack some. What running commands, shims and monitors have in hand is left alone.\n\nEach thing found is one line: what, where, and the way out. The exit code is 0 when there is nothing to do or everything was repaired, else 125.",
    usage: "[options]",
    examples: &["system check", "system check --repair", "system check --quick --json", "system check -r -f --max 1h"],
    flags: &[&[
        switch("force", "With --repair, also remove what cannot be used any more").short('f'),
        switch("json", "Print what was found as JSON"),
        text("max", "duration", "Maximum allowed age of blobs and layers that no image names")
            .short('m')
            .default("24h0m0s"),
        switch("quick", "Skip checks which are known to be time-consuming").short('q'),
        switch("repair", "Repair what was found").short('r'),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

/// How long a shim that was started to clear up may take to do so and leave.
const CLEARED: Duration = Duration::from_secs(20);
const DAY: i64 = 24 * 3600 * 1_000_000_000;

fn run(engine: &Engine, args: &Args) -> Outcome {
    let max_age = match args.text("max") {
        None => DAY,
        Some(text) => duration::go(text).filter(|age| *age >= 0).ok_or_else(|| {
            Failure::invalid(format!("invalid argument \"{text}\" for \"-m, --max\" flag: give a duration like 24h"))
        })?,
    };
    if args.is("force") && !args.is("repair") {
        return Err(Failure::invalid("--force does nothing by itself: give --repair, too"));
    }
    let request = CheckRequest { repair: args.is("repair"), force: args.is("force"), quick: args.is("quick"), max_age };
    let findings = engine.block_on(async {
        let mut findings = ask(engine, &request).await?;
        if request.repair {
            mend(engine, &request, &mut findings).await?;
        }
        Ok(findings)
    })?;
    let left = findings.iter().filter(|finding| finding["Repaired"] != true).count();
    if args.is("json") {
        let text = Value::Array(findings.iter().map(public).collect()).to_string();
        output::print(&(output::json::pretty(&text, 2) + "\n"))?;
    } else if findings.is_empty() {
        output::print("nothing to do\n")?;
    } else {
        output::print(&findings.iter().map(|finding| line(finding) + "\n").collect::<String>())?;
    }
    match left {
        0 => Ok(0),
        _ if request.repair => {
            Err(Failure::invalid(format!("damage detected: {left} could not be repaired, see above")))
        }
        _ => Err(Failure::invalid(format!("damage detected: {left} found, give --repair to mend what can be mended"))),
    }
}

async fn ask(engine: &Engine, request: &CheckRequest) -> Result<Vec<Value>, Failure> {
    let document = engine.host()?.system().check(deadline(ACT), request).await?;
    let mut value: Value = serde_json::from_slice(&document.json)
        .map_err(|error| Failure::invalid(format!("the engine's answer cannot be read: {error}")))?;
    Ok(value["Findings"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// What only a pod's own shim can do.
async fn mend(engine: &Engine, request: &CheckRequest, findings: &mut [Value]) -> Result<(), Failure> {
    let mut waiting = Vec::new();
    for (at, finding) in findings.iter_mut().enumerate() {
        let target = row::text(finding, "Target").to_owned();
        let result = match row::text(finding, "Action") {
            "shim" => match target.parse() {
                Ok(pod) => engine.pod(&pod).await.map(drop),
                Err(_) => continue,
            },
            "remove" if request.force => remove(engine, &target).await,
            _ => continue,
        };
        match result {
            Ok(()) => waiting.push(at),
            Err(failure) => finding["Error"] = failure.to_string().into(),
        }
    }
    let again = CheckRequest { repair: false, quick: true, ..*request };
    let end = Instant::now() + CLEARED;
    while !waiting.is_empty() && Instant::now() < end {
        let left = ask(engine, &again).await?;
        let same = |one: &Value, other: &Value| ["Kind", "Object", "Problem"].iter().all(|key| one[key] == other[key]);
        waiting.retain(|at| {
            let done = !left.iter().any(|left| same(left, &findings[*at]));
            if done {
                findings[*at]["Repaired"] = true.into();
            }
            !done
        });
    }
    Ok(())
}

/// Removes a container by its id, which its record need not have.
async fn remove(engine: &Engine, id: &str) -> Result<(), Failure> {
    let Found::Container { pod, id } = engine.container(id)? else { return Ok(()) };
    let act = ContainerAct { container: id.to_string(), force: true, has_timeout: true, ..Default::default() };
    engine.pod(&pod).await?.containers().remove(deadline(ACT), &act).await?;
    Ok(())
}

/// A finding without what only the two programs need to know.
fn public(finding: &Value) -> Value {
    let mut public = finding.clone();
    if let Some(fields) = public.as_object_mut() {
        fields.remove("Target");
    }
    public
}

fn line(finding: &Value) -> String {
    let text = |key| output::escape::line(row::text(finding, key)).into_owned();
    let end = match (finding["Repaired"] == true, row::text(finding, "Error")) {
        (true, _) => "repaired".to_owned(),
        (false, "") => text("Remedy"),
        (false, _) => format!("not repaired: {}", text("Error")),
    };
    format!("{} {} {}: {end}", text("Kind"), text("Object"), text("Problem"))
}
