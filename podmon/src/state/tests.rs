//! What holds for every state and event, and the lives that there are.

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
            let asked = matches!(event, Create | Start | Stop | Kill | KillForGood | Pause | Unpause | Wait | Shutdown);
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
