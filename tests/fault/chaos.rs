//! `make chaos`: random commands, some at once, and random faults beside them. Whatever happens, everything that is listed
//! can be looked at, used and removed afterwards, and at the end nothing is left.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use harness::{
    Engine, Machine, Run, consistent,
    images::{self, ALPINE},
    programs::is_stand_in,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proto::failpoint::Point;

use super::report::{self, Random};

/// How long it goes on where `CHAOS_SECONDS` says nothing: the suite's share.
const SECONDS: u64 = 12;
/// Everything is looked at after so many steps, and everything is removed after so many looks.
const LOOK: u64 = 10;
const CLEAR: u64 = 3;
/// How long a process is stopped.
const STOPPED: Duration = Duration::from_secs(3);
/// No step takes longer: every wait of ours has a deadline.
const SLOW: Duration = Duration::from_secs(45);

/// What is there when a world begins.
const WORLD: &str = "
set -e
podctl network create n0 && podctl volume create v1 && podctl pod create --name p1
podctl run -d --pod new:p0 --name c0 --stop-timeout 0 -p 8080:80 -v v0:/v alpine top
podctl run -d --pod p0 --name c1 --stop-timeout 0 --restart always alpine sh -c 'sleep 0.3; exit 3'
podctl run -d --name c2 --network n0 -p 8082:80 alpine sh -c 'while :; do echo line; sleep 0.01; done'
podctl exec c0 true
";

/// What is typed. `C` is one of three containers, `P` one of two pods, `V` and `N` a volume and a network, `T` a port.
const VERBS: &[&str] = &[
    "podctl run -d --name C alpine top",
    "podctl run -d --name C -p T:80 -v V:/v alpine top",
    "podctl run -d --name C --network N alpine top",
    "podctl run -d --name C -v /anonymous --log-opt max-size=20k alpine sh -c 'while :; do echo line; sleep 0.01; done'",
    "podctl run -d --restart always --name C alpine sh -c 'sleep 0.2; exit 3'",
    "podctl run -d -t --name C alpine top",
    "podctl run -d --rm --name C alpine sleep 1",
    "podctl run --rm --name C alpine true",
    "podctl create --name C -p T:80 alpine top",
    "podctl run -d --pod P --name C --stop-timeout 0 alpine top",
    "podctl run -d --pod P --name C --stop-timeout 0 --network container:C alpine top",
    "podctl run -d --pod new:P --name C --stop-timeout 0 -p T:80 -v V:/v alpine top",
    "podctl start C",
    "podctl start C C",
    "podctl stop -t 0 C",
    "podctl stop -t 1 C",
    "podctl restart -t 0 C",
    "podctl kill C",
    "podctl pause C",
    "podctl unpause C",
    "podctl rename C C",
    "podctl rm C",
    "podctl rm -f -t 0 C",
    "podctl exec C true",
    "podctl exec C sh -c 'echo hello; exit 7'",
    "podctl cp /etc/passwd C:/tmp/file",
    "podctl cp C:/etc/passwd -",
    "podctl update -m 50m C",
    "podctl logs C",
    "podctl container logrotate C",
    "timeout -s KILL 2 podctl wait C",
    "timeout -s KILL 2 podctl attach --no-stdin C",
    "podctl inspect C",
    "podctl top C",
    "podctl stats --no-stream",
    "podctl pod create --name P -v V:/v",
    "podctl pod create --name P --network N -p T:80",
    "podctl pod create --name P --share net,pid",
    "podctl pod create --name P --infra=false",
    "podctl pod start P",
    "podctl pod stop -t 0 P",
    "podctl pod restart P",
    "podctl pod pause P",
    "podctl pod unpause P",
    "podctl pod kill P",
    "podctl pod rm P",
    "podctl pod rm -f -t 0 P",
    "podctl pod inspect P",
    "podctl pod logs P",
    "podctl volume create V",
    "podctl volume rm V",
    "podctl volume rm -f V",
    "podctl network create N",
    "podctl network rm N",
    "podctl network rm -f N",
    "podctl network connect N C",
    "podctl network disconnect -f N C",
    "echo secret | podctl secret create --replace key -",
    "podctl run --rm --secret key alpine cat /run/secrets/key",
    "podctl secret rm key",
    "podctl load -q -i $ALPINE",
    "podctl rmi alpine",
    "podctl image prune -f",
    "podctl container prune -f",
    "podctl volume prune -f",
    "podctl network prune -f",
    "podctl system prune -f",
    "podctl system df",
    "podctl system check",
    "podctl system check --repair",
    "podctl system upgrade",
    "podctl events --stream=false",
    "podctl ps -a --pod --size",
    "podctl pod ps",
];

