//! `podctl pod stats`

use std::time::Duration;

use proto::{
    serve::deadline,
    wire::{ListPods, StatsRequest},
};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, switch, text},
    command::{
        row::{self, Column, Listing},
        select,
        stats::{Pace, Sample, watch},
    },
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output::human,
};

const FLAGS: &[Flag] = &[
    switch("all", "Provide stats for all pods").short('a'),
    text("format", "string", "Pretty-print container statistics to JSON or using a Go template"),
    switch("no-reset", "Disable resetting the screen when streaming"),
    switch("no-stream", "Disable streaming stats and only pull the first result"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "stats",
    about: "Display a live stream of resource usage statistics for the containers in one or more pods",
    description: "Display the containers' resource-usage statistics of one or more running pod",
    usage: "[options] [POD...]",
    examples: &["pod stats", "pod stats a69b23034235 named-pod", "pod stats --all --no-stream"],
    flags: &[FLAGS, select::LATEST_POD],
    action: Action::Run(run),
    ..Command::EMPTY
};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

const COLUMNS: &[Column] = &[
    ("Pod", "POD"),
    ("CID", "CID"),
    ("Name", "NAME"),
    ("CPU", "CPU %"),
    ("MemUsage", "MEM USAGE/ LIMIT"),
    ("Mem", "MEM %"),
    ("NetIO", "NET IO"),
    ("BlockIO", "BLOCK IO"),
    ("PIDS", "PIDS"),
];

const HEADERS: &[Column] = &[
    ("BlockIO", "BLOCK IO"),
    ("CID", "CID"),
    ("CPU", "CPU %"),
    ("Mem", "MEM %"),
    ("MemUsage", "MEM USAGE/ LIMIT"),
    ("MemUsageBytes", "MEM USAGE/ LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET IO"),
    ("PIDS", "PIDS"),
    ("Pod", "POD"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    let ways = [args.is("all"), args.is("latest"), !args.operands.is_empty()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(Failure::invalid("--all, --latest and arguments cannot be used together"));
    }
    let pace = Pace { once: args.is("no-stream"), keep: args.is("no-reset"), interval: INTERVAL };
    let mut request = StatsRequest::default();
    for name in &args.operands {
        let id = engine.pod_id(name).map_err(|failure| failure.within("unable to get list of pods"))?;
        request.pods.push(id.to_string());
    }
    let listing = Listing { command: "pod stats", columns: COLUMNS, headers: HEADERS, indent: 5 };
    engine.block_on(async {
        if args.operands.is_empty() {
            request.pods = pods(engine, args.is("all"), args.is("latest")).await?;
        }
        let show = |samples: &[Sample]| {
            let mut rows: Vec<Value> = samples.iter().map(shown).collect();
            let json = args.text_or_empty("format") == "json";
            if rows.is_empty() && !json {
                rows.push(nothing());
            }
            listing.print(args, &rows, &rows)
        };
        if request.pods.is_empty() {
            // Nothing to watch; asked with no names the engine would answer for every container.
            return show(&[]);
        }
        watch(engine, &request, pace, show).await
    })
}

/// The pods that `--all`, `--latest` or nothing stand for: without `all` those that run.
async fn pods(engine: &Engine, all: bool, latest: bool) -> Result<Vec<String>, Failure> {
    let request = ListPods { latest, ..Default::default() };
    let rows = row::rows(&engine.host()?.pods().list(deadline(ASK), &request).await?)?;
    if rows.is_empty() && latest {
        return Err(Failure::invalid("no pods found, --latest names none: no such pod"));
    }
    let wanted = |row: &&Value| all || latest || matches!(row::text(row, "Status"), "Running" | "Degraded");
    Ok(rows.iter().filter(wanted).map(|row| row::text(row, "Id").to_owned()).collect())
}

/// A container as tables, templates and JSON show it.
fn shown(sample: &Sample) -> Value {
    json!({
        "CPU": sample.percent(sample.cpu),
        "MemUsage": sample.memory_usage(),
        "MemUsageBytes": sample.memory_usage_binary(),
        "Mem": sample.percent(sample.memory),
        "NetIO": sample.pair("NetInput", "NetOutput", human::fine_size),
        "BlockIO": sample.pair("BlockInput", "BlockOutput", human::fine_size),
        "PIDS": sample.pids(),
        "Pod": row::short(row::text(&sample.row, "Pod"), false),
        "CID": row::short(row::text(&sample.row, "Id"), false),
        "Name": row::text(&sample.row, "Name"),
    })
}

/// The row where there is none.
fn nothing() -> Value {
    HEADERS.iter().map(|(field, _)| ((*field).to_owned(), Value::from("--"))).collect::<serde_json::Map<_, _>>().into()
}
