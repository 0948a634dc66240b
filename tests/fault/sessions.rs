//! Who is at a container when somebody is killed: its terminal, and those who execute commands in it.

use std::time::{Duration, Instant};

use harness::{
    Engine, Machine,
    cli::Running,
    images::ALPINE,
    oracle,
    programs::is_stand_in,
    until,
    wait::{self, within},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::report::{self, Random};

/// The most that one read of a terminal gives: what a monitor has read and not written when it is killed.
const READ: usize = 4096;
/// So many bytes of numbered lines are nowhere else.
const UNIQUE: usize = 64;

fn numbered(lines: usize) -> Vec<u8> {
    (1..=lines).flat_map(|number| format!("line {number} of many\r\n").into_bytes()).collect()
}

/// The lengths of what `found` lacks of `whole`, which it has in order and once.
fn gaps(whole: &[u8], found: &[u8]) -> Result<Vec<usize>, String> {
    let (mut at, mut read, mut gaps) = (0, 0, Vec::new());
    while read < found.len() {
        if whole.get(at) == Some(&found[read]) {
            (at, read) = (at + 1, read + 1);
            continue;
        }
        // What comes after a gap may begin as what is missing does: the gap began a little earlier.
        let goes_on = |back: &usize, lost: usize| {
            let (rest, next) = (&found[read - back..], whole.get(at - back + lost..).unwrap_or_default());
            let length = rest.len().min(UNIQUE);
            next.len() >= length && next[..length] == rest[..length]
        };
        let gap = (1..=READ)
            .find_map(|lost| (0..=read.min(at).min(UNIQUE)).find(|back| goes_on(back, lost)).map(|back| (back, lost)));
        let Some((back, lost)) = gap else {
            let around = &found[read.saturating_sub(100)..(read + 200).min(found.len())];
            return Err(format!(
                "no gap of one read explains this at byte {read}: {:?}",
                String::from_utf8_lossy(around)
            ));
        };
        (at, read) = (at - back + lost, read - back);
        gaps.push(lost);
    }
    if at == whole.len() { Ok(gaps) } else { Err(format!("{} bytes at the end are lost", whole.len() - at)) }
}

#[test]
fn gaps_are_found_and_what_is_there_twice_is_none() {
    let whole = numbered(2000);
    assert_eq!(gaps(&whole, &whole), Ok(vec![]));
    let without = |from: usize, to: usize| [&whole[..from], &whole[to..]].concat();
    assert_eq!(gaps(&whole, &without(500, 500 + READ)), Ok(vec![READ]));
    assert_eq!(gaps(&whole, &without(503, 511)), Ok(vec![8]));
    assert!(gaps(&whole, &without(500, 501 + READ)).is_err());
    assert!(gaps(&whole, &without(whole.len() - 9, whole.len())).is_err());
    let twice = [&whole[..5000], &whole[4000..]].concat();
    assert!(gaps(&whole, &twice).is_err());
    let others = [&whole[..5000], b"x", &whole[5000..]].concat();
    assert!(gaps(&whole, &others).is_err());
}

#[test]
fn of_a_terminal_one_read_is_lost_at_most_when_the_monitor_is_killed_again_and_again() {
    if is_stand_in() {
        return;
    }
    let (begun, seed) = (Instant::now(), report::seed());
    let kills = if report::all() { 50 } else { 5 };
    println!("PODCTL_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let engine = Engine::with(&[ALPINE]);
    // It rests between its writes, so that the log of all of it is of some megabytes.
    let script = "BEGIN { while ((getline x < \"/stop\") < 0) { for (n = 0; n < 500; n++) print \"line \" ++i \" of many\"; \
                  fflush(); system(\"usleep 1000\") } print i > \"/last\"; close(\"/last\"); \
                  while ((getline x < \"/end\") < 0) system(\"sleep 0.01\"); exit 43 }";
    engine.podctl(&["run", "-d", "-t", "--name", "writer", "alpine", "awk", script]).ok();
    for _ in 0..kills {
        // There is a successor, and it has the terminal.
        engine.sh("podctl exec writer true").code(0);
        let _pause = within(Duration::from_millis(20 + random.below(60)), || None::<()>);
        let monitor = until("a monitor", || engine.pids("podmon ").first().copied());
        kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it is there");
        until("a successor", || engine.pids("podmon ").iter().any(|pid| *pid != monitor).then_some(()));
    }
    engine.sh("podctl exec writer touch /stop").code(0);
    let last: usize = until("the last line", || engine.sh("podctl exec writer cat /last").stdout().trim().parse().ok());
    let whole = numbered(last);
    let mut logged = Vec::new();
    // What was written last is on its way for a moment.
    let _all = within(wait::PATIENCE, || {
        logged = engine.sh("podctl logs writer").out;
        logged.ends_with(format!("line {last} of many\r\n").as_bytes()).then_some(())
    });
    let found = match gaps(&whole, &logged) {
        Ok(gaps) if gaps.len() <= kills => {
            println!("{last} lines, gaps {gaps:?}");
            vec![]
        }
        Ok(gaps) => vec![format!("{} gaps after {kills} kills: {gaps:?}", gaps.len())],
        Err(words) => vec![words],
    };
    engine.sh("podctl exec writer touch /end");
    engine.sh("podctl wait writer").prints("43").code(0);
    report::done("kills of the monitor of a terminal", kills, begun.elapsed(), &found);
}

/// How many clients are killed at a time.
const BATCH: usize = 10;

#[test]
fn of_clients_of_exec_that_were_killed_a_monitor_keeps_nothing() {
    let begun = Instant::now();
    let batches = if report::all() { 10 } else { 1 };
    let engine = Engine::with(&[ALPINE]);
    if is_stand_in() {
        return; // conmon is one for each session.
    }
    engine.sh("podctl run -d --name up alpine sleep 1000").ok();
    let monitor = until("its monitor", || engine.pids("podmon ").first().copied());
    let descriptors = || std::fs::read_dir(format!("/proc/{monitor}/fd")).map_or(0, Iterator::count);
    let inside = || {
        let all = oracle::processes(&engine.enclosure);
        all.into_iter().filter(|process| process.command == "cat -u").count()
    };
    // One that ends by itself, so that all is there that stays.
    engine.sh("mkfifo ../silence && podctl exec -i up cat -u").code(0);
    until("its end", || (inside() == 0).then_some(()));
    let (fds, traces) = (descriptors(), engine.traces());
    for _ in 0..batches {
        let sessions: Vec<Running> =
            (0..BATCH).map(|_| engine.start("podctl exec -i up cat -u <> ../silence")).collect();
        until("the commands", || (inside() == BATCH).then_some(()));
        assert!(descriptors() > fds, "a session has descriptors: {} and {fds}", descriptors());
        for pid in engine.pids("exec -i up cat -u") {
            // The shell above it ends with it.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Their stdin has ended.
        until("the ends of the commands", || (inside() == 0).then_some(()));
        drop(sessions);
    }
    let same = within(wait::PATIENCE, || (descriptors() == fds && engine.traces() == traces).then_some(()));
    assert!(same.is_some(), "{} descriptors, {fds} before; new:\n{}", descriptors(), engine.traces().beyond(&traces));
    assert!(engine.pids("podmon ") == [monitor], "the same monitor");
    engine.sh("podctl exec up true").code(0);
    report::row("clients of exec killed", batches * BATCH, begun.elapsed(), 0);
}

#[test]
fn a_monitor_that_panics_leaves_the_reason_in_its_run_directory_and_has_a_successor() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
    engine.load(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name up alpine sleep 1000").ok();
    let acts = [
        ("mon.exec.begun", "podctl exec up true", "podctl exec up true"),
        ("mon.pause.frozen", "podctl pause up", "podctl unpause up"),
    ];
    for (point, act, after) in acts {
        engine.arm(point, "panic");
        engine.sh(act);
        until(point, || (!engine.is_armed(point)).then_some(()));
        let reason = format!("grep -rl 'failpoint {point}' --include crash ../runroot");
        until(&format!("a file that says {point}"), || (engine.sh(&reason).lines().len() == 1).then_some(()));
        // The successor sees a moment later what the freezer was told.
        until("what was true before", || {
            (engine.sh(&format!("{after} && podctl exec up true")).code == 0).then_some(())
        });
    }
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}
