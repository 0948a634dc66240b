//! The life of a container, as one pure function of state and event.
//!
//! ```text
//!     Create          CreateDone        Start           StartDone            Stop
//! New ──────▶ Creating ──────▶ Created ──────▶ Starting ──────────▶ Running ──────▶ Stopping
//!                │                │               │                 │     ▲             ▲
//!                │ failed         │ Shutdown      │ failed    Pause │     │ Thawed      │ Stop
//!                ▼                ▼               ▼                 ▼     │             │
//!             Failing          GivingUp        Failing           Pausing  Thawing ◀── Paused
//!                │ Deleted        │ Deleted                         │   Unpause, SIGKILL ▲
//!                ▼                ▼                                 └────────────────────┘
//!             Failed ─────────▶ Leaving ◀────── Recorded ◀────── Draining           Frozen
//!              Shutdown, a while        Deleted         Written     ▲
//!                                                                   │ Ended
//!                                        Created, Starting, Running … Stopping: all that have a process
//! ```
//! Where the restart policy wants another run, the end of one leads back (the states of the first run are gone through
//! again, but nobody asks for their steps):
//!
//! ```text
//! Draining ──────────────▶ Clearing ────────▶ BackingOff ───────────▶ Creating ─────────────▶ Starting ─▶ Running
//!   ▲  ▲    WrittenAgain    │  ▲     Deleted      │       BackoffOver     │   RecreateDone        │
//!   │  └────────────────────┴──│──────────────────┘                       │                       │
//!   │              Stop        └────────────────────── RerunFailed ───────┤                       │
//!   └───────────────────────────────────────────────── RerunOver ─────────┴───────────────────────┘
//! ```
//! Nothing here waits or acts: [`step`] says what state comes next, what is to be done ([`Act`]) and what whoever asked
//! gets to hear ([`Answer`]). `monitor` asks it for every event and does what it says, nothing else decides. Asking twice
//! is not an error: the second request joins the first.

/// Where the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing has been asked yet.
    New,
    /// Runtime create is under way.
    Creating,
    /// The runtime has created it; its command has not begun.
    Created,
    /// Runtime start is under way.
    Starting,
    /// Runtime start is under way and the first process has ended already: a short command, or it was killed.
    StartingEnded,
    /// Its command runs.
    Running,
    /// Being frozen.
    Pausing,
    /// Frozen.
    Paused,
    /// Being thawed.
    Thawing,
    /// Was told to end.
    Stopping,
    /// The first process has ended; the last of its output is being collected.
    Draining,
    /// Its exit is on disk and another run follows; the runtime's leftovers are being deleted.
    Clearing,
    /// Between two runs.
    BackingOff,
    /// Its exit is on disk and has been told; the runtime's leftovers are being deleted.
    Recorded,
    /// Create or start has failed; what is left of it is being deleted.
    Failing,
    /// Create or start has failed, and that was told; nothing of it is left.
    Failed,
    /// Given up before it was started; the runtime's leftovers are being deleted.
    GivingUp,
    /// The monitor ends.
    Leaving,
}

impl State {
    /// Every state.
    #[cfg(test)]
    pub const ALL: [State; 18] = [
        State::New,
        State::Creating,
        State::Created,
        State::Starting,
        State::StartingEnded,
        State::Running,
        State::Pausing,
        State::Paused,
        State::Thawing,
        State::Stopping,
        State::Draining,
        State::Clearing,
        State::BackingOff,
        State::Recorded,
        State::Failing,
        State::Failed,
        State::GivingUp,
        State::Leaving,
    ];

    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            State::New | State::Creating => "configured",
            State::Created | State::Starting | State::StartingEnded => "created",
            State::Running | State::Pausing => "running",
            State::Paused | State::Thawing => "paused",
            State::Stopping => "stopping",
            State::Clearing | State::BackingOff => "restarting",
            State::Draining | State::Recorded | State::Failing | State::Failed | State::GivingUp | State::Leaving => {
                "exited"
            }
        }
    }

    /// Whether an exec may begin: also while a stop waits for its grace to end.
    pub fn may_exec(self) -> bool {
        matches!(self, State::Running | State::Stopping)
    }

    /// Whether a client may attach: from create until the last byte was sent.
    pub fn may_attach(self) -> bool {
        match self {
            State::Created
            | State::Starting
            | State::StartingEnded
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Thawing
            | State::Stopping
            | State::Draining
            | State::Clearing
            | State::BackingOff
            | State::Recorded => true,
            State::New | State::Creating | State::Failing | State::Failed | State::GivingUp | State::Leaving => false,
        }
    }

    /// Whether the first process is there.
    pub fn has_process(self) -> bool {
        match self {
            State::Created
            | State::Starting
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Thawing
            | State::Stopping => true,
            State::New
            | State::Creating
            | State::StartingEnded
            | State::Draining
            | State::Clearing
            | State::BackingOff
            | State::Recorded
            | State::Failing
            | State::Failed
            | State::GivingUp
            | State::Leaving => false,
        }
    }
}

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
const fn stay(state: State, answer: Answer, acts: &'static [Act]) -> Step {
    Step { state, answer, acts }
}

