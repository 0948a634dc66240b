//! `podctl history`, `podctl image history`

use proto::{serve::deadline, wire::ImageName};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Operands, switch, text},
    command::row::{self, Column, Listing},
    dial::{ASK, Engine},
    error::Outcome,
    output::{self, human},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "history",
    about: "Show history of a specified image",
    description: "Displays the history of an image, newest step first. The information can be printed out in an easy to read, or user specified format, and can be truncated.\n\nFields of a template: .ID .Created .CreatedAt .CreatedSince .CreatedBy .Size .Comment .Tags",
    usage: "[options] IMAGE",
    examples: &[
        "history alpine",
        "history --no-trunc --human=false alpine",
        "history --format '{{.CreatedBy}} {{.Size}}' alpine",
        "history --format json alpine",
    ],
    flags: &[&[
        text("format", "string", "Change the output to JSON or a Go template"),
        switch("human", "Display sizes and dates in human readable format").short('H').default("true"),
        switch("no-trunc", "Do not truncate the output").alias(&["notruncate"]),
        switch("quiet", "Display the numeric IDs only").short('q'),
    ]],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

const COLUMNS: &[Column] =
    &[("ID", "ID"), ("Created", "CREATED"), ("CreatedBy", "CREATED BY"), ("Size", "SIZE"), ("Comment", "COMMENT")];

const HEADERS: &[Column] = &[
    ("ID", "ID"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED SINCE"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
    ("Tags", "TAGS"),
];

/// Longest command of a step in a table.
const COMMAND_WIDTH: usize = 45;

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = ImageName { name: args.operands[0].clone() };
    let steps =
        engine.block_on(async { row::rows(&engine.host()?.images().history(deadline(ASK), &request).await?) })?;
    if args.text_or_empty("format") == "json" {
        return output::print(&format!("{}\n", output::json::compact(&Value::Array(steps))));
    }
    let (human, whole) = (args.switch("human").unwrap_or(true), args.is("no-trunc"));
    let rows: Vec<Value> = steps.iter().map(|step| shown(step, human, whole)).collect();
    if args.is("quiet") {
        let ids = rows.iter().map(|row| format!("{}\n", output::escape::line(row::text(row, "ID"))));
        return output::print(&ids.collect::<String>());
    }
    Listing { command: "history", columns: COLUMNS, headers: HEADERS, indent: 4 }.print(args, &rows, &steps)
}

/// A time as RFC 3339 has it, without a fraction.
fn seconds(nanoseconds: i64) -> String {
    let text = proto::time::rfc3339(nanoseconds);
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

/// A step as tables and templates see it.
fn shown(step: &Value, human: bool, whole: bool) -> Value {
    let created = row::nanoseconds(step, "created");
    let since = human::ago(created / 1_000_000_000);
    let size = u64::try_from(row::number(step, "size")).unwrap_or(0);
    let by = row::text(step, "createdBy");
    let by = match by.char_indices().nth(COMMAND_WIDTH) {
        Some(_) if !whole => by.chars().take(COMMAND_WIDTH - 3).chain("...".chars()).collect(),
        _ => by.to_owned(),
    };
    json!({
        "ID": row::short(row::text(step, "id"), whole),
        "Created": if human { since.clone() } else { seconds(created) },
        "CreatedAt": human::go_time(created),
        "CreatedSince": since,
        "CreatedBy": by,
        "Size": if human { human::spaced_size(size) } else { size.to_string() },
        "Comment": row::text(step, "comment"),
        "Tags": row::texts(step, "tags"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_for_people_and_for_programs() {
        let step = json!({
            "id": "ab".repeat(32), "created": "2024-04-04T18:00:00Z", "size": 2_130_944,
            "createdBy": "é".repeat(46), "comment": "buildkit", "tags": ["localhost/x:1"],
        });
        let row = shown(&step, true, false);
        assert_eq!((row::text(&row, "ID"), row::text(&row, "Size")), ("abababababab", "2.13 MB"));
        assert_eq!(row::text(&row, "CreatedBy"), "é".repeat(42) + "...");
        assert!(row::text(&row, "Created").ends_with(" ago"));
        let row = shown(&step, false, true);
        assert_eq!((row::text(&row, "ID").len(), row::text(&row, "Size")), (64, "2130944"));
        assert_eq!(row::text(&row, "CreatedBy"), "é".repeat(46));
        assert_eq!(row::text(&row, "Created"), "2024-04-04T18:00:00Z");
        assert_eq!(row::text(&shown(&json!({"id": "<missing>"}), true, false), "ID"), "<missing>");
    }

    #[test]
    fn every_header_has_a_field() {
        let row = shown(&json!({}), true, false);
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }
}
