//! Processes of the engine are killed at any moment, wherever they are.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use harness::{
    Engine, Machine, consistent,
    enclosure::ADDRESS,
    images::{self, ALPINE},
    programs::is_stand_in,
    until, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::report::{self, Random};

type Verb = [&'static str; 3];

/// What is there before, a command, and how it is tried again: verbs about containers.
const CONTAINERS: &[Verb] = &[
    ["", "podctl ps -a", "podctl ps -a"],
    ["", "podctl create --name victim -v vol:/v -v /anonymous alpine top", "podctl create --name victim alpine top"],
    ["", "podctl run -d --name victim -p 8080:80 alpine top", "podctl run -d --name victim -p 8080:80 alpine top"],
    ["", "podctl run --rm --name victim -v /anonymous alpine true", "podctl run --rm --name victim alpine true"],
    ["podctl create --name victim -p 8080:80 alpine top", "podctl start victim", ""],
    ["podctl run -d --name victim alpine top", "podctl exec victim true", ""],
    ["podctl run -d --name victim -p 8080:80 alpine top", "podctl stop -t 0 victim", ""],
    ["podctl run -d --name victim -v /anonymous alpine top", "podctl rm -f -t 0 victim", ""],
    ["podctl create --name victim alpine top", "podctl cp /etc/passwd victim:/tmp/file", ""],
    ["podctl create --name victim alpine top", "podctl cp victim:/etc/passwd ../passwd", ""],
    [
        "podctl create --name other alpine top",
        "podctl rename other victim",
        "podctl create --name other alpine top && podctl rename other victim",
    ],
    ["podctl run -d --name victim alpine top", "podctl update -m 64m --restart on-failure victim", ""],
    ["podctl run -d --name victim -p 8080:80 alpine top", "podctl restart -t 0 victim", ""],
    [
        "podctl run -d --name victim alpine top",
        "podctl pause victim",
        "podctl run -d --name victim alpine top && podctl pause victim && podctl unpause victim",
    ],
    [
        "podctl run -d --name victim alpine top && podctl pause victim",
        "podctl unpause victim",
        "podctl run -d --name victim alpine top && podctl pause victim && podctl unpause victim",
    ],
    [
        "podctl run -d --name victim alpine top",
        "podctl kill victim",
        "podctl run -d --name victim alpine top && podctl kill victim",
    ],
    ["podctl run -d --name victim alpine sh -c 'echo line; exec top'", "podctl container logrotate victim", ""],
];

/// The same for pods, networks and volumes.
const PODS: &[Verb] = &[
    [
        "",
        "podctl run -d --pod new:p --name victim -p 8080:80 -v vol:/v alpine top",
        "podctl run -d --pod new:p --name victim -p 8080:80 -v vol:/v alpine top",
    ],
    ["", "podctl pod create --name p -v vol:/v", "podctl pod create --name p -v vol:/v"],
    [
        "podctl run -d --pod new:p --name victim -p 8080:80 alpine top",
        "podctl pod rm -f -t 0 p",
        "podctl run -d --pod new:p --name victim -p 8080:80 alpine top",
    ],
    ["podctl network create net", "podctl network rm net", "podctl network create net"],
    ["podctl volume create vol", "podctl volume rm vol", "podctl volume create vol"],
    [
        "podctl pod create --name p -p 8080:80 && podctl create --pod p --name victim alpine top",
        "podctl pod start p",
        "",
    ],
    ["podctl run -d --pod new:p --name victim -p 8080:80 alpine top", "podctl pod stop -t 0 p", ""],
    ["podctl run -d --pod new:p --name victim --stop-timeout 0 alpine top", "podctl pod restart p", ""],
    ["", "podctl network create net", "podctl network create net"],
    ["", "podctl volume create vol", "podctl volume create vol"],
    [
        "podctl network create net && podctl run -d --name victim -p 8080:80 alpine top",
        "podctl network connect net victim",
        "podctl network create net && podctl run -d --name victim alpine top && podctl network connect net victim",
    ],
    [
        "podctl create --name victim -v /anonymous alpine top && podctl volume create vol && podctl network create net && \
         podctl pod create --name p",
        "podctl system prune -f --volumes",
        "",
    ],
];

/// The same for images and secrets.
const IMAGES: &[Verb] = &[
    ["", "podctl load -q -i $ALPINE", ""],
    ["podctl rmi -f alpine", "podctl pull -q alpine", "podctl pull -q alpine"],
    ["", "podctl save -q -o ../saved alpine", ""],
    ["podctl tag alpine other", "podctl rmi other", "podctl tag alpine other && podctl rmi other"],
    ["", "podctl rmi -f alpine", "podctl load -q -i $ALPINE && podctl run --rm alpine true"],
    ["", "podctl tag alpine other", ""],
    ["", "podctl secret create --replace key ../registries.conf", ""],
    [
        "podctl secret create --replace key ../registries.conf",
        "podctl secret rm key",
        "podctl secret create --replace key ../registries.conf",
    ],
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
fn attempt(engine: &Engine, verb: &Verb, moment: Duration, victims: &[&str]) -> Result<(), String> {
    let [setup, act, again] = verb;
    if !setup.is_empty() {
        consistent::expect(&engine.sh(&line(setup)), "the preparation failed")?;
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
        consistent::expect(&engine.sh(&line(again)), "the second try failed")?;
    }
    consistent::check(engine)
}

/// Kills each of `verbs` so often where all is tried; in the suite `share` of all.
const TRIES: usize = 12;

fn kill_verbs(what: &str, verbs: &[Verb], share: usize) {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let seed = report::seed();
    let mut random = Random::new(seed);
    let new = || {
        // Who pulls needs somebody to pull from.
        let registry = verbs.iter().any(|verb| verb[1].contains(" pull "));
        let engine = Engine::on(Machine { failpoints: true, registry, ..Machine::default() });
        engine.load(&[ALPINE]);
        engine
    };
    let tries = if report::all() { TRIES * verbs.len() } else { share };
    println!("PODCTL_SEED={seed}, {tries} tries");
    let mut found = Vec::new();
    let mut engine = new();
    // How long each takes when nobody is killed; measured once.
    let mut whole = vec![Duration::ZERO; verbs.len()];
    for number in 0..tries {
        let which = usize::try_from(random.below(verbs.len() as u64)).unwrap_or(0);
        let index = if report::all() { number % verbs.len() } else { which };
        let verb = &verbs[index];
        if whole[index].is_zero() {
            engine.sh(&line(verb[0]));
            let run = engine.sh(&line(verb[1]));
            // A command line that nobody understands would be killed in vain.
            assert!(run.code == 0, "nobody was killed yet:\n{run}");
            whole[index] = run.took;
            if !verb[2].is_empty() {
                engine.sh(CLEAR).code(0);
                engine.sh(&line(verb[2])).code(0);
            }
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
    report::done(what, tries, begun.elapsed(), &found);
}

// Several tests, so that all processors share them.

#[test]
fn a_verb_about_containers_killed_at_any_moment_can_be_tried_again_and_leaves_nothing() {
    kill_verbs("verbs about containers killed", CONTAINERS, 8);
}

#[test]
fn a_verb_about_pods_or_what_they_need_killed_at_any_moment_can_be_tried_again_and_leaves_nothing() {
    kill_verbs("verbs about pods, networks, volumes killed", PODS, 7);
}

#[test]
fn a_verb_about_images_or_secrets_killed_at_any_moment_can_be_tried_again_and_leaves_nothing() {
    kill_verbs("verbs about images and secrets killed", IMAGES, 5);
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
    engine.sh("podctl exec writer touch /end");
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

/// Asks `address` as `from` (a command prefix) until there is a file `stop`: the answers that were wrong, then how many.
fn asker(from: &str, address: &str) -> String {
    format!(
        "n=0; while [ ! -e stop ]; do n=$((n+1)); \
         answer=$({from} busybox nc -w 10 {address} 8080 < /dev/null); [ \"$answer\" = page ] || echo \"request $n: $answer\"; \
         done; echo $n requests"
    )
}

/// The same over one connection, which lives through all of it.
const LONG: &str = "exec 3<>/dev/tcp/127.0.0.1/8081; n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n >&3; \
                    read -r -t 20 answer <&3 && [ \"$answer\" = $n ] || { echo \"line $n: $answer\"; break; }; done; \
                    echo $n requests";

#[test]
fn no_request_fails_while_the_shim_is_killed_again_and_again() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let kills = if report::all() { 100 } else { 6 };
    let engine = Engine::with(&[ALPINE]);
    let servers = "nc -ll -p 81 -e cat & nc -ll -p 80 -e echo page";
    engine.sh(&format!("podctl run -d --pod new:p -p 8080:80 -p 8081:81 --name web alpine sh -c '{servers}'")).ok();
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    until("the other server", || (engine.sh("true <> /dev/tcp/127.0.0.1/8081").code == 0).then_some(()));
    let lines = [asker("", "127.0.0.1"), asker("ip netns exec outside", ADDRESS), LONG.to_owned()];
    let asking = lines.map(|line| engine.start(&line));
    for _ in 0..kills {
        let shim = until("a shim", || engine.pids("podshim pod").first().copied());
        kill_all(&engine, &["podshim pod"]);
        until("its successor", || engine.pids("podshim pod").iter().any(|pid| *pid != shim).then_some(()));
    }
    engine.sh("touch stop").code(0);
    let mut failed = Vec::new();
    for asked in asking {
        let asked = engine.note(asked.finish());
        let said = asked.lines();
        let requests = said.last().and_then(|line| line.strip_suffix(" requests")?.parse::<usize>().ok());
        println!("{requests:?}");
        // Who has asked less often than somebody was killed has seen nothing of most kills.
        if asked.code != 0 || said.len() != 1 || requests.is_none_or(|requests| requests < kills) {
            failed.push(asked.to_string());
        }
    }
    engine.sh("podctl exec web true").code(0);
    report::done("kills of the shim under requests", kills, begun.elapsed(), &failed);
}

/// All of ours are killed, and nobody of them lives.
fn kill_everybody(engine: &Engine) {
    const OURS: [&str; 3] = ["podctl ", "podshim ", "podmon "];
    kill_all(engine, &OURS);
    // Who was about to start another may have done so.
    engine.kill_all(&OURS);
}

fn is_there(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The code by which a container has ended that nobody of ours has seen: what it was, or honestly none.
fn code_of(engine: &Engine, name: &str, code: &str) {
    let waited = engine.sh(&format!("podctl wait {name}")).ok();
    assert!(waited == code || waited == "-1", "{name} has ended with {code}, and not with {waited}");
    assert_eq!(engine.field(name, ".State.Status"), "exited");
    assert_eq!(engine.field(name, ".State.ExitCode"), waited, "{name}");
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
    let ends = |options: &str, first: &str, code: u8| {
        let script = format!("{first} until [ -e /end ]; do sleep 0.02; done; exit {code}");
        engine
            .podctl(
                &[
                    &["run", "-d", "--pod", "p"],
                    &options.split(' ').collect::<Vec<_>>()[..],
                    &["alpine", "sh", "-c", &script],
                ]
                .concat(),
            )
            .ok();
        engine.only(&format!("exit {code}"))
    };
    for round in 0..rounds {
        engine.sh("podctl run -d --pod new:p -p 8080:80 --name web alpine nc -ll -p 80 -e echo page").ok();
        ends("--name told", "", 5);
        let unseen = ends("--name unseen", "", 6);
        // Its terminal goes with the last who holds it.
        let hung_up = ends("-t --name hung-up", "trap \"exit 7\" HUP; touch /ready;", 7);
        let stays = ends("-t --name stays", "trap \"touch /hup\" HUP; touch /ready;", 8);
        until("the page", page);
        let inside = |pid: i32, file: &str| Path::new("/proc").join(pid.to_string()).join("root").join(file);
        until("both traps", || [hung_up, stays].iter().all(|pid| inside(*pid, "ready").exists()).then_some(()));
        let asked = engine.start("podctl exec web sleep 30");
        kill_everybody(&engine);
        asked.finish();
        // Nobody of ours lives.
        std::fs::write(inside(unseen, "end"), "").expect("a word to a container");
        until("its end", || (!is_there(unseen)).then_some(()));
        until("the end by SIGHUP", || (!is_there(hung_up)).then_some(()));
        until("a SIGHUP", || inside(stays, "hup").exists().then_some(()));
        assert!(page().is_some(), "the port is served without us");
        assert!(
            engine.pids("podshim pod").is_empty() && engine.pids("podmon ").is_empty(),
            "nobody has seen these ends"
        );
        let states = engine.sh("podctl ps -a --format '{{.Names}} {{.State}}' --sort names").ok();
        let expected = "hung-up exited\nstays running\ntold running\nunseen exited\nweb running";
        let of_members: Vec<&str> = states.lines().filter(|line| !line.contains("infra")).collect();
        assert_eq!(of_members.join("\n"), expected, "round {round}");
        code_of(&engine, "unseen", "6");
        code_of(&engine, "hung-up", "7");
        // They may end before touch has, which is killed then.
        for (name, code) in [("told", "5"), ("stays", "8")] {
            engine.sh(&format!("podctl exec {name} touch /end"));
            engine.sh(&format!("podctl wait {name}")).prints(code);
        }
        // The next run is seen again.
        engine.sh("podctl start unseen && podctl wait unseen").prints("unseen\n6");
        engine.sh("podctl pod start p && podctl exec web true").code(0);
        until("the page", page);
        engine.sh("podctl pod rm -f -t 0 p").code(0);
    }
    report::done("all killed at once", rounds, begun.elapsed(), &[]);
}

#[test]
fn a_container_that_is_killed_together_with_its_monitor_has_ended_with_137_and_can_be_started() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let rounds = if report::all() { 50 } else { 5 };
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name victim alpine sleep 1000").ok();
    let mut found = Vec::new();
    for round in 0..rounds {
        let waiting = engine.start("podctl wait victim");
        kill_all(&engine, if round % 2 == 0 { &["podmon ", "sleep 1000"] } else { &["sleep 1000", "podmon "] });
        let (first, second) = (waiting.finish(), engine.sh("podctl wait victim"));
        let status = engine.sh("podctl inspect --format '{{.State.Status}} {{.State.ExitCode}}' victim").stdout();
        if [&first, &second].iter().any(|run| run.code != 0 || run.stdout() != "137\n") || status != "exited 137\n" {
            found.push(format!("=== round {round}: {status}\n{first}\n{second}"));
        }
        engine.sh("podctl start victim && podctl exec victim true").code(0);
    }
    report::done("monitor and container killed at once", rounds, begun.elapsed(), &found);
}
