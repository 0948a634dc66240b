//! Whether the container is well: checks that were asked for, run when their time has come.
//!
//! ```text
//! mod      one task: when a check is due or asked for, run it, judge, write health.json, say what follows
//! probe    one check: a command with a deadline and bounded output        subtree  all that it has started
//! judge    what follows from a check, pure
//! ```
//! A container without checks has no task and no timer. Checks never overlap: there is one task, and who asks for a check
//! waits for the one that is under way. While the container is paused nothing is checked, and what a check that was
//! caught by a pause has shown does not count. `health.json` is written after every check: a monitor that takes over goes
//! on where the earlier one was, and others read it without asking.

mod judge;
mod probe;
mod subtree;

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

pub use judge::Next;
use proto::{
    Refusal,
    alive::Process,
    record::{self, Durability, Health, HealthCheck, HealthState, SCHEMA},
    refusal::Result,
    time,
    wire::{HealthConfig, HealthResult},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{exec::Execs, service::Reply, state::State};

/// What is checked, and where.
#[derive(Debug)]
pub struct Subject {
    /// What was asked for.
    pub config: HealthConfig,
    /// health.json.
    pub path: PathBuf,
    /// The container's id.
    pub id: String,
    /// Runs commands in it.
    pub execs: Rc<Execs>,
    /// Its first process.
    pub init: Process,
    /// When it was started.
    pub started_at: i64,
    /// Where it is.
    pub state: Rc<Cell<State>>,
    /// How often it has left the state of running.
    pub interruptions: Rc<Cell<u32>>,
}

/// The task. It ends when this is dropped.
#[derive(Debug)]
pub struct Checks {
    asked: mpsc::UnboundedSender<Reply<HealthResult>>,
    task: JoinHandle<()>,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Begins, or goes on where an earlier monitor of the same run was. What follows is said to `heard`, each time with
    /// the container's health and, as JSON, the check where its log goes to the events.
    pub fn begin(subject: Subject, heard: impl Fn(Health, Next, String) + 'static) -> Checks {
        let (asked, requests) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(subject.run(requests, heard));
        Checks { asked, task }
    }

    /// Asks for a check now.
    pub fn ask(&self, reply: Reply<HealthResult>) {
        if let Err(mpsc::error::SendError(reply)) = self.asked.send(reply) {
            // It ends only with the container. Who has gone does not hear it.
            let _ = reply.send(Err(Refusal::new(proto::Kind::Gone, "the container has ended")));
        }
    }
}

/// The command line of a check; `None` where it says that there is none.
fn command(test: &[String]) -> Option<Vec<String>> {
    match test.split_first()? {
        (kind, rest) if kind == "CMD-SHELL" => Some(vec!["/bin/sh".into(), "-c".into(), rest.join(" ")]),
        (kind, rest) if kind == "CMD" => Some(rest.to_vec()),
        _ => None,
    }
}

fn span(nanoseconds: Option<i64>) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds.unwrap_or(0)).unwrap_or(0))
}

impl Subject {
    async fn run(
        self,
        mut requests: mpsc::UnboundedReceiver<Reply<HealthResult>>,
        heard: impl Fn(Health, Next, String),
    ) {
        let mut state = self.begin();
        heard(state.status, Next::Wait, String::new());
        let mut due = self.first(&state);
        loop {
            let scheduled = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let reply = tokio::select! {
                () = scheduled => None,
                Some(reply) = requests.recv() => Some(reply),
            };
            let next = self.check(&mut state, reply).await;
            if let Some(next) = next {
                heard(state.status, next, self.log_of(&state));
            }
            let interval = self.interval(&state);
            due = interval
                .map(|interval| if next == Some(Next::Check) { Instant::now() } else { Instant::now() + interval });
        }
    }

    /// What is known when we begin.
    fn begin(&self) -> HealthState {
        match record::read::<HealthState>(&self.path) {
            Ok(earlier) if earlier.started_at == self.started_at => earlier,
            _ => {
                let startup_passed = self.config.startup.is_none();
                let state =
                    HealthState { schema: SCHEMA, started_at: self.started_at, startup_passed, ..Default::default() };
                self.write(&state);
                state
            }
        }
    }

