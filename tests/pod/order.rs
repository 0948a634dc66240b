//! Who is started before whom: `--requires`, init containers, sidecars; and when a pod ends with its members.

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};

/// A command that runs until it is told to end.
const STAYS: &str = "sh -c 'trap exit TERM; while :; do sleep 0.05; done'";

fn state(engine: &Engine, name: &str) -> String {
    engine.field(name, ".State.Status")
}

fn pod_status(engine: &Engine, name: &str) -> String {
    engine.sh(&format!("podctl pod ps --filter name='^{name}$' --format '{{{{.Status}}}}'")).ok()
}

#[test]
fn what_is_required_is_started_first_stopped_last_and_not_removed() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p").ok();
    let db = engine.sh(&format!("podctl create --pod p --name db alpine {STAYS}")).ok();
    let app = engine.sh(&format!("podctl create --pod p --name app --requires db alpine {STAYS}")).ok();
    engine.sh(&format!("podctl create --pod p --name web --requires app:started alpine {STAYS}")).ok();
    assert!(engine.field("app", "json .Dependencies").contains(&db));
    engine.sh("podctl start web").prints("web").code(0);
    let times = |what: &str| {
        // In UTC; without its zone a time with fewer digits is a beginning of later ones.
        let time = |name| engine.field(name, what).split(['Z', '+']).next().expect("a time").to_owned();
        ["db", "app", "web"].map(time)
    };
    let rises = |times: [String; 3]| times.is_sorted() && times[0] != times[2];
    assert!(rises(times(".State.StartedAt")), "{:?}", times(".State.StartedAt"));
    engine.sh("podctl pod stop p").code(0);
    let mut ends = times(".State.FinishedAt");
    ends.reverse();
    assert!(rises(ends), "{:?}", times(".State.FinishedAt"));
    let words = format!(
        "Error: container {db} has dependent containers which must be removed before it: {app}: container already exists"
    );
    engine.sh("podctl rm db").code(2).complains(&words);
    engine.sh("podctl rm -f db").code(2).complains(&words);
    engine.sh("podctl start app").code(0);
    engine.sh("podctl rm --depend db").code(2).mentions("without force");
    engine.sh("podctl rm -f --depend db").code(0);
    assert_eq!(engine.sh("podctl ps -a --format '{{.Names}}'").lines().len(), 1, "the infra");
    engine.sh("podctl run -d --pod p --name a alpine top && podctl run -d --pod p --requires a alpine top").ok();
    engine.sh("podctl rm -fa -t 0").code(0);
    engine.sh("podctl run --pod p --requires app alpine true").code(125).mentions("cannot be used as a dependency");
}

#[test]
fn what_must_be_completed_is_waited_for() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p -v vol:/v").ok();
    engine.sh("podctl create --pod p --name migrate alpine sh -c 'sleep 0.3; echo migrated >> /v/done'").ok();
    engine
        .sh("podctl create --pod p --name app --requires migrate:completed alpine sh -c 'cat /v/done; exec top'")
        .ok();
    engine.sh("podctl pod start p").prints("p").code(0);
    until("its words", || (engine.sh("podctl logs app").ok() == "migrated").then_some(()));
    // It was completed: another start of the one that needs it does not run it again.
    engine.sh("podctl stop -t 0 app && podctl start app").code(0);
    assert_eq!(engine.field("migrate", ".State.ExitCode"), "0");
    engine.sh("podctl pod rm -f -t 0 p").code(0);

    engine.sh("podctl pod create --name q").ok();
    engine.sh("podctl create --pod q --name bad alpine sh -c 'exit 3'").ok();
    engine
        .sh("podctl run --pod q --name app --requires bad:completed alpine true")
        .code(125)
        .mentions("container app requires container bad to be completed, which exited with code 3");
    engine.sh("podctl pod start q").code(125).mentions("exited with code 3");
    assert_eq!(state(&engine, "app"), "created");
    engine.sh("podctl run -d --pod q --name ever --restart always alpine top").ok();
    engine
        .sh("podctl create --pod q --requires ever:completed alpine")
        .code(125)
        .mentions("container ever never completes, its restart policy is always: use started");
}

