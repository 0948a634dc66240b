//! Restart policies: podmon runs the container again in place.

use std::{fs, time::Duration};

use proto::{
    frame::Attach,
    record::{self, Durability, Phase},
    wire::{Empty, ExitStatus, MonitorCreate, MonitorKill, MonitorStop},
};

use crate::harness::{self, Bench, Seen, Wish, soon, until, up};

fn wish(policy: &'static str, max_retries: u32, script: &str) -> Wish {
    Wish { restart: (policy, max_retries), ..Wish::sh(script) }
}

/// Seconds since boot, as the container printed them.
fn times(bench: &Bench) -> Vec<f64> {
    let text = String::from_utf8(bench.logged("stdout")).expect("text");
    text.lines().map(|line| line.split(' ').next().expect("uptime").parse().expect("seconds")).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn a_failing_command_is_run_again_after_growing_pauses_until_its_retries_are_used_up() {
    let mut bench = Bench::new(&wish("on-failure", 3, "cat /proc/uptime; exit 7"));
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let attached = bench.attach(&Attach { output: true, lossless: true, stdin: false, ..Default::default() }).await;
    client.start(soon(), &Empty {}).await.expect("start");
    let (seen, exit) = tokio::join!(Seen::all(&attached, Duration::ZERO), client.wait(soon(), &Empty {}));
    assert_eq!(exit.expect("wait").code, 7);
    let times = times(&bench);
    assert_eq!(times.len(), 4);
    for (pair, pause) in times.windows(2).zip([0.1, 0.2, 0.4]) {
        // /proc/uptime knows hundredths.
        assert!(pair[1] - pair[0] >= pause - 0.011, "{times:?}");
    }
    assert!(seen.stdout == bench.logged("stdout"), "who is attached sees every run");
    assert_eq!(seen.exit.map(|exit| exit.code), Some(7));
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!(bench.exit_record().restart_count, 3);
}

#[tokio::test(flavor = "current_thread")]
async fn every_run_has_a_terminal_of_its_own() {
    let mut bench = Bench::new(&Wish { tty: true, ..wish("on-failure", 2, "echo run; tty; exit 1") });
    assert_eq!(harness::run(&bench).await.code, 1);
    assert_eq!(bench.wait_monitor(), Some(0));
    let said = String::from_utf8(bench.logged("stdout")).expect("text");
    assert_eq!(said, "run\r\n/dev/pts/0\r\n".repeat(3));
}

#[tokio::test(flavor = "current_thread")]
async fn success_ends_on_failure_and_a_policy_of_nothing() {
    for (policy, script) in [("on-failure", "echo run"), ("no", "echo run; exit 1"), ("", "echo run; exit 1")] {
        let mut bench = Bench::new(&wish(policy, 0, script));
        harness::run(&bench).await;
        assert_eq!(bench.wait_monitor(), Some(0));
        assert_eq!((bench.logged("stdout"), bench.exit_record().restart_count), (b"run\n".to_vec(), 0), "{policy:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_user_ends_it_while_it_runs_and_between_two_runs() {
    let stop = MonitorStop { timeout_ms: 0, ..MonitorStop::default() };
    let mut bench = Bench::new(&wish("always", 0, "sleep 1000"));
    let (client, _) = up(&bench).await;
    assert_eq!(client.stop(soon(), &stop).await.expect("stop").code, 137);
    assert_eq!(bench.wait_monitor(), Some(0));
    assert!(bench.exit_record().stopped_by_user);

    let mut bench = Bench::new(&wish("always", 0, "sleep 1000"));
    let (client, _) = up(&bench).await;
    let kill = MonitorKill { signal: "KILL".into(), all: false };
    client.kill(soon(), &kill).await.expect("kill");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 137);
    assert_eq!(bench.wait_monitor(), Some(0));

    let mut bench = Bench::new(&wish("always", 0, "exit 5"));
    let (client, _) = up(&bench).await;
    // The pause is 1.6 s then.
    until("some runs", || bench.state().restart_count >= 4 && bench.state().backoff_ms >= 1600).await;
    assert_eq!(client.stop(soon(), &stop).await.expect("stop").code, 5);
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!(bench.state().phase, Phase::Exited);
}

#[tokio::test(flavor = "current_thread")]
async fn a_successor_goes_on_with_the_policy() {
    // Killed between two runs, several times.
    let mut bench = Bench::new(&wish("always", 0, "echo run; exit 1"));
    up(&bench).await;
    for _ in 0..4 {
        until("a pause", || bench.state().phase == Phase::Backoff).await;
        bench.kill();
        let before = bench.logged("stdout").len();
        bench.respawn();
        until("another run", || bench.logged("stdout").len() > before).await;
    }
    let stop = MonitorStop { timeout_ms: 0, ..MonitorStop::default() };
    bench.client().stop(soon(), &stop).await.expect("stop");
    assert_eq!(bench.wait_monitor(), Some(0));
    let runs = bench.logged("stdout").len() / 4;
    assert!(bench.logged("stdout") == b"run\n".repeat(runs) && runs >= 4, "{runs} runs");

    // Killed in a pause, which is not longer for it.
    let mut bench = Bench::new(&wish("always", 0, "exit 1"));
    up(&bench).await;
    until("a pause", || bench.state().backoff_before == 4).await;
    assert_eq!(bench.state().backoff_ms, 800);
    bench.kill();
    bench.respawn();
    until("another run", || {
        let state = bench.state();
        assert!(state.backoff_before != 4 || state.backoff_ms == 800, "{} ms", state.backoff_ms);
        state.restart_count == 4
    })
    .await;
    // Killed again over the run that comes then: its placeholder is where the last exit was.
    for ended_by_user in [false, true] {
        until("a pause", || bench.state().phase == Phase::Backoff && bench.state().init.is_none()).await;
        bench.kill();
        let mut placeholder = bench.exit_record();
        placeholder.status = ExitStatus { known: false, finished_at: 0, ..placeholder.status };
        placeholder.started_at += 1;
        record::write(&bench.start.exit_record, &placeholder, Durability::Volatile).expect("exit.json");
        if ended_by_user {
            fs::write(bench.run.join("ended-by-user"), "").expect("mark");
        }
        let before = bench.state().restart_count;
        bench.respawn();
        if !ended_by_user {
            until("another run", || bench.state().restart_count > before).await;
        }
    }
    assert_eq!(bench.wait_monitor(), Some(0));
    assert!(bench.exit_record().stopped_by_user && !bench.exit_record().status.known);

    // Killed with its container while it runs.
    let mut bench = Bench::new(&wish("always", 0, "echo run; sleep 1000"));
    up(&bench).await;
    until("its words", || bench.logged("stdout") == b"run\n").await;
    let first = bench.state().init.expect("init").pid;
    bench.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .expect("kill");
    assert_eq!(harness::reap(first, harness::LONG), Some(9));
    bench.spawn();
    until("another run", || bench.logged("stdout") == b"run\nrun\n").await;
    // What a user has ended while nobody was there stays so.
    let second = bench.state().init.expect("init").pid;
    bench.kill();
    fs::write(bench.run.join("ended-by-user"), "").expect("mark");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(second.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .expect("kill");
    bench.respawn();
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!((bench.logged("stdout"), bench.exit_record().stopped_by_user), (b"run\nrun\n".to_vec(), true));
}

#[tokio::test(flavor = "current_thread")]
async fn a_later_run_that_cannot_be_made_is_tried_again() {
    // A runtime that fails at its second create, and not again.
    let script = "case $3 in create) n=$(cat /proc/$PPID/cwd/count 2> /dev/null); echo $((n + 1)) > /proc/$PPID/cwd/count; \
                  [ \"$n\" = 1 ] && { echo not now >&2; exit 1; } ;; esac; exec crun \"$@\"";
    let mut bench = Bench::new(&Wish { runtime_script: Some(script), ..wish("on-failure", 2, "echo run; exit 1") });
    assert_eq!(harness::run(&bench).await.code, 1);
    assert_eq!(bench.wait_monitor(), Some(0));
    // The try that failed was one of the two.
    assert_eq!((bench.logged("stdout"), bench.exit_record().restart_count), (b"run\nrun\n".to_vec(), 2));
}

#[tokio::test(flavor = "current_thread")]
async fn a_run_is_counted_once_though_its_monitor_is_killed_before_it_is_made() {
    // The second create says that it has begun, and waits as long as it is told to.
    let script = "case $3 in create) cd /proc/$PPID/cwd; n=$(cat count 2> /dev/null); echo $((n + 1)) > count; \
                  while [ \"$n\" -ge 1 ] && [ -e held ]; do sleep 0.05; done ;; esac; exec crun \"$@\"";
    let mut bench = Bench::new(&Wish { runtime_script: Some(script), ..wish("on-failure", 3, "echo run; exit 1") });
    fs::write(bench.run.join("held"), "").expect("held");
    up(&bench).await;
    let creates = |bench: &Bench| fs::read_to_string(bench.run.join("count")).unwrap_or_default().trim().to_owned();
    for count in ["2", "3"] {
        until("a create", || creates(&bench) == count).await;
        assert_eq!(bench.state().restart_count, 1);
        bench.kill();
        if count == "3" {
            fs::remove_file(bench.run.join("held")).expect("held");
        }
        bench.respawn();
    }
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!((bench.logged("stdout"), bench.exit_record().restart_count), (b"run\n".repeat(4), 3));
}
