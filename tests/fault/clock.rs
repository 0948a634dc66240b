//! The clock is set forward and back under running containers, by a stand-in: what counts time goes on as if nothing had
//! happened, and no time stamp of a log is earlier than the one before it.

use std::time::Duration;

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const DAY: i64 = 24 * 3600;

#[test]
fn a_clock_that_is_set_forward_or_back_moves_no_deadline_and_no_line_of_a_log() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let clock = "export PODCTL_CLOCK=/run/engine/clock;";
    let set = |seconds: i64| {
        let file = engine.path("clock");
        let new = file.with_extension("new");
        std::fs::write(&new, seconds.to_string()).and_then(|()| std::fs::rename(new, file)).expect("clock");
    };
    set(0);
    let run = |line: &str| engine.sh(&format!("{clock} {line}"));
    run("podctl run -d --pod new:p --name ticks alpine sh -c 'while :; do echo tick; sleep 0.05; done'").ok();
    run("podctl run -d --pod p --name loops --restart always alpine false").ok();
    run("podctl run -d --pod p --name checked --health-cmd true --health-interval 1s alpine top").ok();
    run("podctl run -d --pod p --name lives --timeout 600 alpine top").ok();
    run("podctl run -d --pod p --name stubborn alpine sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'").ok();
    let restarts =
        || run("podctl inspect --format '{{.RestartCount}}' loops").stdout().trim().parse::<u32>().expect("one");
    until("four runs", || (restarts() >= 4).then_some(()));
    for jump in [DAY, -DAY, 0] {
        set(jump);
        let before = restarts();
        let checks =
            "podctl inspect --format '{{len .State.Health.Log}} {{(index .State.Health.Log 0).Start}}' checked";
        let seen = run(checks).ok();
        until("another check", || (run(checks).stdout().trim() != seen).then_some(()));
        let lines = run("podctl logs ticks").stdout().lines().count();
        until("more lines", || (run("podctl logs ticks").stdout().lines().count() > lines + 5).then_some(()));
        // In a second or two a loop whose pauses have grown comes round no more than a few times.
        assert!(restarts() - before <= 4, "{} runs after a jump by {jump} s", restarts() - before);
        run("podctl ps -a && podctl pod ps && podctl events --stream=false && podctl stats --no-stream ticks").code(0);
        // Neither does a successor take the jump for time that has passed.
        let monitor = format!("podmon {}", engine.field("lives", ".Id"));
        let killed = engine.pids(&monitor);
        killed.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("it is there"));
        until("another monitor", || engine.pids(&monitor).iter().any(|pid| !killed.contains(pid)).then_some(()));
        run("podctl exec lives true").code(0);
        assert_eq!(run("podctl inspect --format '{{.State.Status}}' lives").ok(), "running");
    }
    // A grace of two seconds is two seconds.
    set(-DAY);
    let stop = engine.start(&format!("{clock} podctl stop -t 2 stubborn"));
    set(DAY);
    let stop = stop.finish();
    stop.code(0);
    assert!((Duration::from_millis(1900)..Duration::from_secs(15)).contains(&stop.took), "{stop}");
    let stamps = run("podctl logs -t ticks").stdout();
    let stamps: Vec<&str> = stamps.lines().filter_map(|line| line.split(' ').next()).collect();
    let back = stamps.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(back.is_none() && stamps.len() > 20, "{back:?}");
    let day = |stamp: Option<&&str>| stamp.map(|stamp| stamp[..10].to_owned());
    assert_ne!(day(stamps.first()), day(stamps.last()), "the log has seen the jump");
    run("podctl pod rm -f -t 0 p").code(0);
}