#[test]
fn what_must_be_healthy_is_waited_for() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p -v vol:/v").ok();
    let checked = "podctl create --pod p --health-interval 100ms --health-retries 3 --health-cmd 'test -e /v/ready'";
    let slow = "sh -c 'rm -f /v/ready; sleep 0.2; echo ready > /v/ready; exec top'";
    engine.sh(&format!("{checked} --name db --health-start-period 20s alpine {slow}")).ok();
    engine.sh("podctl create --pod p --name app --requires db:healthy alpine sh -c 'cat /v/ready; exec top'").ok();
    engine.sh("podctl pod start p").prints("p").code(0);
    until("its words", || (engine.sh("podctl logs app").ok() == "ready").then_some(()));
    engine.sh("podctl pod stop -t 0 p && podctl rm app db").code(0);
    engine.sh(&format!("{checked} --name sick alpine sh -c 'rm -f /v/ready; exec top'")).ok();
    engine
        .sh("podctl run --pod p --name app --requires sick:healthy alpine true")
        .code(125)
        .mentions("container app requires container sick to be healthy, which is unhealthy");
    engine.sh("podctl create --pod p --name bare alpine top").ok();
    engine
        .sh("podctl create --pod p --requires bare:healthy alpine")
        .code(125)
        .mentions("--requires bare:healthy: container bare has no health check");
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --restart always -v vol:/v").ok();
    engine.sh("podctl create --pod p --name main --stop-timeout 0 alpine sh -c 'cat /v/log; exec sleep 1000'").ok();
    engine.sh("podctl create --pod p --name one --init-ctr once alpine sh -c 'sleep 0.3; echo one >> /v/log'").ok();
    engine.sh("podctl create --pod p --name two --init-ctr always alpine sh -c 'echo two >> /v/log'").ok();
    engine.sh("podctl pod start p").prints("p").code(0);
    let said = || engine.sh("podctl logs main").ok().replace('\n', " ");
    let says = |words: &str| until("its words", || (said() == words).then_some(()));
    says("one two");
    engine.sh("podctl container exists one").code(1);
    assert_eq!((state(&engine, "two"), engine.field("two", ".RestartCount")), ("exited".to_owned(), "0".to_owned()));
    assert_eq!(engine.field("two", ".HostConfig.RestartPolicy.Name"), "no");
    assert_eq!(pod_status(&engine, "p"), "Running");
    engine
        .sh("podctl create --pod p --init-ctr once alpine")
        .code(125)
        .complains("Error: cannot add init-ctr to a running pod");
    // Not beside those that run, and not by restart.
    engine.sh("podctl pod start p").code(0);
    engine.sh("podctl pod restart p").code(0);
    says("one two one two");
    engine.sh("podctl pod stop -t 0 p && podctl pod start p").code(0);
    says("one two one two one two two");

    engine.sh("podctl pod create --name q").ok();
    let bad = engine.sh("podctl create --pod q --name bad --init-ctr once alpine sh -c 'exit 7'").ok();
    engine.sh("podctl create --pod q --name never --init-ctr once alpine true").ok();
    engine.sh("podctl create --pod q --name late alpine top").ok();
    engine.sh("podctl pod start q").code(125).complains(&format!("Error: init container {bad} exited with code 7"));
    assert_eq!((state(&engine, "late"), state(&engine, "never")), ("created".to_owned(), "created".to_owned()));
    assert_eq!(pod_status(&engine, "q"), "Degraded");
}

#[test]
fn a_sidecar_is_up_before_the_others_stays_up_and_goes_with_them() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --exit-policy stop -v vol:/v").ok();
    let side = "podctl create --pod p --name side --init-ctr always --restart always alpine";
    engine.sh(&format!("{side} sh -c 'echo up >> /v/log; exec sleep 1000'")).ok();
    let main = "podctl create --pod p --name main alpine";
    engine.sh(&format!("{main} sh -c 'until [ -e /v/end ]; do sleep 0.05; done'")).ok();
    engine.sh("podctl pod start p").prints("p").code(0);
    assert_eq!((state(&engine, "side"), state(&engine, "main")), ("running".to_owned(), "running".to_owned()));
    let first = engine.field("side", ".State.Pid");
    for pid in engine.pids("sleep 1000") {
        let _gone_already = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    until("it to be back", || (!["0", &first].contains(&&*engine.field("side", ".State.Pid"))).then_some(()));
    assert_eq!(pod_status(&engine, "p"), "Running");
    engine.sh("podctl exec main touch /v/end").code(0);
    until("the end of the pod", || (pod_status(&engine, "p") == "Exited").then_some(()));
    assert_eq!(state(&engine, "side"), "exited");
}

#[test]
fn a_pod_whose_policy_is_to_stop_waits_for_restarts() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --exit-policy stop --restart on-failure:3").ok();
    engine.sh("podctl run -d --pod p --name a alpine sh -c 'exit 5'").ok();
    engine.sh("podctl wait a").prints("5");
    assert_eq!(engine.field("a", ".RestartCount"), "3");
    until("the end of the pod", || (pod_status(&engine, "p") == "Exited").then_some(()));
}
