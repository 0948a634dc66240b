//! Another run in place: same monitor, same log, same root file system.

use std::{fs::File, time::Duration};

use proto::{
    failpoint::{self, Point},
    layout::ENDED_BY_USER,
    restart, time,
};

use super::{Message, Monitor};
use crate::state::Event;

/// Pause before the first restart, and before any that follows a run which was no failure from the start.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A run that was up so long begins with a short pause again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The pause after a run that was up for `ran`, where the one before it was `before`.
fn pause(before: Duration, ran: Duration) -> Duration {
    if ran >= LONG_RUN { FIRST } else { (before * 2).clamp(FIRST, LONGEST) }
}

impl Monitor {
    /// What an event is when the restart policy is asked.
    pub(super) fn seen(&self, event: Event) -> Event {
        let rerun = self.state_file.get().restart_count > 0;
        match event {
            Event::Written if self.again() => Event::WrittenAgain,
            Event::CreateDone if rerun => Event::RecreateDone,
            Event::CreateFailed | Event::StartFailed if rerun && self.again() => Event::RerunFailed,
            Event::CreateFailed | Event::StartFailed if rerun => Event::RerunOver,
            other => other,
        }
    }

    /// Whether another run follows the one that has ended.
    pub(super) fn again(&self) -> bool {
        let restarts = self.state_file.get().restart_count;
        let follows = || self.ended.is_some_and(|exit| restart::follows(&self.start.restart, &exit, restarts));
        // What ended before its start was never run.
        self.started_at > 0 && !self.start.unmounted && (self.unhealthy || follows()) && !self.is_ended_by_user()
    }

    /// A user has told it to end.
    pub(super) fn end_by_user(&mut self) {
        self.ended_by_user = true;
        if restart::is_set(&self.start.restart) {
            // For a successor. Without it that one may start what the user has ended, who then ends it again.
            let _ = File::create(self.start.state_record.with_file_name(ENDED_BY_USER));
        }
    }

    /// Whether a user has told it to end, perhaps while no monitor could hear it.
    pub(super) fn is_ended_by_user(&self) -> bool {
        self.ended_by_user || self.start.state_record.with_file_name(ENDED_BY_USER).exists()
    }

    /// Waits before the next run.
    pub(super) fn arm_backoff(&mut self) {
        let state = self.state_file.get();
        let before = Duration::from_millis(state.backoff_ms);
        let restart = state.restart_count + 1;
        let ran = match self.over {
            0 => self.ended.map_or(0, |exit| exit.finished_at) - self.started_at,
            over => over - self.begun,
        };
        let ran = Duration::from_nanos(u64::try_from(ran).unwrap_or(0));
        // An earlier monitor may have been killed in the middle of this pause. What one that was killed over the run itself
        // has left of the runtime gets the time of another.
        let is_same = state.backoff_before == restart && !self.counted;
        let pause = if is_same { before } else { pause(before, ran) };
        self.state_file.update(|state| {
            state.backoff_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            state.backoff_before = restart;
        });
        // What an earlier monitor has waited counts.
        let waited = u64::try_from(time::uptime() - self.down_since).unwrap_or(0);
        self.backoff = Some(self.timer(pause.saturating_sub(Duration::from_nanos(waited)), Event::BackoffOver));
    }

    /// Begins the next run. One that a monitor had counted, and was killed before it was made, is counted once.
    pub(super) fn run_again(&mut self) {
        let counted = std::mem::replace(&mut self.counted, true);
        self.state_file.update(|state| {
            state.restart_count += u32::from(!counted);
            state.counted = true;
        });
        failpoint::pass(Point::MonAgain);
        self.reported.set(None);
        self.kills_before.set(None);
        self.unhealthy = false;
        self.run_create();
    }

    /// Goes on between two runs, where an earlier monitor was.
    pub(super) fn clear(&self) {
        let (inbox, runtime, stdio) = (self.inbox.clone(), self.runtime.clone(), self.stdio.clone());
        tokio::task::spawn_local(async move {
            stdio.drain().await;
            failpoint::pass(Point::MonClear);
            runtime.delete().await;
            Monitor::send(&inbox, Message::Happened(Event::Deleted));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let seconds = Duration::from_secs;
        let mut pauses = vec![Duration::ZERO];
        for _ in 0..12 {
            pauses.push(pause(*pauses.last().expect("one"), seconds(1)));
        }
        let milliseconds: Vec<u128> = pauses.iter().skip(1).map(Duration::as_millis).collect();
        assert_eq!(milliseconds[..4], [100, 200, 400, 800]);
        assert_eq!(milliseconds[9..], [51_200, 60_000, 60_000]);
        assert_eq!(pause(LONGEST, LONG_RUN), FIRST);
    }
}
