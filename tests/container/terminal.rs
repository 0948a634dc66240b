//! `-t`: sizes, signals, detaching, and a terminal left as it was found.

use harness::{Engine, images::ALPINE, terminal::Terminal, until};

/// Waits for the shell's prompt, so that nothing is typed before somebody reads.
fn shell(engine: &Engine, line: &str) -> Terminal {
    let terminal = engine.terminal(line);
    terminal.expect("# ");
    terminal
}

#[test]
fn a_shell_on_a_terminal_ends_with_its_code_and_leaves_the_terminal_as_it_was() {
    let engine = Engine::with(&[ALPINE]);
    let terminal = engine.terminal("stty -a > before; podctl run -it --rm alpine sh; c=$?; stty -a > after; exit $c");
    terminal.expect("# ").send("test -t 0 && test -t 1 && tty\n").expect("/dev/pts/0");
    terminal.send("exit 3\n");
    assert_eq!(terminal.finish().0, 3);
    engine.sh("cmp before after").code(0);
}

#[test]
fn the_terminal_inside_has_the_size_of_the_one_outside() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    for line in ["podctl run -it --rm alpine sh", "podctl exec -it up sh"] {
        let terminal = shell(&engine, line);
        terminal.send("stty size\n").expect("24 80");
        terminal.resize(40, 100);
        until("the new size", || {
            terminal.send("stty size\n");
            terminal.shown().contains("40 100").then_some(())
        });
        terminal.send("exit\n");
        assert_eq!(terminal.finish().0, 0, "{line}");
    }
}

#[test]
fn control_c_goes_to_the_command() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    let terminal = shell(&engine, "podctl exec -it up sh");
    terminal.send("sleep 1000; echo after=$?\n");
    until("sleep to run", || (!engine.pids("sleep 1000").is_empty()).then_some(()));
    terminal.send("\x03");
    until("the prompt", || (terminal.shown().matches("# ").count() > 1).then_some(()));
    terminal.send("exit 5\n");
    assert_eq!(terminal.finish().0, 5);
}

#[test]
fn the_detach_keys_leave_the_container_running() {
    let engine = Engine::with(&[ALPINE]);
    let terminal = shell(&engine, "podctl run -it --name one alpine sh");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish().0, 0);
    let terminal = shell(&engine, "podctl run -it --detach-keys ctrl-x,q --name two alpine sh");
    terminal.send("\x10\x11\x18q");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(engine.sh("podctl ps -q").lines().len(), 2);
    engine.sh("podctl stop -t 0 one two").code(0);
}

#[test]
fn a_terminal_without_somebody_at_it_still_draws() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -dt --name drawn alpine sh -c 'tty; stty size'").ok();
    engine.sh("podctl wait drawn").prints("0");
    let log = engine.sh("podctl logs drawn").ok();
    assert!(log.starts_with("/dev/pts/0\r\n"), "{log:?}");
}

#[test]
fn asking_for_a_terminal_without_having_one_is_a_warning() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -it --rm alpine echo hello").code(0).mentions("not a TTY");
}

#[test]
fn the_last_words_and_the_code_of_the_shortest_command_come_through_its_terminal() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine sleep 1000").ok();
    let line = "for i in $(seq 50); do podctl exec -t up sh -c 'echo said; exit 5'; echo $?; done";
    assert_eq!(engine.sh(line).code(0).stdout(), "said\r\n5\n".repeat(50));
    // Nobody reads what one without a caller writes, and it waits for nobody.
    engine.sh("podctl exec -dt up sh -c 'seq 100000; touch /done'").ok();
    until("its end", || (engine.sh("podctl exec up test -e /done").code == 0).then_some(()));
    engine.sh("podctl rm -f -t 0 up").ok();
}
