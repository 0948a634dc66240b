//! A program is killed in the middle of its work: nothing is lost, and what is half done can be cleared away.

use std::time::Duration;

use harness::{Engine, images::ALPINE, oracle, programs::is_stand_in, until, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn kill_9(pid: i32) {
    // It may have ended by itself in the meantime.
    let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

#[test]
fn no_line_is_lost_doubled_or_torn_when_the_monitor_is_killed_again_and_again() {
    if is_stand_in() {
        return; // conmon is not replaced.
    }
    let engine = Engine::with(&[ALPINE]);
    let script = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); echo line $i of many; done; exit 43";
    let id = engine.podctl(&["run", "-d", "--name", "writer", "alpine", "sh", "-c", script]).ok();
    let mut killed = 0;
    let ended = || engine.sh("podctl ps -a --format '{{.Status}}'").ok().starts_with("Exited");
    while !ended() && killed < 20 {
        let monitor = wait::within(Duration::from_secs(5), || engine.pids(&format!("podmon {id}")).first().copied());
        if let Some(pid) = monitor {
            kill_9(pid);
            killed += 1;
        }
    }
    engine.sh("podctl wait writer").prints("43").code(0);
    assert!(killed > 2, "the writer was too quick: {killed} kills");
    let expected: String = (1..=150_000).map(|number| format!("line {number} of many\n")).collect();
    let logged = engine.sh("podctl logs writer").stdout();
    if logged != expected {
        let wrong = logged.lines().zip(expected.lines()).position(|(found, wanted)| found != wanted);
        panic!("after {killed} kills, {} lines; the first wrong one: {wrong:?}", logged.lines().count());
    }
}

#[test]
fn no_byte_of_stdin_is_lost_when_the_monitor_is_killed() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("seq 200000 > $TMPDIR/in").code(0);
    let script = "while read x; do echo $x; done; exit 43";
    let run = engine.start(&format!(
        "podctl run -i --name reader --cidfile $TMPDIR/id alpine sh -c '{script}' < $TMPDIR/in > $TMPDIR/out"
    ));
    let id = until("its id", || Some(engine.sh("cat $TMPDIR/id").stdout()).filter(|id| !id.is_empty()));
    let lines = || engine.sh("wc -l < $TMPDIR/out").stdout().trim().parse::<usize>().unwrap_or(0);
    let mut killed = 0;
    for read in [1, 20_000, 60_000, 120_000] {
        until("some lines to be read", || (lines() >= read).then_some(()));
        if let Some(pid) =
            wait::within(Duration::from_secs(5), || engine.pids(&format!("podmon {id}")).first().copied())
        {
            kill_9(pid);
            killed += 1;
        }
    }
    let ended = run.finish();
    ended.code(43);
    assert!(!ended.stderr().contains("lost") && killed > 1, "{killed} kills: {ended}");
    engine.sh("cmp $TMPDIR/in $TMPDIR/out && rm $TMPDIR/*").code(0);
    // Who attaches has the same pipe, and the first who ends it ends it for all.
    engine.sh("podctl run -d -i --name sums alpine sha256sum").ok();
    let idle = engine.start("sleep 1000 | podctl attach sums");
    until("its session", || {
        (engine.sh("podctl events --stream=false --filter event=attach --filter container=sums").lines().len() == 1)
            .then_some(())
    });
    engine
        .sh("seq 50000 | podctl attach sums")
        .prints(&format!("{}  -", engine.sh("seq 50000 | sha256sum | cut -c1-64").ok()));
    drop(idle);
    engine.sh("podctl wait sums").prints("0");
}

#[test]
fn a_killed_monitor_ends_sessions_of_exec_with_words() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name up alpine sleep 1000").ok();
    let exec = engine.start("podctl exec up sh -c 'touch /begun; sleep 2; touch /done'");
    until("its begin", || (engine.sh("podctl exec up test -e /begun").code == 0).then_some(()));
    kill_9(engine.only(&format!("podmon {id}")));
    exec.finish().code(125).complains(
        "Error: the monitor has gone: the command goes on without us, and its exit code and output are lost",
    );
    until("its end", || (engine.sh("podctl exec up test -e /done").code == 0).then_some(()));
    engine.sh("podctl rm -f -t 0 up").ok();
}

