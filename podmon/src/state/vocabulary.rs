//! What happens to a container, what is to be done about it, and who is told.

use super::State;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Asked: runtime create.
    Create,
    /// Asked: runtime start.
    Start,
    /// Asked: end it.
    Stop,
    /// Asked: a signal that may be handled.
    Kill,
    /// Asked: SIGKILL.
    KillForGood,
    /// Asked: freeze.
    Pause,
    /// Asked: thaw.
    Unpause,
    /// Asked: how it ended.
    Wait,
    /// Asked: give up what was never started.
    Shutdown,
    /// Runtime create has succeeded.
    CreateDone,
    /// Runtime create has failed.
    CreateFailed,
    /// Runtime start has succeeded.
    StartDone,
    /// Runtime start has failed.
    StartFailed,
    /// All processes are frozen.
    Frozen,
    /// They could not be frozen, and have been thawed.
    FreezeFailed,
    /// Thawed.
    Thawed,
    /// They could not be thawed.
    ThawFailed,
    /// The first process has ended.
    Ended,
    /// The last byte of output is in the log and on its way to the clients.
    Drained,
    /// exit.json is written.
    Written,
    /// exit.json is written, and the restart policy wants another run.
    WrittenAgain,
    /// The pause before the next run is over.
    BackoffOver,
    /// Runtime create of a later run has succeeded.
    RecreateDone,
    /// Create or start of a later run has failed, and the policy wants it to be tried again.
    RerunFailed,
    /// The same, and it does not.
    RerunOver,
    /// The runtime's leftovers are gone.
    Deleted,
    /// The grace of a stop is over.
    GraceOver,
    /// It has not ended although it was killed a while ago.
    Stuck,
    /// `timeout_seconds` are over.
    LifetimeOver,
    /// Nobody has asked for anything for too long.
    Abandoned,
}

impl Event {
    /// Every event.
    #[cfg(test)]
    pub const ALL: [Event; 30] = [
        Event::Create,
        Event::Start,
        Event::Stop,
        Event::Kill,
        Event::KillForGood,
        Event::Pause,
        Event::Unpause,
        Event::Wait,
        Event::Shutdown,
        Event::CreateDone,
        Event::CreateFailed,
        Event::StartDone,
        Event::StartFailed,
        Event::Frozen,
        Event::FreezeFailed,
        Event::Thawed,
        Event::ThawFailed,
        Event::Ended,
        Event::Drained,
        Event::Written,
        Event::WrittenAgain,
        Event::BackoffOver,
        Event::RecreateDone,
        Event::RerunFailed,
        Event::RerunOver,
        Event::Deleted,
        Event::GraceOver,
        Event::Stuck,
        Event::LifetimeOver,
        Event::Abandoned,
    ];
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Run the runtime's create.
    RunCreate,
    /// Kill the create that is under way; it then fails.
    CancelCreate,
    /// Write the placeholder of exit.json, then run the runtime's start.
    RunStart,
    /// Count the run that begins, and run the runtime's create.
    RunAgain,
    /// Count the pause before the next run.
    ArmBackoff,
    /// Take the placeholder back.
    Unwrite,
    /// Send the signal that was asked for.
    Signal,
    /// Send SIGKILL.
    SignalKill,
    /// Count the grace of the stop, or shorten the one that runs.
    ArmGrace,
    /// Count the time a killed process may take.
    ArmStuck,
    /// Count the container's lifetime.
    ArmLifetime,
    /// Begin to check its health.
    BeginChecks,
    /// Tell who waits outside that it runs.
    Announce,
    /// Freeze the cgroup.
    Freeze,
    /// Thaw the cgroup.
    Thaw,
    /// Collect what is left of the output.
    Drain,
    /// Write exit.json.
    WriteExit,
    /// Reap the first process, whose status is on disk now.
    Release,
    /// Write state.json.
    Persist,
    /// Write state.json where another run follows: nobody must take this end for the last one.
    PersistAgain,
    /// Delete the runtime's leftovers.
    Delete,
    /// Answer whoever waits for this.
    Tell(When),
    /// Refuse whoever waits for this, with the failure that was met.
    TellFailure(When),
    /// Leave after a moment, in which the failure can be heard.
    LeaveSoon,
    /// End the monitor.
    Leave,
}

/// What a request may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Runtime create.
    Created,
    /// Runtime start.
    Started,
    /// All processes frozen.
    Frozen,
    /// Thawed.
    Thawed,
    /// exit.json written.
    Ended,
    /// The runtime's leftovers deleted.
    GivenUp,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It has not been created, or is over.
    NotRunning,
    /// Start before create.
    NotCreated,
    /// It is over.
    Over,
    /// Paused already.
    AlreadyPaused,
    /// Pause of what does not run.
    CannotPause,
    /// Unpause of what is not paused.
    NotPaused,
    /// Kill of what does not run.
    CannotKill,
    /// Shutdown of what runs.
    Alive,
    /// Create or start has failed before: say it again.
    Failed,
}

/// What whoever asked gets to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nobody asked.
    None,
    /// Done, at once.
    Now,
    /// Something else is under way: the same question is put again when it is over.
    Later,
    /// When that has happened.
    When(When),
    /// No.
    Refused(Why),
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state that comes next.
    pub state: State,
    /// What whoever asked gets to hear.
    pub answer: Answer,
    /// What is to be done.
    pub acts: &'static [Act],
}

/// The state stays; the acts are done.
pub(super) const fn stay(state: State, answer: Answer, acts: &'static [Act]) -> Step {
    Step { state, answer, acts }
}

/// Nobody asked and nothing follows.
pub(super) const fn ignore(state: State) -> Step {
    Step { state, answer: Answer::None, acts: &[] }
}

/// The state changes by itself; nobody asked.
pub(super) const fn go(state: State, acts: &'static [Act]) -> Step {
    Step { state, answer: Answer::None, acts }
}

pub(super) const fn refuse(state: State, why: Why) -> Step {
    Step { state, answer: Answer::Refused(why), acts: &[] }
}

/// A request changes the state, and is answered.
pub(super) const fn answer(state: State, answer: Answer, acts: &'static [Act]) -> Step {
    Step { state, answer, acts }
}
