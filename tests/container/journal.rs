//! The log in the journal of the machine, with systemd's own journald and journalctl.

use harness::{Engine, cli::Running, images::ALPINE, programs::is_stand_in, until};

/// A journald of the enclosure's own: without systemd, and without the kernel's messages.
fn journald(engine: &Engine) -> Running {
    let settings = "[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nRateLimitIntervalSec=0\\n";
    let directory = "/run/systemd/journald.conf.d";
    engine.sh(&format!("mkdir -p {directory} && printf '{settings}' > {directory}/test.conf")).ok();
    let journald = engine.start("exec /lib/systemd/systemd-journald");
    until("journald", || (engine.sh("test -S /run/systemd/journal/socket").code == 0).then_some(()));
    journald
}

#[test]
fn what_is_in_the_journal_is_read_back() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let _journald = journald(&engine);
    let script = r"printf 'one\na\0b\377\r\n\n'; head -c 40000 /dev/zero | tr '\0' x; echo; printf end; echo '<4>two' >&2; echo three >&2";
    let run = "podctl run --log-driver journald";
    engine.sh(&format!("{run} --name c alpine sh -c \"{script}\" > said 2> cried && podctl logs c > out 2> err")).ok();
    engine.sh("cmp said out").ok();
    assert_eq!(engine.sh("cat err").ok(), "two\nthree", "what is before the text is its priority");
    // A line is all its parts; the last has no end.
    engine.sh("podctl logs --tail 4 c > out 2> err && tail -n 2 said | cmp - out && grep -c . err").prints("2");
    engine.sh("podctl logs --tail 0 c").prints_nothing();
    engine.sh("podctl logs --tail 1000 c 2> /dev/null | cmp said").ok();

    // Times are those of the journal.
    engine.sh(&format!("{run} --name slow alpine sh -c 'for i in 1 2 3; do echo $i; sleep 0.1; done'")).ok();
    let stamps = engine.sh("podctl logs -t slow | cut -d' ' -f1").lines();
    assert_eq!((stamps.len(), stamps.is_sorted()), (3, true), "{stamps:?}");
    let slow = |flags: &str| engine.sh(&format!("podctl logs {flags} slow")).lines();
    assert_eq!(slow(&format!("--since {}", stamps[0])), ["2", "3"]);
    assert_eq!(slow(&format!("--until {}", stamps[1])), ["1"]);
    assert_eq!(slow(&format!("--since {} --tail 1", stamps[0])), ["3"]);
    assert_eq!(slow("-n"), ["slow 1", "slow 2", "slow 3"]);

    // What happened is there, too.
    engine.sh("podctl run --name failed alpine sh -c 'exit 3'").code(3);
    let told = "journalctl -q -o cat --output-fields=PODMAN_EVENT PODMAN_NAME=failed";
    until("its end", || engine.sh(told).stdout().contains("died").then_some(()));
    let events = engine.sh(&format!("{told} | tr '\\n' ' '")).ok();
    assert!(events.starts_with("create init ") && events.contains(" start died "), "{events}");
    assert_eq!(
        engine.sh("journalctl -q -o cat PODMAN_TYPE=container PODMAN_EVENT=died PODMAN_EXIT_CODE=3").lines().len(),
        1
    );

    // Anybody may name the container; what others have sent is not its log.
    let id = engine.field("slow", ".Id");
    engine.sh(&format!("printf 'lie\\n' | setpriv --reuid 65534 logger --id=1 --journald 2> /dev/null <<< $'MESSAGE=lie\\nCONTAINER_ID_FULL={id}'"));
    until("the entry", || {
        (engine.sh(&format!("journalctl -q CONTAINER_ID_FULL={id} | grep -c lie")).ok() == "1").then_some(())
    });
    assert_eq!(slow(""), ["1", "2", "3"]);
}

#[test]
fn the_journal_is_followed_to_the_containers_end() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let _journald = journald(&engine);
    engine.sh("podctl pod create --name p && podctl run --pod p --name file alpine echo in a file").ok();
    let waits = "sh -c 'echo first; until [ -e /go ]; do sleep 0.05; done; seq 5000; printf last'";
    engine.sh(&format!("podctl run -d --pod p --name c --log-driver journald alpine {waits}")).ok();
    let all = engine.start("podctl logs -f c | tee all");
    let late = engine.start("podctl logs -f -n --tail 0 c");
    until("the first line", || (engine.sh("cat all").stdout() == "first\n").then_some(()));
    until("both to follow", || (engine.pids("--follow").len() == 2).then_some(()));
    engine.sh("podctl exec c touch /go").ok();
    let numbers = engine.sh("seq 5000; echo last").lines();
    let all = all.finish().lines();
    assert_eq!((all[0].as_str(), &all[1..]), ("first", numbers.as_slice()));
    let late = late.finish().lines();
    assert_eq!((late.len(), late.last().map(String::as_str)), (numbers.len(), Some("c last")));
    let pod = engine.sh("podctl pod logs -n p").lines();
    assert_eq!((pod[0].as_str(), pod.len()), ("file in a file", numbers.len() + 2));
}
