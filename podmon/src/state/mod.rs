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
//! Nothing here waits or acts: [`step()`] says what state comes next, what is to be done ([`Act`]) and what whoever asked
//! gets to hear ([`Answer`]). `monitor` asks it for every event and does what it says, nothing else decides. Asking twice
//! is not an error: the second request joins the first.
//!
//! | file | what |
//! |---|---|
//! | `vocabulary` | what happens, what is done, who is told |
//! | `step` | what follows from what |

mod step;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use step::step;
pub use vocabulary::{Act, Answer, Event, Step, When, Why};

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