#[test]
fn a_killed_monitor_is_replaced_and_the_container_goes_on() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --pod new:p --name up alpine sh -c 'while :; do sleep 0.2; done'").ok();
    let before = engine.field("up", ".State.Pid");
    let monitor = engine.only(&format!("podmon {id}"));
    kill_9(monitor);
    let successor = || engine.pids(&format!("podmon {id}")).into_iter().find(|&pid| pid != monitor);
    until("a new monitor", successor);
    assert_eq!(engine.field("up", ".State.Pid"), before);
    engine.sh("podctl exec up echo hello").prints("hello").code(0);
    engine.sh("podctl stop -t 1 up").code(0);
    engine.sh("podctl wait up").prints("137");
}

#[test]
fn who_attaches_right_after_everything_was_killed_waits_for_the_successors() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine sh -c 'until [ -e /end ]; do echo tick; sleep 0.1; done; exit 4'").ok();
    for pid in engine.pids("podshim pod").into_iter().chain(engine.pids("podmon ")) {
        kill_9(pid);
    }
    let attached = engine.start("podctl attach --no-stdin up");
    until("a new monitor", || engine.pids("podmon ").first().copied());
    engine.sh("podctl exec up touch /end").code(0);
    let attached = attached.finish();
    attached.code(4);
    assert!(!attached.stderr().contains("Error"), "{attached}");
}

#[test]
fn stop_and_rm_work_right_after_everything_was_killed() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    for remove in [
        "podctl pod rm -f -t 0 p",
        "podctl pod stop -t 0 p && podctl pod rm p",
        "podctl rm -f -t 0 up && podctl pod rm -f p",
    ] {
        engine.sh("podctl run -d --pod new:p --name up -p 8080:80 alpine top").ok();
        for pid in engine.pids("podshim pod").into_iter().chain(engine.pids("podmon ")) {
            kill_9(pid);
        }
        assert!(engine.sh("podctl pod ps").ok().contains(" p "));
        engine.sh(remove).code(0);
        assert_eq!(engine.sh("podctl pod ps -q; podctl ps -aq").ok(), "");
    }
}

#[test]
fn a_killed_shim_takes_nothing_down_and_the_next_command_finds_a_successor() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p -p 8080:80 --name web alpine nc -ll -p 80 -e echo page").ok();
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    for _ in 0..3 {
        kill_9(engine.only("podshim pod"));
        assert!(page().is_some(), "the port is served while the shim is away");
        engine.sh("podctl exec web true").code(0);
        engine.sh("podctl run --rm --pod p alpine true").code(0);
        assert!(engine.sh("podctl pod ps").ok().contains("Running"));
    }
    engine.sh("podctl stop -t 0 web && podctl start web").code(0);
    until("the page", page);
}

