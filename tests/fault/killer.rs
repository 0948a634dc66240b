//! Processes of the engine are killed at any moment, wherever they are.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use harness::{
    Engine, Machine, consistent,
    images::{self, ALPINE},
    programs::is_stand_in,
    until, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::report::{self, Random};

/// What is there before, a command, and how it is tried again.
const VERBS: &[[&str; 3]] = &[
    ["", "podctl ps -a", "podctl ps -a"],
    ["", "podctl create --name victim -v vol:/v -v /anonymous alpine top", "podctl create --name victim alpine top"],
    ["", "podctl run -d --name victim -p 8080:80 alpine top", "podctl run -d --name victim -p 8080:80 alpine top"],
    ["", "podctl run --rm --name victim -v /anonymous alpine true", "podctl run --rm --name victim alpine true"],
    [
        "",
        "podctl run -d --pod new:p --name victim -p 8080:80 -v vol:/v alpine top",
        "podctl run -d --pod new:p --name victim -p 8080:80 -v vol:/v alpine top",
    ],
    ["podctl create --name victim -p 8080:80 alpine top", "podctl start victim", ""],
    ["podctl run -d --name victim alpine top", "podctl exec victim true", ""],
    ["podctl run -d --name victim -p 8080:80 alpine top", "podctl stop -t 0 victim", ""],
    ["podctl run -d --name victim -v /anonymous alpine top", "podctl rm -f -t 0 victim", ""],
    ["", "podctl pod create --name p -v vol:/v", "podctl pod create --name p -v vol:/v"],
    [
        "podctl run -d --pod new:p --name victim -p 8080:80 alpine top",
        "podctl pod rm -f -t 0 p",
        "podctl run -d --pod new:p --name victim -p 8080:80 alpine top",
    ],
    ["podctl create --name victim alpine top", "podctl cp /etc/passwd victim:/tmp/file", ""],
    ["", "podctl load -q -i $ALPINE", ""],
    ["podctl network create net", "podctl network rm net", "podctl network create net"],
    ["podctl volume create vol", "podctl volume rm vol", "podctl volume create vol"],
];

/// Removes whatever the tests make.
pub const CLEAR: &str = "podctl rm -f -t 0 victim && podctl rm -f -t 0 other && podctl pod rm -f -t 0 p && podctl network rm -f net && \
                     podctl volume rm -f vol";

/// Who is killed: the command alone, or with it (or instead of it) processes with this in their command line.
const VICTIMS: &[&[&str]] = &[&[], &[], &["podshim "], &["podmon "], &["podshim ", "podmon "]];

fn line(text: &str) -> String {
    text.replace("$ALPINE", &images::archive(ALPINE).to_string_lossy())
}

