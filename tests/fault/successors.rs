//! Who comes after those who were killed: exactly one, at the right time, and he goes on with what was counted.

use std::time::Duration;

use harness::{Engine, Machine, images::ALPINE, programs::is_stand_in, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Says numbers, slower than a monitor is replaced.
const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it is there");
}

#[test]
fn a_successor_whose_shim_is_killed_before_it_is_on_record_goes_with_it() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
    engine.load(&[ALPINE]);
    engine.podctl(&["run", "-d", "--pod", "new:p", "--name", "up", "alpine", "sh", "-c", COUNTS]).ok();
    let monitor = format!("podmon {}", engine.field("up", ".Id"));
    let (shim, first) = (engine.only("podshim pod"), engine.only(&monitor));
    engine.arm("mon.begun", "delay:5000");
    send(first, Signal::SIGKILL);
    let late = until("a successor that takes its time", || {
        let armed = engine.is_armed("mon.begun");
        engine.pids(&monitor).into_iter().find(|pid| *pid != first && !armed)
    });
    send(shim, Signal::SIGKILL);
    until("its end", || (!engine.pids(&monitor).contains(&late)).then_some(()));
    engine.sh("podctl run --rm --pod p alpine true").code(0);
    until("the next one", || (engine.pids(&monitor).len() == 1).then_some(()));
    let said = engine.sh("podctl logs up").lines().len();
    until("more lines", || (engine.sh("podctl logs up").lines().len() > said + 10).then_some(()));
    let log = engine.sh("podctl logs up").lines();
    let wrong = log.iter().zip(1..).find(|(line, number)| **line != format!("line {number}"));
    assert!(wrong.is_none(), "lost, doubled or torn: {wrong:?}");
    assert_eq!(engine.pids(&monitor).len(), 1);
}

#[test]
fn a_killed_first_process_of_a_shared_pid_namespace_has_a_successor() {
    if is_stand_in() {
        return; // podman's pause is a container of its own.
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --share pid,net,ipc,uts -p 8080:80").ok();
    engine.sh("podctl run -d --pod p --name once alpine top").ok();
    engine.sh("podctl run -d --pod p --name web --restart always alpine nc -ll -p 80 -e echo page").ok();
    let page = || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(());
    until("the page", page);
    let another =
        |before: i32| until("another one", || engine.pids("podshim infra").into_iter().find(|pid| *pid != before));
    let first = engine.only("podshim infra");
    send(first, Signal::SIGKILL);
    let second = another(first);
    until("the page again", page);
    engine.sh("podctl wait once").prints("137");
    engine.sh("podctl start once && podctl exec once true && podctl run --rm --pod p alpine true").code(0);
    // A shim that finds it dead does the same.
    let shim = engine.only("podshim pod");
    send(shim, Signal::SIGSTOP);
    send(second, Signal::SIGKILL);
    send(shim, Signal::SIGKILL);
    another(second);
    until("the page again", page);
    engine.sh("podctl start once && podctl exec once true").code(0);
    engine.sh("podctl pod rm -f -t 0 p").code(0);
    until("nothing", || engine.pids("podshim infra").is_empty().then_some(()));
}

#[test]
fn a_container_whose_state_cannot_be_read_keeps_its_monitor_or_gets_another() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.podctl(&["run", "-d", "--pod", "new:p", "--name", "up", "alpine", "sh", "-c", COUNTS]).ok();
    let id = engine.field("up", ".Id");
    let monitor = format!("podmon {id}");
    let break_state =
        || engine.sh(&format!("echo x > $(dirname $(find ../runroot -name {id} -type d | head -n 1)/x)/state.json"));
    let works = |what: &str| {
        let said = engine.sh("podctl logs up").lines().len();
        until(what, || (engine.sh("podctl logs up").lines().len() > said + 10).then_some(()));
        engine.sh("podctl exec up echo hello").prints("hello");
    };
    // The shim is another, the monitor the same.
    let (shim, first) = (engine.only("podshim pod"), engine.only(&monitor));
    break_state().code(0);
    send(shim, Signal::SIGKILL);
    until("another shim", || engine.pids("podshim pod").iter().any(|pid| *pid != shim).then_some(()));
    engine.sh("podctl run --rm --pod p alpine true").code(0);
    works("more lines of the same monitor");
    assert_eq!(engine.pids(&monitor), [first]);
    // The monitor is another.
    break_state().code(0);
    send(first, Signal::SIGKILL);
    until("another monitor", || engine.pids(&monitor).into_iter().find(|pid| *pid != first));
    works("more lines of another monitor");
    // Both are others.
    let (shim, second) = (engine.only("podshim pod"), engine.only(&monitor));
    break_state().code(0);
    send(shim, Signal::SIGKILL);
    send(second, Signal::SIGKILL);
    engine.sh("podctl run --rm --pod p alpine true").code(0);
    until("another monitor", || engine.pids(&monitor).into_iter().find(|pid| *pid != second));
    works("more lines of a third monitor");
    let log = engine.sh("podctl logs up").lines();
    let wrong = log.iter().zip(1..).find(|(line, number)| **line != format!("line {number}"));
    assert!(wrong.is_none(), "lost, doubled or torn: {wrong:?}");
    engine.sh("podctl stop -t 0 up").code(0);
    assert_eq!(engine.field("up", ".State.ExitCode"), "137");
}

#[test]
fn who_needs_a_stopped_monitor_of_a_stopped_shim_wakes_it() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --pod new:p --name up alpine top").ok();
    let (shim, monitor) = (engine.only("podshim pod"), engine.only(&format!("podmon {id}")));
    // In this order: the shim would wake its monitor.
    send(shim, Signal::SIGSTOP);
    send(monitor, Signal::SIGSTOP);
    let exec = engine.sh("podctl exec up echo hello");
    exec.prints("hello").mentions("podmon (pid ").mentions(") was stopped by a signal and goes on now");
    assert!(exec.took < Duration::from_secs(4), "{exec}");
    engine.sh("podctl stop -t 0 up").code(0).mentions("podshim (pid ");
}

#[test]
fn a_shim_that_somebody_with_few_descriptors_has_started_serves_a_large_pod() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("ulimit -S -n 32; podctl run -d --pod new:p --name first alpine top").ok();
    for number in 0..12 {
        engine.sh(&format!("podctl run -d --pod p --name more{number} alpine top")).ok();
    }
    engine.sh("podctl exec first true && podctl exec more11 true").code(0);
    // What a container may have is its own affair, whoever has started its monitor.
    engine.sh("ulimit -S -n 32; podctl run --rm --pod p --ulimit host alpine sh -c 'ulimit -S -n'").prints("32");
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}
