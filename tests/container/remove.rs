//! `rm`, `--rm`, and names that are free again.

use harness::{Engine, images::ALPINE, until};

#[test]
fn rm_frees_the_name_before_the_next_command() {
    let engine = Engine::with(&[ALPINE]);
    let loops = "for i in 1 2 3 4 5 6 7 8; do podctl run --rm --name same alpine true || exit 1; done";
    engine.sh(loops).code(0);
    assert_eq!(engine.sh("podctl ps -aq").ok(), "");
}

#[test]
fn a_detached_container_with_rm_removes_itself() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --rm --name short alpine true").ok();
    until("it to be gone", || engine.sh("podctl ps -aq").ok().is_empty().then_some(()));
    engine.sh("podctl run -d --rm --name stopped alpine top && podctl stop -t 0 stopped").code(0);
    until("it to be gone", || engine.sh("podctl ps -aq").ok().is_empty().then_some(()));
}

#[test]
fn what_runs_is_not_removed_without_force() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name up alpine top").ok();
    let rm = engine.sh("podctl rm up");
    rm.code(2).complains(&format!(
        "Error: cannot remove container {id} as it is running - running or paused containers cannot be removed without force: container state improper"
    ));
    engine.sh("podctl rm -f -t 0 up").prints("up").code(0);
    engine.sh("podctl rm up").code(1).complains("Error: no container with name or ID \"up\" found: no such container");
    engine.sh("podctl rm -f up").prints_nothing().code(0);
}

#[test]
fn a_name_is_used_once() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name one alpine top").ok();
    engine.sh("podctl run -d --name one alpine top").code(125).mentions("name \"one\" is in use");
    engine.sh("podctl pod create --name one").code(125).mentions("name \"one\" is in use");
    assert_eq!(engine.sh("podctl ps -aq").lines().len(), 1);
    assert_eq!(engine.sh("podctl pod ps -q").ok(), "");
}

#[test]
fn ids_may_be_cut_short() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d alpine top").ok();
    engine.sh(&format!("podctl stop -t 0 {}", &id[..8])).prints(&id[..8]).code(0);
    engine.sh(&format!("podctl rm {}", &id[..12])).prints(&id[..12]).code(0);
}
