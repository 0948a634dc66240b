//! What members share, and what they inherit.

use harness::{Engine, images::ALPINE, until};

/// The namespaces two members have in common.
fn common(engine: &Engine, options: &str) -> Vec<&'static str> {
    engine.sh(&format!("podctl pod create --name p {options}")).ok();
    for name in ["a", "b"] {
        engine.sh(&format!("podctl run -d --pod p --name {name} alpine top")).ok();
    }
    let namespace =
        |name: &str, kind: &str| engine.sh(&format!("podctl exec {name} readlink /proc/self/ns/{kind}")).ok();
    let kinds = ["ipc", "net", "uts", "pid", "mnt"];
    let common = kinds.into_iter().filter(|kind| namespace("a", kind) == namespace("b", kind)).collect();
    engine.sh("podctl pod rm -f -t 0 p").code(0);
    common
}

#[test]
fn members_share_ipc_net_and_uts_unless_told_otherwise() {
    let engine = Engine::with(&[ALPINE]);
    assert_eq!(common(&engine, ""), ["ipc", "net", "uts"]);
    assert_eq!(common(&engine, "--share net"), ["net"]);
    assert_eq!(common(&engine, "--share +pid"), ["ipc", "net", "uts", "pid"]);
}

#[test]
fn a_shared_pid_namespace_has_an_infra_that_reaps() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --share pid,net").ok();
    engine.sh("podctl run -d --pod p --name a alpine sh -c 'while :; do sleep 1; done'").ok();
    engine.sh("podctl run -d --pod p --name b alpine top").ok();
    assert_ne!(engine.sh("podctl exec a sh -c 'echo $$'").ok(), "1");
    let seen = engine.sh("podctl exec b ps -o comm").ok();
    assert!(seen.contains("top") && seen.contains("sleep"), "{seen}");
    engine.sh("podctl exec a sh -c 'for i in 1 2 3 4 5; do (sleep 0.1 &) ; done'").code(0);
    until("orphans to be reaped", || (!engine.sh("podctl exec b ps -o stat").ok().contains('Z')).then_some(()));
    let top = engine.sh("podctl pod top p").ok();
    assert!(top.lines().any(|line| line.contains("infra") || line.contains("catatonit")), "{top}");
    // Its first process ends without taking the others along.
    engine.sh("podctl stop -t 0 a && podctl exec b true").code(0);
}

#[test]
fn nothing_is_shared_without_an_infra() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --infra=false").ok();
    for name in ["a", "b"] {
        engine.sh(&format!("podctl run -d --pod p --name {name} alpine top")).ok();
    }
    let net = |name: &str| engine.sh(&format!("podctl exec {name} readlink /proc/self/ns/net")).ok();
    assert_ne!(net("a"), net("b"));
    assert!(engine.sh("podctl pod ps").ok().contains("Running"));
}

#[test]
fn members_reach_each_other_on_localhost() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name server alpine nc -ll -p 9000 -e echo hello").ok();
    let hello = || {
        (engine.sh("podctl run --rm --pod p alpine nc 127.0.0.1 9000 < /dev/null").stdout() == "hello\n").then_some(())
    };
    until("an answer", hello);
}

#[test]
fn volumes_of_the_pod_are_everybodys_and_a_members_own_wins() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir -p common mine && echo common > common/file && echo mine > mine/file").ok();
    engine.sh("podctl pod create --name p -v $PWD/common:/data").ok();
    engine.sh("podctl run --pod p --rm alpine cat /data/file").prints("common");
    engine.sh("podctl run --pod p --rm -v $PWD/mine:/data alpine cat /data/file").prints("mine");
    engine.sh("podctl run --pod p --rm alpine sh -c 'echo new > /data/file'").code(0);
    engine.sh("cat common/file").prints("new");
}
