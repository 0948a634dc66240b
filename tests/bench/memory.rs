//! What an engine keeps in memory for each container: the private dirty pages of everything of it that stays.

use harness::{Engine, oracle, until};

use crate::{Goal, line};

const POD: u32 = 30;

/// Compares both; how many goals are missed.
pub fn compare(theirs: &Engine, ours: &Engine) -> u32 {
    let mut missed = 0;
    // Pages of a program that was just linked are dirty until the disk has them, and would count as the process' own.
    ours.sh("sync").ok();
    let plain = [theirs, ours].map(|engine| {
        engine.sh("podctl run -d --name one alpine sleep 99999").ok();
        let kilobytes = settled(engine);
        engine.sh("podctl rm -f -t 0 one").ok();
        kilobytes
    });
    missed +=
        u32::from(!line("memory, plain container", plain[0], plain[1], "kB", plain[1] / plain[0], Goal::AtMost(1.0)));
    let pod = [theirs, ours].map(|engine| {
        engine.sh("podctl pod create --name big").ok();
        engine
            .sh(&format!("for i in $(seq {POD}); do podctl run -d --pod big alpine sleep 99999 || exit 1; done"))
            .ok();
        let kilobytes = settled(engine) / f64::from(POD);
        engine.sh("podctl pod rm -f -t 0 big").ok();
        kilobytes
    });
    let name = format!("memory, each of {POD} in a pod");
    missed += u32::from(!line(&name, pod[0], pod[1], "kB", pod[1] / pod[0], Goal::AtMost(0.7)));
    missed
}

/// Private dirty memory of the engine's own processes, in kB, once it has come to rest.
fn settled(engine: &Engine) -> f64 {
    at_rest(engine, || private_dirty(engine))
}

/// A figure in kB once it has come to rest.
pub fn at_rest(engine: &Engine, figure: impl Fn() -> f64) -> f64 {
    let mut last = -1.0;
    until("memory to settle", || {
        let now = figure();
        let rests = (now - last).abs() < 1.0 && now > 0.0;
        last = now;
        // Buffers are given back a moment after the last request.
        engine.sh("sleep 0.5").ok();
        rests.then_some(now)
    })
}

fn private_dirty(engine: &Engine) -> f64 {
    let resident = ["podmon", "podshim", "conmon", "catatonit", "aardvark-dns"];
    let of = |pid: i32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    let ours = |command: &str| {
        let program = command.split(' ').next().unwrap_or_default();
        resident.contains(&program.rsplit('/').next().unwrap_or_default())
    };
    oracle::processes(&engine.enclosure).iter().filter(|one| ours(&one.command)).map(|one| of(one.pid)).sum()
}
