//! The status of a pod is a function of its containers'.

use harness::{Engine, images::ALPINE, table::Table, until};

fn status(engine: &Engine) -> String {
    Table::read(&engine.sh("podctl pod ps").ok()).cell("NAME", "p", "STATUS").to_owned()
}

fn becomes(engine: &Engine, wanted: &str) {
    until(wanted, || (status(engine) == wanted).then_some(()));
}

#[test]
fn a_pod_goes_from_created_to_running_to_exited() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p").ok();
    assert_eq!(status(&engine), "Created");
    engine.sh("podctl pod start p").code(0);
    assert_eq!(status(&engine), "Running");
    engine.sh("podctl run -d --pod p --name a alpine top").ok();
    assert_eq!(status(&engine), "Running");
    engine.sh("podctl pod pause p").code(0);
    assert_eq!(status(&engine), "Paused");
    engine.sh("podctl pod start p").code(125).mentions("cannot start paused container");
    engine.sh("podctl pod unpause p").code(0);
    engine.sh("podctl pod stop -t 0 p").code(0);
    assert_eq!(status(&engine), "Exited");
    engine.sh("podctl pod start p").code(0);
    assert_eq!(status(&engine), "Running");
}

#[test]
fn a_member_that_ended_makes_it_degraded() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name a alpine top").ok();
    engine.sh("podctl run --pod p --name b alpine true").code(0);
    assert_eq!(status(&engine), "Degraded");
    engine.sh("podctl rm b").code(0);
    assert_eq!(status(&engine), "Running");
    engine.sh("podctl stop -t 0 a").code(0);
    assert_eq!(status(&engine), "Degraded");
    engine.sh("podctl start a").code(0);
    becomes(&engine, "Running");
}

#[test]
fn paused_members_are_stopped_and_removed_all_the_same() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name a alpine top && podctl pod pause p").code(0);
    engine.sh("podctl pod rm p").code(125);
    engine.sh("podctl pod rm -f -t 0 p").code(0);
    engine.sh("podctl run -d --pod new:p --name a alpine top && podctl pod pause p").code(0);
    engine.sh("podctl pod unpause p && podctl pod stop -t 0 p").code(0);
    assert_eq!(status(&engine), "Exited");
}

#[test]
fn pods_and_their_containers_are_listed_by_many_at_once() {
    let engine = Engine::with(&[ALPINE]);
    let storm = "for i in 1 2 3 4 5; do podctl run -d --pod new:p$1$i alpine top > /dev/null && podctl pod rm -f -t 0 p$1$i || exit 1; done";
    let makers: Vec<_> = (0..3).map(|maker| engine.start(&format!("set -- {maker}; {storm}"))).collect();
    let watch = engine.start("for i in $(seq 40); do podctl ps -a --pod && podctl pod ps --ctr-names || exit 1; done");
    watch.finish().code(0);
    for maker in makers {
        maker.finish().code(0);
    }
    assert_eq!(engine.sh("podctl pod ps -q").ok(), "");
}
