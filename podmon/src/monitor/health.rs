//! What follows from the container's health.

use proto::{
    record::Health,
    wire::{HealthResult, MonitorStop},
};

use super::{Asked, Message, Monitor};
use crate::{
    health::{Checks, Next, Subject},
    service::Reply,
    state::{Event, State},
};

impl Monitor {
    /// Checks its health from now on, where that was asked for.
    pub(super) fn begin_checks(&mut self) {
        let (Some(config), Some(init)) = (&self.start.health, &self.init) else { return };
        let subject = Subject {
            config: config.clone(),
            path: self.health_record(),
            id: self.start.id.as_str().to_owned(),
            execs: self.execs.clone(),
            init: init.process.clone(),
            started_at: self.started_at,
            state: self.state.clone(),
            interruptions: self.interruptions.clone(),
        };
        let inbox = self.inbox.clone();
        let heard = move |health, next, log| Monitor::send(&inbox, Message::Checked(health, next, log));
        self.checks = Some(Checks::begin(subject, heard));
    }

    /// Where what they find is written.
    pub(super) fn health_record(&self) -> std::path::PathBuf {
        self.start.state_record.with_file_name("health.json")
    }

    /// Somebody wants a check now.
    pub(super) fn ask_for_check(&self, reply: Reply<HealthResult>) {
        let refusal = match &self.checks {
            Some(checks) => return checks.ask(reply),
            None if self.state.get() != State::Running => {
                let words = format!("container {} is not running", self.start.id);
                proto::Refusal::new(proto::Kind::WrongState, words)
            }
            None => proto::Refusal::invalid(format!("container {} has no defined healthcheck", self.start.id)),
        };
        // Who has gone does not hear it.
        let _ = reply.send(Err(refusal));
    }

    /// A check has shown something.
    pub(super) fn hear_of_health(&mut self, health: Health, next: Next, log: String) {
        self.execs.events().checked(health.as_str(), log);
        if health == Health::Healthy {
            self.is_healthy();
        }
        let action = self.start.health.as_ref().map_or("", |config| config.on_failure.as_str());
        // What is on its way to its end already goes there.
        if self.state.get() != State::Running {
            return;
        }
        match (next, action) {
            (Next::Act, "kill") => {
                // Its restart policy may begin another run.
                self.asked = Asked { signal: libc::SIGKILL, all: false, grace: None };
                self.happen(Event::KillForGood);
            }
            (Next::Act, "stop") => {
                self.end_by_user();
                self.stop_for_health();
            }
            (Next::Act, "restart") | (Next::Restart, _) => {
                self.unhealthy = true;
                self.stop_for_health();
            }
            _ => {}
        }
    }

    fn stop_for_health(&mut self) {
        let stop = MonitorStop { timeout_ms: self.start.stop_timeout_ms, ..MonitorStop::default() };
        // Its stop signal was checked when it was created.
        if let Ok(asked) = self.parse_stop(&stop) {
            self.asked = asked;
            self.happen(Event::Stop);
        }
    }
}