    /// When the first check of ours is due: right at the start, or so long after the last one of an earlier monitor.
    fn first(&self, state: &HealthState) -> Option<Instant> {
        let interval = self.interval(state)?;
        let since = state.log.last().map(|last| span(Some(time::now().saturating_sub(last.end))));
        Some(Instant::now() + since.map_or(Duration::ZERO, |since| interval.saturating_sub(since)))
    }

    fn interval(&self, state: &HealthState) -> Option<Duration> {
        let startup = self.config.startup.as_ref().filter(|_| !state.startup_passed);
        let interval = span(startup.map_or(self.config.interval_ns, |startup| startup.interval_ns));
        Some(interval).filter(|interval| !interval.is_zero())
    }

    /// One check; `None` where it does not count.
    async fn check(&self, state: &mut HealthState, reply: Option<Reply<HealthResult>>) -> Option<Next> {
        let answer = |answer: Result<HealthResult>| {
            if let Some(reply) = reply {
                // Who has gone does not hear it.
                let _ = reply.send(answer);
            }
        };
        let not_running = || {
            let words = format!("container {} is not running", self.id);
            Refusal::new(proto::Kind::WrongState, words).about(&self.id)
        };
        if self.state.get() != State::Running {
            answer(Err(not_running()));
            return None;
        }
        let startup = self.config.startup.as_ref().filter(|_| !state.startup_passed);
        let (test, limit) = match startup {
            Some(startup) => (&startup.test, startup.timeout_ns),
            None => (&self.config.test, self.config.timeout_ns),
        };
        let args = command(test)?;
        let wanted = match self.config.max_log_size {
            None | Some(0) => probe::MAX_OUTPUT,
            Some(size) => (size as usize).min(probe::MAX_OUTPUT),
        };
        let before = self.interruptions.get();
        let check = probe::run(&self.execs, args, span(limit), wanted, &self.init).await;
        // It was frozen with the container, or ended with it.
        if self.interruptions.get() != before || !self.init.is_alive() {
            answer(Err(not_running()));
            return None;
        }
        let (shown, next) = judge::judge(state, &self.config, check);
        self.write(state);
        answer(Ok(HealthResult { status: shown.as_str().to_owned() }));
        Some(next)
    }

    /// The last check for the events, where they are its log.
    fn log_of(&self, state: &HealthState) -> String {
        let last = state.log.last().filter(|_| self.config.log_destination == "events_logger");
        last.map_or_else(String::new, |check| podmans_check(check).to_string())
    }

    fn write(&self, state: &HealthState) {
        // A full disk costs others their view of it and nothing else.
        let _ = record::write(&self.path, state, Durability::Volatile);
        let directory = Path::new(&self.config.log_destination);
        if directory.is_absolute() {
            // podman's name and form.
            let path = directory.join(format!("{}-healthcheck.log", self.id));
            let _ = record::write(&path, &podmans(state), Durability::Volatile);
        }
    }
}

fn podmans_check(check: &HealthCheck) -> serde_json::Value {
    json!({
        "Start": time::rfc3339(check.start), "End": time::rfc3339(check.end),
        "ExitCode": check.exit_code, "Output": check.output,
    })
}

/// As podman has it in its files.
fn podmans(state: &HealthState) -> serde_json::Value {
    let log: Vec<_> = state.log.iter().map(podmans_check).collect();
    json!({ "Status": state.status.as_str(), "FailingStreak": state.failing_streak, "Log": log })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_command_lines() {
        let of = |words: &[&str]| command(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["CMD-SHELL", "a | b"]).expect("shell"), ["/bin/sh", "-c", "a | b"]);
        assert_eq!(of(&["CMD", "a", "b"]).expect("argv"), ["a", "b"]);
        assert!(of(&["NONE"]).is_none() && of(&[]).is_none());
    }
}
