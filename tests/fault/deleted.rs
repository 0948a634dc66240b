//! A person deletes what belongs to a running engine (`rm -rf` of the run directory or of some of the store): what runs goes
//! on where it can, every command gives the truth or says in a line what is missing, and all of it can be removed.

use harness::{Engine, images::ALPINE, oracle, programs::is_stand_in, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Counts, and can be stopped by a file.
const WRITER: &str = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i of many; [ $((i % 50)) -ne 0 ] || sleep 0.01; done; exit 43";

/// A pod `p` with `web` on a port and `writer`, a pod with a PID namespace of its own, and a container without a pod.
fn engine() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p -p 8080:80").ok();
    engine.sh("podctl run -d --pod p --name web alpine nc -ll -p 80 -e echo page").ok();
    engine.podctl(&["run", "-d", "--pod", "p", "--name", "writer", "alpine", "sh", "-c", WRITER]).ok();
    engine
        .sh("podctl pod create --name pids --share pid,net,ipc && podctl run -d --pod pids --name first alpine top")
        .ok();
    engine.sh("podctl run -d --name alone alpine top").ok();
    engine
}

fn page(engine: &Engine) -> bool {
    engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n"
}

/// The processes that serve, by pid.
fn ours(engine: &Engine) -> Vec<i32> {
    let mut pids = engine.pids("podmon");
    pids.extend(engine.pids("podshim pod"));
    pids.sort_unstable();
    pids
}

/// Everybody is found again, as the processes that they were, and does what he did.
fn as_before(engine: &Engine, pids: &[i32], inits: &[String]) {
    // The pods' own, and sockets of them all.
    let sockets = "find ../runroot/pods -name '*.sock' | wc -l";
    until("sockets", || (engine.sh(sockets).stdout().trim() == "10").then_some(()));
    until("the same processes", || (ours(engine) == pids).then_some(()));
    assert_eq!(firsts(engine), inits);
    for name in ["web", "writer", "first", "alone"] {
        assert_eq!(engine.field(name, ".State.Status"), "running", "{name}");
    }
    engine.sh("podctl ps -a && podctl pod ps && podctl inspect web p && podctl logs --tail 3 writer").code(0);
    until("the page", || page(engine).then_some(()));
    engine.sh("podctl kill -s USR1 writer; podctl pause alone && podctl unpause alone").code(0);
}

fn firsts(engine: &Engine) -> Vec<String> {
    ["web", "writer", "first", "alone"].iter().map(|name| engine.field(name, ".State.Pid")).collect()
}

/// Not one line of `writer` is lost, doubled or torn; it ends as it wants to.
fn whole_log(engine: &Engine) {
    let pid = engine.field("writer", ".State.Pid");
    engine.sh(&format!("> /proc/{pid}/root/stop")).code(0);
    engine.sh("podctl wait writer").prints("43");
    let text = engine.sh("podctl logs writer").stdout();
    for (at, line) in text.lines().enumerate() {
        assert_eq!(line, format!("line {} of many", at + 1));
    }
}

/// Removes everything by the names that a person knows. The engine proves in the end that nothing is left.
fn remove_by_name(engine: &Engine) {
    engine.sh("podctl rm -f -t 0 alone && podctl pod rm -f -t 0 p pids").code(0);
    assert_eq!(engine.sh("podctl ps -aq; podctl pod ps -q").ok(), "");
    until("silence", || ours(engine).is_empty().then_some(()));
    engine.sh("podctl run --rm --name alone alpine true && podctl system check").code(0);
}

#[test]
fn a_run_directory_that_somebody_deletes_under_running_pods_is_made_again_by_those_who_run() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let (pids, inits) = (ours(&engine), firsts(&engine));
    for deletion in [
        "rm -f ../runroot/pods/*/shim.sock ../runroot/pods/*/containers/*/mon.sock",
        "rm -rf ../runroot/pods/*/containers",
        "rm -f ../runroot/pods/*/state.json ../runroot/pods/*/lock",
        "rm -rf ../runroot/pods/*",
        "podctl exec web true && podctl exec alone true",
        "rm -rf ../runroot/networks",
        "rm -rf ../runroot/*",
        "rm -rf ../runroot",
    ] {
        // What comes back while it is at it makes rm fail.
        let done = engine.sh(deletion);
        if deletion.starts_with("podctl") {
            done.code(0);
        }
        // Whatever the moment, what is said of them is true.
        for line in engine.sh("podctl ps --format '{{.Names}} {{.Status}}'").lines() {
            assert!(line.contains(" Up "), "{deletion}: {line}");
        }
        as_before(&engine, &pids, &inits);
        // Others are given other addresses.
        engine.sh("podctl run --rm alpine true").code(0);
    }
    // The OCI runtime's own directory is not ours to make again.
    let refused = engine.sh("podctl exec alone true");
    refused.code(125).mentions("what the OCI runtime knew of the container was deleted: stop it and start it again");
    assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{refused}");
    whole_log(&engine);
    engine.sh("podctl stop -t 1 alone && podctl start alone && podctl exec alone true").code(0);
    engine.sh("podctl pod stop -t 0 p && podctl pod start p && podctl exec web true").code(0);
    until("the page", || page(&engine).then_some(()));
    engine.sh("podctl run --rm --pod pids alpine sh -c 'ps | grep top && echo > /dev/shm/file'").code(0);
    remove_by_name(&engine);
}

