//! Two commands at once that want the opposite: one after the other happens, and the loser is told clearly.

use std::time::Instant;

use harness::{
    Engine, Machine, Run, consistent,
    images::{self, ALPINE},
    programs::is_stand_in,
};

use super::{killer::CLEAR, report};

/// What is there before, and the commands that begin together.
#[derive(Debug)]
struct Race {
    name: &'static str,
    setup: &'static str,
    racers: &'static [&'static str],
    /// Succeeds whoever was first.
    holds: &'static str,
}

const RACES: &[Race] = &[
    Race {
        name: "rm, start",
        setup: "podctl create --name victim alpine top",
        racers: &["podctl rm -f -t 0 victim", "podctl start victim"],
        holds: "! podctl container exists victim",
    },
    Race {
        name: "stop, start",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl stop -t 0 victim", "podctl start victim"],
        holds: "podctl inspect --format '{{.State.Status}}' victim | grep -qE '^(running|exited)$'",
    },
    Race {
        name: "rename, rm",
        setup: "podctl create --name victim alpine top",
        racers: &["podctl rename victim other", "podctl rm -f -t 0 victim"],
        holds: "! podctl container exists victim",
    },
    Race {
        name: "exec, rm",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl exec victim true", "podctl rm -f -t 0 victim"],
        holds: "! podctl container exists victim",
    },
    Race {
        name: "pause, stop",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl pause victim", "podctl stop -t 0 victim"],
        holds: "podctl inspect --format '{{.State.Status}}' victim | grep -qE '^(paused|exited)$'",
    },
    Race {
        name: "pod rm, run --pod",
        setup: "podctl pod create --name p",
        racers: &["podctl pod rm -f -t 0 p", "podctl run -d --pod p --name victim alpine top"],
        holds: "! podctl pod exists p && ! podctl container exists victim",
    },
    Race {
        name: "volume rm, run",
        setup: "podctl volume create vol",
        racers: &["podctl volume rm vol", "podctl run -d --name victim -v vol:/v alpine top"],
        holds: "podctl volume exists vol && podctl exec victim touch /v/file",
    },
    Race {
        name: "network rm, run",
        setup: "podctl network create net",
        racers: &["podctl network rm net", "podctl run -d --name victim --network net alpine top"],
        holds: "podctl network exists net || ! podctl ps --filter name=victim --format '{{.Names}}' | grep -q victim",
    },
    Race {
        name: "load, rmi",
        setup: "podctl load -q -i $ALPINE",
        racers: &["podctl load -q -i $ALPINE", "podctl rmi -f alpine"],
        holds: "podctl load -q -i $ALPINE && podctl run --rm alpine true",
    },
    Race {
        name: "eight of one name",
        setup: "",
        racers: &["podctl create --name victim alpine top"; 8],
        holds: "test $(podctl ps -aq | wc -l) = 1",
    },
];

/// Words by which something is told to nobody: they are of the kernel, of the runtime, or of a bug. Whose monitor ends with
/// the container while it is asked says so, and "ask again": that is a clear answer.
const UNCLEAR: &[&str] = &["os error", "panicked", "No such file", "sync socket", "Broken pipe"];

/// The code of a command that the end of its container has killed.
const KILLED: i32 = 128 + 9;

/// A lost race is told with a code and in words.
fn is_told(run: &Run) -> bool {
    let words = run.stderr();
    matches!(run.code, 0 | KILLED)
        || (words.contains("Error") && !UNCLEAR.iter().any(|unclear| words.contains(unclear)))
}

/// Every so many rounds all is looked at; in the others it is only removed, and nothing may be left at the end.
const LOOK: usize = 5;

fn round(engine: &Engine, race: &Race, number: usize) -> Result<(), String> {
    let line = |text: &str| text.replace("$ALPINE", &images::archive(ALPINE).to_string_lossy());
    if !race.setup.is_empty() {
        consistent::expect(&engine.sh(&line(race.setup)), "the preparation failed")?;
    }
    let running: Vec<_> = race.racers.iter().map(|racer| engine.start(&line(racer))).collect();
    let listing = engine.sh("podctl ps -a --pod && podctl pod ps");
    let ended: Vec<Run> = running.into_iter().map(harness::cli::Running::finish).collect();
    consistent::expect(&listing, "a list failed because something was changing")?;
    let told: String = ended.iter().map(|run| format!("{run}\n")).collect();
    if !ended.iter().all(is_told) {
        return Err(format!("nobody understands this:\n{told}"));
    }
    if !ended.iter().any(|run| run.code == 0) {
        return Err(format!("nobody has won:\n{told}"));
    }
    consistent::expect(&engine.sh(&line(race.holds)), &format!("this does not follow from\n{told}"))?;
    if number.is_multiple_of(LOOK) {
        return consistent::check(engine);
    }
    consistent::expect(&engine.sh(CLEAR), "something cannot be removed")
}

fn race(from: usize, to: usize) {
    if is_stand_in() {
        return;
    }
    let rounds = if report::all() { 500 } else { 20 };
    let mut found = Vec::new();
    for race in RACES.iter().take(to).skip(from) {
        let begun = Instant::now();
        let new = || {
            let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
            engine.load(&[ALPINE]);
            engine
        };
        let mut engine = new();
        let mut wrong = Vec::new();
        for number in 0..rounds {
            if let Err(words) = round(&engine, race, number) {
                wrong.push(format!("=== {}, round {number}: {words}", race.name));
                std::mem::replace(&mut engine, new()).abandon();
                if wrong.len() >= 3 {
                    break;
                }
            }
            engine.transcript();
        }
        report::row(&format!("race: {}", race.name), rounds, begun.elapsed(), wrong.len());
        found.extend(wrong);
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

// Several tests, so that all processors share them.

#[test]
fn commands_that_begin_and_end_a_container_happen_one_after_the_other() {
    race(0, 3);
}

#[test]
fn commands_that_use_and_end_a_container_happen_one_after_the_other() {
    race(3, 5);
}

#[test]
fn commands_that_remove_what_a_run_needs_happen_before_or_after_it() {
    race(5, 8);
}

#[test]
fn commands_about_one_image_or_one_name_happen_one_after_the_other() {
    race(8, RACES.len());
}