/// Nobody asked and nothing follows.
const fn ignore(state: State) -> Step {
    Step { state, answer: Answer::None, acts: &[] }
}

/// The state changes by itself; nobody asked.
const fn go(state: State, acts: &'static [Act]) -> Step {
    Step { state, answer: Answer::None, acts }
}

const fn refuse(state: State, why: Why) -> Step {
    Step { state, answer: Answer::Refused(why), acts: &[] }
}

/// A request changes the state, and is answered.
const fn answer(state: State, answer: Answer, acts: &'static [Act]) -> Step {
    Step { state, answer, acts }
}

/// What follows when `event` happens in `state`.
pub fn step(state: State, event: Event) -> Step {
    match event {
        Event::Create => create(state),
        Event::Start => start(state),
        Event::Wait => wait(state),
        Event::Shutdown => shutdown(state),
        Event::Stop => stop(state),
        Event::Kill => kill(state),
        Event::KillForGood => kill_for_good(state),
        Event::Pause => pause(state),
        Event::Unpause => unpause(state),
        Event::Ended => ended(state),
        Event::Deleted => deleted(state),
        Event::LifetimeOver => lifetime_over(state),
        Event::CreateDone
        | Event::CreateFailed
        | Event::StartDone
        | Event::StartFailed
        | Event::Frozen
        | Event::FreezeFailed
        | Event::Thawed
        | Event::ThawFailed
        | Event::Drained
        | Event::Written
        | Event::WrittenAgain
        | Event::BackoffOver
        | Event::RecreateDone
        | Event::RerunFailed
        | Event::RerunOver
        | Event::GraceOver
        | Event::Stuck
        | Event::Abandoned => awaited(state, event),
    }
}

fn create(state: State) -> Step {
    use State::*;
    match state {
        New => answer(Creating, Answer::When(When::Created), &[Act::RunCreate]),
        Creating => stay(state, Answer::When(When::Created), &[]),
        Created | Starting | StartingEnded | Running | Pausing | Paused | Thawing | Stopping | Clearing
        | BackingOff => stay(state, Answer::Now, &[]),
        Draining | Recorded | GivingUp | Leaving => refuse(state, Why::Over),
        Failing | Failed => refuse(state, Why::Failed),
    }
}

fn start(state: State) -> Step {
    use State::*;
    match state {
        Created => answer(Starting, Answer::When(When::Started), &[Act::RunStart]),
        Starting | StartingEnded => stay(state, Answer::When(When::Started), &[]),
        // It may have been short: that it was started is true.
        Running | Pausing | Paused | Thawing | Stopping | Draining | Clearing | BackingOff | Recorded => {
            stay(state, Answer::Now, &[])
        }
        New | Creating => refuse(state, Why::NotCreated),
        GivingUp | Leaving => refuse(state, Why::Over),
        Failing | Failed => refuse(state, Why::Failed),
    }
}

fn wait(state: State) -> Step {
    use State::*;
    match state {
        New | Creating | Created | Starting | StartingEnded | Running | Pausing | Paused | Thawing | Stopping
        | Draining | Clearing | BackingOff => stay(state, Answer::When(When::Ended), &[]),
        // Where it was recorded; else the answer is that there is none.
        Recorded | Leaving => stay(state, Answer::Now, &[]),
        GivingUp => refuse(state, Why::Over),
        Failing | Failed => refuse(state, Why::Failed),
    }
}

