//! `podctl system df`

use std::fmt::Write;

use proto::{serve::deadline, wire::Empty};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Operands, switch, text},
    command::row::{self, Column, Listing},
    dial::{ACT, Engine},
    error::{Failure, Outcome},
    output::{self, human},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "df",
    about: "Show podctl disk usage",
    description: "Show how much space images, containers and volumes take, and how much of it would be reclaimed by pruning them.\n\nFields of a template: .Type .Total .TotalCount .Active .Size .RawSize .Reclaimable .RawReclaimable",
    usage: "[options]",
    examples: &["system df", "system df --verbose", "system df --format '{{.Type}}: {{.Reclaimable}}'"],
    flags: &[&[
        text("format", "string", "Pretty-print images using a Go template"),
        switch("verbose", "Show detailed information on disk usage").short('v'),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

const COLUMNS: &[Column] =
    &[("Type", "TYPE"), ("Total", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE")];

const HEADERS: &[Column] = &[
    ("Type", "TYPE"),
    ("Total", "TOTAL"),
    ("TotalCount", "TOTAL COUNT"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("RawSize", "RAW SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("RawReclaimable", "RAW RECLAIMABLE"),
];

const IMAGES: &[&str] =
    &["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"];
const CONTAINERS: &[&str] =
    &["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"];
const VOLUMES: &[&str] = &["VOLUME NAME", "LINKS", "SIZE"];

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.given("format") && args.is("verbose") {
        return Err(Failure::invalid("cannot combine --format and --verbose flags"));
    }
    let document =
        engine.block_on(async { Ok(engine.host()?.system().disk_usage(deadline(ACT), &Empty {}).await?) })?;
    let usage: Value = serde_json::from_slice(&document.json)
        .map_err(|error| Failure::invalid(format!("the engine's answer cannot be read: {error}")))?;
    if args.is("verbose") {
        return output::print(&details(&usage));
    }
    let rows = [("Images", "Images"), ("Containers", "Containers"), ("Local Volumes", "Volumes")]
        .map(|(name, key)| summary(name, usage.get(key).unwrap_or(&Value::Null)));
    Listing { command: "df", columns: COLUMNS, headers: HEADERS, indent: 4 }.print(args, &rows, &rows)
}

fn bytes(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn items<'a>(usage: &'a Value, key: &str) -> &'a [Value] {
    usage.pointer(&format!("/{key}/Items")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// One line of the table: objects of one kind.
fn summary(name: &str, kind: &Value) -> Value {
    let (size, reclaimable) = (bytes(kind, "Size"), bytes(kind, "Reclaimable"));
    let percent = (u128::from(reclaimable) * 100).checked_div(u128::from(size)).unwrap_or(0);
    let total = kind.get("Items").and_then(Value::as_array).map_or(0, Vec::len);
    json!({
        "Type": name,
        "Total": total,
        "Active": bytes(kind, "Active"),
        "RawSize": size,
        "RawReclaimable": reclaimable,
        "TotalCount": total,
        "Size": human::fine_size(size),
        "Reclaimable": format!("{} ({percent}%)", human::fine_size(reclaimable)),
    })
}

/// The three tables of `--verbose`.
fn details(usage: &Value) -> String {
    let age = |row: &Value| human::duration(proto::time::now() / 1_000_000_000 - row::seconds(row, "Created"));
    let size = |row: &Value, key: &str| human::fine_size(bytes(row, key));
    let id = |row: &Value, key: &str| row::short(row::text(row, key), false).to_owned();
    let images = items(usage, "Images").iter().flat_map(|image| {
        let names = row::texts(image, "Names");
        let names = if names.is_empty() { vec!["<none>:<none>".to_owned()] } else { names };
        names.into_iter().map(move |name| {
            let (repository, tag) = super::super::image::list::split(&name);
            vec![
                repository.to_owned(),
                tag.to_owned(),
                id(image, "Id"),
                age(image),
                size(image, "Size"),
                size(image, "SharedSize"),
                size(image, "UniqueSize"),
                bytes(image, "Containers").to_string(),
            ]
        })
    });
    let mut text = section("Images", IMAGES, images);
    let containers = items(usage, "Containers").iter().map(|container| {
        vec![
            id(container, "Id"),
            id(container, "Image"),
            row::texts(container, "Command").join(" "),
            bytes(container, "LocalVolumes").to_string(),
            size(container, "Size"),
            age(container),
            row::text(container, "Status").to_owned(),
            row::text(container, "Names").to_owned(),
        ]
    });
    text.push_str(&section("\nContainers", CONTAINERS, containers));
    let volumes = items(usage, "Volumes").iter().map(|volume| {
        vec![row::text(volume, "Name").to_owned(), bytes(volume, "Links").to_string(), size(volume, "Size")]
    });
    text.push_str(&section("\nLocal Volumes", VOLUMES, volumes));
    text
}

fn section(name: &str, headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = headers.join("\t") + "\n";
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| output::escape::line(cell)).collect();
        let _ = writeln!(table, "{}", cells.join("\t"));
    }
    format!("{name} space usage:\n\n{}", output::table::align(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_pruning_would_give_back() {
        let kind = json!({"Items": [{}, {}], "Active": 1, "Size": 4000, "Reclaimable": 1000});
        let row = summary("Images", &kind);
        assert_eq!((row::number(&row, "Total"), row::number(&row, "Active")), (2, 1));
        assert_eq!((row::text(&row, "Size"), row::text(&row, "Reclaimable")), ("4kB", "1kB (25%)"));
        assert_eq!(row::text(&summary("Images", &json!({})), "Reclaimable"), "0B (0%)");
    }

    #[test]
    fn every_header_has_a_field() {
        let row = summary("Images", &json!({}));
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }
}