#[test]
fn what_runs_although_its_programs_and_its_run_directory_are_gone_is_seen_stopped_and_removed() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    for way in ["podctl stop -t 1 web writer first alone", "podctl system check --repair --force", "true"] {
        let stop = || engine.kill_all(&["podshim pod", "podmon"]);
        engine.sh("rm -rf ../runroot/pods/.nothing").code(0);
        // A monitor starts another shim: both go, and then what they would be found by.
        stop();
        engine.sh("rm -rf ../runroot").code(0);
        stop();
        engine.sh("rm -rf ../runroot").code(0);
        assert_eq!(engine.sh("podctl ps --format '{{.Status}}'").stdout().matches("Up ").count(), 4);
        engine.sh("podctl inspect web p && podctl logs --tail 1 writer && podctl pod ps && podctl top web").code(0);
        engine.sh("podctl start web").code(0);
        engine.sh("podctl run --rm --pod p alpine true").code(125).mentions("stop it first with pod stop");
        until("no shim", || engine.pids("podshim pod").is_empty().then_some(()));
        let told = engine.sh("podctl system check").code(125).stdout();
        assert!(told.contains("pod p runs without its shim, and its run directory was deleted"), "{told}");
        engine.sh(way).code(0);
        if way == "true" {
            break;
        }
        assert!(engine.pids("nc -ll").is_empty() && engine.pids("line $i of many").is_empty());
        engine.sh("podctl pod stop -t 0 p pids && podctl system check").code(0);
        engine.sh("podctl pod start p pids && podctl start alone").code(0);
        until("the page", || page(&engine).then_some(()));
    }
    remove_by_name(&engine);
}

#[test]
fn a_pod_or_a_container_that_somebody_deletes_from_the_store_while_it_runs_can_be_ended() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let (pod, web) = (engine.field("p", ".Id"), engine.field("web", ".Id"));
    engine.sh(&format!("rm -rf ../state/pods/{pod}/containers/{web}")).code(0);
    engine.sh("podctl ps -a && podctl pod ps && podctl pod inspect p && podctl logs --tail 1 writer").code(0);
    let refused = engine.sh("podctl restart -t 0 web");
    refused.code(125).mentions("its record was deleted while it runs: end it with rm -f");
    engine.sh("podctl rm -f web").code(0);
    until("its end", || engine.pids("nc -ll").is_empty().then_some(()));
    engine.sh("podctl exec writer true").code(0);
    engine.sh("podctl run -d --pod p --name web alpine nc -ll -p 80 -e echo page").ok();
    until("the page", || page(&engine).then_some(()));
    engine.sh(&format!("rm -rf ../state/pods/{pod}")).code(0);
    engine.sh("podctl ps -a && podctl pod ps && podctl inspect alone").code(0);
    engine.sh("podctl pod rm -f -t 0 p").code(0);
    until("their ends", || engine.pids("nc -ll").is_empty().then_some(()));
    // Their names are gone, too.
    engine.sh("rm -rf ../state/pods ../state/names").code(0);
    assert_eq!(engine.sh("podctl ps -aq; podctl pod ps -q").ok(), "");
    let told = engine.sh("podctl system check").code(125).stdout();
    assert_eq!(told.matches("is up, and its records were deleted").count(), 2, "{told}");
    engine.sh("podctl system check --repair").code(125);
    engine.sh("podctl system check --repair --force").code(0);
    engine.sh("podctl system check").prints("nothing to do").code(0);
    until("silence", || ours(&engine).is_empty().then_some(()));
    assert!(engine.pids("top").is_empty() && engine.pids("podshim infra").is_empty());
    engine.sh("podctl run --rm --name alone alpine true").code(0);
}