/// What happens beside it.
#[derive(Clone, Debug)]
enum Fault {
    Nothing,
    /// SIGKILL to processes whose command line contains one of these: to one of them, or to all.
    Kill(&'static [&'static str], bool),
    /// SIGSTOP to one of them, for [`STOPPED`], or until the commands have ended.
    Stop(&'static [&'static str]),
    /// A failpoint and its action.
    Point(&'static str, &'static str),
    /// The firewall's rules are gone.
    Flush,
}

/// Who is killed or stopped.
const CLIENT: &[&str] = &["/podctl --root"];
const SHIM: &[&str] = &["podshim pod"];
const HOST: &[&str] = &["podshim host"];
const MONITOR: &[&str] = &["podmon "];
const BOTH: &[&str] = &["podshim ", "podmon "];
const ALL: &[&str] = &["/podctl --root", "podshim ", "podmon "];

impl Fault {
    fn random(random: &mut Random) -> Fault {
        let all = random.below(2) == 0;
        let among = |random: &mut Random, victims: &[&'static [&'static str]]| pick(random, victims);
        match random.below(12) {
            0 | 1 => Fault::Nothing,
            2..6 => Fault::Kill(among(random, &[CLIENT, CLIENT, SHIM, HOST, MONITOR, MONITOR, BOTH, ALL]), all),
            6 => Fault::Stop(among(random, &[MONITOR, SHIM, HOST])),
            7 => Fault::Flush,
            _ => {
                let point = pick(random, Point::ALL);
                let actions: &[&str] = if point.fails() {
                    &["kill", "error", "delay:100", "panic"]
                } else {
                    &["kill", "delay:100", "panic"]
                };
                Fault::Point(point.name(), pick(random, actions))
            }
        }
    }

    /// Its row in the table.
    fn kind(&self) -> String {
        match self {
            Fault::Nothing => "no fault".to_owned(),
            Fault::Kill(victims, _) => format!("killed: {}", name(victims)),
            Fault::Stop(victims) => format!("stopped: {}", name(victims)),
            Fault::Point(_, action) => format!("failpoints: {}", action.split(':').next().unwrap_or_default()),
            Fault::Flush => "firewall flushed".to_owned(),
        }
    }

    /// Lets it happen. Whom it has stopped.
    fn happen(&self, engine: &Engine, random: &mut Random) -> Vec<i32> {
        match self {
            Fault::Kill(victims, all) => {
                signal(engine, random, victims, *all, Signal::SIGKILL);
                Vec::new()
            }
            Fault::Stop(victims) => signal(engine, random, victims, false, Signal::SIGSTOP),
            Fault::Flush => {
                // There may be none.
                let _flushed = engine.command("nft").args(["flush", "ruleset"]).status();
                Vec::new()
            }
            Fault::Nothing | Fault::Point(..) => Vec::new(),
        }
    }
}

fn name(victims: &[&str]) -> String {
    let name = |victim: &&str| victim.replace("/podctl --root", "podctl").trim().to_owned();
    victims.iter().map(name).collect::<Vec<_>>().join(" and ")
}

fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[usize::try_from(random.below(all.len() as u64)).unwrap_or(0)].clone()
}

/// Sends `signal` to one of the victims, or to all; to whom it was sent.
fn signal(engine: &Engine, random: &mut Random, victims: &[&str], all: bool, signal: Signal) -> Vec<i32> {
    let mut pids: Vec<i32> = victims.iter().flat_map(|text| engine.pids(text)).collect();
    if !all && !pids.is_empty() {
        pids = vec![pick(random, &pids)];
    }
    for pid in &pids {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(*pid), signal);
    }
    pids
}

/// A command line of the small world.
fn typed(random: &mut Random) -> String {
    let verb = pick(random, VERBS);
    let mut words: Vec<String> = Vec::new();
    for word in verb.split(' ') {
        let object = |random: &mut Random, prefix: &str, count| format!("{prefix}{}", random.below(count));
        words.push(match word {
            "C" => object(random, "c", 3),
            "P" => object(random, "p", 2),
            "V" => object(random, "v", 2),
            "N" => object(random, "n", 2),
            "V:/v" => object(random, "v", 2) + ":/v",
            "T:80" => object(random, "808", 3) + ":80",
            word => match word.split_once("C:") {
                Some((before, after)) => format!("{before}{}:{after}", object(random, "c", 3)),
                None if word == "new:P" => object(random, "new:p", 2),
                None if word == "container:C" => object(random, "container:c", 3),
                None => word.replace("$ALPINE", &images::archive(ALPINE).to_string_lossy()),
            },
        });
    }
    words.join(" ")
}

