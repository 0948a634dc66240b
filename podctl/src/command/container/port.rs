//! `podctl port`

use proto::{serve::deadline, wire::ListContainers};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command},
    command::{container::ALL, row, select},
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "port",
    about: "List port mappings or a specific mapping for the container",
    description: "List port mappings for the CONTAINER, or look up the public-facing port that is NAT-ed to the PRIVATE_PORT",
    usage: "[options] CONTAINER [PORT]",
    examples: &["port --all", "port ctrID", "port ctrID 80/tcp"],
    flags: &[ALL, select::LATEST],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let (all, latest) = (args.is("all"), args.is("latest"));
    let (name, port) = match args.operands.as_slice() {
        [] if all || latest => (None, None),
        [] => return Err(Failure::invalid("you must supply a running container name or id")),
        _ if all => return Err(Failure::invalid("no arguments are needed with --all")),
        [port] if latest => (None, Some(port)),
        [name] => (Some(name), None),
        [name, port] if !latest => (Some(name), Some(port)),
        _ => return Err(Failure::invalid("accepts a container and at most one port: too many arguments")),
    };
    let port = port.map(|text| wanted(text)).transpose()?;
    let filters = match name.map(|name| engine.container(name)).transpose()? {
        Some(Found::Container { id, .. }) => vec![format!("id={id}")],
        Some(Found::Infra(pod)) => vec![format!("pod={pod}")],
        None => Vec::new(),
    };
    let request = ListContainers { filters, all: !all, last: u32::from(latest), ..Default::default() };
    let rows =
        engine.block_on(async { row::rows(&engine.host()?.containers().list(deadline(ASK), &request).await?) })?;
    let rows = if all { rows.as_slice() } else { rows.get(..1).unwrap_or_default() };
    let mut text = String::new();
    for row in rows {
        let prefix = if all { format!("{}\t", row::short(row::text(row, "Id"), false)) } else { String::new() };
        for (number, protocol, host) in mappings(row) {
            match &port {
                Some(wanted) if *wanted != (number, protocol.clone()) => {}
                Some(_) => text.push_str(&format!("{host}\n")),
                None => text.push_str(&format!("{prefix}{number}/{protocol} -> {host}\n")),
            }
        }
    }
    match port {
        Some((number, protocol)) if text.is_empty() => {
            Err(Failure::invalid(format!("failed to find published port \"{number}/{protocol}\"")))
        }
        _ => output::print(&text),
    }
}

/// `80`, `80/udp`
fn wanted(text: &str) -> Result<(i64, String), Failure> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = number.parse().map_err(|_| Failure::invalid(format!("failed to find published port \"{text}\"")))?;
    Ok((number, protocol.to_owned()))
}

/// Container port, protocol, and `address:port` of the host, one per port.
fn mappings(row: &Value) -> Vec<(i64, String, String)> {
    let mut mappings = Vec::new();
    for port in row.get("Ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let host_port = row::number(port, "host_port");
        let ip = match row::text(port, "host_ip") {
            "" => "0.0.0.0",
            ip => ip,
        };
        for offset in 0..row::number(port, "range").clamp(1, 65536) {
            if host_port > 0 {
                let host = format!("{ip}:{}", host_port + offset);
                mappings.push((
                    row::number(port, "container_port") + offset,
                    row::text(port, "protocol").to_owned(),
                    host,
                ));
            }
        }
    }
    mappings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_are_listed_port_by_port() {
        let row = json!({"Ports": [
            {"host_ip": "", "container_port": 80, "host_port": 8080, "range": 2, "protocol": "tcp"},
            {"host_ip": "127.0.0.1", "container_port": 53, "host_port": 0, "range": 1, "protocol": "udp"},
        ]});
        let shown: Vec<String> =
            mappings(&row).into_iter().map(|(port, protocol, host)| format!("{port}/{protocol} -> {host}")).collect();
        assert_eq!(shown, ["80/tcp -> 0.0.0.0:8080", "81/tcp -> 0.0.0.0:8081"]);
        assert!(mappings(&json!({"Ports": null})).is_empty());
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        assert_eq!(wanted("x/tcp").expect_err("x").to_string(), "failed to find published port \"x/tcp\"");
    }
}