#[test]
fn layers_that_somebody_deletes_under_running_containers_are_named_and_come_back_with_the_image() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    engine.sh("rm -rf ../state/images/layers/*").code(0);
    engine.sh("podctl ps -a && podctl inspect web alone p && podctl logs --tail 1 writer && podctl images").code(0);
    let refused = engine.sh("podctl run --rm alpine true");
    refused.code(125).mentions("is missing: pull it again");
    assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{refused}");
    engine.sh("podctl stop -t 0 alone").code(0);
    engine.sh("podctl start alone").code(125).mentions("is missing: pull it again");
    engine.load(&[ALPINE]);
    engine.sh("podctl start alone && podctl exec alone true").code(0);
    remove_by_name(&engine);
}

#[test]
fn shims_and_first_processes_that_nobody_can_reach_are_told_and_ended() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let pod = engine.field("pids", ".Id");
    let shim = engine.pids(&format!("podshim pod {pod}"))[0];
    kill(Pid::from_raw(shim), Signal::SIGSTOP).expect("it is there");
    engine.sh(&format!("rm -rf ../runroot/pods/{pod}")).code(0);
    let told = engine.sh("podctl system check").code(125).stdout();
    assert!(told.contains(&format!("of pod {} cannot be reached", &pod[..12])), "{told}");
    engine.sh("podctl system check --repair");
    until("its end", || (!engine.pids(&format!("podshim pod {pod}")).contains(&shim)).then_some(()));
    engine.sh("podctl pod stop -t 0 pids && podctl pod start pids && podctl exec first true").code(0);
    remove_by_name(&engine);
    assert!(oracle::cgroups(&engine.label).iter().all(|group| !group.ends_with(&pod)));
}

#[test]
fn volumes_networks_secrets_and_events_that_somebody_deletes_take_down_nothing_that_runs() {
    if is_stand_in() {
        return;
    }
    let make = "podctl network create net && podctl volume create vol && echo word | podctl secret create key -";
    for (directory, missing) in [("events", ""), ("secrets", "key"), ("networks", "net"), ("volumes", "vol")] {
        let engine = Engine::with(&[ALPINE]);
        engine.sh(make).ok();
        engine.sh("podctl pod create --name p --network net -p 8080:80 -v vol:/v").ok();
        engine.sh("podctl run -d --pod p --name web --secret key alpine nc -ll -p 80 -e echo page").ok();
        engine.sh("podctl run -d --name alone alpine top").ok();
        engine.sh(&format!("rm -rf ../state/{directory}")).code(0);
        engine.sh("podctl ps -a && podctl pod ps && podctl inspect web alone p && podctl logs web").code(0);
        engine.sh("podctl exec web ls /v").code(0);
        engine.sh("podctl exec web cat /run/secrets/key").prints("word");
        until("the page", || page(&engine).then_some(()));
        engine.sh("podctl volume ls && podctl network ls && podctl secret ls && podctl events --stream=false").code(0);
        engine.sh("podctl run --rm alpine true").code(0);
        engine.sh("podctl stop -t 0 alone && podctl start alone && podctl exec alone true").code(0);
        engine.sh("podctl pod stop -t 0 p").code(0);
        let again = engine.sh("podctl pod start p");
        match missing {
            "" | "vol" => again.code(0),
            _ => again.code(125).mentions(missing),
        };
        engine.sh("podctl rm -f -t 0 alone && podctl pod rm -f -t 0 p").code(0);
        engine.sh("podctl system check --repair && podctl system check").code(0);
        engine.sh("podctl volume rm -f vol; podctl network rm -f net; podctl secret rm key");
        if missing == "net" {
            engine.sh("ip link del podctl1");
        }
        // Their names are free.
        engine.sh(make).ok();
        engine.sh("podctl run --rm --network net -v vol:/v --secret key alpine cat /run/secrets/key").prints("word");
        engine.sh("podctl network rm net && podctl volume rm vol && podctl secret rm key").code(0);
    }
}

#[test]
fn the_bridge_of_a_network_whose_record_somebody_deletes_goes_with_the_last_pod_on_it() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create net && podctl run -d --name up --network net alpine top").ok();
    let bridge = engine.sh("podctl network inspect -f '{{.NetworkInterface}}' net").ok();
    engine.sh("rm ../state/networks/net.json && podctl rm -f -t 0 up").code(0);
    // At the latest with a repair: nobody else would ever know it.
    engine.sh("podctl system check --repair --force && podctl system check").code(0);
    until("its end", || (engine.sh(&format!("ip link show {bridge}")).code != 0).then_some(()));
}