/// Codes with which a command may end that has lost against a fault or another command: `rm` says 1, `exec` and `attach`
/// what the command in there has said, or what has killed it; `timeout` says 124.
fn is_told(run: &Run, fault: &Fault) -> bool {
    let killed = run.code > 128;
    let words = run.stderr();
    let may_panic = matches!(fault, Fault::Point(_, "panic"));
    if words.contains("panicked") && !may_panic {
        return false;
    }
    // A command line that nobody understands tries nothing: the mistake is ours.
    if words.contains("See 'podctl") {
        return false;
    }
    run.code == 0
        || killed
        || run.code == 124
        || !words.trim().is_empty()
        || run.line.contains(" exec ")
        || run.line.contains(" attach ")
        || run.line.contains("exists")
}

/// One step: some commands at once and a fault.
fn step(engine: &Engine, random: &mut Random, fault: &Fault, number: u64) -> Result<(), String> {
    let lines: Vec<String> = (0..1 + random.below(3)).map(|_| typed(random)).collect();
    let moment = Duration::from_millis(random.below(150));
    println!("{number:>6} {fault:?} after {moment:?}: {}", lines.join(" | "));
    if let Fault::Point(point, action) = fault {
        engine.arm(point, action);
    }
    let mut running: Vec<_> = lines.iter().map(|line| engine.start(line)).collect();
    let _moment = wait::within(moment, || None::<()>);
    let stopped = fault.happen(engine, random);
    if !stopped.is_empty() {
        // Who needs a process that is stopped says so, or waits for it.
        let over = |one: &mut harness::cli::Running| one.child.try_wait().is_ok_and(|status| status.is_some());
        let _over = wait::within(STOPPED, || running.iter_mut().all(over).then_some(()));
    }
    for pid in stopped {
        // Somebody may have killed it for that.
        let _gone = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    let ended: Vec<Run> = running.into_iter().map(|one| engine.note(one.finish())).collect();
    if let Fault::Point(point, _) = fault {
        engine.disarm(point);
    }
    println!("       {:?}", ended.iter().map(|run| (run.code, run.took)).collect::<Vec<_>>());
    let told = |run: &Run| if is_told(run, fault) { Ok(()) } else { Err(format!("nobody understands this:\n{run}")) };
    ended.iter().try_for_each(told)?;
    match ended.iter().find(|run| run.took > SLOW) {
        Some(run) => Err(format!("it took too long:\n{run}")),
        None => Ok(()),
    }
}

/// All that is listed can be looked at, and now and then removed.
fn look(engine: &Engine, number: u64) -> Result<(), String> {
    consistent::look(engine)?;
    if !number.is_multiple_of(LOOK * CLEAR) {
        return Ok(());
    }
    consistent::check(engine)?;
    populate(engine)
}

/// Makes a world, so that most of what is typed meets something.
fn populate(engine: &Engine) -> Result<(), String> {
    let archive = images::archive(ALPINE);
    consistent::expect(&engine.sh(&format!("podctl load -q -i {}", archive.display())), "an image cannot be loaded")?;
    consistent::expect(&engine.sh(WORLD), "nothing can be made anew")
}

#[test]
fn whatever_is_typed_and_whatever_fails_beside_it_all_can_be_used_and_removed() {
    if is_stand_in() {
        return;
    }
    let seconds = std::env::var("CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    let seed = report::seed();
    let mut random = Random::new(seed);
    println!("PODCTL_SEED={seed}, {seconds} s");
    let new = || {
        let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
        populate(&engine).expect("nothing has failed yet");
        engine
    };
    let mut engine = new();
    let (mut found, mut number) = (Vec::new(), 0u64);
    let mut table: BTreeMap<String, (usize, Duration, usize)> = BTreeMap::new();
    while Instant::now() < end {
        number += 1;
        let begun = Instant::now();
        let fault = Fault::random(&mut random);
        let tried = catch_unwind(AssertUnwindSafe(|| {
            step(&engine, &mut random, &fault, number)?;
            if number.is_multiple_of(LOOK) { look(&engine, number) } else { Ok(()) }
        }));
        let row = table.entry(fault.kind()).or_default();
        row.0 += 1;
        row.1 += begun.elapsed();
        if let Err(words) = tried.unwrap_or_else(|_| Err("a command did not end".to_owned())) {
            row.2 += 1;
            let words = format!("=== step {number} of seed {seed}, {fault:?}\n{words}");
            println!("{words}\n--- typed:\n{}\n--- there:\n{}", engine.transcript(), engine.traces());
            found.push(words);
            std::mem::replace(&mut engine, new()).abandon();
        }
        if number.is_multiple_of(LOOK) {
            engine.transcript();
        }
    }
    if let Err(words) = consistent::check(&engine) {
        println!("{words}\n--- typed:\n{}", engine.transcript());
        found.push(format!("=== the end of seed {seed}\n{words}"));
        std::mem::replace(&mut engine, new()).abandon();
    }
    for (kind, (steps, took, wrong)) in table {
        report::row(&format!("chaos, {kind}"), steps, took, wrong);
    }
    assert!(found.is_empty(), "{} findings with PODCTL_SEED={seed}:\n\n{}", found.len(), found.join("\n\n"));
}