/// At the same moment.
fn kill_all(engine: &Engine, texts: &[&str]) {
    let pids: Vec<i32> = texts.iter().flat_map(|text| engine.pids(text)).collect();
    for pid in pids {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// One verb, killed after `moment`.
fn attempt(engine: &Engine, verb: &[&str; 3], moment: Duration, victims: &[&str]) -> Result<(), String> {
    let [setup, act, again] = verb;
    if !setup.is_empty() {
        consistent::expect(&engine.sh(setup), "the preparation failed")?;
    }
    let seconds = moment.as_secs_f64();
    if victims.is_empty() {
        engine.sh(&format!("timeout -s KILL {seconds:.3} {}", line(act)));
    } else {
        let mut running = engine.start(&line(act));
        // The moment is what counts.
        let _ended = wait::within(moment, || running.child.try_wait().ok().flatten());
        kill_all(engine, victims);
        running.finish();
    }
    consistent::expect(&engine.sh("podctl ps -a && podctl pod ps && podctl images"), "a list failed")?;
    if again.is_empty() {
        consistent::expect(&engine.sh(&line(act)), "the second try failed")?;
    } else {
        consistent::expect(&engine.sh(CLEAR), "something cannot be removed")?;
        consistent::expect(&engine.sh(again), "the second try failed")?;
    }
    consistent::check(engine)
}

#[test]
fn a_verb_killed_at_any_moment_can_be_tried_again_and_leaves_nothing() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let seed = report::seed();
    let mut random = Random::new(seed);
    let new = || {
        let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
        engine.load(&[ALPINE]);
        engine
    };
    let tries = if report::all() { 20 * VERBS.len() } else { 20 };
    println!("PODCTL_SEED={seed}, {tries} tries");
    let mut found = Vec::new();
    let mut engine = new();
    // How long each takes when nobody is killed; measured once.
    let mut whole = vec![Duration::ZERO; VERBS.len()];
    for number in 0..tries {
        let which = usize::try_from(random.below(VERBS.len() as u64)).unwrap_or(0);
        let verb = &VERBS[if report::all() { number % VERBS.len() } else { which }];
        let index = VERBS.iter().position(|one| one[1] == verb[1] && one[0] == verb[0]).unwrap_or(0);
        if whole[index].is_zero() {
            engine.sh(verb[0]);
            whole[index] = engine.sh(&line(verb[1])).took;
            consistent::clear(&engine).expect("nobody was killed yet");
        }
        let most = u64::try_from(whole[index].as_millis()).unwrap_or(1000).max(2);
        let moment = Duration::from_millis(random.below(most * 5 / 4));
        let victims = VICTIMS[usize::try_from(random.below(VICTIMS.len() as u64)).unwrap_or(0)];
        let result = catch_unwind(AssertUnwindSafe(|| attempt(&engine, verb, moment, victims)));
        if let Err(words) = result.unwrap_or_else(|_| Err("a command did not end".to_owned())) {
            let words = format!("=== {} killed after {moment:?} ({victims:?})\n{words}", verb[1]);
            println!("{words}\n--- typed:\n{}\n--- there:\n{}", engine.transcript(), engine.traces());
            found.push(words);
            std::mem::replace(&mut engine, new()).abandon();
        }
        engine.transcript();
    }
    report::done("verbs killed at random moments", tries, begun.elapsed(), &found);
}

/// The lines of `writer` are 1, 2, 3 … and so on.
fn counted(engine: &Engine) -> Result<usize, String> {
    let logged = engine.sh("podctl logs writer").stdout();
    for (number, line) in logged.lines().enumerate() {
        if line != format!("line {} of many", number + 1) {
            return Err(format!("line {} of the log is {line:?}", number + 1));
        }
    }
    Ok(logged.lines().count())
}

/// Kills `victims`, one of them after the other, while a container writes as fast as it can; every line must be there.
fn kill_under_logging(what: &str, kills: usize, victims: &[&[&str]]) {
    let (begun, seed) = (Instant::now(), report::seed());
    println!("PODCTL_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let engine = Engine::with(&[ALPINE]);
    // It stays until every line has been read: what a container leaves in its pipe goes with it where nobody else has that.
    // Many lines in one write, so that there is always something on its way.
    let script = "BEGIN { while ((getline x < \"/stop\") < 0) for (n = 0; n < 500; n++) print \"line \" ++i \" of many\"; \
                  fflush(); print i > \"/last\"; close(\"/last\"); \
                  while ((getline x < \"/end\") < 0) system(\"sleep 0.01\"); exit 43 }";
    engine.podctl(&["run", "-d", "--name", "writer", "alpine", "awk", script]).ok();
    for number in 0..kills {
        // Whom nobody is left to start is started by a command.
        engine.sh("podctl exec writer true").code(0);
        let pause = Duration::from_millis(random.below(60));
        let _pause = wait::within(pause, || None::<()>);
        kill_all(&engine, victims[number % victims.len()]);
    }
    engine.sh("podctl exec writer touch /stop").code(0);
    let last = until("the last line", || engine.sh("podctl exec writer cat /last").stdout().trim().parse().ok());
    let mut logged = counted(&engine);
    // What was written last is on its way for a moment.
    let _all = wait::within(Duration::from_secs(60), || {
        logged = counted(&engine);
        let is_short = logged.as_ref().is_ok_and(|lines| *lines < last);
        (!is_short).then_some(())
    });
    let found: Vec<String> = match logged {
        Ok(lines) if lines == last => vec![],
        Ok(lines) => vec![format!("{lines} lines of {last}")],
        Err(words) => vec![words],
    };
    engine.sh("podctl exec writer touch /end").code(0);
    engine.sh("podctl wait writer").prints("43").code(0);
    report::done(what, kills, begun.elapsed(), &found);
}

#[test]
fn no_line_is_lost_when_monitor_and_shim_are_killed_again_and_again() {
    if is_stand_in() {
        return;
    }
    let kills = if report::all() { 200 } else { 12 };
    let victims: &[&[&str]] = &[&["podmon "], &["podmon "], &["podshim pod"], &["podmon "]];
    kill_under_logging("kills of monitor and shim under logging", kills, victims);
}

#[test]
fn no_line_is_lost_when_monitor_and_shim_are_killed_at_the_same_moment() {
    if is_stand_in() {
        return;
    }
    let kills = if report::all() { 100 } else { 20 };
    kill_under_logging("both killed at once under logging", kills, &[&["podshim ", "podmon "]]);
}

#[test]
fn no_request_fails_while_the_shim_is_killed_again_and_again() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let kills = if report::all() { 100 } else { 6 };
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p -p 8080:80 --name web alpine nc -ll -p 80 -e echo page").ok();
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    let asking = engine.start(
        "n=0; while [ ! -e stop ]; do n=$((n+1)); \
         answer=$(busybox nc -w 10 127.0.0.1 8080 < /dev/null); [ \"$answer\" = page ] || echo \"request $n: $answer\"; \
         done; echo $n requests",
    );
    for _ in 0..kills {
        let shim = until("a shim", || engine.pids("podshim pod").first().copied());
        kill_all(&engine, &["podshim pod"]);
        until("its successor", || engine.pids("podshim pod").iter().any(|pid| *pid != shim).then_some(()));
    }
    engine.sh("touch stop").code(0);
    let asked = asking.finish();
    engine.sh("podctl exec web true").code(0);
    let requests = asked.lines();
    let failed: Vec<String> = requests.iter().filter(|line| line.contains(':')).cloned().collect();
    println!("{:?}", requests.last());
    report::done("kills of the shim under requests", kills, begun.elapsed(), &failed);
}

#[test]
fn when_all_are_killed_at_once_containers_go_on_and_ends_are_told_as_they_were() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let rounds = if report::all() { 20 } else { 3 };
    let engine = Engine::with(&[ALPINE]);
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    for round in 0..rounds {
        engine.sh("podctl run -d --pod new:p -p 8080:80 --name web alpine nc -ll -p 80 -e echo page").ok();
        engine
            .sh("podctl run -d --pod p --name ends alpine sh -c 'until [ -e /end ]; do sleep 0.01; done; exit 5'")
            .ok();
        until("the page", page);
        let asked = engine.start("podctl exec web sleep 30");
        kill_all(&engine, &["podctl ", "podshim ", "podmon "]);
        asked.finish();
        let up = engine.sh("podctl ps --format '{{.Names}} {{.State}}' --filter name=web").ok();
        assert_eq!(up, "web running", "round {round}");
        assert!(page().is_some(), "the port is served without us");
        engine.sh("podctl exec ends touch /end").code(0);
        engine.sh("podctl wait ends").prints("5");
        engine.sh("podctl pod start p && podctl exec web true").code(0);
        until("the page", page);
        engine.sh("podctl pod rm -f -t 0 p").code(0);
    }
    report::done("all killed at once", rounds, begun.elapsed(), &[]);
}
