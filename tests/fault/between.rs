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

/// How many cases a run has that does not try all, on each kind of engine; and how many take-overs.
const SHARE: usize = 16;
const TAKE_OVERS: usize = 8;
/// How many cases are tried of those that are much like others, where all of the others are.
const LIKE_OTHERS: usize = 30;
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
    /// Who comes to this point is killed, too.
    second: Option<&'static str>,
    scenario: &'static Scenario,
}

/// What is walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// Each point in the scenario that is for it, but for those about images.
    Acts,
    Images,
    /// Each point in all of the scenarios in which somebody was killed before or says what is true afterwards.
    TakeOvers,
}

fn cases(walk: Walk) -> Vec<Case> {
    let mut cases = Vec::new();
    let only = std::env::var("PODCTL_POINT").unwrap_or_default();
    for point in Point::ALL {
        let of = scenario::of(point.name()).unwrap_or_else(|| panic!("nobody comes to {}", point.name()));
        let scenarios: Vec<&'static Scenario> = match walk {
            Walk::TakeOvers => scenario::take_overs(point.name()).collect(),
            _ => (of.images == (walk == Walk::Images)).then_some(of).into_iter().collect(),
        };
        for (scenario, action) in
            scenarios.into_iter().flat_map(|one| ["kill", "error", DELAY, "panic"].map(|a| (one, a)))
        {
            let matters = action != "error" || point.fails();
            if !matters || !format!("{}={action}", point.name()).contains(&only) {
                continue;
            }
            let case = Case { point: point.name(), action, again: true, second: None, scenario };
            cases.push(case);
            if action == "kill" {
                // Who tries again clears away what whoever removes it would find.
                cases.extend((!scenario.broken).then_some(Case { again: false, ..case }));
                let second = scenario.second.iter().find(|second| **second != point.name());
                cases.extend(second.map(|second| Case { second: Some(second), ..case }));
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
    std::fs::write(engine.path("words"), words(&engine)).expect("a file");
    engine
}

/// What acts are typed with.
fn words(engine: &Engine) -> String {
    let alpine = images::archive(ALPINE).display().to_string();
    // Programs of the engine's own, to be upgraded: other files under the same names.
    let words = engine.words();
    let programs = std::path::Path::new(&words[0]).parent().expect("a directory").display().to_string();
    let own = format!("../own/podctl {}", words[1..].join(" "));
    // A pipeline fails where any part does.
    format!(
        "set -o pipefail; ALPINE={alpine}; OWN='{own}'; \
         install_own() {{ mkdir -p ../own && for p in podctl podshim podmon; do \
         cp {programs}/$p ../own/.new && mv ../own/.new ../own/$p || return 1; done; }}; INSTALL=install_own;\n{}",
        scenario::WORDS
    )
}

fn typed(engine: &Engine, line: &str) -> harness::Run {
    engine.sh(&format!(". ../words; {line}"))
}

/// Runs `case`; what was wrong, if anything was.
fn attempt(engine: &Engine, case: Case) -> Result<(), String> {
    let Case { point, action, again, second, scenario } = case;
    if !scenario.setup.is_empty() {
        consistent::expect(&typed(engine, scenario.setup), "the preparation failed")?;
    }
    let victims: Vec<i32> = scenario.kills.iter().flat_map(|text| engine.pids(text)).collect();
    engine.arm(point, action);
    if let Some(second) = second {
        engine.arm(second, "kill");
    }
    for victim in victims {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(victim), Signal::SIGKILL);
    }
    let run = typed(engine, scenario.act);
    if second.is_some() {
        // Whom the first has cut off tries again, and meets the second.
        typed(engine, scenario.act);
    }
    for point in [Some(point), second].into_iter().flatten() {
        if wait::within(wait::PATIENCE / 3, || (!engine.is_armed(point)).then_some(())).is_none() {
            engine.disarm(point);
            return Err(format!("nobody came to {point}:\n{run}"));
        }
    }
    match action {
        "error" if run.code != 0 && run.stderr().trim().is_empty() => return Err(format!("no word of it:\n{run}")),
        DELAY => consistent::expect(&run, "a delay is no error")?,
        _ => {}
    }
    if again {
        if !scenario.truth.is_empty() {
            consistent::expect(&typed(engine, scenario.truth), "this is to be true")?;
        }
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

fn walk(what: &str, over: Walk) {
    if is_stand_in() {
        return; // podman has no failpoints.
    }
    let begun = Instant::now();
    let seed = report::seed();
    let all = cases(over);
    let engine = || engine(over == Walk::Images);
    let mut random = Random::new(seed);
    let chosen = if report::all() {
        // A panic is an abort, and that is much like `kill`; in a take-over it is the truth that counts, which nobody asks
        // for where all is removed at once, and a delay makes the least of it untrue.
        let is_like_others =
            |case: &Case| case.action == "panic" || over == Walk::TakeOvers && (!case.again || case.action == DELAY);
        let (some, mut most): (Vec<Case>, Vec<Case>) = all.into_iter().partition(is_like_others);
        most.extend(random.some(&some, LIKE_OTHERS));
        most
    } else {
        random.some(&all, if over == Walk::TakeOvers { TAKE_OVERS } else { SHARE })
    };
    println!("PODCTL_SEED={seed}, {} cases", chosen.len());
    let mut found = Vec::new();
    let mut current = engine();
    for case in &chosen {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| attempt(&current, *case)));
        let result = result.unwrap_or_else(|_| Err("a command did not end".to_owned()));
        let result = match result {
            Ok(()) if begun.elapsed() > SLOW => Err(format!("it took {:?}", begun.elapsed())),
            result => result,
        };
        println!("{:>6} ms  {}={} ({})", begun.elapsed().as_millis(), case.point, case.action, case.scenario.name);
        if let Err(words) = result {
            let Case { point, action, again, second, scenario } = case;
            let words =
                format!("=== {point}={action} ({}, again: {again}, second: {second:?})\n{words}", scenario.name);
            println!("{words}\n--- typed:\n{}\n--- there:\n{}", current.transcript(), current.traces());
            found.push(words);
            std::mem::replace(&mut current, engine()).abandon();
        }
        current.transcript();
    }
    report::done(what, chosen.len(), begun.elapsed(), &found);
}

#[test]
fn whatever_fails_between_two_steps_can_be_cleared_away_and_tried_again() {
    walk("failpoints × kill, error, delay, panic", Walk::Acts);
}

#[test]
fn whatever_fails_between_two_steps_of_an_image_can_be_tried_again() {
    walk("failpoints of images × kill, error, …", Walk::Images);
}

#[test]
fn whoever_fails_in_a_take_over_or_at_an_end_the_container_its_log_and_its_code_are_as_they_were() {
    walk("failpoints of take-overs × kill, error, …", Walk::TakeOvers);
}
