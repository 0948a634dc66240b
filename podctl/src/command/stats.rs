//! What `stats` and `pod stats` have in common: figures asked for again and again, and what comes of two of them.

use std::{collections::HashMap, io::IsTerminal, time::Duration};

use proto::{Kind, serve::deadline, signals::Signals, wire::StatsRequest};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::row;
use crate::{
    dial::{ASK, Engine, Host},
    error::{Failure, Outcome},
    output::{self, human},
};

/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// Ctrl-C reaches the shim, too: how long after its end our own signal may still be under way.
const AFTERMATH: Duration = Duration::from_millis(200);

/// What one container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The engine's figures; see podshim's `view/stats.rs`.
    pub row: Value,
    /// Processor time since the sample before, or since the start, in percent of one processor.
    pub cpu: f64,
    /// Since the start.
    pub average_cpu: f64,
    /// Memory in percent of the limit.
    pub memory: f64,
}

impl Sample {
    /// `row`, where `before` is the same container's row of a moment ago.
    fn new(row: Value, before: Option<&Value>) -> Sample {
        let number = |row: &Value, key: &str| row::number(row, key) as f64;
        let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole * 100.0).max(0.0) } else { 0.0 };
        let (cpu, now, started) = (number(&row, "CPUNano"), number(&row, "Now"), number(&row, "StartedAt"));
        let average_cpu = share(cpu, now - started);
        let since = before.filter(|before| number(before, "StartedAt") == started && number(before, "CPUNano") <= cpu);
        let recent = since.map(|before| share(cpu - number(before, "CPUNano"), now - number(before, "Now")));
        let memory = share(number(&row, "MemUsage"), number(&row, "MemLimit"));
        Sample { cpu: recent.unwrap_or(average_cpu), average_cpu, memory, row }
    }

    /// A count of bytes or the like.
    pub fn number(&self, key: &str) -> u64 {
        self.row.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Two sizes, `1.2MB / 3kB`; `-- / --` where there are none.
    pub fn pair(&self, first: &str, second: &str, words: fn(u64) -> String) -> String {
        match (self.number(first), self.number(second)) {
            (0, 0) => "-- / --".to_owned(),
            (first, second) => format!("{} / {}", words(first), words(second)),
        }
    }

    /// A part of a hundred, `--` where the container does not run.
    pub fn percent(&self, value: f64) -> String {
        self.or_none(format!("{value:.2}%"))
    }

    /// Processes and threads.
    pub fn pids(&self) -> String {
        self.or_none(self.number("PIDs").to_string())
    }

    /// Memory in use and its limit.
    pub fn memory_usage(&self) -> String {
        self.pair("MemUsage", "MemLimit", human::fine_size)
    }

    /// The same in binary units.
    pub fn memory_usage_binary(&self) -> String {
        self.pair("MemUsage", "MemLimit", human::binary_size)
    }

    /// `text`, or `--` where the container does not run.
    pub fn or_none(&self, text: String) -> String {
        let running = self.row.get("Running").and_then(Value::as_bool).unwrap_or(false);
        if running { text } else { "--".to_owned() }
    }
}

/// How often, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Once and no more.
    pub once: bool,
    /// What was shown stays on the screen.
    pub keep: bool,
    /// Between two samples.
    pub interval: Duration,
}

/// Asks and shows, until Ctrl-C, or until nothing that was named is there any more.
///
/// # Errors
/// When the engine refuses, or `show` does.
pub async fn watch(
    engine: &Engine,
    request: &StatsRequest,
    pace: Pace,
    show: impl Fn(&[Sample]) -> Result<i32, Failure>,
) -> Outcome {
    let host = engine.host()?;
    let clear = !pace.once && !pace.keep && std::io::stdout().is_terminal();
    let mut interrupt = Signals::catch(&[libc::SIGINT]).map_err(|error| Failure::io("watch for Ctrl-C", &error))?;
    let named = !request.containers.is_empty();
    let mut before = HashMap::new();
    loop {
        let rows = tokio::select! {
            biased;
            _ = interrupt.next() => return Ok(0),
            rows = ask(&host, request) => rows,
        };
        let rows = match rows {
            Err(failure) if failure.kind == Kind::Gone && timeout(AFTERMATH, interrupt.next()).await.is_ok() => {
                return Ok(0);
            }
            rows => rows?,
        };
        if named && rows.is_empty() {
            return Ok(0);
        }
        let samples: Vec<Sample> =
            rows.into_iter().map(|row| Sample::new(row.clone(), before.get(row::text(&row, "Id")))).collect();
        if clear {
            output::print(CLEAR)?;
        }
        show(&samples)?;
        if pace.once {
            return Ok(0);
        }
        before = samples.into_iter().map(|sample| (row::text(&sample.row, "Id").to_owned(), sample.row)).collect();
        tokio::select! {
            _ = interrupt.next() => return Ok(0),
            () = sleep(pace.interval) => {}
        }
    }
}

async fn ask(host: &Host, request: &StatsRequest) -> Result<Vec<Value>, Failure> {
    row::rows(&host.containers().stats(deadline(ASK), request).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(now: i64, cpu: u64) -> Value {
        json!({"Running": true, "StartedAt": 1000, "Now": now, "CPUNano": cpu, "MemUsage": 50, "MemLimit": 200, "PIDs": 3})
    }

    #[test]
    fn rates_are_of_the_time_since_the_sample_before() {
        let first = Sample::new(row(3000, 500), None);
        assert_eq!((first.cpu, first.average_cpu, first.memory), (25.0, 25.0, 25.0));
        let second = Sample::new(row(4000, 1000), Some(&first.row));
        assert_eq!((second.cpu, second.percent(second.average_cpu).as_str()), (50.0, "33.33%"));
        // Started anew meanwhile: its clock begins at nothing.
        let mut again = row(5000, 100);
        again["StartedAt"] = 4500.into();
        assert_eq!(Sample::new(again, Some(&second.row)).cpu, 20.0);
    }

    #[test]
    fn what_does_not_run_has_no_figures() {
        let sample = Sample::new(json!({"Running": false}), None);
        assert_eq!((sample.percent(0.0).as_str(), sample.pids().as_str()), ("--", "--"));
        assert_eq!(sample.memory_usage(), "-- / --");
        assert_eq!(Sample::new(row(3000, 0), None).memory_usage(), "50B / 200B");
    }
}
