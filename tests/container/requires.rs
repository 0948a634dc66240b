//! `--requires` of containers without a pod: each is in a pod of its own, and yet is started after those it needs.

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};

/// A command that runs until it is told to end.
const STAYS: &str = "sh -c 'trap exit TERM; while :; do sleep 0.05; done'";

#[test]
fn what_is_required_is_started_before_by_every_start() {
    let engine = Engine::with(&[ALPINE]);
    let db = engine.sh(&format!("podctl create --name db alpine {STAYS}")).ok();
    let cache = engine.sh(&format!("podctl create --name cache --requires db alpine {STAYS}")).ok();
    let app = engine.sh(&format!("podctl create --name app --requires cache,db alpine {STAYS}")).ok();
    assert!(engine.field("app", "json .Dependencies").contains(&db));
    let state = |name| engine.field(name, ".State.Status");
    let all_run = || assert_eq!(["db", "cache", "app"].map(state), ["running"; 3]);
    engine.sh("podctl start app").prints("app").code(0);
    all_run();
    engine.sh("podctl stop db").code(0);
    engine.sh("podctl restart app").prints("app").code(0);
    all_run();
    engine.sh("podctl stop app cache db && podctl init app && podctl start app").code(0);
    all_run();
    engine.sh("podctl stop app cache db").code(0);
    engine.sh("podctl run --rm --requires cache alpine echo ran").prints("ran").code(0);
    assert_eq!(["db", "cache", "app"].map(state), ["running", "running", "exited"]);
    engine.sh("podctl stop cache db && podctl run -d --name new --requires cache alpine top").code(0);
    assert_eq!(["db", "cache"].map(state), ["running"; 2]);
    engine.sh("podctl stop -t 0 new cache && podctl start -a --sig-proxy=false app & until podctl ps | grep -q app; do sleep 0.05; done; podctl stop app; wait").code(0);
    all_needed_stay(&engine, &db, &[cache, app]);
}

/// Those that others need are not removed before them.
fn all_needed_stay(engine: &Engine, db: &str, needing: &[String]) {
    let refused = engine.sh("podctl rm -f db");
    refused.code(2).mentions(&format!("container {db} has dependent containers which must be removed before it"));
    assert!(needing.iter().all(|id| refused.stderr().contains(id)));
    engine.sh("podctl rm -f -t 0 --depend db").code(0);
    assert_eq!(engine.sh("podctl ps -aq").ok(), "");
}

#[test]
fn what_must_be_completed_or_healthy_is_waited_for() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create --name migrate -v vol:/v alpine sh -c 'sleep 0.3; echo migrated >> /v/done'").ok();
    let app = "podctl run --rm -v vol:/v --requires migrate:completed alpine cat /v/done";
    engine.sh(app).prints("migrated");
    // It is completed, and not run again.
    engine.sh(app).prints("migrated");
    engine.sh("podctl create --name bad alpine sh -c 'exit 3'").ok();
    engine
        .sh("podctl run --name never --requires bad:completed alpine true")
        .code(125)
        .mentions("container never requires container bad to be completed, which exited with code 3");
    engine.sh("podctl container exists never").code(1);
    let checked = "podctl create --health-interval 100ms --health-retries 3 --health-cmd 'test -e /ready'";
    let slow = "sh -c 'sleep 0.3; touch /ready; exec top'";
    engine.sh(&format!("{checked} --name well --health-start-period 20s alpine {slow}")).ok();
    engine.sh("podctl create --name app --requires well:healthy alpine top && podctl start app").code(0);
    assert_eq!(engine.field("well", ".State.Health.Status"), "healthy");
    engine.sh(&format!("{checked} --name sick alpine top")).ok();
    engine
        .sh("podctl run --requires sick:healthy alpine true")
        .code(125)
        .mentions("the new container requires container sick to be healthy, which is unhealthy");
    engine.sh("podctl create --name broken alpine nosuch && podctl create --name on --requires broken alpine top").ok();
    engine
        .sh("podctl start on")
        .code(127)
        .mentions("starting broken, which container on requires: ")
        .mentions("nosuch");
    until("no process of it", || (engine.field("on", ".State.Status") == "created").then_some(()));
    engine.sh("podctl rm -fa -t 0").code(0);
}
