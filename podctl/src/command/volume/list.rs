//! `podctl volume ls`

use proto::{serve::deadline, wire::ListVolumes};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, text},
    command::row::{self, Column, Listing},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
};

const FLAGS: &[Flag] = &row::list_flags(
    "Filter volume output",
    text("format", "string", "Format volume output using Go template").default("\"{{.Driver}}\\t{{.Name}}\\n\""),
    "Print volume output in quiet mode",
);

/// The command.
pub static COMMAND: Command = Command {
    name: "ls",
    aliases: &["list"],
    about: "List volumes",
    description: "List all available volumes. The output of the volumes can be filtered and the output format can be changed to JSON or a user specified Go template.",
    usage: "[options]",
    examples: &["volume ls", "volume ls --format '{{.Driver}} {{.Scope}}'", "volume ls --filter name=foo,label=blue"],
    flags: &[FLAGS],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

const HEADERS: &[Column] = &[
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("Labels", "LABELS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("Options", "OPTIONS"),
    ("Scope", "SCOPE"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("quiet") && args.given("format") {
        return Err(Failure::invalid("quiet and format flags cannot be used together"));
    }
    let request = ListVolumes { filters: args.all("filter") };
    let documents =
        engine.block_on(async { row::rows(&engine.host()?.volumes().list(deadline(ASK), &request).await?) })?;
    let columns = [("Driver", "DRIVER"), ("Name", "VOLUME NAME")];
    let listing = Listing { command: "volume ls", columns: &columns, headers: HEADERS, indent: 5 };
    listing.show(args, &documents, "Name", shown, true)
}

fn shown(row: &Value) -> Value {
    json!({
        "Name": row::text(row, "Name"),
        "Driver": row::text(row, "Driver"),
        "Mountpoint": row::text(row, "Mountpoint"),
        "Scope": row::text(row, "Scope"),
        "CreatedAt": row::text(row, "CreatedAt"),
        "Labels": row::pairs(row, "Labels"),
        "LabelMap": row::map(row, "Labels"),
        "Options": row::pairs(row, "Options"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_has_a_field() {
        let row = shown(&json!({}));
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }
}
