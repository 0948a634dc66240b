//! `podctl secret ls`

use proto::{serve::deadline, wire::ListSecrets};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, text},
    command::row::{self, Column, Listing},
    dial::{ASK, Engine},
    error::Outcome,
    output::human,
};

const FLAGS: &[Flag] = &row::list_flags(
    "Filter secret output",
    text("format", "string", "Format secret output using Go template"),
    "Print only secret IDs",
);

/// The command.
pub static COMMAND: Command = Command {
    name: "ls",
    aliases: &["list"],
    about: "List secrets",
    description: "List all available secrets",
    usage: "[options]",
    examples: &["secret ls", "secret ls --format '{{.ID}} {{.Name}}'", "secret ls --filter name=my"],
    flags: &[FLAGS],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

const COLUMNS: &[Column] =
    &[("ID", "ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED")];

const HEADERS: &[Column] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("CreatedAt", "CREATED"),
    ("UpdatedAt", "UPDATED"),
    ("Labels", "LABELS"),
    ("Spec", "SPEC"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = ListSecrets { filters: args.all("filter") };
    let documents =
        engine.block_on(async { row::rows(&engine.host()?.secrets().list(deadline(ASK), &request).await?) })?;
    let listing = Listing { command: "secret ls", columns: COLUMNS, headers: HEADERS, indent: 4 };
    listing.show(args, &documents, "ID", shown, false)
}

fn shown(row: &Value) -> Value {
    let spec = row.get("Spec").unwrap_or(&Value::Null);
    let ago = |key: &str| human::ago(row::number(row, key) / 1_000_000_000);
    json!({
        "ID": row::text(row, "ID"),
        "Name": row::text(spec, "Name"),
        "Driver": spec.get("Driver").map_or("", |driver| row::text(driver, "Name")),
        "CreatedAt": ago("Created"),
        "UpdatedAt": ago("Updated"),
        "Labels": row::pairs(spec, "Labels"),
        "Spec": spec,
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