#[test]
fn a_killed_shim_is_replaced_without_any_command_and_its_successor_keeps_every_line() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create n && podctl pod create --name p --network n -p 8080:80").ok();
    engine.sh("podctl run -d --pod p --name web alpine nc -ll -p 80 -e echo page").ok();
    let script = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo line $i of many; done; sleep 30";
    let writer = engine.podctl(&["run", "-d", "--pod", "p", "--name", "writer", "alpine", "sh", "-c", script]).ok();
    for _ in 0..5 {
        engine.sh("podctl run -d --pod p alpine top").ok();
    }
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    let resolved = "podctl exec web nslookup web";
    let before = engine.sh(resolved).ok();
    for _ in 0..2 {
        let shim = engine.only("podshim pod");
        kill_9(shim);
        let heirs = || engine.pids("podshim pod").into_iter().filter(|&pid| pid != shim).collect::<Vec<_>>();
        until("one shim that was started by a monitor", || (heirs().len() == 1).then_some(()));
        // Nothing but the successor answers names; no command has asked for it.
        let mut inside = std::process::Command::new("nsenter");
        inside.args(["-t", &engine.only("nc -ll").to_string(), "-n", "-m", "/bin/busybox", "nslookup", "web"]);
        until("an answer to a name", || inside.output().is_ok_and(|answer| answer.status.success()).then_some(()));
        assert!(page().is_some(), "the port is served");
        let monitor = engine.only(&format!("podmon {writer}"));
        kill_9(monitor);
        until("a new monitor", || engine.pids(&format!("podmon {writer}")).into_iter().find(|&pid| pid != monitor));
    }
    assert_eq!(engine.sh(resolved).ok(), before);
    let expected: String = (1..=40_000).map(|number| format!("line {number} of many\n")).collect();
    until("the last line", || engine.sh("podctl logs --tail 1 writer").stdout().contains("line 40000").then_some(()));
    assert!(engine.sh("podctl logs writer").stdout() == expected, "a line was lost, doubled or torn");
}

#[test]
fn a_command_killed_at_any_moment_leaves_what_the_next_can_clear() {
    let engine = Engine::with(&[ALPINE]);
    let whole = engine.sh("podctl run -d --name whole alpine true").took;
    engine.sh("podctl rm -f whole").code(0);
    for (number, line) in [
        "podctl run -d --name victim alpine top",
        "podctl run --rm --name victim alpine true",
        "podctl run -d --pod new:pod --name victim -p 8080:80 -v vol:/v alpine top",
        "podctl pod create --name pod -v vol:/v",
    ]
    .into_iter()
    .enumerate()
    {
        for step in 0..10 {
            let mut running = engine.start(line);
            let moment = whole * (step * 4 + u32::try_from(number).unwrap_or_default()) / 30;
            // The command itself, not the nsenter above it; it may have ended by then.
            let _not_yet_ended = wait::within(moment, || running.child.try_wait().ok().flatten());
            for pid in engine.pids(line.trim_start_matches("podctl ")) {
                kill_9(pid);
            }
            running.finish();
            engine.sh("podctl ps -a --pod && podctl pod ps").code(0);
            engine.sh("podctl pod rm -f -t 0 pod").code(0);
            engine.sh("podctl rm -f -t 0 victim").code(0);
            assert_eq!(engine.sh("podctl ps -aq; podctl pod ps -q").ok(), "", "{line} killed after {moment:?}");
            // The names are free again.
            engine.sh("podctl run --rm --name victim alpine true").code(0);
            engine.sh("podctl pod create --name pod && podctl pod rm pod").code(0);
        }
    }
}

#[test]
fn a_client_that_goes_away_does_not_end_the_container() {
    let engine = Engine::with(&[ALPINE]);
    let running = engine.start("podctl run --name stays alpine sh -c 'echo begun; sleep 1; echo done; exit 6'");
    until("its first words", || engine.sh("podctl logs stays").stdout().contains("begun").then_some(()));
    for pid in engine.pids("run --name stays") {
        kill_9(pid);
    }
    running.finish();
    engine.sh("podctl wait stays").prints("6");
    assert_eq!(engine.sh("podctl logs stays").ok(), "begun\ndone");
}

#[test]
fn after_a_reboot_everything_is_exited_and_can_be_started() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name up -p 8080:80 alpine nc -ll -p 80 -e echo page").ok();
    engine.reboot();
    let after = "PODCTL_BOOT_ID=another podctl";
    let status = engine.sh(&format!("{after} ps -a --format '{{{{.Status}}}}' --filter name=up")).ok();
    assert!(status.starts_with("Exited"), "{status}");
    engine.sh(&format!("{after} pod start p")).code(0);
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    engine.sh(&format!("{after} pod rm -f -t 0 p")).code(0);
}

