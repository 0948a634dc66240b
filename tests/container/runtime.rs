//! Other OCI runtimes.

use harness::{Engine, Machine, images::ALPINE};

#[test]
fn runc_runs_execs_and_stops() {
    let engine = Engine::on(Machine { runtime: Some("runc"), ..Machine::default() });
    engine.load(&[ALPINE]);
    engine.sh("podctl run --rm alpine sh -c 'echo through runc; exit 7'").prints("through runc").code(7);
    engine.sh("podctl run -d --pod new:p --name up alpine top").ok();
    engine.sh("podctl exec up echo hello").prints("hello").code(0);
    engine.sh("podctl exec up sh -c 'exit 4'").code(4);
    engine.sh("podctl exec up no-such-command").code(127);
    engine.sh("podctl run --rm alpine no-such-command").code(127);
    engine.sh("podctl run --rm alpine /etc/passwd").code(126);
    engine.sh("podctl stop -t 0 up").prints("up").code(0);
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl --runtime no-such-runtime run --rm alpine true").code(125).mentions("no-such-runtime");
}

#[test]
fn a_controller_that_a_hybrid_machine_left_to_cgroup2_stops_no_container() {
    let engine = Engine::on(Machine { stray_controller: true, ..Machine::default() });
    engine.load(&[ALPINE]);
    engine.sh("podctl run --rm alpine sh -c 'echo runs; exit 7'").prints("runs").code(7);
    engine.sh("podctl run -d --pod new:p -m 64m --name up alpine top").ok();
    engine.sh("podctl exec up true").code(0);
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}
