//! `podctl ps`, `podctl container ls`

use std::time::Duration;

use proto::{serve::deadline, wire::ListContainers};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, int, list, switch, text, uint},
    command::{
        row::{self, Column, Listing},
        select,
    },
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output::{self, human},
};

const FLAGS: &[Flag] = &[
    switch("all", "Show all the containers, default is only running containers").short('a'),
    switch("external", "Show containers in storage not controlled by podctl: there are none"),
    list("filter", "Filter output based on conditions given").short('f'),
    text("format", "string", "Pretty-print containers to JSON or using a Go template"),
    int("last", "Print the n last created containers (all states)").short('n').default("-1"),
    switch("no-trunc", "Display the extended information").alias(&["notruncate"]),
    switch("noheading", "Do not print headers"),
    switch("ns", "Display namespace information").alias(&["namespace"]),
    switch("pod", "Print the ID and name of the pod the containers are associated with").short('p'),
    switch("quiet", "Print the numeric IDs of the containers only").short('q'),
    switch("size", "Display the total file sizes").short('s'),
    text("sort", "choice", "Sort output by: command, created, id, image, names, runningfor, size, status")
        .default("created"),
    switch("sync", "Sync container state with OCI runtime"),
    uint("watch", "Watch the ps output on an interval in seconds").short('w'),
];

