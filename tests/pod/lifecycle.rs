//! create, start, stop, restart, rm, prune of whole pods.

use harness::{Engine, Machine, images::ALPINE, until};

#[test]
fn members_stop_in_the_reverse_of_their_start_and_the_infra_last() {
    let engine = Engine::with(&[ALPINE]);
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    engine.sh("podctl pod create --name p").ok();
    for name in ["first", "second", "third"] {
        engine.podctl(&["run", "-d", "--pod", "p", "--name", name, "alpine", "sh", "-c", script]).ok();
    }
    engine.sh("podctl pod stop p").code(0);
    let mut order = ["first", "second", "third"];
    order.sort_by_key(|name| engine.field(name, ".State.FinishedAt"));
    if !harness::programs::is_stand_in() {
        assert_eq!(order, ["third", "second", "first"]);
    }
}

#[test]
fn ports_and_addresses_are_back_after_stop_and_start() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p -p 8080:80").ok();
    engine.sh("podctl run -d --pod p --name web alpine sh -c 'mkdir /www; echo page > /www/index.html; httpd -f -p 80 -h /www'").ok();
    let page = || (engine.sh("curl -sS -m 2 http://127.0.0.1:8080").stdout() == "page\n").then_some(());
    until("the page", page);
    engine.sh("podctl pod stop -t 0 p").code(0);
    engine.sh("curl -sS -m 2 http://127.0.0.1:8080").code(7);
    engine.sh("podctl pod start p").code(0);
    until("the page again", page);
    engine.sh("podctl pod restart -t 0 p || podctl pod restart p").code(0);
    until("the page once more", page);
}

#[test]
fn several_pods_are_named_and_one_miss_stops_all() {
    let engine = Engine::with(&[ALPINE]);
    let ids: Vec<String> = ["a", "b"].map(|name| engine.sh(&format!("podctl pod create --name {name}")).ok()).into();
    engine.sh("podctl pod start a nosuch b").code(125).mentions("no pod with name or ID nosuch found: no such pod");
    assert!(!engine.sh("podctl pod ps").ok().contains("Running"));
    engine.sh("podctl pod start a b").code(0);
    engine.sh("podctl pod rm -f -t 0 a nosuch").code(0);
    engine.sh("podctl pod rm nosuch").code(1).complains("Error: no pod with name or ID nosuch found: no such pod");
    engine.sh(&format!("podctl pod rm -f {}", &ids[1][..12])).code(0);
    assert_eq!(engine.sh("podctl pod ps -q").ok(), "");
}

#[test]
fn a_pod_with_a_running_member_is_not_removed_without_force() {
    let engine = Engine::with(&[ALPINE]);
    let pod = engine.sh("podctl pod create --name p").ok();
    engine.sh("podctl pod start p").code(0);
    engine.sh("podctl pod rm p").prints(&pod).code(0);
    engine.sh("podctl run -d --pod new:p --name up alpine top").ok();
    engine.sh("podctl pod rm p").code(125).mentions("not all containers could be removed from pod");
    engine.sh("podctl exec up true").code(0);
    engine.sh("podctl stop -t 0 up && podctl pod rm p").code(0);
}

#[test]
fn an_infra_is_not_removed_alone() {
    let engine = Engine::with(&[ALPINE]);
    let pod = engine.sh("podctl pod create --name p").ok();
    let infra = format!("{}-infra", &pod[..12]);
    for rm in ["rm", "rm -f"] {
        let run = engine.sh(&format!("podctl {rm} {infra}"));
        run.code(125).mentions("is the infra container of pod").mentions("cannot be removed without removing the pod");
    }
    engine.sh("podctl pod exists p").code(0);
}

#[test]
fn a_pod_that_could_not_get_its_first_member_is_not_left() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --pod new:p alpine no-such-command").code(127);
    engine.sh("podctl run --pod new:q --name x --cap-add NONSENSE alpine true").code(125);
    engine.sh("podctl pod exists q").code(1);
    engine.sh("podctl run --pod new: alpine true").code(125).mentions("new pod name must be at least one character");
    engine
        .sh("podctl run --pod nosuch alpine true")
        .code(125)
        .mentions("no pod with name or ID nosuch found: no such pod");
}

#[test]
fn nothing_is_mounted_on_the_machine_whether_its_root_is_shared_or_not() {
    for shared_root in [false, true] {
        let engine = Engine::on(Machine { shared_root, ..Machine::default() });
        engine.load(&[ALPINE]);
        let mounts = || engine.sh("cut -d' ' -f5 /proc/1/mountinfo").ok();
        let before = mounts();
        engine.sh("podctl run -d --pod new:p -v vol:/data --name up alpine top").ok();
        engine.sh("podctl exec up touch /data/x").code(0);
        if !harness::programs::is_stand_in() {
            assert_eq!(mounts(), before, "shared_root: {shared_root}");
        }
        engine.sh("podctl pod rm -f -t 0 p").code(0);
        assert!(engine.path("state/volumes/vol/_data/x").exists());
    }
}
