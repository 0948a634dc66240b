//! Many containers: started, listed, stopped and removed, in a time that grows as they do, and nothing is left.

use std::time::{Duration, Instant};

use harness::{Engine, Run, images::ALPINE, programs::is_stand_in};

use super::report;

/// How many pods; each has [`MEMBERS`].
const PODS: (usize, usize) = (5, 100);
const MEMBERS: usize = 10;
/// What a list of a thousand may take, on a machine with everything else running beside it; `make bench` has the goals.
const LIST: Duration = Duration::from_secs(2);
/// What one container may cost: to start, and to stop and remove.
const EACH: Duration = Duration::from_millis(400);
/// What a monitor and a shim with ten members may have of their own, in kilobytes: three times what they have; `make bench`
/// has the goals.
const MONITOR: f64 = 600.0;
const SHIM: f64 = 1000.0;

/// Kilobytes that belong to one process alone, and its share of what it has in common with others.
fn memory(pid: i32) -> (f64, f64) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    (field("Private_Dirty:"), field("Pss:"))
}

#[test]
fn a_thousand_containers_in_a_hundred_pods_are_started_listed_stopped_and_removed() {
    if is_stand_in() {
        return;
    }
    let pods = if report::all() { PODS.1 } else { PODS.0 };
    let count = pods * MEMBERS;
    let engine = Engine::with(&[ALPINE]);
    let (mut wrong, mut wrong_memory) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let mut judge = |what: &str, run: &Run, most: Duration| {
        report::row(&format!("scale: {what}"), count, run.took, 0);
        if run.code != 0 || run.took > most {
            wrong.push(format!("=== {what}: more than {most:?}, or it failed:\n{run}"));
        }
    };
    let each = |most: Duration| most * u32::try_from(count).unwrap_or(1);
    let started = engine.sh(&format!(
        "seq {pods} | xargs -P 4 -I N sh -c 'podctl pod create --name pN > /dev/null || exit 255; for i in $(seq {MEMBERS}); do \
         podctl run -d --pod pN --name cN-$i alpine sleep inf > /dev/null || exit 255; done'"
    ));
    judge("started", &started, each(EACH));
    let lists = ["ps -a", "ps -q", "pod ps", "ps -a --pod --format {{.Names}}"];
    for list in lists {
        // The first has to read it all from the disk.
        engine.podctl(&["ps", "-aq"]).ok();
        let mut words: Vec<&str> = list.split(' ').collect();
        words.retain(|word| !word.is_empty());
        let run = engine.podctl(&words);
        let lines = run.stdout().lines().count();
        let expected = match list {
            "pod ps" => pods + 1,
            "ps -a" => count + 1,
            _ => count,
        };
        // Infra containers are listed with `-a` alone.
        if lines < expected {
            judge(&format!("{list} has {lines} lines"), &run, Duration::ZERO);
        }
        judge(list, &run, LIST);
    }
    for (name, what, most) in [("podmon ", "podmon", MONITOR), ("podshim pod", "podshim", SHIM)] {
        let pids = engine.pids(name);
        let sum = pids.iter().fold((0.0, 0.0), |sum, pid| {
            let (own, share) = memory(*pid);
            (sum.0 + own, sum.1 + share)
        });
        let per = |kilobytes: f64| kilobytes / pids.len().max(1) as f64;
        if pids.is_empty() || per(sum.0) > most {
            wrong_memory.push(format!("=== {} of {what} have {:.0} kB each, {most} at most", pids.len(), per(sum.0)));
        }
        println!("{what}: {} processes, each {:.0} kB of its own, {:.0} kB in all", pids.len(), per(sum.0), per(sum.1));
    }
    judge("inspected", &engine.sh("podctl inspect $(podctl ps -aq) > /dev/null"), each(EACH));
    judge("executed in one", &engine.sh("podctl exec c1-1 true"), LIST);
    judge("one more", &engine.sh("podctl run -d --pod p1 --name more alpine sleep inf"), LIST);
    judge("stopped", &engine.sh("podctl stop -a -t 0 > /dev/null"), each(EACH));
    judge("started again", &engine.sh("podctl pod start --all > /dev/null"), each(EACH));
    judge("removed", &engine.sh("podctl pod rm -f -a -t 0 > /dev/null"), each(EACH));
    drop(engine);
    wrong.extend(wrong_memory);
    report::done("scale: all of it", count, begun.elapsed(), &wrong);
}