#[test]
fn a_stopped_monitor_goes_on_and_one_that_is_stopped_again_has_a_successor() {
    if is_stand_in() {
        return; // conmon stays where it is.
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name up alpine sh -c 'while :; do echo tick; sleep 0.1; done'").ok();
    let before = engine.field("up", ".State.Pid");
    let monitor = engine.only(&format!("podmon {id}"));
    let works = || {
        let said = engine.sh("podctl logs up").lines().len();
        until("more lines", || (engine.sh("podctl logs up").lines().len() > said).then_some(()));
        engine.sh("podctl exec up echo hello").prints("hello");
        assert_eq!(engine.field("up", ".State.Pid"), before);
    };
    let stop = |pid| kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is there");
    stop(monitor);
    works();
    assert_eq!(engine.only(&format!("podmon {id}")), monitor);
    stop(monitor);
    until("a new monitor", || engine.pids(&format!("podmon {id}")).into_iter().find(|&pid| pid != monitor));
    works();
}

#[test]
fn a_control_group_that_was_busy_when_its_pod_went_goes_with_a_later_command() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name up alpine top").ok();
    let pod = engine.field("up", ".Pod");
    let groups = oracle::cgroups(&engine.label);
    let group = groups.iter().find(|group| group.ends_with(&pod)).expect("the pod has one");
    let mut busy = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    std::fs::write(group.join("cgroup.procs"), busy.id().to_string()).expect("a stranger in it");
    engine.sh("podctl pod rm -f -t 0 p").code(0);
    until("the shim to leave", || engine.pids("podshim pod").is_empty().then_some(()));
    let (there, alive) = (group.exists(), busy.try_wait().expect("wait").is_none());
    let _ended_already = busy.kill();
    let _reaped = busy.wait();
    assert!(there && alive, "it was busy: {there}, {alive}");
    engine.sh("podctl ps").code(0);
    assert!(!group.exists(), "{}", group.display());
}

#[test]
fn a_stopped_monitor_that_an_earlier_shim_has_started_goes_on() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name up alpine sh -c 'while :; do echo tick; sleep 0.1; done'").ok();
    let (shim, monitor) = (engine.only("podshim pod"), engine.only(&format!("podmon {id}")));
    kill_9(shim);
    until("another shim", || engine.pids("podshim pod").iter().any(|pid| *pid != shim).then_some(()));
    engine.sh("podctl exec up true").code(0);
    kill(Pid::from_raw(monitor), Signal::SIGSTOP).expect("it is there");
    // Nothing is asked of the engine meanwhile.
    let state = || std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap_or_default();
    until("the monitor to go on", || (!state().contains(") T ")).then_some(()));
    engine.sh("podctl exec up echo hello").prints("hello");
    assert_eq!(engine.only(&format!("podmon {id}")), monitor);
}

#[test]
fn a_stopped_shim_goes_on_with_the_first_command_that_needs_it_and_nobody_else_waits() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name up alpine top && podctl run -d --name other alpine top").ok();
    let pod = engine.field("up", ".Pod");
    let shim = engine.only(&format!("podshim pod {pod}"));
    let stop = || kill(Pid::from_raw(shim), Signal::SIGSTOP).expect("it is there");
    stop();
    engine.sh("podctl exec up echo hello").prints("hello");
    engine.sh("podctl ps && podctl pod ps && podctl logs up && podctl inspect up && podctl stop -t 0 other").code(0);
    let found = engine.sh("podctl system check").code(125).stdout();
    assert!(found.contains(&format!("of pod {} is stopped by a signal", &pod[..12])), "{found}");
    engine.sh("podctl stop -t 0 up").code(0).mentions(") was stopped by a signal and goes on now");
    engine.sh("podctl start up").code(0);
    stop();
    engine.sh("podctl system check --repair").code(0);
    assert!(!engine.sh("podctl stop -t 0 up").stderr().contains("stopped"), "it goes on already");
}
