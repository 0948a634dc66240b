//! Hostile surroundings: whatever a caller or a neighbour on the machine does, the programs go on or say why not.

use std::time::{Duration, Instant};

use harness::{Engine, engine::HOME, images::ALPINE, programs::is_stand_in, until, wait};

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
        "ulimit -S -f 0;",
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
    assert_eq!(engine.sh("podctl run --rm -v data:/data alpine sh -c 'ls /data | wc -l'").ok(), "8");
    engine.sh("rm -f ../tmp/odd").code(0);
    // What only CAP_SYS_RESOURCE could lift is told, and nothing is left.
    let unwritable = engine.sh("ulimit -f 0; podctl run --rm alpine true");
    assert!(unwritable.code == 0 || unwritable.stderr().contains("File too large"), "{unwritable}");
    engine.sh("podctl ps -aq").code(0).prints_nothing();
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
fn links_and_elements_that_somebody_removes_under_a_running_pod_come_back() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create --subnet 10.77.0.0/24 n").ok();
    engine.sh("podctl run -d --name web --network n -p 8080:80 alpine nc -ll -p 80 -e echo page").ok();
    engine.sh("podctl run -d --name other --network n alpine nc -ll -p 80 -e echo other").ok();
    until("the page", || page(&engine));
    let bridge = engine.sh("podctl network inspect -f '{{.NetworkInterface}}' n").ok();
    let table = engine.sh("nft list tables | grep -o 'podctl_[0-9a-f]*'").ok();
    let first = engine.field("web", ".State.Pid");
    let shows_address = "podctl exec web ip -o -4 addr show eth0 | grep -o 'inet [0-9./]*'";
    let address = engine.sh(shows_address).ok();
    let sets = engine.sh(&format!("nft list table ip {table} | grep -oE '(set|map) [a-z_]+'")).ok();
    assert!(sets.contains("map "), "{sets}");
    // The device of the pod from within and from the host, the bridge under both pods, everything of one set after the other.
    let peer = "$(podctl exec web cat /sys/class/net/eth0/iflink)";
    let of_web = format!("$(ip -o link | awk -F'[ :@]+' -v peer={peer} '$1 == peer {{ print $2 }}')");
    let mut removals = vec![
        format!("nsenter -t {first} -n ip link del eth0"),
        format!("ip link del {of_web}"),
        format!("ip link set {of_web} nomaster"),
        format!("ip link del {bridge}"),
    ];
    removals.extend(sets.lines().map(|set| {
        let (kind, name) = set.split_once(' ').expect("kind and name");
        format!("nft flush {kind} ip {table} {name}")
    }));
    // Elements come in any order.
    let elements = format!("nft list table ip {table} | tr -c '[:alnum:].-' '\\n' | sort");
    let all = engine.sh(&elements).ok();
    let to_other = "podctl exec web sh -c 'nc -w 2 other 80 < /dev/null'";
    for removal in removals {
        engine.sh(&removal).code(0);
        let removed = Instant::now();
        let healed = || {
            let complete = engine.sh(&elements).ok() == all;
            (complete && page(&engine).is_some() && engine.sh(to_other).stdout() == "other\n").then_some(())
        };
        assert!(wait::within(Duration::from_secs(20), healed).is_some(), "not healed after {removal}");
        eprintln!("{removal}: healed in {:?} at most", removed.elapsed());
        assert_eq!(engine.sh(shows_address).ok(), address, "{removal}");
    }
    engine.sh("podctl network disconnect n other && podctl network connect n other").code(0);
    engine.sh("podctl rm -f -t 0 web other && podctl network rm n").code(0);
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

