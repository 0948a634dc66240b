//! Two commands at once that want the opposite: one after the other happens, and the loser is told clearly.

use std::time::{Duration, Instant};

use harness::{
    Engine, Machine, Run, consistent,
    images::{self, ALPINE},
    programs::is_stand_in,
    wait,
};

use super::{
    killer::CLEAR,
    report::{self, Random},
};

/// What is there before, and the commands that begin together.
#[derive(Debug)]
struct Race {
    name: &'static str,
    setup: &'static str,
    racers: &'static [&'static str],
    /// Succeeds whoever was first.
    holds: &'static str,
    /// What may come of the racers, in their order; else what is wrong with it.
    judge: fn(&[Run]) -> Result<(), &'static str>,
}

/// The most milliseconds by which one begins after the other: what a command takes until it has done something.
const OFFSET: u64 = 30;

const RACES: &[Race] = &[
    Race {
        name: "rm, start",
        setup: "podctl create --name victim alpine top",
        racers: &["podctl rm -f -t 0 victim", "podctl start victim"],
        holds: "! podctl container exists victim",
        judge: all_are_told,
    },
    Race {
        name: "stop, start",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl stop -t 0 victim", "podctl start victim"],
        holds: "podctl inspect --format '{{.State.Status}}' victim | grep -qE '^(running|exited)$'",
        judge: all_are_told,
    },
    Race {
        name: "rename, rm",
        setup: "podctl create --name victim alpine top",
        racers: &["podctl rename victim other", "podctl rm -f -t 0 victim"],
        holds: "! podctl container exists victim",
        judge: all_are_told,
    },
    Race {
        name: "exec, rm",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl exec victim true", "podctl rm -f -t 0 victim"],
        holds: "! podctl container exists victim",
        judge: all_are_told,
    },
    Race {
        name: "exec, exit",
        setup: "podctl run -d --name victim alpine sh -c 'until [ -e /end ]; do :; done; exit 3'",
        racers: &[
            "podctl exec victim sh -c 'exit 7'",
            "> /proc/$(podctl inspect --format '{{.State.Pid}}' victim)/root/end",
        ],
        holds: "test $(podctl wait victim) = 3",
        judge: the_exec_has_its_code,
    },
    Race {
        name: "exec, stop",
        setup: "podctl run -d --name victim alpine sh -c 'trap \"exit 3\" TERM; echo ready; while :; do :; done' && \
                until podctl logs victim | grep -q ready; do :; done",
        racers: &["podctl exec victim sh -c 'exit 7'", "podctl stop -t 20 victim"],
        holds: "test $(podctl wait victim) = 3",
        judge: the_exec_has_its_code,
    },
    Race {
        name: "pause, stop",
        setup: "podctl run -d --name victim alpine top",
        racers: &["podctl pause victim", "podctl stop -t 0 victim"],
        holds: "podctl inspect --format '{{.State.Status}}' victim | grep -qE '^(paused|exited)$'",
        judge: all_are_told,
    },
    Race {
        name: "pod rm, run --pod",
        setup: "podctl pod create --name p",
        racers: &["podctl pod rm -f -t 0 p", "podctl run -d --pod p --name victim alpine top"],
        holds: "! podctl pod exists p && ! podctl container exists victim",
        judge: all_are_told,
    },
    Race {
        name: "volume rm, run",
        setup: "podctl volume create vol",
        racers: &["podctl volume rm vol", "podctl run -d --name victim -v vol:/v alpine top"],
        holds: "podctl volume exists vol && podctl exec victim touch /v/file",
        judge: all_are_told,
    },
    Race {
        name: "network rm, run",
        setup: "podctl network create net",
        racers: &["podctl network rm net", "podctl run -d --name victim --network net alpine top"],
        holds: "podctl network exists net || ! podctl ps --filter name=victim --format '{{.Names}}' | grep -q victim",
        judge: all_are_told,
    },
    Race {
        name: "pulls, rmi",
        setup: "podctl rmi -a -f",
        racers: &["podctl pull -q alpine", "podctl pull -q alpine", "podctl rmi -f alpine"],
        holds: "podctl pull -q alpine && podctl run --rm --pull never alpine true",
        judge: both_pulls_succeed,
    },
    Race {
        name: "load, rmi",
        setup: "podctl load -q -i $ALPINE",
        racers: &["podctl load -q -i $ALPINE", "podctl rmi -f alpine"],
        holds: "podctl load -q -i $ALPINE && podctl run --rm alpine true",
        judge: all_are_told,
    },
    Race {
        name: "eight of one name",
        setup: "",
        racers: &["podctl create --name victim alpine top"; 8],
        holds: "test $(podctl ps -aq | wc -l) = 1",
        judge: one_has_the_name,
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

/// Somebody has won, and whoever has not is told.
fn all_are_told(runs: &[Run]) -> Result<(), &'static str> {
    if !runs.iter().all(is_told) {
        return Err("nobody understands this");
    }
    if runs.iter().any(|run| run.code == 0) { Ok(()) } else { Err("nobody has won") }
}

/// Only one can have a name; the others hear why they cannot.
fn one_has_the_name(runs: &[Run]) -> Result<(), &'static str> {
    let (won, lost): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.code == 0);
    if won.len() != 1 {
        return Err("not exactly one has the name");
    }
    let is_told = |run: &&Run| run.code == 125 && run.stderr().contains("name \"victim\" is in use");
    if lost.iter().all(is_told) { Ok(()) } else { Err("a loser does not hear that the name is in use") }
}