const TEMPLATE: Command = Command {
    name: "ps",
    about: "List containers",
    description: "Prints out information about the containers",
    usage: "[options]",
    examples: &["ps -a", "ps -a --format '{{.ID}}  {{.Image}}  {{.Labels}}  {{.Mounts}}'", "ps --size --sort names"],
    flags: &[FLAGS, select::LATEST],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

/// `podctl ps`
pub static COMMAND: Command = TEMPLATE;

/// `podctl container list`
pub static LIST: Command = Command {
    name: "list",
    aliases: &["ls", "ps"],
    examples: &["container list -a", "container list --size --sort names"],
    ..TEMPLATE
};

const HEADERS: &[Column] = &[
    ("AutoRemove", "AUTOREMOVE"),
    ("CGROUPNS", "CGROUPNS"),
    ("Command", "COMMAND"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedHuman", "CREATED"),
    ("ExitCode", "EXIT CODE"),
    ("Exited", "EXITED"),
    ("ExitedAt", "EXITED AT"),
    ("ID", "CONTAINER ID"),
    ("IPC", "IPC"),
    ("Image", "IMAGE"),
    ("ImageID", "IMAGE ID"),
    ("IsInfra", "IS INFRA"),
    ("Labels", "LABELS"),
    ("LogDropped", "LOG DROPPED"),
    ("MNT", "MNT"),
    ("Mounts", "MOUNTS"),
    ("NET", "NET"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("PIDNS", "PIDNS"),
    ("Pid", "PID"),
    ("Pod", "POD ID"),
    ("PodName", "PODNAME"),
    ("Ports", "PORTS"),
    ("Restarts", "RESTARTS"),
    ("RunningFor", "RUNNING FOR"),
    ("Size", "SIZE"),
    ("StartedAt", "STARTED AT"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("USERNS", "USERNS"),
    ("UTS", "UTS"),
];

const SORTS: &[&str] = &["command", "created", "id", "image", "names", "runningfor", "size", "status"];

fn check(args: &Args) -> Result<(), Failure> {
    let sort = args.text("sort").unwrap_or("created");
    if !SORTS.contains(&sort) {
        return Err(Failure::usage(
            format!(
                "invalid argument \"{sort}\" for \"--sort\" flag: \"{sort}\" is not a valid value.  Choose from: \"{}\"",
                SORTS.join(", ")
            ),
            &args.path,
        ));
    }
    // A template wins over --quiet, as in podman.
    let words = if args.is("quiet") && (args.is("size") || args.is("ns")) {
        "quiet conflicts with size and namespace"
    } else if args.is("size") && args.is("ns") {
        "size and namespace options conflict"
    } else if args.int("last").is_some_and(|last| last >= 0) && args.is("latest") {
        "last and latest are mutually exclusive"
    } else {
        return Ok(());
    };
    Err(Failure::invalid(words))
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    check(args)?;
    match args.uint("watch").filter(|seconds| *seconds > 0) {
        None => once(engine, args),
        Some(seconds) => loop {
            output::print("\x1b[2J\x1b[H")?;
            once(engine, args)?;
            std::thread::sleep(Duration::from_secs(seconds));
        },
    }
}

fn once(engine: &Engine, args: &Args) -> Outcome {
    let format = args.text_or_empty("format");
    let last = if args.is("latest") { 1 } else { args.int("last").unwrap_or(-1) };
    let request = ListContainers {
        filters: args.all("filter"),
        all: args.is("all") || last >= 0,
        size: args.is("size") || format.contains(".Size"),
        last: u32::try_from(last).unwrap_or(0),
        sync: args.is("sync"),
        namespaces: args.is("ns"),
        ..Default::default()
    };
    let mut documents =
        engine.block_on(async { row::rows(&engine.host()?.containers().list(deadline(ASK), &request).await?) })?;
    order(&mut documents, args.text("sort").unwrap_or("created"));
    let whole = args.is("no-trunc");
    if args.is("quiet") && format.is_empty() {
        let ids: String = documents
            .iter()
            .map(|row| format!("{}\n", output::escape::line(row::short(row::text(row, "Id"), whole))))
            .collect();
        return output::print(&ids);
    }
    let rows: Vec<Value> = documents.iter().map(|row| shown(row, whole)).collect();
    Listing { command: "ps", columns: &columns(args), headers: HEADERS, indent: 2 }.print(args, &rows, &documents)
}

fn order(rows: &mut [Value], by: &str) {
    match by {
        "command" => rows.sort_by_cached_key(|row| row::texts(row, "Command").join(" ")),
        "id" => rows.sort_by(|a, b| row::text(a, "Id").cmp(row::text(b, "Id"))),
        "image" => rows.sort_by(|a, b| row::text(a, "Image").cmp(row::text(b, "Image"))),
        "names" => rows.sort_by_cached_key(|row| row::texts(row, "Names").join(",")),
        "runningfor" => rows.sort_by_key(|row| row::number(row, "StartedAt")),
        "size" => rows.sort_by_key(|row| sizes(row).map(|(_, total)| total)),
        "status" => rows.sort_by(|a, b| row::text(a, "State").cmp(row::text(b, "State"))),
        _ => rows.sort_by_key(|row| row::nanoseconds(row, "Created")),
    }
}

fn columns(args: &Args) -> Vec<Column> {
    if args.is("ns") {
        return [
            ("ID", "CONTAINER ID"),
            ("Names", "NAMES"),
            ("Pid", "PID"),
            ("CGROUPNS", "CGROUPNS"),
            ("IPC", "IPC"),
            ("MNT", "MNT"),
            ("NET", "NET"),
            ("PIDNS", "PIDNS"),
            ("USERNS", "USERNS"),
            ("UTS", "UTS"),
        ]
        .into();
    }
    let mut columns = vec![
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedHuman", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
    ];
    if args.is("pod") {
        columns.extend([("Pod", "POD ID"), ("PodName", "PODNAME")]);
    }
    if args.is("size") {
        columns.push(("Size", "SIZE"));
    }
    columns
}

/// Bytes written, and with the image.
fn sizes(row: &Value) -> Option<(u64, u64)> {
    let size = row.get("Size")?;
    let of = |key: &str| size.get(key).and_then(Value::as_u64);
    Some((of("rwSize")?, of("rootFsSize")?))
}

/// A container as tables and templates see it.
fn shown(row: &Value, whole: bool) -> Value {
    let namespaces = row.get("Namespaces").unwrap_or(&Value::Null);
    let namespace = |key: &str| row::text(namespaces, key);
    let created = row::nanoseconds(row, "Created");
    let running_for = human::ago(created / 1_000_000_000);
    let size = sizes(row)
        .map_or(String::new(), |(written, total)| format!("{} (virtual {})", human::size(written), human::size(total)));
    json!({
        "ID": row::short(row::text(row, "Id"), whole),
        "Image": row::text(row, "Image"),
        "ImageID": row::short(row::text(row, "ImageID"), whole),
        "Command": command(&row::texts(row, "Command").join(" "), whole),
        "Created": human::go_time(created),
        "CreatedAt": human::go_time(created),
        "CreatedHuman": running_for,
        "RunningFor": running_for,
        "Status": row::text(row, "Status"),
        "State": row::text(row, "State"),
        "Ports": ports(row),
        "Names": row::texts(row, "Names").join(","),
        "Pod": row::short(row::text(row, "Pod"), whole),
        "PodName": row::text(row, "PodName"),
        "Size": size,
        "Labels": row::pairs(row, "Labels"),
        "LabelMap": row::map(row, "Labels"),
        "LogDropped": row::number(row, "LogDropped"),
        "Mounts": row::texts(row, "Mounts").join(","),
        "Networks": row::texts(row, "Networks").join(","),
        "Pid": row::number(row, "Pid"),
        "Restarts": row::number(row, "Restarts"),
        "ExitCode": row::number(row, "ExitCode"),
        "Exited": row.get("Exited").and_then(Value::as_bool).unwrap_or(false),
        "ExitedAt": row::number(row, "ExitedAt"),
        "StartedAt": row::number(row, "StartedAt"),
        "AutoRemove": row.get("AutoRemove").and_then(Value::as_bool).unwrap_or(false),
        "IsInfra": row.get("IsInfra").and_then(Value::as_bool).unwrap_or(false),
        "CIDFile": row::text(row, "CIDFile"),
        "ExposedPorts": row.get("ExposedPorts"),
        "Namespaces": namespaces,
        "CGROUPNS": namespace("Cgroup"),
        "IPC": namespace("Ipc"),
        "MNT": namespace("Mnt"),
        "NET": namespace("Net"),
        "PIDNS": namespace("Pidns"),
        "USERNS": namespace("User"),
        "UTS": namespace("Uts"),
    })
}

/// Most characters of a command that a table shows.
const COMMAND_WIDTH: usize = 17;

fn command(text: &str, whole: bool) -> String {
    if whole || text.chars().count() <= COMMAND_WIDTH {
        return text.to_owned();
    }
    text.chars().take(COMMAND_WIDTH).chain("...".chars()).collect()
}

/// `0.0.0.0:8080->80/tcp`, ranges, and ports that are only exposed.
fn ports(row: &Value) -> String {
    let span =
        |first: i64, range: i64| if range > 1 { format!("{first}-{}", first + range - 1) } else { first.to_string() };
    let mut shown = Vec::new();
    for port in row.get("Ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let (container, host, range) =
            (row::number(port, "container_port"), row::number(port, "host_port"), row::number(port, "range"));
        let inner = format!("{}/{}", span(container, range), row::text(port, "protocol"));
        shown.push(match (host, row::text(port, "host_ip")) {
            (0, _) => inner,
            (host, "") => format!("0.0.0.0:{}->{inner}", span(host, range)),
            (host, ip) if ip.contains(':') => format!("[{ip}]:{}->{inner}", span(host, range)),
            (host, ip) => format!("{ip}:{}->{inner}", span(host, range)),
        });
    }
    if let Some(Value::Object(exposed)) = row.get("ExposedPorts") {
        for (port, protocols) in exposed {
            for protocol in protocols.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str) {
                let inner = format!("{port}/{protocol}");
                if !shown.iter().any(|text| text.ends_with(&format!("->{inner}")) || *text == inner) {
                    shown.push(inner);
                }
            }
        }
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    #[test]
    fn a_container_as_it_is_shown() {
        let document = json!({
            "Id": "c".repeat(64), "Image": "quay.io/libpod/banner:latest", "Command": ["nginx", "-g", "daemon off;"],
            "Created": 1_795_457_668, "Status": "Up 3 minutes", "State": "running", "Names": ["webserver"],
            "Ports": [{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"},
                      {"host_ip": "127.0.0.1", "container_port": 9000, "host_port": 8000, "range": 3, "protocol": "udp"}],
            "ExposedPorts": {"80": ["tcp"], "443": ["tcp"]},
            "Pod": "p".repeat(64), "PodName": "pod3", "Labels": {"a": "b"}, "Size": {"rwSize": 0, "rootFsSize": 699_000},
        });
        let row = shown(&document, false);
        assert_eq!(row::text(&row, "Command"), "nginx -g daemon o...");
        assert_eq!(row::text(&row, "Ports"), "0.0.0.0:8080->80/tcp, 127.0.0.1:8000-8002->9000-9002/udp, 443/tcp");
        assert_eq!((row::text(&row, "Pod").len(), row::text(&row, "ID").len()), (12, 12));
        assert_eq!(row::text(&row, "Size"), "0B (virtual 699kB)");
        assert_eq!(row::text(&row, "CreatedAt"), "2026-11-23 18:14:28 +0000 UTC");
        assert_eq!(row::text(&shown(&document, true), "Command"), "nginx -g daemon off;");
    }

    #[test]
    fn every_header_has_a_field() {
        let row = shown(&json!({}), false);
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            ("ps -q -s", "quiet conflicts with size and namespace"),
            ("ps -s --ns", "size and namespace options conflict"),
            ("ps -n 1 -l", "last and latest are mutually exclusive"),
            (
                "ps --sort bad",
                "invalid argument \"bad\" for \"--sort\" flag: \"bad\" is not a valid value.  Choose from: \"command, created, id, image, names, runningfor, size, status\"\nSee 'podctl ps --help'",
            ),
        ] {
            match scan::parse(&crate::command::ROOT, line.split(' ').map(str::to_owned).collect()) {
                Ok(Parsed::Run { args, .. }) => assert_eq!(check(&args).expect_err(line).to_string(), words),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
