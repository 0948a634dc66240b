//! `podctl images`, `podctl image ls`

use proto::{serve::deadline, wire::ListImages};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, list, switch, text},
    command::row::{self, Column, Listing},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output::{self, human},
};

const FLAGS: &[Flag] = &[
    switch("all", "Show all images (default hides intermediate images)").short('a'),
    switch("digests", "Show digests"),
    list("filter", "Filter output based on conditions provided").short('f'),
    text("format", "string", "Change the output format to JSON or a Go template"),
    switch("history", "Display the image name history"),
    switch("no-trunc", "Do not truncate output").alias(&["notruncate"]),
    switch("noheading", "Do not print column headings").short('n'),
    switch("quiet", "Display only image IDs").short('q'),
    text("sort", "string", "Sort by id, repository, size, tag, created").default("\"created\""),
];

const TEMPLATE: Command = Command {
    name: "list",
    aliases: &["ls"],
    about: "List images in local storage",
    description: "Lists images previously pulled to the system or created on the system.",
    usage: "[options] [IMAGE]",
    examples: &[
        "image list --format json",
        "image list --sort repository --format 'table {{.ID}} {{.Repository}} {{.Tag}}'",
    ],
    flags: &[FLAGS],
    operands: Operands::AtMost(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

/// `podctl image list`
pub static COMMAND: Command = TEMPLATE;

/// `podctl images`
pub static IMAGES: Command = Command {
    name: "images",
    aliases: &[],
    examples: &[
        "images --format json",
        "images --sort repository --format 'table {{.ID}} {{.Repository}} {{.Tag}}'",
        "images --filter dangling=true",
    ],
    ..TEMPLATE
};

const HEADERS: &[Column] = &[
    ("Containers", "CONTAINERS"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("CreatedTime", "CREATED AT"),
    ("Digest", "DIGEST"),
    ("History", "HISTORY"),
    ("ID", "IMAGE ID"),
    ("Id", "IMAGE ID"),
    ("Labels", "LABELS"),
    ("Names", "NAMES"),
    ("ReadOnly", "R/O"),
    ("Repository", "REPOSITORY"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("VirtualSize", "VIRTUAL SIZE"),
];

const SORTS: &[&str] = &["id", "repository", "size", "tag", "created"];

fn run(engine: &Engine, args: &Args) -> Outcome {
    let sort = args.text("sort").unwrap_or("created");
    if !SORTS.contains(&sort) {
        return Err(Failure::invalid(format!(
            "\"{sort}\" is not a valid field for sorting. Choose from: {}",
            SORTS.join(", ")
        )));
    }
    if args.is("quiet") && args.given("format") {
        return Err(Failure::invalid("quiet and format cannot be used together"));
    }
    let request = ListImages { names: args.operands.clone(), filters: args.all("filter"), all: args.is("all") };
    let mut documents =
        engine.block_on(async { row::rows(&engine.host()?.images().list(deadline(ASK), &request).await?) })?;
    documents.sort_by_key(|row| std::cmp::Reverse(row::nanoseconds(row, "Created")));
    let whole = args.is("no-trunc");
    let mut rows: Vec<Value> = documents.iter().flat_map(|document| shown(document, whole)).collect();
    match sort {
        "id" => rows.sort_by(|a, b| row::text(a, "ID").cmp(row::text(b, "ID"))),
        "repository" => rows.sort_by(|a, b| row::text(a, "Repository").cmp(row::text(b, "Repository"))),
        "size" => rows.sort_by_key(|row| row::number(row, "VirtualSize")),
        "tag" => rows.sort_by(|a, b| row::text(a, "Tag").cmp(row::text(b, "Tag"))),
        _ => {}
    }
    if args.is("quiet") {
        let mut ids: Vec<&str> = rows.iter().map(|row| row::text(row, "ID")).collect();
        ids.dedup();
        return output::print(&ids.iter().map(|id| format!("{}\n", output::escape::line(id))).collect::<String>());
    }
    let mut columns = vec![("Repository", "REPOSITORY"), ("Tag", "TAG")];
    if args.is("digests") {
        columns.push(("Digest", "DIGEST"));
    }
    columns.extend([("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("Size", "SIZE")]);
    if args.is("history") {
        columns.push(("History", "HISTORY"));
    }
    Listing { command: "images", columns: &columns, headers: HEADERS, indent: 4 }.print(args, &rows, &documents)
}

/// Repository and tag of a name; a digest is no tag.
pub fn split(name: &str) -> (&str, &str) {
    if let Some((repository, _)) = name.split_once('@') {
        return (repository, "<none>");
    }
    match name.rsplit_once(':') {
        // A colon before a slash is the registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

/// An image as tables and templates see it: one row per name.
fn shown(row: &Value, whole: bool) -> Vec<Value> {
    let mut names = row::texts(row, "Names");
    let all_names = names.clone();
    if names.is_empty() {
        names.push("<none>:<none>".to_owned());
    }
    let digest = row::text(row, "Digest");
    let id = row::text(row, "Id").trim_start_matches("sha256:");
    let shown_id = if whole { format!("sha256:{id}") } else { row::short(id, false).to_owned() };
    let created = row::nanoseconds(row, "Created");
    let since = human::ago(created / 1_000_000_000);
    let size = u64::try_from(row::number(row, "Size")).unwrap_or(0);
    names
        .iter()
        .map(|name| {
            let (repository, tag) = split(name);
            json!({
                "ID": shown_id,
                "Id": id,
                "Repository": repository,
                "Tag": tag,
                "Digest": if digest.is_empty() { "<none>" } else { digest },
                "Size": human::spaced_size(size),
                "VirtualSize": size,
                "Created": since,
                "CreatedSince": since,
                "CreatedAt": human::go_time(created),
                "CreatedTime": human::go_time(created),
                "Names": all_names.join(", "),
                "History": row::texts(row, "History").join(", "),
                "Labels": row::pairs(row, "Labels"),
                "LabelMap": row::map(row, "Labels"),
                "Containers": row::number(row, "Containers"),
                "ParentId": row::text(row, "ParentId"),
                "RepoTags": row::texts(row, "RepoTags"),
                "RepoDigests": row::texts(row, "RepoDigests"),
                "SharedSize": row::number(row, "SharedSize"),
                "Dangling": all_names.is_empty(),
                "IsDangling": all_names.is_empty(),
                "IsReadOnly": row.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false),
                "ReadOnly": row.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_name() {
        let document = json!({
            "Id": "sha256:".to_owned() + &"d".repeat(64), "Size": 702_590, "Created": 1_795_457_668,
            "Names": ["localhost:5000/x/y:1", "docker.io/library/alpine:latest", "quay.io/z@sha256:abc"],
        });
        let rows = shown(&document, false);
        let named: Vec<(&str, &str)> =
            rows.iter().map(|row| (row::text(row, "Repository"), row::text(row, "Tag"))).collect();
        assert_eq!(
            named,
            [("localhost:5000/x/y", "1"), ("docker.io/library/alpine", "latest"), ("quay.io/z", "<none>")]
        );
        assert_eq!((row::text(&rows[0], "ID"), row::text(&rows[0], "Size")), ("dddddddddddd", "703 kB"));
        let none = shown(&json!({"Id": "x"}), false);
        assert_eq!((row::text(&none[0], "Repository"), row::text(&none[0], "Tag")), ("<none>", "<none>"));
    }

    #[test]
    fn every_header_has_a_field() {
        let row = &shown(&json!({}), false)[0];
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }
}
