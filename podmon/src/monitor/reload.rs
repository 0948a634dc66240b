//! `update` of a container that is there: the start record says another restart policy or health check than when we began.

use std::{fs, rc::Rc};

use proto::{
    Refusal,
    failpoint::{self, Point},
    record::{self, StartRecord},
    refusal::Result,
    wire::HealthConfig,
};

use super::Monitor;
use crate::state::{Event, State};

impl Monitor {
    /// Takes restart policy, health check and limits from the start record; everything else is as it was when the run began.
    ///
    /// # Errors
    /// When it cannot be read; nothing has changed then.
    pub(super) fn reload(&mut self) -> Result<()> {
        let told: StartRecord =
            record::read(&self.record).map_err(|error| Refusal::internal("the start record", error))?;
        failpoint::refuse(Point::MonReload)?;
        let mut start = (*self.start).clone();
        let before = std::mem::replace(&mut start.health, told.health);
        start.restart = told.restart;
        start.limits = told.limits;
        self.start = Rc::new(start);
        if self.start.health != before {
            self.checks = None;
            if !is_same_check(before.as_ref(), self.start.health.as_ref()) {
                // What another command has shown says nothing of this one.
                let _ = fs::remove_file(self.health_record());
            }
            let runs = [State::Running, State::Pausing, State::Paused, State::Thawing, State::Stopping];
            if runs.contains(&self.state.get()) {
                self.begin_checks();
            }
        }
        if matches!(self.state.get(), State::Clearing | State::BackingOff) && !self.again() {
            // The run that it waits for is not wanted any more.
            self.happen(Event::Stop);
        }
        Ok(())
    }
}

/// Whether both run the same commands, whenever they do.
fn is_same_check(one: Option<&HealthConfig>, other: Option<&HealthConfig>) -> bool {
    let commands = |config: &HealthConfig| {
        let startup = config.startup.as_ref().map(|startup| startup.test.clone());
        (config.test.clone(), startup)
    };
    one.map(commands) == other.map(commands)
}

#[cfg(test)]
mod tests {
    use proto::wire::HealthStartup;

    use super::*;

    #[test]
    fn a_check_is_its_commands() {
        let check = |test: &str| HealthConfig { test: vec!["CMD".into(), test.into()], ..Default::default() };
        let later = HealthConfig { interval_ns: Some(5), ..check("a") };
        assert!(is_same_check(Some(&check("a")), Some(&later)));
        assert!(!is_same_check(Some(&check("a")), Some(&check("b"))));
        assert!(!is_same_check(Some(&check("a")), None) && is_same_check(None, None));
        let first = HealthConfig { startup: Some(HealthStartup::default()), ..check("a") };
        assert!(!is_same_check(Some(&check("a")), Some(&first)));
    }
}
