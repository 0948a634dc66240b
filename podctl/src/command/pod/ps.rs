//! `podctl pod ps`

use proto::{serve::deadline, wire::ListPods};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, list, switch, text},
    command::{
        row::{self, Column, Listing},
        select,
    },
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output::{self, human},
};

const FLAGS: &[Flag] = &[
    switch("ctr-ids", "Display the container UUIDs. If no-trunc is not set they will be truncated"),
    switch("ctr-names", "Display the container names"),
    switch("ctr-status", "Display the container status"),
    list("filter", "Filter output based on conditions given").short('f'),
    text("format", "string", "Pretty-print pods to JSON or using a Go template"),
    switch("no-trunc", "Do not truncate pod and container IDs"),
    switch("noheading", "Do not print headers").short('n'),
    switch("ns", "Display namespace information of the pod").alias(&["namespace"]),
    switch("quiet", "Print the numeric IDs of the pods only").short('q'),
    text("sort", "string", "Sort output by created, id, name, number, or status").default("\"created\""),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "ps",
    aliases: &["ls", "list"],
    about: "List pods",
    description: "List all pods on system including their names, ids and current state.",
    usage: "[options]",
    examples: &["pod ps", "pod ps --ctr-names --filter status=running", "pod ps --format 'table {{.Id}} {{.Status}}'"],
    flags: &[FLAGS, select::LATEST_POD],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

const HEADERS: &[Column] = &[
    ("Cgroup", "CGROUP"),
    ("ContainerIds", "IDS"),
    ("ContainerNames", "NAMES"),
    ("ContainerStatuses", "STATUS"),
    ("Created", "CREATED"),
    ("ID", "POD ID"),
    ("Id", "POD ID"),
    ("InfraID", "INFRA ID"),
    ("InfraId", "INFRA ID"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("Namespace", "NAMESPACES"),
    ("Networks", "NETWORKS"),
    ("NumberOfContainers", "# OF CONTAINERS"),
    ("Restarts", "RESTARTS"),
    ("Status", "STATUS"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("quiet") && args.given("format") {
        return Err(Failure::invalid("quiet and format cannot be used together"));
    }
    let sort = args.text("sort").unwrap_or("created");
    if !matches!(sort, "created" | "id" | "name" | "number" | "status") {
        return Err(Failure::invalid("invalid option for --sort, options are: created, id, name, number, or status"));
    }
    let request = ListPods { filters: args.all("filter"), latest: args.is("latest") };
    let mut documents =
        engine.block_on(async { row::rows(&engine.host()?.pods().list(deadline(ASK), &request).await?) })?;
    order(&mut documents, sort);
    if args.is("quiet") {
        let ids: String =
            documents.iter().map(|row| format!("{}\n", output::escape::line(row::text(row, "Id")))).collect();
        return output::print(&ids);
    }
    let rows: Vec<Value> = documents.iter().map(|row| shown(row, args.is("no-trunc"))).collect();
    let listing = Listing { command: "pod ps", columns: &columns(args), headers: HEADERS, indent: 2 };
    listing.print(args, &rows, &documents)
}

fn order(rows: &mut [Value], by: &str) {
    match by {
        "id" => rows.sort_by(|a, b| row::text(a, "Id").cmp(row::text(b, "Id"))),
        "name" => rows.sort_by(|a, b| row::text(a, "Name").cmp(row::text(b, "Name"))),
        "number" => rows.sort_by_key(|row| members(row).len()),
        "status" => rows.sort_by(|a, b| row::text(a, "Status").cmp(row::text(b, "Status"))),
        _ => rows.sort_by_key(|row| std::cmp::Reverse(row::nanoseconds(row, "Created"))),
    }
}

fn members(row: &Value) -> &[Value] {
    row.get("Containers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn columns(args: &Args) -> Vec<Column> {
    let mut columns =
        vec![("Id", "POD ID"), ("Name", "NAME"), ("Status", "STATUS"), ("Created", "CREATED"), ("InfraId", "INFRA ID")];
    let details = [
        ("ctr-ids", ("ContainerIds", "IDS")),
        ("ctr-names", ("ContainerNames", "NAMES")),
        ("ctr-status", ("ContainerStatuses", "STATUS")),
    ];
    let wanted: Vec<Column> = details.into_iter().filter(|(flag, _)| args.is(flag)).map(|(_, column)| column).collect();
    columns.extend(&wanted);
    if args.is("ns") {
        columns.extend([("Cgroup", "CGROUP"), ("Namespace", "NAMESPACES")]);
    }
    if wanted.is_empty() {
        columns.push(("NumberOfContainers", "# OF CONTAINERS"));
    }
    columns
}

/// A pod as tables and templates see it.
fn shown(row: &Value, whole: bool) -> Value {
    let of_members = |key: &str, cut: bool| {
        let texts: Vec<&str> = members(row)
            .iter()
            .map(|member| row::text(member, key))
            .map(|text| if cut { row::short(text, whole) } else { text })
            .collect();
        texts.join(",")
    };
    let restarts: i64 = members(row).iter().map(|member| row::number(member, "RestartCount")).sum();
    let (id, infra) = (row::short(row::text(row, "Id"), whole), row::short(row::text(row, "InfraId"), whole));
    json!({
        "Id": id,
        "ID": id,
        "InfraId": infra,
        "InfraID": infra,
        "Name": row::text(row, "Name"),
        "Status": row::text(row, "Status"),
        "Created": human::ago(row::seconds(row, "Created")),
        "Cgroup": row::text(row, "Cgroup"),
        "Namespace": row::text(row, "Namespace"),
        "Networks": row::texts(row, "Networks").join(","),
        "NumberOfContainers": members(row).len(),
        "ContainerIds": of_members("Id", true),
        "ContainerNames": of_members("Names", false),
        "ContainerStatuses": of_members("Status", false),
        "Restarts": restarts,
        "Labels": row::pairs(row, "Labels"),
        "LabelMap": row::map(row, "Labels"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_as_it_is_shown() {
        let id = "4".repeat(64);
        let document = json!({
            "Id": id, "InfraId": "5".repeat(64), "Name": "pod1", "Status": "Running", "Created": "2020-01-01T00:00:00Z",
            "Containers": [{"Id": "6".repeat(64), "Names": "444444444444-infra", "Status": "running", "RestartCount": 1}, {"Id": "7", "Names": "web", "Status": "exited", "RestartCount": 2}],
            "Labels": {"b": "1", "a": "2"}, "Networks": ["podman"],
        });
        let row = shown(&document, false);
        assert_eq!(row::text(&row, "Id"), "444444444444");
        assert_eq!(row::text(&row, "ContainerNames"), "444444444444-infra,web");
        assert_eq!(row::text(&row, "ContainerIds"), "666666666666,7");
        assert_eq!(row::text(&row, "Labels"), "a=2,b=1");
        assert_eq!((row::number(&row, "NumberOfContainers"), row::number(&row, "Restarts")), (2, 3));
        assert_eq!(row::text(&shown(&document, true), "Id").len(), 64);
    }

    #[test]
    fn every_column_has_a_field() {
        let row = shown(&json!({}), false);
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }

    #[test]
    fn the_newest_comes_first() {
        let mut rows = vec![
            json!({"Name": "a", "Created": "2020-01-01T00:00:00Z"}),
            json!({"Name": "b", "Created": "2021-01-01T00:00:00Z"}),
        ];
        order(&mut rows, "created");
        assert_eq!(row::text(&rows[0], "Name"), "b");
        order(&mut rows, "name");
        assert_eq!(row::text(&rows[0], "Name"), "a");
    }
}
