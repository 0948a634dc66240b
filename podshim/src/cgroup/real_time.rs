//! Time of real-time processes in cgroup v1: what a cgroup has, its parents must have too.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proto::{Refusal, refusal::Result, wire::Resources};

use super::{
    hierarchy::{Hierarchies, Version},
    limits::RT_RUNTIME,
    tree,
};

/// The kernel's period, in µs.
const PERIOD: i64 = 1_000_000;
/// How long the kernel may need to take the share of a removed cgroup back.
const REMOVED: Duration = Duration::from_millis(300);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// Parts that a share of the time is counted in.
const WHOLE: i64 = 1 << 20;

/// See [`super::make_room`].
pub(super) fn make_room(hierarchies: &Hierarchies, path: &str, limits: &Resources) -> Result<()> {
    let Some(hierarchy) = hierarchies.with("cpu").filter(|found| found.version == Version::V1) else { return Ok(()) };
    if limits.cpu_rt_runtime <= 0 {
        return Ok(());
    }
    let period = if limits.cpu_rt_period == 0 { PERIOD } else { i64::try_from(limits.cpu_rt_period).unwrap_or(PERIOD) };
    let mut wanted: Vec<(PathBuf, i64)> = Vec::new();
    let (mut child, mut need) = (hierarchy.dir(path), share(limits.cpu_rt_runtime, period));
    while let Some(dir) = child.parent().filter(|dir| dir.starts_with(&hierarchy.mount) && **dir != hierarchy.mount) {
        need += of_others(dir, &child);
        wanted.push((dir.to_owned(), (need * read(dir, "cpu.rt_period_us", PERIOD) + WHOLE - 1) / WHOLE));
        child = dir.to_owned();
    }
    // From the top: no child has more than its parent.
    wanted.into_iter().rev().try_for_each(|(dir, need)| {
        raise(&dir, need).map_err(|error| {
            Refusal::invalid(format!(
                "--cpu-rt-runtime {}: the kernel refuses {need} for {RT_RUNTIME} of {}: {error}",
                limits.cpu_rt_runtime,
                dir.display()
            ))
        })
    })
}

/// Gives `dir` the runtime `need`, or twice as much: a child that is removed has its share for a moment after that, when
/// another run of the same container wants its own.
fn raise(dir: &Path, need: i64) -> io::Result<()> {
    let file = dir.join(RT_RUNTIME);
    let twice = need.saturating_mul(2);
    if runtime(dir) >= twice || tree::put(&file, &twice.to_string()).is_ok() || runtime(dir) >= need {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        match tree::put(&file, &need.to_string()) {
            Err(_) if begun.elapsed() < REMOVED => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// The share of the time that `runtime` of `period` is, in parts of [`WHOLE`], rounded up.
fn share(runtime: i64, period: i64) -> i64 {
    (runtime.clamp(0, i64::MAX / (2 * WHOLE)) * WHOLE + period - 1) / period.max(1)
}

/// The share that the children of `dir` have together, but for `child`.
fn of_others(dir: &Path, child: &Path) -> i64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let others = entries.filter(|path| path != child && path.is_dir());
    others.map(|path| share(runtime(&path), read(&path, "cpu.rt_period_us", PERIOD))).sum()
}

fn runtime(dir: &Path) -> i64 {
    read(dir, RT_RUNTIME, 0)
}

fn read(dir: &Path, file: &str, default: i64) -> i64 {
    fs::read_to_string(dir.join(file)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_too_small() {
        assert_eq!((share(0, PERIOD), share(PERIOD, PERIOD), share(1, PERIOD)), (0, WHOLE, 2));
        assert!(share(i64::MAX, 1) > 0);
    }
}
