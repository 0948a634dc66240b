//! What follows from an event in a state. Every pair is spelled out: the compiler asks for the ones that are missing.

use super::{
    Act, Answer, Event, State, Step, When, Why,
    vocabulary::{answer, go, ignore, refuse, stay},
};

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
        Stopping => stay(state, ENDED, &[Act::ArmGrace, Act::Persist]),
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
