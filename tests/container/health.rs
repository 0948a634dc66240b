//! Health checks: when they run, what they show, and what follows.

use std::time::Duration;

use harness::{
    Engine,
    image::{Image, Layer},
    images::{self, ALPINE},
    programs::is_stand_in,
    until, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

fn health(engine: &Engine, name: &str) -> String {
    engine.field(name, ".State.Health.Status")
}

fn until_health(engine: &Engine, name: &str, status: &str) {
    until(&format!("{name} to be {status}"), || (health(engine, name) == status).then_some(()));
}

/// How many checks of `name` have been logged.
fn checks(engine: &Engine, name: &str) -> usize {
    engine.field(name, "len .State.Health.Log").parse().expect("a number")
}

#[test]
fn the_first_check_runs_at_once_and_ps_inspect_and_wait_tell() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --health-cmd 'test ! -e /bad || { echo broken; false; }' --health-interval 1s --health-retries 1 alpine top").ok();
    engine.sh("podctl wait --condition healthy c").prints("-1");
    assert!(engine.sh("podctl ps --format '{{.Status}}'").ok().ends_with(" (healthy)"));
    engine.sh("podctl ps -q --filter health=healthy").code(0);
    assert_eq!(engine.sh("podctl ps --filter health=healthy --format '{{.Names}}'").ok(), "c");
    engine.sh("podctl exec c touch /bad").code(0);
    engine.sh("podctl wait --condition=unhealthy --condition=exited c").prints("-1");
    assert!(engine.sh("podctl ps --format '{{.Status}}'").ok().ends_with(" (unhealthy)"));
    assert_eq!(engine.sh("podctl ps --filter health=healthy --format '{{.Names}}'").ok(), "");
    assert_eq!(engine.sh("podctl ps --filter health=unhealthy --format '{{.Names}}'").ok(), "c");
    assert_ne!(engine.field("c", ".State.Health.FailingStreak"), "0");
    let last = engine.field("c", "json (index .State.Health.Log 0)");
    assert!(last.contains("\"ExitCode\":") && last.contains("\"Output\":"), "{last}");
    let log = engine.field("c", "range .State.Health.Log}}{{.ExitCode}}:{{.Output}}{{end");
    assert!(log.contains("1:broken"), "{log}");
    engine.sh("podctl exec c rm /bad").code(0);
    until_health(&engine, "c", "healthy");
    assert_eq!(engine.field("c", ".State.Health.FailingStreak"), "0");
}

#[test]
fn what_was_asked_for_is_shown_with_its_defaults() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create --name a --health-cmd 'true || x' alpine top").ok();
    assert_eq!(
        engine.field("a", "json .Config.Healthcheck"),
        r#"{"Test":["CMD-SHELL","true || x"],"Interval":30000000000,"Timeout":30000000000,"Retries":3}"#
    );
    let rest = ".Config.HealthcheckOnFailureAction}} {{.Config.HealthLogDestination}} {{.Config.HealthcheckMaxLogCount}} {{.Config.HealthcheckMaxLogSize";
    assert_eq!(engine.field("a", rest), "none local 5 500");
    assert_eq!(health(&engine, "a"), "starting");
    engine.sh("podctl create --name b --health-cmd '[\"ls\",\"-l\"]' --health-interval disable --health-start-period 2m --health-startup-cmd true --health-startup-success 2 --health-on-failure stop alpine top").ok();
    assert_eq!(
        engine.field("b", "json .Config.Healthcheck"),
        r#"{"Test":["CMD","ls","-l"],"StartPeriod":120000000000,"Timeout":30000000000,"Retries":3}"#
    );
    assert_eq!(
        engine.field("b", "json .Config.StartupHealthCheck"),
        r#"{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Timeout":30000000000,"Successes":2}"#
    );
    assert_eq!(engine.field("b", ".Config.HealthcheckOnFailureAction"), "stop");
    engine.sh("podctl create --name none alpine top").ok();
    assert!(!engine.sh("podctl inspect none").ok().contains("\"Health\""));
}

