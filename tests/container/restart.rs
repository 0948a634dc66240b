//! `--restart`: what is run again, and what a user has ended.

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn kill_9(pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        // It may have ended by itself in the meantime.
        let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn restarts(engine: &Engine, name: &str) -> u32 {
    engine.field(name, ".RestartCount").parse().expect("a number")
}

fn status(engine: &Engine, name: &str) -> String {
    engine.sh(&format!("podctl ps -a --filter name='^{name}$' --format '{{{{.Status}}}}'")).ok()
}

#[test]
fn on_failure_tries_as_often_as_it_was_told_and_wait_waits_for_the_last_end() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name f --restart on-failure:3 alpine sh -c 'echo run; exit 7'").ok();
    engine.sh("podctl wait f").prints("7").code(0);
    assert_eq!(engine.sh("podctl logs f").lines(), ["run"; 4]);
    assert_eq!(engine.sh("podctl ps -a --format '{{.Restarts}} {{.State}}'").ok(), "3 exited");
    assert_eq!(restarts(&engine, "f"), 3);
    // In the foreground too, and what a user starts begins anew.
    engine.sh("podctl start -a f").code(7);
    assert_eq!((engine.sh("podctl logs f").lines().len(), restarts(&engine, "f")), (8, 3));
    engine.sh("podctl run --name once --restart on-failure alpine true").code(0);
    assert_eq!(restarts(&engine, "once"), 0);
    engine.sh("podctl run --rm --restart on-failure:1 alpine sh -c 'echo x; exit 3'").prints("x\nx").code(3);
    assert_eq!(engine.sh("podctl ps -aq").lines().len(), 2);
}

#[test]
fn always_goes_on_with_one_monitor_until_a_user_ends_it() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --restart always").ok();
    engine.sh("podctl run -d --pod p --name own --restart no alpine sh -c 'exit 4'").ok();
    engine.sh("podctl run -d --pod p --name a alpine sh -c 'sleep 0.1; exit 5'").ok();
    assert_eq!(engine.field("a", ".HostConfig.RestartPolicy.Name"), "always");
    let monitor = engine.field("a", ".State.ConmonPid");
    until("some restarts", || (restarts(&engine, "a") >= 3).then_some(()));
    assert_eq!(engine.field("a", ".State.ConmonPid"), monitor);
    let pause = until("a pause", || Some(status(&engine, "a")).filter(|status| status.starts_with("Restarting (5) ")));
    assert!(pause.ends_with(" ago"), "{pause}");
    assert!(engine.sh("podctl pod ps --format '{{.Status}} {{.Restarts}}'").ok().starts_with("Degraded "));
    // It has 800 ms and more until the next run; a stop does not wait for it.
    engine.sh("podctl stop a").prints("a").code(0);
    assert!(status(&engine, "a").starts_with("Exited (5) "));
    assert_eq!(engine.field("a", ".State.StoppedByUser"), "true");
    assert_eq!((restarts(&engine, "own"), status(&engine, "own").starts_with("Exited (4) ")), (0, true));
    engine.sh("podctl start a").code(0);
    assert!(restarts(&engine, "a") < 3);
    until("a pause", || status(&engine, "a").starts_with("Restarting ").then_some(()));
    engine.sh("podctl pod stop p").code(0);
    assert!(engine.sh("podctl pod ps").ok().contains("Exited"));
    engine.sh("podctl start a").code(0);
    until("a pause", || status(&engine, "a").starts_with("Restarting ").then_some(()));
    engine.sh("podctl rm -f a").prints("a").code(0);
    engine.sh("podctl run -d --name k --restart unless-stopped alpine top && podctl kill k && podctl wait k").code(0);
    assert!(status(&engine, "k").starts_with("Exited (137) "));
}

#[test]
fn a_policy_outlives_every_program_of_ours() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name up --restart always alpine sh -c 'echo run; exec sleep 1000'").ok();
    let pid = || engine.field("up", ".State.Pid").parse().unwrap_or(0);
    let another = |earlier: i32| until("another run", || Some(pid()).filter(|&now| now != 0 && now != earlier));
    let inside = || engine.pids("sleep 1000");
    // Before its command runs a container has another command line, and a killed monitor would have it made again.
    let runs = |count: usize| until("its words", || (engine.sh("podctl logs up").lines().len() == count).then_some(()));
    // The monitor with its container.
    runs(1);
    let first = pid();
    kill_9(engine.pids("podmon ").into_iter().chain(inside()));
    let second = another(first);
    runs(2);
    // All of ours; the container goes on, and its root file system is mounted nowhere else any more.
    kill_9(engine.pids("podshim pod").into_iter().chain(engine.pids("podmon ")));
    engine.sh("podctl run --rm --pod p alpine true").code(0);
    assert_eq!(pid(), second);
    kill_9(inside());
    another(second);
    runs(3);
    engine.sh("podctl exec up true").code(0);
    engine.sh("podctl stop -t 0 up").code(0);
    assert!(status(&engine, "up").starts_with("Exited (137) "));
}

#[test]
fn after_a_reboot_that_starts_which_no_user_has_ended() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    for (name, policy) in [("never", "no"), ("always", "always"), ("up", "unless-stopped"), ("down", "unless-stopped")]
    {
        engine.sh(&format!("podctl run -d --name {name} --restart {policy} alpine top")).ok();
    }
    engine.sh("podctl stop -t 0 always down").code(0);
    engine.reboot();
    let after = "PODCTL_BOOT_ID=another podctl";
    let list = "ps -a --sort names --format '{{.Names}}'";
    let due = engine.sh(&format!("{after} {list} --filter should-start-on-boot=true"));
    assert_eq!(due.lines(), ["always", "up"]);
    assert_eq!(engine.sh(&format!("{after} {list} --filter restart-policy=unless-stopped")).lines(), ["down", "up"]);
    engine.sh(&format!("{after} start --all --filter should-start-on-boot=true")).code(0);
    assert_eq!(engine.sh(&format!("{after} {list} --filter status=running")).lines(), ["always", "up"]);
    engine.sh(&format!("{after} rm -fa -t 0")).code(0);
}
