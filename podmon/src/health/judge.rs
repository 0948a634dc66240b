//! What follows from a check, as a pure function (libpod/healthcheck.go has the same rules).

use proto::{
    record::{Health, HealthCheck, HealthState},
    wire::HealthConfig,
};

/// Checks kept where no limit was asked for, and the largest output kept then: a record is read whole by others.
const MAX_COUNT: usize = 1000;
/// Bytes of output that all checks kept have together.
const MAX_BYTES: usize = 4 << 20;

/// What one check has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It succeeded.
    Healthy,
    /// It failed.
    Unhealthy,
    /// A startup check failed.
    Starting,
}

impl Result {
    /// The word that `healthcheck run` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Result::Healthy => Health::Healthy.as_str(),
            Result::Unhealthy => Health::Unhealthy.as_str(),
            Result::Starting => Health::Starting.as_str(),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next check's time.
    Wait,
    /// The startup checks are over: the first regular one is due now.
    Check,
    /// It is unhealthy: what was asked for in that case.
    Act,
    /// The startup checks have failed for good: it is to be restarted.
    Restart,
}

/// Takes `check` into account.
pub fn judge(state: &mut HealthState, config: &HealthConfig, check: HealthCheck) -> (Result, Next) {
    let startup = config.startup.as_ref().filter(|_| !state.startup_passed);
    let success = check.exit_code == 0;
    let in_start_period = check.start.saturating_sub(state.started_at) < config.start_period_ns.unwrap_or(0);
    remember(state, config, check);
    if let Some(startup) = startup {
        return judge_startup(state, startup, success);
    }
    if success {
        (state.status, state.failing_streak) = (Health::Healthy, 0);
        return (Result::Healthy, Next::Wait);
    }
    if !in_start_period {
        state.failing_streak += 1;
        if state.failing_streak >= config.retries.unwrap_or(1) {
            state.status = Health::Unhealthy;
        }
    }
    let next = if state.status == Health::Unhealthy { Next::Act } else { Next::Wait };
    (Result::Unhealthy, next)
}

fn judge_startup(state: &mut HealthState, startup: &proto::wire::HealthStartup, success: bool) -> (Result, Next) {
    if !success {
        state.startup_successes = 0;
        state.startup_failures += 1;
        let over = startup.retries > 0 && state.startup_failures >= startup.retries;
        return (Result::Starting, if over { Next::Restart } else { Next::Wait });
    }
    state.startup_failures = 0;
    state.startup_successes += 1;
    state.startup_passed = state.startup_successes >= startup.success.max(1);
    (Result::Healthy, if state.startup_passed { Next::Check } else { Next::Wait })
}

/// Adds it to the log, and forgets the oldest.
fn remember(state: &mut HealthState, config: &HealthConfig, check: HealthCheck) {
    state.log.push(check);
    let count = config.max_log_count.map_or(0, |count| count as usize);
    let count = if count == 0 { MAX_COUNT } else { count.min(MAX_COUNT) };
    let mut bytes: usize = state.log.iter().map(|check| check.output.len()).sum();
    let mut forgotten = 0;
    while state.log.len() - forgotten > count || (bytes > MAX_BYTES && state.log.len() - forgotten > 1) {
        bytes -= state.log[forgotten].output.len();
        forgotten += 1;
    }
    state.log.drain(..forgotten);
}

#[cfg(test)]
mod tests {
    use proto::wire::HealthStartup;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn config() -> HealthConfig {
        HealthConfig { retries: Some(2), max_log_count: Some(3), ..HealthConfig::default() }
    }

    fn check(start: i64, exit_code: i32) -> HealthCheck {
        HealthCheck { start, end: start + 1, exit_code, output: "x".into() }
    }

    /// What a row of exit codes, a second apart, leads to: results, the status and streak after it.
    fn run(config: &HealthConfig, codes: &[i32]) -> (Vec<(Result, Next)>, HealthState) {
        let mut state = HealthState::default();
        let seen = codes.iter().zip(0..).map(|(code, at)| judge(&mut state, config, check(at * SECOND, *code)));
        (seen.collect(), state)
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let (seen, state) = run(&config(), &[1]);
        assert_eq!(
            (seen[0], state.status, state.failing_streak),
            ((Result::Unhealthy, Next::Wait), Health::Starting, 1)
        );
        let (seen, state) = run(&config(), &[0, 1, -1, 125]);
        assert_eq!(
            seen[1..],
            [(Result::Unhealthy, Next::Wait), (Result::Unhealthy, Next::Act), (Result::Unhealthy, Next::Act)]
        );
        assert_eq!((state.status, state.failing_streak, state.log.len()), (Health::Unhealthy, 3, 3));
        let (_, state) = run(&config(), &[1, 1, 0]);
        assert_eq!((state.status, state.failing_streak), (Health::Healthy, 0));
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        let config = HealthConfig { start_period_ns: Some(3 * SECOND), ..config() };
        let (_, state) = run(&config, &[1, 1, 1]);
        assert_eq!((state.status, state.failing_streak), (Health::Starting, 0));
        let (_, state) = run(&config, &[1, 1, 1, 1, 1]);
        assert_eq!((state.status, state.failing_streak), (Health::Unhealthy, 2));
        let (_, state) = run(&config, &[0]);
        assert_eq!(state.status, Health::Healthy);
    }

    #[test]
    fn startup_checks_come_first() {
        let startup = HealthStartup { retries: 2, success: 2, ..HealthStartup::default() };
        let config = HealthConfig { startup: Some(startup), ..config() };
        let (seen, state) = run(&config, &[1, 0, 0, 1]);
        assert_eq!(
            seen,
            [
                (Result::Starting, Next::Wait),
                (Result::Healthy, Next::Wait),
                (Result::Healthy, Next::Check),
                (Result::Unhealthy, Next::Wait)
            ]
        );
        assert_eq!((state.status, state.failing_streak), (Health::Starting, 1));
        let (seen, _) = run(&config, &[1, 1]);
        assert_eq!(seen[1].1, Next::Restart);
    }

    #[test]
    fn a_log_without_a_limit_of_its_own_has_one() {
        let config = HealthConfig { max_log_count: Some(0), ..config() };
        let mut state = HealthState::default();
        for _ in 0..6 {
            let output = "y".repeat(1 << 20);
            judge(&mut state, &config, HealthCheck { output, ..HealthCheck::default() });
        }
        assert_eq!(state.log.len(), 4);
        for _ in 0..2000 {
            judge(&mut state, &config, check(0, 0));
        }
        assert_eq!(state.log.len(), 1000);
    }
}