fn shutdown(state: State) -> Step {
    use State::*;
    match state {
        New | Failed | Leaving => answer(Leaving, Answer::Now, &[Act::Leave]),
        Creating => stay(state, Answer::Later, &[Act::CancelCreate]),
        Failing => stay(state, Answer::Later, &[]),
        Created => answer(GivingUp, Answer::When(When::GivenUp), &[Act::SignalKill, Act::Delete]),
        GivingUp => stay(state, Answer::When(When::GivenUp), &[]),
        Starting | StartingEnded => stay(state, Answer::Later, &[]),
        Draining => stay(state, Answer::When(When::Ended), &[]),
        Recorded => stay(state, Answer::Now, &[]),
        Running | Pausing | Paused | Thawing | Stopping | Clearing | BackingOff => refuse(state, Why::Alive),
    }
}

fn stop(state: State) -> Step {
    use State::*;
    const ENDED: Answer = Answer::When(When::Ended);
    match state {
        // Under way elsewhere; a freezer that hangs has a deadline of its own.
        Creating | Starting | StartingEnded | Pausing | Thawing => stay(state, Answer::Later, &[]),
        // The first process waits in the runtime's code for start: nothing in it handles a signal.
        Created => answer(Stopping, ENDED, &[Act::SignalKill, Act::ArmStuck, Act::Persist]),
        Running => answer(Stopping, ENDED, &[Act::Signal, Act::ArmGrace, Act::Persist]),
        // The signal waits for the thaw, so that it is the first thing the process meets.
        Paused => answer(Stopping, ENDED, &[Act::Signal, Act::Thaw, Act::ArmGrace, Act::Persist]),
        Stopping => stay(state, ENDED, &[Act::ArmGrace]),
        Draining => stay(state, ENDED, &[]),
        Clearing | BackingOff => end_between(ENDED),
        Recorded | Leaving => stay(state, Answer::Now, &[]),
        New | Failing | Failed | GivingUp => refuse(state, Why::NotRunning),
    }
}

/// A user ends it between two runs: the end that is on disk was the last one, and that is written there.
fn end_between(reply: Answer) -> Step {
    answer(State::Draining, reply, &[Act::WriteExit])
}

fn kill(state: State) -> Step {
    use State::*;
    match state {
        Creating | Starting | StartingEnded | Pausing | Thawing => stay(state, Answer::Later, &[]),
        Running | Stopping | Paused => stay(state, Answer::Now, &[Act::Signal]),
        New | Created | Draining | Clearing | BackingOff | Recorded | Failing | Failed | GivingUp | Leaving => {
            refuse(state, Why::CannotKill)
        }
    }
}

fn kill_for_good(state: State) -> Step {
    use State::*;
    match state {
        // On the v1 freezer a killed process stays until it is thawed.
        Paused => answer(Thawing, Answer::Now, &[Act::Signal, Act::Thaw]),
        Clearing | BackingOff => end_between(Answer::Now),
        New | Creating | Created | Starting | StartingEnded | Running | Pausing | Thawing | Stopping | Draining
        | Recorded | Failing | Failed | GivingUp | Leaving => kill(state),
    }
}

fn pause(state: State) -> Step {
    use State::*;
    match state {
        Running => answer(Pausing, Answer::When(When::Frozen), &[Act::Freeze]),
        Pausing => stay(state, Answer::When(When::Frozen), &[]),
        Starting | StartingEnded | Thawing => stay(state, Answer::Later, &[]),
        Paused => refuse(state, Why::AlreadyPaused),
        New | Creating | Created | Stopping | Draining | Clearing | BackingOff | Recorded | Failing | Failed
        | GivingUp | Leaving => refuse(state, Why::CannotPause),
    }
}

fn unpause(state: State) -> Step {
    use State::*;
    match state {
        Paused => answer(Thawing, Answer::When(When::Thawed), &[Act::Thaw]),
        Thawing => stay(state, Answer::When(When::Thawed), &[]),
        Pausing => stay(state, Answer::Later, &[]),
        New | Creating | Created | Starting | StartingEnded | Running | Stopping | Draining | Clearing | BackingOff
        | Recorded | Failing | Failed | GivingUp | Leaving => refuse(state, Why::NotPaused),
    }
}