#[test]
fn an_images_check_is_run_unless_it_is_not_wanted() {
    let engine = Engine::new();
    let image = Image::new()
        .layer(Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine"))
        .set("Cmd", json!(["top"]))
        .set(
            "Healthcheck",
            json!({"Test": ["CMD", "sh", "-c", "echo from the image"], "Interval": 3_600_000_000_000_i64}),
        );
    let file = engine.path("tmp/image.tar");
    image.docker_archive(&file, &["localhost/checked:latest"]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/image.tar && rm $TMPDIR/image.tar").ok();
    engine.sh("podctl run -d --pod new:p --name c localhost/checked").ok();
    until_health(&engine, "c", "healthy");
    assert_eq!(engine.field("c", "(index .State.Health.Log 0).Output").trim_end(), "from the image");
    assert_eq!(engine.field("c", ".Config.Healthcheck.Interval"), "3600000000000");
    for option in ["--no-healthcheck", "--health-cmd none"] {
        engine.sh(&format!("podctl run -d --replace --name off {option} localhost/checked")).ok();
        assert_eq!(engine.field("off", "json .Config.Healthcheck"), r#"{"Test":["NONE"]}"#);
        engine.sh("podctl healthcheck run off").code(125).mentions("has no defined healthcheck");
    }
    engine.sh("podctl run -d --name timed --health-retries 7 localhost/checked").ok();
    assert_eq!(engine.field("timed", ".Config.Healthcheck.Retries"), "7");
}

#[test]
fn one_check_can_be_asked_for() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --health-cmd 'test -e /good' --health-interval disable --health-retries 2 alpine top").ok();
    assert_eq!(checks(&engine, "c"), 0, "nothing is scheduled");
    engine.sh("podctl healthcheck run c").code(1).prints("unhealthy");
    engine.sh("podctl healthcheck run --ignore-result c").code(0).prints("unhealthy");
    assert_eq!(health(&engine, "c"), "unhealthy");
    engine.sh("podctl exec c touch /good && podctl healthcheck run c").code(0).prints_nothing();
    assert_eq!(health(&engine, "c"), "healthy");
    assert_eq!(checks(&engine, "c"), 3);
    engine.sh("podctl pause c").code(0);
    engine.sh("podctl healthcheck run c").code(125).mentions("is not running");
    engine.sh("podctl unpause c && podctl stop -t 0 c").code(0);
    engine.sh("podctl healthcheck run c").code(125).mentions("is not running");
    engine.sh("podctl run -d --name s --health-cmd true --health-startup-cmd false --health-interval disable --health-startup-interval disable alpine top").ok();
    engine.sh("podctl healthcheck run s").code(1).prints("starting");
}

#[test]
fn a_hanging_check_is_killed_with_all_it_has_started() {
    let engine = Engine::with(&[ALPINE]);
    let check = "sleep 4711 & setsid sleep 4712 & (sleep 4713 &) ; echo waiting; wait; sleep 4714";
    engine
        .podctl(&[
            "run",
            "-d",
            "--name",
            "c",
            "--health-cmd",
            check,
            "--health-interval",
            "1h",
            "--health-timeout",
            "5s",
            "alpine",
            "top",
        ])
        .ok();
    let alive = || (4711..=4713).filter(|number| !engine.pids(&format!("sleep {number}")).is_empty()).count();
    until("the check to have begun", || (alive() == 3).then_some(()));
    until("a result", || (checks(&engine, "c") == 1).then_some(()));
    assert_eq!(engine.field("c", "(index .State.Health.Log 0).ExitCode"), "-1");
    assert_eq!(engine.field("c", "(index .State.Health.Log 0).Output").trim_end(), "waiting");
    until("all of it to be gone", || (alive() == 0 && engine.pids("sleep 4714").is_empty()).then_some(()));
    assert_eq!(engine.field("c", ".State.Status"), "running");
}

#[test]
fn what_a_check_says_is_bounded() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --health-cmd 'yes | head -c 20000000' --health-interval 200ms --health-max-log-size 10 --health-max-log-count 2 alpine top").ok();
    until("checks", || (checks(&engine, "c") == 2).then_some(()));
    until_health(&engine, "c", "healthy");
    let first = engine.field("c", "(index .State.Health.Log 0).Start");
    until("the oldest to be forgotten", || {
        (engine.field("c", "(index .State.Health.Log 0).Start") != first).then_some(())
    });
    assert_eq!(checks(&engine, "c"), 2);
    assert_eq!(engine.field("c", "len (index .State.Health.Log 0).Output"), "10");
}

#[test]
fn an_unhealthy_container_is_killed_or_stopped() {
    let engine = Engine::with(&[ALPINE]);
    let on_failure = |action: &str| {
        engine.sh(&format!("podctl run -d --replace --name c --health-cmd 'test ! -e /bad' --health-interval 100ms --health-retries 2 --health-on-failure {action} alpine sh -c 'trap \"exit 7\" TERM; while :; do sleep 0.1; done'")).ok();
        until_health(&engine, "c", "healthy");
        engine.sh("podctl exec c touch /bad").code(0);
    };
    on_failure("kill");
    engine.sh("podctl wait c").prints("137");
    assert_eq!(health(&engine, "c"), "unhealthy");
    on_failure("stop");
    engine.sh("podctl wait c").prints("7");
    on_failure("none");
    until_health(&engine, "c", "unhealthy");
    assert_eq!(engine.field("c", ".State.Status"), "running");
    // Started again it begins anew.
    let before = engine.field("c", "(index .State.Health.Log 0).Start");
    engine.sh("podctl stop -t 0 c && podctl start c").code(0);
    until("a check", || (checks(&engine, "c") > 0).then_some(()));
    assert!(engine.field("c", "(index .State.Health.Log 0).Start") > before);
    assert!(checks(&engine, "c") < 5, "what an earlier run has shown is forgotten");
}

#[test]
fn an_unhealthy_container_is_restarted() {
    let engine = Engine::with(&[ALPINE]);
    let restarts = |name: &str| engine.field(name, ".RestartCount").parse::<u32>().expect("a number");
    engine.sh("podctl run -d --name c --health-cmd 'test ! -e /tmp/bad' --health-interval 100ms --health-retries 2 --health-on-failure restart --tmpfs /tmp --stop-timeout 0 alpine top").ok();
    until_health(&engine, "c", "healthy");
    engine.sh("podctl exec c touch /tmp/bad").code(0);
    until("a restart", || (restarts("c") == 1).then_some(()));
    until_health(&engine, "c", "healthy");
    assert_eq!(engine.field("c", ".State.Health.FailingStreak"), "0");
    engine.sh("podctl stop -t 0 c").code(0);
    assert_eq!(engine.field("c", ".State.Status"), "exited");
    engine.sh("podctl run -d --name s --health-cmd true --health-startup-cmd false --health-startup-interval 100ms --health-startup-retries 2 --stop-timeout 0 alpine top").ok();
    until("a restart", || (restarts("s") >= 1).then_some(()));
}

#[test]
fn failures_do_not_count_while_it_starts() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name period --health-cmd false --health-interval 100ms --health-retries 1 --health-start-period 1h alpine top").ok();
    engine.sh("podctl run -d --name startup --health-cmd true --health-interval 100ms --health-startup-cmd 'test -e /up' --health-startup-interval 100ms --health-startup-success 2 alpine top").ok();
    until("checks of both", || (checks(&engine, "period") == 5 && checks(&engine, "startup") == 5).then_some(()));
    assert_eq!((health(&engine, "period"), health(&engine, "startup")), ("starting".into(), "starting".into()));
    assert_eq!(engine.field("period", ".State.Health.FailingStreak"), "0");
    engine.sh("podctl exec startup touch /up").code(0);
    until_health(&engine, "startup", "healthy");
}

