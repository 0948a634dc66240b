//! Containers that end at once, that are killed for want of memory, whose first process is killed before it begins, or that
//! multiply: exact codes, and an end.

use std::time::{Duration, Instant};

use harness::{
    Engine,
    images::{ALPINE, DEBIAN},
    oracle,
    programs::is_stand_in,
    until,
};

use super::report;

/// How many run beside each other.
const BESIDE: usize = 3;

#[test]
fn the_code_and_the_words_of_a_container_that_ends_at_once_are_exact_however_often() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let each = if report::all() { 340 } else { 12 };
    let engine = Engine::with(&[ALPINE]);
    let shells: Vec<_> = (0..BESIDE)
        .map(|shell| {
            // In the foreground and the background in turns; each has a code of its own.
            engine.start(&format!(
                "for i in $(seq {each}); do code=$(((i * {BESIDE} + {shell}) % 120)); name=q{shell}-$i; \
                 if [ $((i % 2)) = 0 ]; then \
                   words=$(podctl run --name $name alpine sh -c \"echo word $i; exit $code\"); ended=$?; \
                 else \
                   podctl run -d --name $name alpine sh -c \"echo word $i; exit $code\" > /dev/null; \
                   ended=$(podctl wait $name); words=$(podctl logs $name); \
                 fi; \
                 [ \"$ended $words\" = \"$code word $i\" ] || echo \"$name: $code expected: $ended $words\"; \
                 podctl rm $name > /dev/null || echo \"$name: not removed\"; \
                 done"
            ))
        })
        .collect();
    let mut found = Vec::new();
    for shell in shells {
        let run = shell.finish();
        if run.code != 0 || !run.out.is_empty() || !run.err.is_empty() {
            found.push(run.to_string());
        }
    }
    report::done("containers that end at once", each * BESIDE, begun.elapsed(), &found);
}

#[test]
fn a_container_that_is_killed_for_want_of_memory_says_so_every_time() {
    if is_stand_in() {
        return;
    }
    let begun = Instant::now();
    let rounds = if report::all() { 50 } else { 4 };
    let engine = Engine::with(&[ALPINE]);
    let eats = "podctl run --name c -m 20m alpine dd if=/dev/zero of=/dev/null bs=64M count=1";
    let says = "podctl inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' c && podctl rm c > /dev/null";
    let run = engine.sh(&format!("for i in $(seq {rounds}); do {eats} 2> /dev/null; echo $?; {says}; done"));
    let wrong = run.ok() != ["137\ntrue 137"].repeat(rounds).join("\n");
    let found = if wrong { vec![run.to_string()] } else { vec![] };
    report::done("ends for want of memory", rounds, begun.elapsed(), &found);
}

#[test]
fn a_container_that_multiplies_is_ended_by_stop() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[DEBIAN]);
    for end in ["podctl stop -t 0 bomb", "podctl rm -f -t 0 bomb", "podctl kill bomb && podctl wait bomb"] {
        // A fork that fails ends none of them.
        let bomb = "$SIG{CHLD} = $SIG{TERM} = q(IGNORE); fork while 1";
        engine.podctl(&["run", "-d", "--name", "bomb", "--pids-limit", "150", "debian", "perl", "-e", bomb]).ok();
        let id = engine.field("bomb", ".Id");
        let many = || {
            let groups = oracle::cgroups(&engine.label);
            let current = |group: &std::path::PathBuf| {
                std::fs::read_to_string(group.join("pids.current")).ok()?.trim().parse::<u32>().ok()
            };
            groups.iter().filter(|group| group.ends_with(&id)).filter_map(current).any(|count| count > 100)
        };
        until("a hundred processes", || many().then_some(()));
        let run = engine.sh(end);
        run.code(0);
        assert!(run.took < Duration::from_secs(20), "{run}");
        until("none of them", || engine.pids("fork while 1").is_empty().then_some(()));
        if !end.contains("rm") {
            engine.sh("podctl wait bomb").prints("137");
            engine.sh("podctl rm bomb").code(0);
        }
    }
}

#[test]
fn a_container_whose_first_process_was_killed_before_it_began_has_ended_and_can_be_started_again() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    for waits in [true, false, false, false] {
        engine.sh("podctl create --name c alpine sh -c 'echo began; exit 4' && podctl init c").ok();
        engine.sh(&format!("kill -9 {}", engine.field("c", ".State.Pid"))).code(0);
        if waits {
            until("its end", || (engine.field("c", ".State.Status") == "exited").then_some(()));
            engine.sh("timeout 20 podctl wait c").prints("137");
            engine.sh("podctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' c").prints("exited 137");
            engine.sh("podctl logs c").code(0).prints_nothing();
        } else {
            // Who starts it may come before anybody has seen its end.
            let first = engine.sh("podctl start c");
            assert!(first.code == 0 || !first.stderr().trim().is_empty(), "{first}");
            until("its end", || (engine.field("c", ".State.Running") == "false").then_some(()));
        }
        engine.sh("podctl start -a c").code(4).prints("began");
        engine.sh("podctl rm c").code(0);
    }
}