fn ended(state: State) -> Step {
    use State::*;
    match state {
        // Whether it was started is known when the runtime says so.
        Starting => go(StartingEnded, &[]),
        Created | Running | Pausing | Paused | Thawing | Stopping => go(Draining, &[Act::Drain]),
        New | Creating | StartingEnded | Draining | Clearing | BackingOff | Recorded | Failing | Failed | GivingUp
        | Leaving => ignore(state),
    }
}

fn deleted(state: State) -> Step {
    use State::*;
    match state {
        Recorded => go(Leaving, &[Act::Leave]),
        Clearing => go(BackingOff, &[Act::ArmBackoff]),
        GivingUp => go(
            Leaving,
            &[Act::Release, Act::Persist, Act::Tell(When::GivenUp), Act::TellFailure(When::Ended), Act::Leave],
        ),
        Failing => go(
            Failed,
            &[
                Act::TellFailure(When::Created),
                Act::TellFailure(When::Started),
                Act::TellFailure(When::Ended),
                Act::LeaveSoon,
            ],
        ),
        New | Creating | Created | Starting | StartingEnded | Running | Pausing | Paused | Thawing | Stopping
        | Draining | BackingOff | Failed | Leaving => ignore(state),
    }
}

fn lifetime_over(state: State) -> Step {
    use State::*;
    match state {
        Running | Pausing | Thawing => go(state, &[Act::SignalKill]),
        Stopping => go(Stopping, &[Act::SignalKill, Act::ArmStuck]),
        Paused => go(Thawing, &[Act::SignalKill, Act::Thaw]),
        New | Creating | Created | Starting | StartingEnded | Draining | Clearing | BackingOff | Recorded | Failing
        | Failed | GivingUp | Leaving => ignore(state),
    }
}