#[test]
fn a_paused_container_is_not_checked() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --health-cmd 'sleep 0.2' --health-interval 100ms --health-timeout 3s --health-retries 1 alpine top").ok();
    until_health(&engine, "c", "healthy");
    engine.sh("podctl pause c").code(0);
    let before = engine.field("c", "json .State.Health");
    // Longer than a check may take.
    let changed =
        wait::within(Duration::from_millis(3500), || (engine.field("c", "json .State.Health") != before).then_some(()));
    assert_eq!(changed, None);
    engine.sh("podctl unpause c").code(0);
    until("checks to go on", || (engine.field("c", "json .State.Health") != before).then_some(()));
    assert_eq!(health(&engine, "c"), "healthy");
}

#[test]
fn a_new_monitor_goes_on_with_the_checks() {
    if is_stand_in() {
        return; // conmon is not replaced.
    }
    let engine = Engine::with(&[ALPINE]);
    let id =
        engine.sh("podctl run -d --name c --health-cmd false --health-interval 1s --health-retries 3 alpine top").ok();
    until("a check", || (checks(&engine, "c") >= 1).then_some(()));
    let first = engine.field("c", "(index .State.Health.Log 0).Start");
    for pid in engine.pids(&format!("podmon {id}")) {
        // It may have ended by itself in the meantime.
        let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    until_health(&engine, "c", "unhealthy");
    assert_eq!(engine.field("c", "(index .State.Health.Log 0).Start"), first, "the log goes on");
}

#[test]
fn a_log_goes_to_a_directory_that_is_there() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir $TMPDIR/health").code(0);
    let id = engine.sh("podctl run -d --name c --health-cmd 'echo fine' --health-interval 1h --health-log-destination $TMPDIR/health alpine top").ok();
    let file = engine.path(&format!("tmp/health/{id}-healthcheck.log"));
    let log = until("the log", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("fine")));
    let log: serde_json::Value = serde_json::from_str(&log).expect("JSON");
    assert_eq!((log["Status"].as_str(), log["Log"][0]["ExitCode"].as_i64()), (Some("healthy"), Some(0)));
    engine.sh("podctl rm -f -t 0 c; rm -r $TMPDIR/health").code(0);
}

