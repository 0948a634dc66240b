//! Every failpoint × {kill, error, delay, panic}: the act that comes to it is cut off, and nothing is lost or left.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use harness::{
    Engine, Machine, consistent,
    images::{self, ALPINE},
    programs::is_stand_in,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proto::failpoint::Point;

use super::{
    report::{self, Random},
    scenario::{self, Scenario},
};

/// How many cases a run has that does not try all, on each kind of engine.
const SHARE: usize = 20;
/// How many panics are tried where all of the others are.
const PANICS: usize = 40;
/// How long a process is held up at a point.
const DELAY: &str = "delay:100";
/// No case takes longer, whatever runs beside it.
const SLOW: Duration = Duration::from_secs(20);

/// One point, what happens there, and who comes to it.
#[derive(Clone, Copy, Debug)]
struct Case {
    point: &'static str,
    action: &'static str,
    /// With a second try before everything is removed.
    again: bool,
    scenario: &'static Scenario,
}

fn cases(images: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let only = std::env::var("PODCTL_POINT").unwrap_or_default();
    for point in Point::ALL {
        let scenario = scenario::of(point.name()).unwrap_or_else(|| panic!("nobody comes to {}", point.name()));
        for action in ["kill", "error", DELAY, "panic"] {
            let matters = action != "error" || point.fails();
            if scenario.images == images && matters && format!("{}={action}", point.name()).contains(&only) {
                let case = Case { point: point.name(), action, again: true, scenario };
                cases.push(case);
                // Who tries again clears away what whoever removes it would find.
                cases.extend((action == "kill" && !scenario.broken).then_some(Case { again: false, ..case }));
            }
        }
    }
    cases
}

fn engine(images: bool) -> Engine {
    let engine = Engine::on(Machine { failpoints: true, registry: images, ..Machine::default() });
    if !images {
        engine.load(&[ALPINE]);
    }
    engine
}

fn typed(engine: &Engine, line: &str) -> harness::Run {
    let alpine = images::archive(ALPINE).display().to_string();
    // Programs of the engine's own, to be upgraded: other files under the same names.
    let words = engine.words();
    let programs = std::path::Path::new(&words[0]).parent().expect("a directory").display().to_string();
    let own = format!("../own/podctl {}", words[1..].join(" "));
    // A pipeline fails where any part does.
    engine.sh(&format!(
        "set -o pipefail; ALPINE={alpine}; OWN='{own}'; \
         install_own() {{ mkdir -p ../own && for p in podctl podshim podmon; do \
         cp {programs}/$p ../own/.new && mv ../own/.new ../own/$p || return 1; done; }}; INSTALL=install_own; {line}"
    ))
}

/// Runs `case`; what was wrong, if anything was.
fn attempt(engine: &Engine, case: Case) -> Result<(), String> {
    let Case { point, action, again, scenario } = case;
    if !scenario.setup.is_empty() {
        consistent::expect(&typed(engine, scenario.setup), "the preparation failed")?;
    }
    let victims = if scenario.kills.is_empty() { Vec::new() } else { engine.pids(scenario.kills) };
    engine.arm(point, action);
    for victim in victims {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(victim), Signal::SIGKILL);
    }
    let run = typed(engine, scenario.act);
    if wait::within(wait::PATIENCE / 3, || (!engine.is_armed(point)).then_some(())).is_none() {
        engine.disarm(point);
        return Err(format!("nobody came to the point:\n{run}"));
    }
    match action {
        "error" if run.code != 0 && run.stderr().trim().is_empty() => return Err(format!("no word of it:\n{run}")),
        DELAY => consistent::expect(&run, "a delay is no error")?,
        _ => {}
    }
    if again {
        consistent::expect(&typed(engine, scenario.again), "the second try failed")?;
    }
    consistent::check(engine)?;
    if scenario.images {
        let removed = engine.sh("podctl rmi -fa > /dev/null; cd ../state/images 2> /dev/null && \
                                 find records blobs layers locks tmp -mindepth 1 -not -path blobs/sha256; find . -name '.*.tmp'");
        if !removed.stdout().is_empty() {
            return Err(format!("this is left of images:\n{removed}"));
        }
    }
    Ok(())
}

fn walk(what: &str, images: bool) {
    if is_stand_in() {
        return; // podman has no failpoints.
    }
    let begun = Instant::now();
    let seed = report::seed();
    let all = cases(images);
    let mut random = Random::new(seed);
    let chosen = if report::all() {
        // A panic is an abort, and that is much like `kill`.
        let (panics, mut most): (Vec<Case>, Vec<Case>) = all.into_iter().partition(|case| case.action == "panic");
        most.extend(random.some(&panics, PANICS));
        most
    } else {
        random.some(&all, SHARE)
    };
    println!("PODCTL_SEED={seed}, {} cases", chosen.len());
    let mut found = Vec::new();
    let mut current = engine(images);
    for case in &chosen {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| attempt(&current, *case)));
        let result = result.unwrap_or_else(|_| Err("a command did not end".to_owned()));
        let result = match result {
            Ok(()) if begun.elapsed() > SLOW => Err(format!("it took {:?}", begun.elapsed())),
            result => result,
        };
        println!("{:>6} ms  {}={}", begun.elapsed().as_millis(), case.point, case.action);
        if let Err(words) = result {
            let Case { point, action, again, scenario } = case;
            let words = format!("=== {point}={action} ({}, again: {again})\n{words}", scenario.name);
            println!("{words}\n--- typed:\n{}\n--- there:\n{}", current.transcript(), current.traces());
            found.push(words);
            std::mem::replace(&mut current, engine(images)).abandon();
        }
        current.transcript();
    }
    report::done(what, chosen.len(), begun.elapsed(), &found);
}

#[test]
fn whatever_fails_between_two_steps_can_be_cleared_away_and_tried_again() {
    walk("failpoints × kill, error, delay, panic", false);
}

#[test]
fn whatever_fails_between_two_steps_of_an_image_can_be_tried_again() {
    walk("failpoints of images × kill, error, …", true);
}
