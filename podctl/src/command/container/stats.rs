//! `podctl stats`

use std::time::Duration;

use proto::{
    serve::deadline,
    wire::{ListContainers, StatsRequest},
};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, int, switch, text},
    command::{
        row::{self, Column, Listing},
        select,
        stats::{Pace, Sample, watch},
    },
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
    output::human,
};

const FLAGS: &[Flag] = &[
    switch("all", "Show all containers. Only running containers are shown by default. The default is false").short('a'),
    text("format", "string", "Pretty-print container statistics to JSON or using a Go template"),
    int("interval", "Time in seconds between stats reports").short('i').default("5"),
    switch("no-reset", "Disable resetting the screen between intervals"),
    switch("no-stream", "Disable streaming stats and only pull the first result, default setting is false"),
    switch("no-trunc", "Do not truncate output"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "stats",
    about: "Display a live stream of container resource usage statistics",
    description: "Display percentage of CPU, memory, network I/O, block I/O and PIDs for one or more containers.",
    usage: "[options] [CONTAINER...]",
    examples: &[
        "stats --all --no-stream",
        "stats ctrID",
        "stats --no-stream --format 'table {{.ID}} {{.Name}} {{.MemUsage}}' ctrID",
    ],
    flags: &[FLAGS, select::LATEST],
    action: Action::Run(run),
    ..Command::EMPTY
};

const COLUMNS: &[Column] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET IO"),
    ("BlockIO", "BLOCK IO"),
    ("PIDS", "PIDS"),
    ("UpTime", "CPU TIME"),
    ("AVGCPU", "AVG CPU %"),
];

const HEADERS: &[Column] = &[
    ("AVGCPU", "AVG CPU %"),
    ("AvgCPU", "AVG CPU %"),
    ("BlockIO", "BLOCK IO"),
    ("BlockInput", "BLOCKINPUT"),
    ("BlockOutput", "BLOCKOUTPUT"),
    ("CPU", "CPU"),
    ("CPUNano", "CPUNANO"),
    ("CPUPerc", "CPU %"),
    ("CPUSystemNano", "CPUSYSTEMNANO"),
    ("ContainerID", "CONTAINERID"),
    ("Duration", "DURATION"),
    ("ID", "ID"),
    ("MemLimit", "MEMLIMIT"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemUsageBytes", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET IO"),
    ("NetInput", "NETINPUT"),
    ("NetOutput", "NETOUTPUT"),
    ("PIDS", "PIDS"),
    ("PIDs", "PIDS"),
    ("PerCPU", "PERCPU"),
    ("SystemNano", "SYSTEMNANO"),
    ("UpTime", "CPU TIME"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    let ways = [args.is("all"), args.is("latest"), !args.operands.is_empty()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(Failure::invalid("--all, --latest and containers cannot be used together"));
    }
    let interval = args.int("interval").unwrap_or(5);
    let Some(interval) = u64::try_from(interval).ok().filter(|seconds| *seconds > 0) else {
        return Err(Failure::invalid("invalid interval, must be a positive number greater zero"));
    };
    let pace = Pace { once: args.is("no-stream"), keep: args.is("no-reset"), interval: Duration::from_secs(interval) };
    let mut request = StatsRequest { all: args.is("all"), ..Default::default() };
    for name in &args.operands {
        match engine.container(name)? {
            Found::Container { id, .. } => request.containers.push(id.to_string()),
            Found::Infra(pod) => return Err(infra(name, &pod)),
        }
    }
    let listing = Listing { command: "stats", columns: COLUMNS, headers: HEADERS, indent: 1 };
    engine.block_on(async {
        if args.is("latest") {
            request.containers.push(latest(engine).await?);
        }
        watch(engine, &request, pace, |samples| {
            let rows: Vec<Value> = samples.iter().map(|sample| shown(sample, args.is("no-trunc"))).collect();
            let documents: Vec<Value> = rows.iter().map(document).collect();
            listing.print(args, &rows, &documents)
        })
        .await
    })
}

fn infra(name: &str, pod: &proto::Id) -> Failure {
    Failure::invalid(format!(
        "{name} is the infra of a pod, which has no process of its own: ask podctl pod stats {}",
        pod.short()
    ))
}

/// The newest container that is no infra.
async fn latest(engine: &Engine) -> Result<String, Failure> {
    let request = ListContainers { all: true, ..Default::default() };
    let rows = row::rows(&engine.host()?.containers().list(deadline(ASK), &request).await?)?;
    let members = rows.iter().rev().find(|row| row.get("IsInfra").and_then(Value::as_bool) != Some(true));
    members
        .map(|row| row::text(row, "Id").to_owned())
        .ok_or_else(|| Failure::invalid("no containers found, --latest names none: no such container"))
}

/// A container as tables and templates see it.
fn shown(sample: &Sample, whole: bool) -> Value {
    let id = row::text(&sample.row, "Id");
    let cpu = |key: &str| sample.number(key);
    json!({
        "ID": row::short(id, whole),
        "ContainerID": id,
        "Name": row::text(&sample.row, "Name"),
        "CPUPerc": sample.percent(sample.cpu),
        "CPU": sample.cpu,
        "AVGCPU": sample.percent(sample.average_cpu),
        "AvgCPU": sample.average_cpu,
        "CPUNano": cpu("CPUNano"),
        "Duration": cpu("CPUNano"),
        "PerCPU": sample.row.get("PerCPU").cloned().unwrap_or_default(),
        "SystemNano": cpu("Now"),
        "CPUSystemNano": cpu("SystemNano"),
        "MemUsage": sample.memory_usage(),
        "MemUsageBytes": sample.memory_usage_binary(),
        "MemLimit": cpu("MemLimit"),
        "MemPerc": sample.percent(sample.memory),
        "NetIO": sample.pair("NetInput", "NetOutput", human::fine_size),
        "NetInput": cpu("NetInput"),
        "NetOutput": cpu("NetOutput"),
        "BlockIO": sample.pair("BlockInput", "BlockOutput", human::fine_size),
        "BlockInput": cpu("BlockInput"),
        "BlockOutput": cpu("BlockOutput"),
        "PIDS": sample.pids(),
        "PIDs": cpu("PIDs"),
        "UpTime": sample.or_none(human::go_duration(cpu("CPUNano"))),
    })
}

/// The object of `--format json`.
fn document(row: &Value) -> Value {
    let text = |key: &str| row::text(row, key).to_owned();
    json!({
        "id": text("ID"),
        "name": text("Name"),
        "cpu_time": text("UpTime"),
        "cpu_percent": text("CPUPerc"),
        "avg_cpu": text("AVGCPU"),
        "mem_usage": text("MemUsage"),
        "mem_percent": text("MemPerc"),
        "net_io": text("NetIO"),
        "block_io": text("BlockIO"),
        "pids": text("PIDS"),
    })
}
