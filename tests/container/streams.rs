//! stdin, stdout and stderr, to the last byte.

use harness::{Engine, image::digest, images::ALPINE, until};

#[test]
fn stdin_reaches_the_command_and_its_end_is_seen() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh_with("podctl run --rm -i alpine cat", "hello\n").prints("hello").code(0);
    engine.sh_with("podctl run --rm alpine cat", "not asked for").prints_nothing().code(0);
    let much = vec![b'x'; 300_000];
    engine.sh_with("podctl run --rm -i alpine wc -c", much.clone()).prints("300000");
    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh_with("podctl exec -i up wc -c", much).prints("300000");
    engine.sh_with("podctl exec -i up cat", "").prints_nothing().code(0);
    engine.sh_with("podctl exec up cat", "not asked for").prints_nothing().code(0);
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let engine = Engine::with(&[ALPINE]);
    let script = "'echo to out; echo to err >&2'";
    engine.sh(&format!("podctl run --name both alpine sh -c {script}")).prints("to out").complains("to err");
    engine.sh("podctl logs both").prints("to out").complains("to err");
    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh(&format!("podctl exec up sh -c {script}")).prints("to out").complains("to err");
}

#[test]
fn ten_megabytes_come_out_whole_from_run_exec_and_logs() {
    let engine = Engine::with(&[ALPINE]);
    let script = "seq 1000000 2250000";
    let whole: String = (1_000_000..=2_250_000).map(|number| format!("{number}\n")).collect();
    let whole = digest(whole.as_bytes());
    assert_eq!(digest(&engine.sh(&format!("podctl run --name much alpine {script}")).out), whole);
    assert_eq!(digest(&engine.sh("podctl logs much").out), whole);
    engine.sh("podctl run -d --name up alpine top").ok();
    assert_eq!(digest(&engine.sh(&format!("podctl exec up {script}")).out), whole);
}

#[test]
fn lines_of_any_length_and_bytes_of_any_kind_are_kept() {
    let engine = Engine::with(&[ALPINE]);
    let long = "head -c 100000 /dev/zero | tr '\\0' a; echo; printf '\\001\\377\\033[31m no newline at the end'";
    let run = engine.sh(&format!("podctl run --name long alpine sh -c \"{long}\""));
    let mut expected = vec![b'a'; 100_000];
    expected.extend_from_slice(b"\n\x01\xff\x1b[31m no newline at the end");
    assert_eq!(run.out, expected);
    let mut logged = engine.sh("podctl logs long").out;
    if logged.last() == Some(&b'\n') {
        logged.pop();
    }
    assert_eq!(logged, expected);
}

#[test]
fn a_reader_that_leaves_ends_nothing_but_itself() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --name yes alpine sh -c 'seq 1 200000; exit 4' | head -n 1").prints("1").code(0);
    engine.sh("podctl wait yes").prints("4");
}

#[test]
fn an_exec_whose_child_stays_behind_does_not_hang() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    let run = engine.sh("podctl exec up sh -c 'sleep 1000 & echo left it behind'");
    run.prints("left it behind").code(0);
}

#[test]
fn logs_show_what_was_written_by_every_run_in_order() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name twice alpine sh -c 'echo one; echo two'").ok();
    engine.sh("podctl wait twice && podctl start twice && podctl wait twice").code(0);
    until("both runs in the log", || (engine.sh("podctl logs twice").ok() == "one\ntwo\none\ntwo").then_some(()));
    engine.sh("podctl logs nobody").code(125).mentions("no container with name or ID \"nobody\" found");
}
