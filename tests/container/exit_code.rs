//! What `run`, `exec`, `wait` and `start -a` end with.

use harness::{Engine, images::ALPINE, until};

#[test]
fn a_foreground_run_ends_with_the_code_of_its_command() {
    let engine = Engine::with(&[ALPINE]);
    for code in [0, 1, 7, 125, 200, 255] {
        engine.sh(&format!("podctl run --rm alpine sh -c 'exit {code}'")).code(code);
    }
}

#[test]
fn a_command_that_is_not_found_is_127_and_leaves_nothing_with_rm() {
    let engine = Engine::with(&[ALPINE]);
    let run = engine.sh("podctl run --rm --name x alpine no-such-command");
    run.code(127).mentions("OCI runtime attempted to invoke a command that was not found").mentions("no-such-command");
    assert_eq!(run.stderr().lines().count(), 1, "{run}");
    assert_eq!(engine.sh("podctl ps -aq").ok(), "");
    engine.sh("podctl run -d alpine /no/such/file").code(127);
}

#[test]
fn a_file_that_cannot_be_executed_is_126() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm alpine /etc/passwd").code(126).mentions("OCI permission denied");
    engine.sh("podctl run --rm alpine /etc").code(126);
    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh("podctl exec up /etc/passwd").code(126).mentions("OCI permission denied");
    engine.sh("podctl exec up no-such-command").code(127).mentions("command that was not found");
}

#[test]
fn the_engines_own_failures_are_125() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --no-such-option alpine true").code(125).mentions("Error: unknown flag: --no-such-option");
    engine
        .sh("podctl exec nobody true")
        .code(125)
        .complains("Error: no container with name or ID \"nobody\" found: no such container");
    engine.sh("podctl run --pull never 127.0.0.1:1/no/such true").code(125);
}

#[test]
fn a_command_that_died_of_a_signal_is_128_and_its_number() {
    let engine = Engine::with(&[ALPINE]);
    let run = engine.start("podctl run --name victim alpine sleep 1000");
    until("the container", || (engine.sh("podctl ps -q").lines().len() == 1).then_some(()));
    engine.sh("podctl stop -t 0 victim").code(0);
    run.finish().code(137);
    assert!(engine.sh("podctl ps -a").ok().contains("Exited (137)"));
    engine.sh("podctl wait victim").prints("137");

    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh("podctl exec up sh -c 'kill -9 $$'").code(137);
    engine.sh("podctl exec up sh -c 'kill -SEGV $$'").code(139);
    engine.sh("podctl exec up sh -c 'exit 9'").code(9);
}

#[test]
fn stop_asks_first_and_the_answer_counts() {
    let engine = Engine::with(&[ALPINE]);
    engine
        .sh("podctl run -d --name polite alpine sh -c 'trap \"exit 9\" TERM; echo ready; while :; do sleep 0.1; done'")
        .ok();
    until("it to be ready", || (engine.sh("podctl logs polite").ok() == "ready").then_some(()));
    engine.sh("podctl stop polite").prints("polite").code(0);
    engine.sh("podctl wait polite").prints("9");
}

#[test]
fn stop_resorts_to_sigkill_and_says_so() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name deaf alpine sh -c 'trap \"\" TERM; while :; do sleep 1; done'").ok();
    let stop = engine.sh("podctl stop -t 1 deaf");
    stop.code(0).mentions("StopSignal SIGTERM failed to stop container deaf in 1 seconds, resorting to SIGKILL");
    engine.sh("podctl wait deaf").prints("137");
}

#[test]
fn a_container_has_its_own_grace_and_its_own_time() {
    let engine = Engine::with(&[ALPINE]);
    let deaf = "alpine sh -c 'trap \"\" TERM; while :; do sleep 0.2; done'";
    engine.sh(&format!("podctl run -d --name deaf --stop-timeout 1 {deaf}")).ok();
    let stop = engine.sh("podctl stop deaf");
    stop.code(0).mentions("StopSignal SIGTERM failed to stop container deaf in 1 seconds, resorting to SIGKILL");
    assert!(stop.took < std::time::Duration::from_secs(9), "{:?}", stop.took);
    assert_eq!(engine.field("deaf", ".Config.StopTimeout"), "1");
    let run = engine.sh(&format!("podctl run --name short --timeout 1 {deaf}"));
    run.code(137);
    assert_eq!(engine.field("short", ".Config.Timeout"), "1");
    assert_eq!(engine.field("short", ".State.OOMKilled"), "false");
}