#[test]
fn without_a_capability_what_needs_it_is_refused_in_words_and_all_else_is_done() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let without =
        |capability: &str, line: &str| engine.sh(&format!("setpriv --bounding-set=-{capability} podctl {line}"));
    for (capability, line, words) in [
        ("net_admin", "run --rm --name x alpine true", "or use --network host"),
        ("net_admin", "run -d --name x -p 8080:80 alpine top", "or use --network host"),
        ("mknod", "run --rm --name x alpine true", "mknod `/dev/null`: Operation not permitted"),
        ("mknod", "run -d --name x --network host alpine top", "mknod `/dev/null`: Operation not permitted"),
    ] {
        let refused = without(capability, line);
        refused.code(125).mentions(words);
        assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{refused}");
        without(capability, "rm -f -t 0 x").code(0);
    }
    // On the machine's network, and on none, nothing takes the one; what needs no device does not take the other.
    let typed = |line: &str| without("net_admin", line);
    typed("run --rm --network none alpine echo alone").prints("alone");
    let script = "echo > /dev/null && rm /etc/passwd && echo said; exec sleep 1000";
    typed(&format!("run -d --name x --network host --device /dev/fuse -v vol:/v alpine sh -c '{script}'")).code(0);
    until("its word", || (typed("logs x").stdout() == "said\n").then_some(()));
    typed("exec x ls /dev/fuse").prints("/dev/fuse");
    typed("cp x:/etc/hostname ../tmp/copied").code(0);
    for line in ["restart -t 0 x", "stop -t 0 x", "rm x", "volume rm vol"] {
        typed(line).code(0);
    }
    for line in ["ps -a", "images", "system check", "volume create v", "volume rm v", "create --name y alpine", "rm y"]
    {
        without("mknod", line).code(0);
    }
    engine.sh("rm ../tmp/copied && podctl ps -aq").prints_nothing();
    // With them all is as ever.
    engine.sh("podctl run --rm alpine true && podctl system check").prints("nothing to do");
}

/// What newer kernels have, and what profiles of other engines do not allow in their containers.
const NEWER: &[&str] = &[
    "clone3",
    "close_range",
    "copy_file_range",
    "execveat",
    "faccessat2",
    "fsconfig",
    "fsmount",
    "fsopen",
    "memfd_create",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "renameat2",
    "splice",
    "statx",
];

/// What Docker's profile has refused with EPERM at one time or another.
const OFTEN: &[&str] = &["clone3", "close_range", "faccessat2", "openat2", "pidfd_open", "splice", "statx"];

#[test]
fn system_calls_that_fail_are_done_without_or_named_and_nothing_is_left() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let program = harness::programs::beside("seccomp");
    let all = NEWER.join(",");
    let mut done_without = Vec::new();
    for errno in ["ENOSYS", "EPERM"] {
        // A profile is one error for all of them; who copes with one as a rule copes with the other.
        let each = NEWER.iter().copied().filter(|call| errno == "ENOSYS" || OFTEN.contains(call));
        for calls in each.chain([all.as_str()]) {
            let without = format!("{} {calls} {errno}", program.display());
            let line = |words: &str| engine.sh(&format!("{without} {HOME}/bin/podctl {words}"));
            let run = line(
                "run -d --name x --health-cmd true -v data:/data -p 8080:80 alpine sh -c 'echo said; exec sleep 1000'",
            );
            if run.code == 0 {
                done_without.push(format!("{calls} {errno}"));
                line("exec x true").code(0);
                until("its word", || (line("logs x").stdout() == "said\n").then_some(()));
                line("cp x:/etc/hostname ../tmp/copied").code(0);
                line("restart -t 0 x").code(0);
                line("stop -t 0 x").code(0);
                line("rm x").code(0);
                engine.sh("rm ../tmp/copied").code(0);
            } else {
                run.code(125);
                assert_eq!(run.stderr().trim_end().lines().count(), 1, "{without}: {run}");
                assert!(run.stderr().starts_with("Error: ") && !run.stderr().contains("panicked"), "{without}: {run}");
                engine.sh("podctl rm -f -t 0 x").code(0);
            }
            engine.sh("podctl volume rm -f data && podctl ps -a").code(0);
            assert_eq!(engine.sh("podctl ps -aq").ok(), "", "{without}");
        }
    }
    engine.sh("podctl system check").prints("nothing to do").code(0);
    eprintln!("done without: {done_without:?}");
}
