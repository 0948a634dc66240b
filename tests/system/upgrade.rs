//! `system upgrade`: running monitors and shims become the programs that are installed now, in place.

use harness::{
    Engine,
    images::ALPINE,
    oracle,
    programs::{self, is_stand_in},
    until,
};
use proto::alive;

/// An engine whose programs are its own, to be installed anew.
fn engine() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    install(&engine);
    let words = engine.words();
    let own = format!("#!/bin/sh\nexec /run/engine/own/podctl {} \"$@\"\n", words[1..].join(" "));
    programs::script(&engine.path("bin/podctl"), &own);
    engine
}

/// What an installation does: other files under the names of those that run.
fn install(engine: &Engine) {
    let from = engine.words()[0].clone();
    let programs = std::path::Path::new(&from).parent().expect("a directory").display().to_string();
    let line = format!(
        "mkdir -p ../own && for p in podctl podshim podmon; do cp {programs}/$p ../own/.new && mv ../own/.new ../own/$p; done"
    );
    engine.sh(&line).code(0);
}

/// A command line without the path and the options, which an upgrade changes.
fn name(line: &str) -> String {
    let line = line.split(" --").next().unwrap_or_default();
    line.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The processes of the engine but podctl, and but what has not become another program yet (crun): it still bears the
/// command line of who has started it.
fn ours(engine: &Engine) -> Vec<(i32, String)> {
    // PF_FORKNOEXEC of the flags (proc_pid_stat(5), field 9; linux/sched.h).
    const FORKED: u32 = 0x40;
    let is_program = |pid: i32| {
        let fields = u32::try_from(pid).ok().and_then(alive::stat_fields)?;
        Some(fields.get(6)?.parse::<u32>().ok()? & FORKED == 0)
    };
    // Without the path and the options, which an upgrade changes.
    let mut found: Vec<(i32, String)> = oracle::processes(&engine.enclosure)
        .into_iter()
        .filter(|process| ["podmon", "podshim pod", "podshim infra"].iter().any(|name| process.command.contains(name)))
        .filter(|process| is_program(process.pid) == Some(true))
        .map(|process| (process.pid, name(&process.command)))
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn monitors_and_shims_become_the_new_programs_and_no_line_is_lost() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let script = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i of many; done; exit 43";
    engine.sh("podctl pod create --name p -p 8080:80 --share pid,net,ipc,uts").ok();
    engine.sh("podctl run -d --pod p --name web alpine nc -ll -p 80 -e echo page").ok();
    engine.podctl(&["run", "-d", "--pod", "p", "--name", "writer", "alpine", "sh", "-c", script]).ok();
    engine.sh("podctl run -d --name paused alpine top && podctl pause paused").ok();
    engine.sh("podctl run -dt --name terminal alpine sh -c 'while :; do echo on; sleep 0.1; done'").ok();
    engine.sh("podctl system upgrade").prints("nothing to do").code(0);
    let before = ours(&engine);
    assert_eq!(before.len(), 8, "three shims, four monitors, a first process of a PID namespace");
    for _ in 0..5 {
        install(&engine);
        let told = engine.sh("podctl system upgrade --check").ok();
        assert!(
            told.contains("podmon") && told.contains("of writer: version") && !told.contains("is current"),
            "{told}"
        );
        let done = engine.sh("podctl system upgrade").code(0).stdout();
        assert_eq!(done.lines().filter(|line| line.ends_with("has ended meanwhile")).count(), 0, "{done}");
        assert_eq!(done.lines().filter(|line| line.ends_with(": upgraded")).count(), 8, "{done}");
        assert_eq!(ours(&engine), before, "the processes stay");
        assert_eq!(engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout(), "page\n");
    }
    // The container may end before touch has, which is killed then.
    engine.sh("podctl exec writer touch /stop; podctl wait writer").prints("43");
    let logs = engine.sh("podctl logs writer").stdout();
    let lines = logs.lines().count();
    let wrong = logs.lines().zip(1..).find(|(line, number)| *line != format!("line {number} of many"));
    assert!(wrong.is_none() && lines > 10_000, "lost, doubled or torn: {wrong:?} of {lines} lines");
    engine.sh("podctl system upgrade --check").code(0);
    engine.sh("podctl exec web true && podctl unpause paused && podctl exec terminal true").code(0);
    let seen = engine.sh("podctl logs terminal").stdout().len();
    until("more of the terminal", || (engine.sh("podctl logs terminal").stdout().len() > seen).then_some(()));
    engine.sh("podctl run --rm --pod p alpine true && podctl restart -t 0 web").code(0);
    until("the page", || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(()));
    // The end of a container whose monitor was upgraded is known, be it by a signal or by itself.
    engine.sh("podctl kill terminal").code(0);
    engine.sh("podctl wait terminal").prints("137");
}

#[test]
fn exec_sessions_end_with_words_and_attached_clients_go_on() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    engine
        .sh("podctl run -d --name up alpine sh -c 'trap \"echo bye; exit 7\" TERM; while :; do sleep 0.1; done'")
        .ok();
    let attached = engine.start("podctl attach up");
    let exec = engine.start("podctl exec up sh -c 'echo begun; sleep 1000'");
    // The client, and what it has started.
    until("the session", || (engine.pids("sleep 1000").len() >= 2).then_some(()));
    until("the client", || {
        (!engine.pids("podctl attach").is_empty() || !engine.pids("attach up").is_empty()).then_some(())
    });
    install(&engine);
    engine.sh("podctl system upgrade").code(0);
    let exec = exec.finish();
    assert!(exec.stderr().contains("Error: "), "{}", exec.stderr());
    exec.code(125);
    engine.sh("podctl exec up true").code(0);
    engine.sh("podctl stop up").code(0);
    let attached = attached.finish();
    assert_eq!(attached.stdout(), "bye\n");
    attached.code(7);
    assert_eq!(engine.field("up", ".State.ExitCode"), "7");
}

#[test]
fn an_older_program_is_served_and_a_newer_one_is_not_misunderstood() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("PODCTL_GREETING='0 0.0.1' podctl run -d --pod new:old --name up alpine top").ok();
    let told = engine.sh("podctl system upgrade --check").ok();
    assert_eq!(told.matches("version 0.0.1").count(), 2, "{told}");
    engine
        .sh("podctl exec up true && podctl run --rm --pod old alpine true && podctl pause up && podctl unpause up")
        .code(0);
    engine.sh("podctl stop -t 0 up && podctl start up && podctl pod rm -f -t 0 old").code(0);
    let newer = engine.sh("PODCTL_GREETING='9 9.9.9' podctl run alpine true").code(125).stderr();
    assert!(newer.contains("is of podctl 9.9.9, which is newer than this one"), "{newer}");
}