#[test]
fn a_monitor_that_checks_nothing_does_not_wake_up() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name c alpine sleep 1000").ok();
    let pid = engine.pids(&format!("podmon {id}")).first().copied().expect("a monitor");
    // Times it gave up the processor: each time it wakes up it does again.
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    // It settles within some seconds: what the start needed is given back.
    let mut quiet_since = (switches(), std::time::Instant::now());
    until("three seconds without a wake-up", || {
        let now = switches();
        if now != quiet_since.0 {
            quiet_since = (now, std::time::Instant::now());
        }
        (quiet_since.1.elapsed() > Duration::from_secs(3)).then_some(())
    });
}

#[test]
fn what_a_check_has_left_behind_by_two_forks_ends_with_its_time() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    // The daemon has another parent, a session of its own, and an environment that says nothing.
    let check = "setsid sh -c 'setsid env -i sleep 4321 & echo gone' > /dev/null 2>&1; sleep 1234";
    engine.sh(&format!("podctl run -d --name c --health-cmd \"{check}\" --health-timeout 1s --health-interval 1h --health-retries 1 alpine top")).ok();
    until("the daemon", || (!engine.pids("sleep 4321").is_empty()).then_some(()));
    until_health(&engine, "c", "unhealthy");
    until("silence", || (engine.pids("sleep 4321").is_empty() && engine.pids("sleep 1234").is_empty()).then_some(()));
    assert_eq!(engine.field("c", ".State.Status"), "running");
    // What a user has started is not the check's.
    engine.sh("podctl exec -d c sleep 5678").code(0);
    engine.sh("podctl healthcheck run c").code(1);
    assert_eq!(engine.pids("sleep 5678").len(), 1);
}

#[test]
fn a_log_goes_to_the_events() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --health-cmd 'echo fine' --health-interval 1h --health-log-destination events_logger alpine top").ok();
    assert_eq!(engine.field("c", ".Config.HealthLogDestination"), "events_logger");
    until_health(&engine, "c", "healthy");
    let events = "podctl events --stream=false --filter event=health_status --filter container=c --format json";
    let last = until("the event", || {
        let told = engine.sh(events).stdout();
        told.lines().last().filter(|line| line.contains("health_log")).map(str::to_owned)
    });
    let event: serde_json::Value = serde_json::from_str(&last).expect("JSON");
    let log: serde_json::Value = serde_json::from_str(event["health_log"].as_str().expect("text")).expect("JSON");
    assert_eq!((log["ExitCode"].as_i64(), log["Output"].as_str()), (Some(0), Some("fine\n")));
    assert_eq!(engine.field("c", "(index .State.Health.Log 0).Output"), "fine\n", "and it is kept as ever");
}