#[test]
fn wait_knows_every_condition() {
    let engine = Engine::with(&[ALPINE]);
    let wait = |rest: &str| engine.sh(&format!("podctl wait -i 20ms {rest}"));
    engine.sh("podctl create --name c alpine sh -c 'trap \"exit 3\" TERM; while test ! -e /end; do sleep 0.1; done; exit 4'").ok();
    wait("--condition configured c").prints("-1").code(0);
    wait("--condition created c").prints("-1");
    engine.sh("podctl start c && podctl pause c").code(0);
    wait("--condition paused --condition stopped c").prints("-1");
    engine.sh("podctl unpause c").code(0);
    wait("--condition running c").prints("-1");
    let both = engine.start("podctl wait --condition exited c c");
    let stopped = engine.start("podctl wait -i 20ms --condition=stopped,removing c");
    engine.sh("podctl stop c").code(0);
    both.finish().code(0).prints("3\n3");
    stopped.finish().code(0).prints("3");
    engine.sh("podctl run -d --name long alpine sleep 1000").ok();
    wait("--exit-first-match long c").prints("3").code(0);
    wait("--ignore nobody c").prints("-1\n3").code(0);
    // It may have gone before it is looked for.
    let gone = engine.start("podctl wait -i 20ms --ignore --condition removing long");
    engine.sh("podctl rm -f -t 0 long").code(0);
    gone.finish().code(0).prints("-1");
    let missing = engine.start("podctl wait -i 20ms --condition paused c");
    engine.sh("podctl rm c").code(0);
    missing.finish().code(125).mentions("no such container");
}

#[test]
fn wait_and_start_report_the_code_of_each_run() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --name twice alpine sh -c 'echo $((2+2)); exit 3'").prints("4").code(3);
    engine.sh("podctl start -a twice").prints("4").code(3);
    engine.sh("podctl start twice").prints("twice").code(0);
    engine.sh("podctl wait twice").prints("3").code(0);
    engine.sh("podctl wait nobody").code(125);
    let waiting = engine.start("podctl run -d --name later alpine sh -c 'sleep 1; exit 5' && podctl wait later");
    assert_eq!(waiting.finish().lines()[1], "5");
}

#[test]
fn who_starts_a_container_without_i_has_nothing_to_say_to_it() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create -i --name c alpine sh -c 'cat; echo end'").ok();
    // What is typed is not for it, with a terminal or without.
    engine.sh("echo typed | podctl start -a c").prints("end").code(0);
    engine.sh("echo typed | podctl start -ai c").prints("typed\nend").code(0);
}

#[test]
fn output_that_cannot_be_written_is_told_and_ends_nothing() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine sleep 1000").ok();
    for line in [
        "run --name full alpine sh -c 'echo x; exit 3'",
        "exec up sh -c 'echo x; exit 3'",
        "exec -t up sh -c 'echo x; exit 3'",
        "start -a full",
    ] {
        let run = engine.sh(&format!("podctl {line} > /dev/full"));
        run.code(125).complains("Error: write to stdout: no space left on device");
    }
    engine.sh("podctl wait full").prints("3");
}

#[test]
fn a_command_that_ends_at_once_is_told_exactly_every_time() {
    let engine = Engine::with(&[ALPINE]);
    let line = "for i in $(seq 1 15); do podctl run --rm alpine sh -c 'echo x; exit 37' || echo $?; done";
    let all = [engine.start(line), engine.start(line), engine.start(line)];
    for run in all {
        assert_eq!(run.finish().code(0).stdout(), "x\n37\n".repeat(15));
    }
}

#[test]
fn a_command_that_ends_its_container_has_a_code() {
    let engine = Engine::with(&[ALPINE]);
    for _ in 0..10 {
        engine.sh("podctl run -d --name c alpine sh -c 'trap \"exit 3\" TERM; while :; do sleep 0.01; done'").ok();
        let ran = engine.sh("podctl exec c sh -c 'kill 1; exit 7'");
        // By itself, or with the container.
        assert!([7, 137].contains(&ran.code), "{ran}");
        engine.sh("podctl wait c && podctl rm c").code(0);
    }
}
