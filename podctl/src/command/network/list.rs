//! `podctl network ls`

use proto::{serve::deadline, wire::ListNetworks};
use serde_json::{Value, json};

use crate::{
    args::{Action, Args, Command, Flag, Operands, list, switch, text},
    command::row::{self, Column, Listing},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output,
};

const FLAGS: &[Flag] = &[
    list("filter", "Provide filter values (e.g. 'name=podman')").short('f'),
    text("format", "string", "Pretty-print networks to JSON or using a Go template"),
    switch("no-trunc", "Do not truncate the network ID"),
    switch("noheading", "Do not print headers").short('n'),
    switch("quiet", "Display only names").short('q'),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "ls",
    aliases: &["list"],
    about: "List networks",
    description: "List networks",
    usage: "[options]",
    examples: &["network ls", "network ls --filter driver=bridge --format '{{.Name}}'"],
    flags: &[FLAGS],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

const HEADERS: &[Column] = &[
    ("Created", "CREATED"),
    ("DNSEnabled", "DNS ENABLED"),
    ("Driver", "DRIVER"),
    ("IPAMOptions", "IPAM OPTIONS"),
    ("ID", "NETWORK ID"),
    ("IPv6Enabled", "IPV6 ENABLED"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("NetworkInterface", "NETWORK INTERFACE"),
    ("Options", "OPTIONS"),
    ("Subnets", "SUBNETS"),
];

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("quiet") && args.given("format") {
        return Err(Failure::invalid("quiet and format cannot be used together"));
    }
    let request = ListNetworks { filters: args.all("filter") };
    let documents =
        engine.block_on(async { row::rows(&engine.host()?.networks().list(deadline(ASK), &request).await?) })?;
    if args.is("quiet") {
        let names: String =
            documents.iter().map(|row| format!("{}\n", output::escape::line(row::text(row, "name")))).collect();
        return output::print(&names);
    }
    let rows: Vec<Value> = documents.iter().map(|row| shown(row, args.is("no-trunc"))).collect();
    let columns = [("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER")];
    Listing { command: "network ls", columns: &columns, headers: HEADERS, indent: 5 }.print(args, &rows, &documents)
}

fn shown(row: &Value, whole: bool) -> Value {
    let is = |key: &str| row.get(key).and_then(Value::as_bool).unwrap_or(false);
    let subnets: Vec<String> = row
        .get("subnets")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|subnet| row::text(subnet, "subnet").to_owned())
        .collect();
    json!({
        "ID": row::short(row::text(row, "id"), whole),
        "Name": row::text(row, "name"),
        "Driver": row::text(row, "driver"),
        "Labels": row::pairs(row, "labels"),
        "LabelMap": row::map(row, "labels"),
        "Options": row::pairs(row, "options"),
        "IPAMOptions": row::map(row, "ipam_options"),
        "NetworkInterface": row::text(row, "network_interface"),
        "Created": row::text(row, "created"),
        "Internal": is("internal"),
        "IPv6Enabled": is("ipv6_enabled"),
        "DNSEnabled": is("dns_enabled"),
        "Subnets": subnets.join(","),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_has_a_field() {
        let row = shown(&json!({"subnets": [{"subnet": "10.88.0.0/16"}]}), false);
        assert_eq!(row::text(&row, "Subnets"), "10.88.0.0/16");
        for (field, _) in HEADERS {
            assert!(row.get(*field).is_some(), "{field}");
        }
    }
}
