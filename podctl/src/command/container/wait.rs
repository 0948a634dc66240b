//! `podctl wait`

use std::time::Duration;

use proto::{Kind, wire::Empty};
use serde_json::Value;
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, duration, list, switch, text},
    command::{
        container::{plainly, records, state_of},
        row, select,
    },
    dial::{Engine, Found},
    error::{Failure, Outcome, is_missing},
    fan_out,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "wait",
    about: "Block on one or more containers",
    description: "Block until one or more containers stop and then print their exit codes.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &[
        "wait --interval 5s ctrID",
        "wait ctrID1 ctrID2",
        "wait --condition running mywebserver",
        "wait --condition=healthy --exit-first-match web1 web2",
    ],
    flags: &[
        &[
            list("condition", "Condition to wait on"),
            switch("exit-first-match", "Exit as soon as one of the containers meets a condition"),
            switch("ignore", "Ignore if a container does not exist"),
            text("interval", "string", "Time Interval to wait before polling for completion")
                .short('i')
                .default("\"250ms\""),
        ],
        select::LATEST,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

const CONDITIONS: &[&str] = &[
    "configured",
    "created",
    "exited",
    "healthy",
    "initialized",
    "paused",
    "removing",
    "running",
    "stopped",
    "stopping",
    "unhealthy",
];

fn interval(text: &str) -> Result<Duration, Failure> {
    let nanoseconds = duration::go(text).or_else(|| text.parse::<i64>().ok()?.checked_mul(1_000_000));
    nanoseconds
        .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
        .map(|nanoseconds| Duration::from_nanos(nanoseconds).max(Duration::from_millis(1)))
        .ok_or_else(|| Failure::invalid(format!("time: invalid duration \"{text}\"")))
}

fn conditions(given: &[String]) -> Result<Vec<String>, Failure> {
    match given.iter().find(|condition| !CONDITIONS.contains(&condition.as_str())) {
        Some(bogus) => Err(Failure::invalid(format!("unknown container state: {bogus}: invalid argument"))),
        None => Ok(given.to_vec()),
    }
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    let interval = interval(args.text("interval").unwrap_or("250ms"))?;
    let conditions = conditions(&args.all("condition"))?;
    let ignore = args.is("ignore");
    engine.block_on(async {
        let none = "\"podctl wait\" requires a name, id, or the \"--latest\" flag";
        if args.operands.is_empty() && !args.is("latest") {
            return Err(Failure::invalid(none));
        }
        // With --ignore a container that is not there counts as ended by nobody knows what.
        let mut found = Vec::new();
        for name in &args.operands {
            match engine.container(name) {
                Ok(container) => found.push(Some(container)),
                Err(failure) if ignore && is_missing(failure.kind) => found.push(None),
                Err(failure) => return Err(failure),
            }
        }
        if args.is("latest") {
            let latest = select::containers(engine, args, ignore, &[], none).await?;
            found.extend(latest.into_iter().map(|container| Some(container.found)));
        }
        let wait = async |found| one(engine, found, &conditions, interval, ignore).await;
        let results = match args.is("exit-first-match") {
            true => fan_out::first(found, wait).await.into_iter().collect(),
            false => fan_out::each(found, wait).await,
        };
        fan_out::report(results, plainly)
    })
}

/// Waits for one; `None` is one that is not there.
async fn one(
    engine: &Engine,
    found: Option<Found>,
    conditions: &[String],
    interval: Duration,
    ignore: bool,
) -> Printed {
    match found {
        None => Ok(Some("-1".to_owned())),
        Some(Found::Infra(pod)) => infra(engine, &pod, interval).await,
        Some(Found::Container { pod, id }) if conditions.is_empty() => {
            if let Some(monitor) = engine.monitor(&pod, &id).await?
                && let Ok(status) = monitor.client().wait(Context::default(), &Empty {}).await
            {
                return Ok(Some(status.code.to_string()));
            }
            polled(engine, &id, &["exited".to_owned(), "stopped".to_owned()], interval, ignore).await
        }
        Some(Found::Container { id, .. }) => polled(engine, &id, conditions, interval, ignore).await,
    }
}

type Printed = Result<Option<String>, Failure>;

/// Waits by looking at the records.
async fn polled(engine: &Engine, id: &proto::Id, conditions: &[String], interval: Duration, ignore: bool) -> Printed {
    loop {
        match records(engine, id).await {
            Ok(Some(record)) => {
                if let Some(code) = met(&record, conditions) {
                    return Ok(Some(code.to_string()));
                }
                if never(&record, conditions) {
                    return Err(Failure::invalid(format!("container {id} has no defined healthcheck")));
                }
            }
            Ok(None) if ignore || conditions.iter().any(|condition| condition == "removing") => {
                return Ok(Some("-1".to_owned()));
            }
            Ok(None) => return Err(proto::Refusal::no_such_container(id.as_str()).into()),
            Err(failure) if failure.kind == Kind::Gone => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(interval).await;
    }
}

/// What is printed when one of the conditions holds: the exit code of one that has ended, else -1.
fn met(record: &Value, conditions: &[String]) -> Option<i64> {
    let (state, code) = state_of(record);
    let health =
        record.get("State").and_then(|state| state.get("Health")).map_or("", |health| row::text(health, "Status"));
    let holds = |condition: &str| match condition {
        // Of one that has ended it is what it was.
        "healthy" | "unhealthy" => health == condition && state == "running",
        "configured" => state == "created",
        "stopped" => matches!(state, "stopped" | "exited"),
        other => state == other,
    };
    let ended = matches!(state, "exited" | "stopped");
    conditions.iter().any(|condition| holds(condition)).then_some(if ended { code } else { -1 })
}

/// Whether only its health is waited for and it has none that could be known.
fn never(record: &Value, conditions: &[String]) -> bool {
    let only_health = conditions.iter().all(|condition| matches!(condition.as_str(), "healthy" | "unhealthy"));
    only_health && record.get("State").is_some_and(|state| state.get("Health").is_none())
}

/// An infra ends with its pod.
async fn infra(engine: &Engine, pod: &proto::Id, interval: Duration) -> Printed {
    use proto::{serve::deadline, wire::ListPods};
    loop {
        let request = ListPods { filters: vec![format!("id={pod}")], latest: false };
        let rows = row::rows(&engine.host()?.pods().list(deadline(crate::dial::ASK), &request).await?)?;
        let up = rows.iter().any(|row| matches!(row::text(row, "Status"), "Running" | "Degraded" | "Paused"));
        if !up {
            return Ok(Some("0".to_owned()));
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_about_state_and_health() {
        let of = |condition: &str, record: &Value| met(record, &[condition.to_owned()]);
        let ended = json!({"State": {"Status": "exited", "ExitCode": 7}});
        assert_eq!((of("exited", &ended), of("stopped", &ended), of("running", &ended)), (Some(7), Some(7), None));
        let running = json!({"State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy"}}});
        assert_eq!(
            (of("running", &running), of("healthy", &running), of("unhealthy", &running)),
            (Some(-1), Some(-1), None)
        );
        let over = json!({"State": {"Status": "exited", "ExitCode": 0, "Health": {"Status": "healthy"}}});
        assert_eq!(of("healthy", &over), None);
        let only = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(never(&ended, &only(&["healthy"])) && !never(&ended, &only(&["healthy", "exited"])));
        assert!(!never(&running, &only(&["unhealthy"])));
        assert_eq!(of("configured", &json!({"State": {"Status": "created"}})), Some(-1));
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        assert_eq!(interval("x").expect_err("x").to_string(), "time: invalid duration \"x\"");
        assert_eq!(interval("500").expect("ms"), Duration::from_millis(500));
        assert_eq!(
            conditions(&["bogus".to_owned()]).expect_err("x").to_string(),
            "unknown container state: bogus: invalid argument"
        );
    }
}
