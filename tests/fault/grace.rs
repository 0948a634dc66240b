//! Somebody is killed in the grace of a stop: it is over when it would have been.

use std::time::{Duration, Instant};

use harness::{Engine, cli::Running, images::ALPINE, programs::is_stand_in, until, wait::within};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::report;

/// How long a stop waits here before it kills.
const GRACE: Duration = Duration::from_secs(6);
/// When in it somebody is killed.
const MOMENT: Duration = Duration::from_millis(1500);
/// It is never over earlier. What was counted before a kill may have been rounded.
const EARLIEST: Duration = Duration::from_millis(5500);
/// Nor later, on a machine that has much else to do: far below [`OWN`].
const LATEST: Duration = Duration::from_secs(30);
/// What the container says of its own grace: somebody who counts by it is far too early, or far too late.
const OWN: [u32; 2] = [1, 90];

/// A container that is deaf to SIGTERM, and a stop of it.
struct Stopped {
    name: String,
    begun: Instant,
    init: i32,
    stop: Option<Running>,
    /// A stop with a longer grace that comes after the kill.
    second: Option<Running>,
    /// When its end was seen.
    over: Option<Duration>,
}

/// Whom to kill, by the words of its command line: the container's name, its id and its pod's.
type Victims = fn(&str, &str, &str) -> Vec<String>;

const KILLED: [(&str, Victims); 4] = [
    ("client", |name, _, _| vec![format!("stop -t 6 {name}")]),
    ("monitor", |_, id, _| vec![format!("podmon {id}")]),
    ("shim", |_, _, pod| vec![format!("podshim pod {pod}")]),
    ("both", |_, id, pod| vec![format!("podshim pod {pod}"), format!("podmon {id}")]),
];

#[test]
fn whoever_is_killed_in_the_grace_of_a_stop_it_is_over_when_it_would_have_been() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let engine = Engine::with(&[ALPINE]);
    let mut all = Vec::new();
    for (number, (whom, victims)) in KILLED.into_iter().enumerate() {
        for own in OWN {
            let name = format!("{whom}-{own}");
            // A file says that it is deaf, and a number finds it among the others.
            let script = format!("trap \"\" TERM; touch /deaf; : {number}{own}; while :; do sleep 0.2; done");
            let line =
                format!("podctl run -d --pod new:of-{name} --name {name} --stop-timeout {own} alpine sh -c '{script}'");
            let id = engine.sh(&line).ok();
            let pod = engine.field(&name, ".Pod");
            engine.sh(&format!("until podctl exec {name} test -e /deaf; do :; done")).code(0);
            let init = engine.pids(&format!(": {number}{own};"))[0];
            let stopped = Stopped { name: name.clone(), begun, init, stop: None, second: None, over: None };
            all.push((stopped, victims(&name, &id, &pod), own, whom));
        }
    }
    for (stopped, ..) in &mut all {
        stopped.begun = Instant::now();
        stopped.stop = Some(engine.start(&format!("podctl stop -t 6 {}", stopped.name)));
    }
    let names: Vec<&str> = all.iter().map(|(stopped, ..)| stopped.name.as_str()).collect();
    // All at once: the moment is soon.
    let ask = format!("podctl inspect --format '{{{{.State.Status}}}}' {}", names.join(" "));
    until("the stops", || (engine.sh(&ask).lines() == vec!["stopping"; names.len()]).then_some(()));
    let _moment = within(MOMENT, || None::<()>);
    for (stopped, victims, own, whom) in &mut all {
        let pids: Vec<i32> = victims.iter().flat_map(|text| engine.pids(text)).collect();
        assert!(pids.len() >= victims.len(), "{victims:?} are there");
        for pid in pids {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
        }
        // Where both are killed nobody counts before somebody asks.
        if *own == OWN[1] || *whom == "both" {
            stopped.second = Some(engine.start(&format!("podctl stop -t 300 {}", stopped.name)));
        }
    }
    let _over = within(LATEST, || {
        for (stopped, ..) in &mut all {
            let is_there = std::path::Path::new(&format!("/proc/{}", stopped.init)).exists();
            if !is_there && stopped.over.is_none() {
                stopped.over = Some(stopped.begun.elapsed());
            }
        }
        all.iter().all(|(stopped, ..)| stopped.over.is_some()).then_some(())
    });
    let mut found = Vec::new();
    for (stopped, ..) in &mut all {
        let name = &stopped.name;
        println!("{name}: {:?}", stopped.over);
        match stopped.over {
            None => {
                found.push(format!("{name} still runs {LATEST:?} after a stop with {GRACE:?}"));
                // So that nobody below waits for it.
                engine.sh(&format!("podctl kill {name}"));
            }
            Some(over) if over < EARLIEST => {
                found.push(format!("{name} was killed {over:?} after a stop with {GRACE:?}"))
            }
            Some(_) => {}
        }
        let code = engine.sh(&format!("podctl wait {name}"));
        if code.stdout() != "137\n" {
            found.push(code.to_string());
        }
        // Who came second has waited for the same end.
        if let Some(second) = stopped.second.take().map(Running::finish)
            && second.code != 0
        {
            found.push(second.to_string());
        }
        drop(stopped.stop.take());
    }
    report::done("killed in the grace of a stop", all.len(), begun.elapsed(), &found);
}
