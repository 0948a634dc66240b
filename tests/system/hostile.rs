//! Hostile surroundings: whatever a caller or a neighbour on the machine does, the programs go on or say why not.

use std::time::{Duration, Instant};

use harness::{Engine, images::ALPINE, programs::is_stand_in, until, wait};

fn page(engine: &Engine) -> Option<()> {
    (engine.sh("timeout -s KILL 3 busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(())
}

#[test]
fn what_a_caller_has_closed_ignored_or_deleted_changes_nothing() {
    let engine = Engine::with(&[ALPINE]);
    for (number, surroundings) in [
        "exec 0<&- 1>&- 2>&-;",
        "exec 7< /etc/passwd 9> ../tmp/odd 100< /etc/passwd;",
        "trap '' HUP INT QUIT TERM PIPE CHLD USR1 ALRM;",
        "umask 0777;",
        "mkdir gone && cd gone && rmdir ../gone;",
        "ulimit -n 32;",
        "unset HOME; export TZ=No/Where LC_ALL=nonsense;",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("odd{number}");
        engine.sh(&format!("{surroundings} podctl run --rm -v data:/data alpine touch /data/{name}")).code(0);
        engine.sh(&format!("{surroundings} podctl run -d --name {name} alpine sleep 1000")).code(0);
        // None of it reaches the container or the programs that stay.
        let inside =
            engine.sh(&format!("podctl exec {name} sh -c 'grep SigIgn /proc/1/status; ls /proc/1/fd | wc -l; umask'"));
        assert_eq!(inside.ok(), "SigIgn:\t0000000000000000\n3\n0022", "{surroundings}");
        engine.sh(&format!("{surroundings} podctl stop -t 0 {name}")).code(0);
        engine.sh(&format!("{surroundings} podctl rm {name}")).code(0);
    }
    assert_eq!(engine.sh("podctl run --rm -v data:/data alpine sh -c 'ls /data | wc -l'").ok(), "7");
    engine.sh("rm -f ../tmp/odd").code(0);
}

#[test]
fn nobody_inherits_what_a_caller_has_open() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("exec 7> ../tmp/mark 55> ../tmp/mark; podctl run -d --name up alpine sleep 1000").code(0);
    for text in ["podshim pod", "podmon", "sleep 1000"] {
        for pid in engine.pids(text) {
            for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let target = std::fs::read_link(entry.path()).unwrap_or_default();
                assert!(!target.ends_with("tmp/mark"), "{text} has {}", target.display());
            }
        }
    }
    engine.sh("podctl rm -f -t 0 up && rm ../tmp/mark").code(0);
}

#[test]
fn rules_that_somebody_flushes_under_a_running_pod_come_back() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name web -p 8080:80 alpine nc -ll -p 80 -e echo page").ok();
    engine.sh("podctl run -d --name other -p 8081:80 alpine nc -ll -p 80 -e echo other").ok();
    until("the page", || page(&engine));
    let table = engine.sh("nft list tables | grep -o 'podctl_[0-9a-f]*'").ok();
    for flush in
        ["nft flush ruleset".to_owned(), format!("nft flush table ip {table}"), format!("nft delete table ip {table}")]
    {
        engine.sh(&flush).code(0);
        let flushed = Instant::now();
        assert!(wait::within(Duration::from_secs(20), || page(&engine)).is_some(), "no port after {flush}");
        let other = || {
            (engine.sh("timeout -s KILL 3 busybox nc -w 2 127.0.0.1 8081 < /dev/null").stdout() == "other\n")
                .then_some(())
        };
        until("the other page", other);
        eprintln!("{flush}: healed in {:?} at most", flushed.elapsed());
        engine.sh("podctl exec web true").code(0);
    }
    engine.sh("podctl system check").prints("nothing to do");
    engine.sh("podctl rm -f -t 0 web other").code(0);
}

#[test]
fn after_a_reboot_only_what_should_start_does() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name always --restart always alpine top").ok();
    engine.sh("podctl run -d --name never alpine top").ok();
    engine.sh("podctl run -d --name stopped --restart unless-stopped alpine top && podctl stop -t 0 stopped").ok();
    engine.reboot();
    let after = "PODCTL_BOOT_ID=another podctl";
    let states = engine.sh(&format!("{after} ps -a --format '{{{{.Names}}}} {{{{.State}}}}'")).ok();
    assert_eq!(states.matches(" exited").count(), 3, "{states}");
    engine.sh(&format!("{after} system check")).prints("nothing to do");
    engine.sh(&format!("{after} start --all --filter should-start-on-boot=true")).code(0);
    assert_eq!(engine.sh(&format!("{after} ps --format '{{{{.Names}}}}'")).ok(), "always");
    engine.sh(&format!("{after} rm -f -t 0 always never stopped")).code(0);
}