/// Events that mean something in the states that wait for them; in any other they come too late.
fn awaited(state: State, event: Event) -> Step {
    use State::*;
    match (event, state) {
        (Event::CreateDone, Creating) => go(Created, &[Act::Persist, Act::Tell(When::Created)]),
        // What is left is deleted before the refusal is heard.
        (Event::CreateFailed, Creating) => go(Failing, &[Act::Persist, Act::Delete]),
        (Event::StartDone, Starting) => {
            go(Running, &[Act::Persist, Act::ArmLifetime, Act::BeginChecks, Act::Announce, Act::Tell(When::Started)])
        }
        (Event::StartDone, StartingEnded) => go(Draining, &[Act::Announce, Act::Tell(When::Started), Act::Drain]),
        (Event::StartFailed, Starting | StartingEnded) => {
            go(Failing, &[Act::SignalKill, Act::Release, Act::Unwrite, Act::Persist, Act::Delete])
        }
        (Event::Frozen, Pausing) => go(Paused, &[Act::Persist, Act::Tell(When::Frozen)]),
        (Event::FreezeFailed, Pausing) => go(Running, &[Act::TellFailure(When::Frozen)]),
        (Event::Thawed, Thawing) => go(Running, &[Act::Persist, Act::Tell(When::Thawed)]),
        (Event::ThawFailed, Thawing) => go(Paused, &[Act::TellFailure(When::Thawed)]),
        (Event::Drained, Draining) => go(Draining, &[Act::PersistAgain, Act::WriteExit]),
        (Event::WrittenAgain, Draining) => go(
            Clearing,
            &[Act::Release, Act::Persist, Act::TellFailure(When::Frozen), Act::TellFailure(When::Thawed), Act::Delete],
        ),
        (Event::BackoffOver, BackingOff) => go(Creating, &[Act::RunAgain, Act::Persist]),
        (Event::RecreateDone, Creating) => go(Starting, &[Act::Persist, Act::RunStart]),
        // Its exit.json is that of the run before.
        (Event::RerunFailed, Creating) => go(Clearing, &[Act::Persist, Act::Delete]),
        (Event::RerunFailed, Starting | StartingEnded) => {
            go(Clearing, &[Act::SignalKill, Act::Release, Act::Unwrite, Act::Persist, Act::Delete])
        }
        (Event::RerunOver, Creating) => go(Draining, &[Act::WriteExit]),
        (Event::RerunOver, Starting | StartingEnded) => go(Draining, &[Act::SignalKill, Act::Release, Act::WriteExit]),
        (Event::Written, Draining) => go(
            Recorded,
            &[
                Act::Release,
                Act::Persist,
                Act::Tell(When::Ended),
                Act::TellFailure(When::Frozen),
                Act::TellFailure(When::Thawed),
                Act::Delete,
            ],
        ),
        (Event::GraceOver, Stopping) => go(Stopping, &[Act::SignalKill, Act::ArmStuck]),
        (Event::Stuck, Stopping) => go(Stopping, &[Act::TellFailure(When::Ended)]),
        (Event::Abandoned, New | Failed) => go(Leaving, &[Act::Leave]),
        (_, _) => ignore(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: State, events: &[Event]) -> (State, Vec<Act>) {
        let mut state = from;
        let mut acts = Vec::new();
        for event in events {
            let step = step(state, *event);
            state = step.state;
            acts.extend_from_slice(step.acts);
        }
        (state, acts)
    }

    #[test]
    fn a_whole_life() {
        use Event::*;
        let events = [Create, CreateDone, Start, StartDone, Ended, Drained, Written, Deleted];
        let (state, acts) = run(State::New, &events);
        assert_eq!(state, State::Leaving);
        let written = acts.iter().position(|act| *act == Act::WriteExit).expect("written");
        let told = acts.iter().position(|act| *act == Act::Tell(When::Ended)).expect("told");
        let released = acts.iter().position(|act| *act == Act::Release).expect("released");
        let deleted = acts.iter().position(|act| *act == Act::Delete).expect("deleted");
        assert!(written < released && released < told && told < deleted, "{acts:?}");
    }

    #[test]
    fn a_command_that_ends_before_start_returns_was_started() {
        use Event::*;
        let (state, acts) = run(State::Created, &[Start, Ended, StartDone]);
        assert_eq!(state, State::Draining);
        assert!(acts.contains(&Act::Tell(When::Started)) && acts.contains(&Act::Drain));
    }

    #[test]
    fn a_life_of_two_runs() {
        use Event::*;
        let first = [Create, CreateDone, Start, StartDone, Ended, Drained, WrittenAgain, Deleted];
        let (state, acts) = run(State::New, &first);
        assert_eq!(state, State::BackingOff);
        assert!(!acts.contains(&Act::Tell(When::Ended)) && !acts.contains(&Act::Leave), "{acts:?}");
        let announced = acts.iter().position(|act| *act == Act::PersistAgain);
        assert!(announced < acts.iter().position(|act| *act == Act::WriteExit), "an end that is the last for a moment");
        let (state, acts) = run(state, &[BackoffOver, RecreateDone, StartDone]);
        assert_eq!(state, State::Running);
        assert!(acts.contains(&Act::RunAgain) && acts.contains(&Act::RunStart));
        let (state, acts) = run(state, &[Ended, Drained, Written, Deleted]);
        assert_eq!((state, acts.contains(&Act::Tell(When::Ended))), (State::Leaving, true));
    }

    #[test]
    fn a_later_run_that_cannot_be_made_is_tried_again_or_ends_with_the_exit_there_is() {
        use Event::*;
        for at in [&[][..], &[RecreateDone][..], &[RecreateDone, Ended][..]] {
            let from = run(State::BackingOff, &[&[BackoffOver], at].concat()).0;
            assert_eq!(run(from, &[RerunFailed, Deleted]).0, State::BackingOff, "{at:?}");
            let (state, acts) = run(from, &[RerunOver, Written, Deleted]);
            assert_eq!((state, acts.contains(&Act::Tell(When::Ended))), (State::Leaving, true), "{at:?}");
            // The exit that is written is that of the run before: the placeholder of this one must not stay.
            assert!(acts.contains(&Act::WriteExit));
        }
    }

    #[test]
    fn between_two_runs_a_stop_and_a_kill_end_it_at_once() {
        for (event, answer) in [(Event::Stop, Answer::When(When::Ended)), (Event::KillForGood, Answer::Now)] {
            for state in [State::BackingOff, State::Clearing] {
                assert_eq!(step(state, event).answer, answer);
                // The deletion that was under way in one of them is done again: nothing is left by then.
                let (state, acts) = run(state, &[event, Event::Written, Event::Deleted]);
                assert_eq!(
                    (state, acts[0], acts.contains(&Act::Tell(When::Ended))),
                    (State::Leaving, Act::WriteExit, true)
                );
            }
        }
        assert_eq!(step(State::BackingOff, Event::Wait).answer, Answer::When(When::Ended));
    }

    #[test]
    fn every_request_is_answered_in_every_state() {
        use Event::*;
        for state in State::ALL {
            for event in Event::ALL {
                let asked =
                    matches!(event, Create | Start | Stop | Kill | KillForGood | Pause | Unpause | Wait | Shutdown);
                let step = step(state, event);
                assert_eq!(step.answer != Answer::None, asked, "{event:?} in {state:?}: {step:?}");
                assert!(step.acts.is_empty() || state != State::Leaving || event == Shutdown, "{event:?} in {state:?}");
            }
        }
    }

    #[test]
    fn asking_twice_joins() {
        for (state, event) in [
            (State::New, Event::Create),
            (State::Created, Event::Start),
            (State::Running, Event::Stop),
            (State::Running, Event::Pause),
            (State::Paused, Event::Unpause),
        ] {
            let first = step(state, event);
            let second = step(first.state, event);
            assert_eq!(second.answer, first.answer, "{event:?}");
            assert_eq!(second.state, first.state, "{event:?}");
        }
    }

    #[test]
    fn what_is_later_comes_to_a_state_where_it_is_answered() {
        use Event::*;
        let over = |state| match state {
            State::Creating => vec![CreateDone, CreateFailed],
            State::Starting => vec![StartDone, StartFailed],
            State::StartingEnded => vec![StartDone, StartFailed],
            State::Failing => vec![Deleted],
            State::Pausing => vec![Frozen, FreezeFailed],
            State::Thawing => vec![Thawed, ThawFailed],
            _ => vec![],
        };
        for state in State::ALL {
            for event in Event::ALL {
                if step(state, event).answer != Answer::Later {
                    continue;
                }
                let ways = over(state);
                assert!(!ways.is_empty(), "{event:?} in {state:?} would wait for ever");
                for way in ways {
                    let next = step(state, way).state;
                    let again = step(next, event).answer;
                    assert!(again != Answer::Later || next == State::Failing, "{event:?} in {next:?}");
                }
            }
        }
    }

    #[test]
    fn from_every_state_random_events_keep_what_was_promised() {
        // A small linear congruential generator: the same walk in every run.
        let mut seed: u64 = 1;
        for from in State::ALL {
            for _ in 0..2000 {
                let mut state = from;
                let mut written = false;
                for _ in 0..40 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let event = Event::ALL[(seed >> 33) as usize % Event::ALL.len()];
                    if event == Event::Written && !written {
                        // The loop says so only when it was told to write.
                        continue;
                    }
                    let step = step(state, event);
                    for act in step.acts {
                        written |= *act == Act::WriteExit;
                        if *act == Act::Tell(When::Ended) && matches!(state, State::Draining) {
                            assert!(written, "told before it was written");
                        }
                    }
                    // What has ended does not live again.
                    if matches!(state, State::Draining | State::Recorded | State::Leaving) {
                        assert!(!step.state.has_process(), "{event:?} in {state:?}");
                    }
                    state = step.state;
                }
            }
        }
    }

    #[test]
    fn a_paused_container_is_thawed_when_it_must_die() {
        for event in [Event::Stop, Event::KillForGood, Event::LifetimeOver] {
            let acts = step(State::Paused, event).acts;
            let signal = acts.iter().position(|act| matches!(act, Act::Signal | Act::SignalKill));
            let thaw = acts.iter().position(|act| *act == Act::Thaw);
            assert!(signal.is_some() && signal < thaw, "{event:?}: {acts:?}");
        }
    }

    #[test]
    fn a_failed_create_is_told_after_its_leftovers_are_gone() {
        let (state, acts) = run(State::New, &[Event::Create, Event::CreateFailed, Event::Deleted]);
        assert_eq!(state, State::Failed);
        let deleted = acts.iter().position(|act| *act == Act::Delete);
        let told = acts.iter().position(|act| *act == Act::TellFailure(When::Created));
        assert!(deleted < told && deleted.is_some(), "{acts:?}");
        assert!(!acts.contains(&Act::WriteExit));
    }
}
