//! `podctl events`

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::fd::AsFd,
    thread,
};

use proto::{raw, wire::EventsRequest};
use serde_json::{Map, Value, json};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Operands, array, duration, switch, text},
    command::row,
    dial::Engine,
    error::{Failure, Outcome},
    output::{self, human},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "events",
    about: "Show podctl system events",
    description: "Monitor podctl system events.\n\nBy default, streaming mode is used, printing new events as they occur. Previous events can be listed via --since and --until.",
    usage: "[options]",
    examples: &["events", "events --filter event=create", "events --since 1h30s --stream=false --format json"],
    flags: &[&[
        array("filter", "Filter output").short('f'),
        text("format", "string", "Format the output using a Go template"),
        switch("no-trunc", "Do not truncate the output").default("true"),
        text("since", "string", "Show all events created since timestamp"),
        switch("stream", "Stream events and do not exit when returning the last known event").default("true"),
        text("until", "string", "Show all events until timestamp"),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let (since, until) = duration::window(args)?;
    let request = EventsRequest {
        filters: args.all("filter"),
        since,
        until,
        stream: args.switch("stream").unwrap_or(true),
        token: raw::token().map_err(|error| Failure::io("a token", &error))?,
    };
    let format = args.text_or_empty("format").to_owned();
    let whole = args.switch("no-trunc").unwrap_or(true);
    // What is wrong with a template is known before anything happens.
    line(&json!({"time": 0, "kind": "", "action": ""}), &format, whole)?;
    engine.block_on(async {
        let words = |error: io::Error| Failure::io("hand a pipe to podshim", &error);
        let host = engine.host()?;
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|no| words(no.into()))?;
        host.raw().map_err(words)?.deposit(&request.token, &[writer.as_fd()]).await.map_err(words)?;
        drop(writer);
        let printing = thread::spawn(move || print(File::from(reader), &format, whole));
        let told = host.system().events(Context::default(), &request).await;
        drop(host);
        match printing.join() {
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(code)) => told.map(|_| code).map_err(Failure::from),
            Err(_) => Err(Failure::invalid("the events could not be printed")),
        }
    })
}

fn print(from: File, format: &str, whole: bool) -> Outcome {
    for text in BufReader::new(from).lines() {
        let text = text.map_err(|error| Failure::io("read events", &error))?;
        if let Ok(event) = serde_json::from_str::<Value>(&text) {
            output::print(&line(&event, format, whole)?)?;
        }
    }
    Ok(0)
}

/// An event as it is printed, with its line feed.
fn line(event: &Value, format: &str, whole: bool) -> Result<String, Failure> {
    match format {
        "" => Ok(format!("{}\n", output::escape::line(&words(event, whole)))),
        "json" => Ok(output::json::compact(&document(event)) + "\n"),
        format => output::template::rows("events", format, &[fields(event, whole)], &[], false),
    }
}

/// podman's line for people.
fn words(event: &Value, whole: bool) -> String {
    let text = |key: &str| row::text(event, key);
    let (kind, id, name) = (text("kind"), row::short(text("id"), whole), text("name"));
    let begin = format!("{} {kind} {}", human::go_time(row::number(event, "time")), text("action"));
    match kind {
        "container" | "pod" => {
            let mut details = format!("image={}, name={name}", text("image"));
            for (key, value) in
                [("pod_id", text("pod")), ("health_status", text("health")), ("health_log", text("health_log"))]
            {
                if !value.is_empty() {
                    details.push_str(&format!(", {key}={value}"));
                }
            }
            for (key, value) in attributes(event) {
                details.push_str(&format!(", {key}={}", value.as_str().unwrap_or_default()));
            }
            format!("{begin} {id} ({details})")
        }
        "network" => format!("{begin} {id} (container=, name={name})"),
        "image" => format!("{begin} {id} {name}"),
        _ => format!("{begin} {name}"),
    }
}

fn attributes(event: &Value) -> Map<String, Value> {
    event.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// podman's object of `--format json`: what there is nothing of is left out.
fn document(event: &Value) -> Value {
    let mut document = Map::new();
    if let Some(code) = event.get("code") {
        document.insert("ContainerExitCode".to_owned(), code.clone());
    }
    for (key, from) in [("ID", "id"), ("Image", "image"), ("Name", "name")] {
        if !row::text(event, from).is_empty() {
            document.insert(key.to_owned(), row::text(event, from).into());
        }
    }
    let time = row::number(event, "time");
    document.insert("Status".to_owned(), row::text(event, "action").into());
    document.insert("Time".to_owned(), proto::time::rfc3339(time).into());
    document.insert("Type".to_owned(), row::text(event, "kind").into());
    if !row::text(event, "health").is_empty() {
        document.insert("HealthStatus".to_owned(), row::text(event, "health").into());
    }
    if !row::text(event, "health_log").is_empty() {
        document.insert("health_log".to_owned(), row::text(event, "health_log").into());
    }
    if !row::text(event, "pod").is_empty() {
        document.insert("PodID".to_owned(), row::text(event, "pod").into());
    }
    let attributes = attributes(event);
    if !attributes.is_empty() {
        document.insert("Attributes".to_owned(), attributes.into());
    }
    document.insert("time".to_owned(), (time / 1_000_000_000).into());
    document.insert("timeNano".to_owned(), time.into());
    document.into()
}

/// The fields of a template: all of them, empty where there is nothing.
fn fields(event: &Value, whole: bool) -> Value {
    json!({
        "ContainerExitCode": row::number(event, "code"),
        "ID": row::short(row::text(event, "id"), whole),
        "Image": row::text(event, "image"),
        "Name": row::text(event, "name"),
        "Network": if row::text(event, "kind") == "network" { row::text(event, "name") } else { "" },
        "Status": row::text(event, "action"),
        "Time": human::go_time(row::number(event, "time")),
        "TimeNano": row::number(event, "time"),
        "Type": row::text(event, "kind"),
        "HealthStatus": row::text(event, "health"),
        "HealthLog": row::text(event, "health_log"),
        "PodID": row::text(event, "pod"),
        "Attributes": attributes(event),
        "Labels": attributes(event),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_as_podman_shows_it() {
        let event = json!({
            "time": 1_795_434_659_070_000_000_i64, "kind": "container", "action": "died", "id": "4".repeat(64), "name": "web",
            "image": "docker.io/library/alpine:latest", "pod": "5", "code": 7, "attributes": {"a": "b\u{1b}"}
        });
        let short = "4".repeat(12);
        assert_eq!(
            line(&event, "", false).expect("line"),
            format!(
                "2026-11-23 11:50:59.07 +0000 UTC container died {short} (image=docker.io/library/alpine:latest, name=web, pod_id=5, a=b\\x1b)\n"
            )
        );
        let json = line(&event, "json", true).expect("json");
        assert!(
            json.starts_with("{\"ContainerExitCode\":7,\"ID\":\"4444") && json.contains("\"Status\":\"died\""),
            "{json}"
        );
        assert_eq!(
            line(&event, "{{.Type}} {{.Name}} {{.ContainerExitCode}}", true).expect("fields"),
            "container web 7\n"
        );
        assert!(line(&event, "{{.Bogus}}", true).is_err());
        let pod = json!({"time": 0, "kind": "pod", "action": "create", "id": "1", "name": "ps1"});
        assert!(line(&pod, "", true).expect("line").ends_with(" pod create 1 (image=, name=ps1)\n"));
    }
}