/// What is removed under a pull comes by it once more; who removes may come too early.
fn both_pulls_succeed(runs: &[Run]) -> Result<(), &'static str> {
    if runs.iter().take(2).any(|run| run.code != 0) {
        return Err("a pull has failed because somebody removes what it brings");
    }
    all_are_told(runs)
}

/// The command in the container has its own code, or that of its end with the container, or came too late.
fn the_exec_has_its_code(runs: &[Run]) -> Result<(), &'static str> {
    let [exec, end] = runs else { return Err("there are two") };
    if end.code != 0 {
        return Err("who ended the container has failed");
    }
    let is_clear = matches!(exec.code, 125 | 255) && exec.stderr().trim_end().lines().count() == 1 && is_told(exec);
    if matches!(exec.code, 7 | KILLED) || is_clear { Ok(()) } else { Err("this is no code of the command") }
}

/// Every so many rounds all is looked at; in the others it is only removed, and nothing may be left at the end.
const LOOK: usize = 5;

fn round(engine: &Engine, race: &Race, number: usize, random: &mut Random) -> Result<(), String> {
    let line = |text: &str| text.replace("$ALPINE", &images::archive(ALPINE).to_string_lossy());
    if !race.setup.is_empty() {
        consistent::expect(&engine.sh(&line(race.setup)), "the preparation failed")?;
    }
    // Any of them may be the first, by any time: else it is always the same steps that meet.
    let mut order: Vec<usize> = (0..race.racers.len()).collect();
    let first = usize::try_from(random.below(order.len() as u64)).unwrap_or(0);
    order.rotate_left(first);
    let mut running = Vec::new();
    for (place, racer) in order.into_iter().enumerate() {
        if place == 1 {
            let _offset = wait::within(Duration::from_millis(random.below(OFFSET + 1)), || None::<()>);
        }
        running.push((racer, engine.start(&line(race.racers[racer]))));
    }
    running.sort_by_key(|(racer, _)| *racer);
    let listing = engine.sh("podctl ps -a --pod && podctl pod ps");
    let ended: Vec<Run> = running.into_iter().map(|(_, racer)| racer.finish()).collect();
    consistent::expect(&listing, "a list failed because something was changing")?;
    let told: String = ended.iter().map(|run| format!("{run}\n")).collect();
    (race.judge)(&ended).map_err(|wrong| format!("{wrong}:\n{told}"))?;
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
    let seed = report::seed();
    println!("PODCTL_SEED={seed}, {rounds} rounds each");
    let mut random = Random::new(seed);
    let mut found = Vec::new();
    for race in RACES.iter().take(to).skip(from) {
        let begun = Instant::now();
        let new = || {
            let pulls = race.name.contains("pull");
            let engine = Engine::on(Machine { failpoints: true, registry: pulls, ..Machine::default() });
            engine.load(&[ALPINE]);
            engine
        };
        let mut engine = new();
        let mut wrong = Vec::new();
        for number in 0..rounds {
            if let Err(words) = round(&engine, race, number, &mut random) {
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
    race(3, 7);
}

#[test]
fn commands_that_remove_what_a_run_needs_happen_before_or_after_it() {
    race(7, 10);
}

#[test]
fn commands_about_one_image_or_one_name_happen_one_after_the_other() {
    race(10, RACES.len());
}
