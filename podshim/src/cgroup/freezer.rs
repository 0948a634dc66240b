//! Freezing, thawing and killing all of a cgroup.
//!
//! v1: a frozen process takes no signal until it is thawed, and each cgroup below has a state of its own. v2:
//! `cgroup.kill` reaches everything at once, forks included, frozen or not. A hybrid machine has both, and the OCI
//! runtime's `pause` uses the v1 freezer where there is one; so do we, that each sees what the other did.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::libc::SIGKILL;
use proto::{Refusal, alive, refusal::Result};

use super::{
    hierarchy::{Hierarchies, Hierarchy, Version},
    tree,
};

const FREEZE_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(1);

fn v1_freezer(hierarchies: &Hierarchies) -> Option<&Hierarchy> {
    hierarchies.with("freezer").filter(|hierarchy| hierarchy.version == Version::V1)
}

/// `Ok(false)` when the cgroup is gone.
fn write_state(file: &Path, state: &str) -> io::Result<bool> {
    match tree::put(file, state) {
        Ok(()) => Ok(true),
        Err(error) if tree::is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn freeze(hierarchies: &Hierarchies, path: &str) -> Result<()> {
    let stands = if let Some(freezer) = v1_freezer(hierarchies) {
        stand(&freezer.dir(path).join("freezer.state"), "FROZEN", FREEZE_PATIENCE, is_frozen)
    } else if let Some(v2) = hierarchies.v2() {
        stand(&v2.dir(path).join("cgroup.freeze"), "1", FREEZE_PATIENCE, |dir| {
            fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|events| events.contains("frozen 1"))
        })
    } else {
        return Err(Refusal::new(
            proto::Kind::NotSupported,
            "pause: this machine has no cgroup freezer: mount cgroup2 or the v1 freezer",
        ));
    };
    match stands {
        Ok(true) => Ok(()),
        Ok(false) => {
            // Half a pause is worse than none.
            let _ = thaw(hierarchies, path);
            Err(Refusal::new(
                proto::Kind::TimedOut,
                format!("pause: cgroup {path} does not stand still within {} s", FREEZE_PATIENCE.as_secs()),
            ))
        }
        Err(error) => Err(Refusal::internal(format!("pause: cgroup {path}"), error)),
    }
}

fn is_frozen(dir: &Path) -> bool {
    fs::read_to_string(dir.join("freezer.state")).is_ok_and(|state| state.trim() == "FROZEN")
}

/// Writes `state` to `file` and waits until `done` says that the cgroup stands.
fn stand(file: &Path, state: &str, patience: Duration, done: impl Fn(&Path) -> bool) -> io::Result<bool> {
    let dir = file.parent().unwrap_or(file);
    let deadline = Instant::now() + patience;
    tree::put(file, state)?;
    while !done(dir) {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
        // A v1 freezer may have given up on a task in mid-fork; asking again makes it look again.
        tree::put(file, state)?;
    }
    Ok(true)
}

pub(super) fn thaw(hierarchies: &Hierarchies, path: &str) -> Result<()> {
    let error = |error: io::Error| Refusal::internal(format!("unpause: cgroup {path}"), error);
    if let Some(v2) = hierarchies.v2() {
        write_state(&v2.dir(path).join("cgroup.freeze"), "0").map_err(error)?;
    }
    if let Some(freezer) = v1_freezer(hierarchies) {
        thaw_v1(&freezer.dir(path)).map_err(error)?;
    }
    Ok(())
}

/// Parents first: a child of a frozen cgroup cannot thaw.
fn thaw_v1(dir: &Path) -> io::Result<()> {
    if write_state(&dir.join("freezer.state"), "THAWED")? {
        for below in tree::descendants(dir) {
            write_state(&below.join("freezer.state"), "THAWED")?;
        }
    }
    Ok(())
}

pub(super) fn kill(hierarchies: &Hierarchies, path: &str) -> Result<()> {
    // Linux >= 5.14, and not at the root; without the file the slower way follows.
    let by_kernel = hierarchies.v2().is_some_and(|v2| tree::put(&v2.dir(path).join("cgroup.kill"), "1").is_ok());
    let Some(tracking) = hierarchies.tracking() else { return Ok(()) };
    let dir = tracking.dir(path);
    if by_kernel {
        // A process may be in the v1 cgroup but not in the v2 one, and a v1 freezer still holds the killed.
        kill_members(&dir, &tree::pids_below(&dir));
        return thaw(hierarchies, path);
    }
    kill_frozen(hierarchies, path, &dir)
}

/// Freeze, so that nobody forks and no pid changes hands; kill; thaw, so that the signals arrive. Again until the list
/// holds nobody who had no signal.
fn kill_frozen(hierarchies: &Hierarchies, path: &str, dir: &Path) -> Result<()> {
    let deadline = Instant::now() + KILL_PATIENCE;
    let mut signalled = HashSet::new();
    loop {
        if let Some(freezer) = v1_freezer(hierarchies).filter(|_| !tree::pids_below(dir).is_empty()) {
            // A task that will not freeze in time is signalled all the same; a cgroup that is gone needs nothing.
            let _ = stand(&freezer.dir(path).join("freezer.state"), "FROZEN", Duration::from_millis(50), is_frozen);
        }
        let pids = tree::pids_below(dir);
        let new = pids.iter().filter(|pid| signalled.insert(**pid)).count();
        kill_members(dir, &pids);
        thaw(hierarchies, path)?;
        if new == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Refusal::new(
                proto::Kind::TimedOut,
                format!("kill: cgroup {path} forks faster than it can be killed: limit it with --pids-limit"),
            ));
        }
    }
}
/// SIGKILL to those of `pids` that are still in the cgroup at `dir`: the pidfds hold the processes, so a pid that changed
/// hands between the list and the signal shows in the second look and is left alone.
fn kill_members(dir: &Path, pids: &[u32]) {
    for some in pids.chunks(256) {
        let held: Vec<_> = some.iter().filter_map(|pid| Some((*pid, alive::pidfd_open(*pid).ok()?))).collect();
        let members: HashSet<u32> = tree::pids_below(dir).into_iter().collect();
        for (_, pidfd) in held.iter().filter(|(pid, _)| members.contains(pid)) {
            // ESRCH: it ended by itself.
            let _ = alive::pidfd_signal(pidfd, SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Without v2, where `cgroup.kill` does it: the freezer has to hold the storm.
    #[test]
    fn a_fork_storm_is_killed_by_the_v1_freezer_alone() {
        let all = Hierarchies::of_this_machine().all.iter().filter(|h| h.version == Version::V1).cloned().collect();
        let v1 = Hierarchies { all };
        if !nix::unistd::geteuid().is_root() || v1_freezer(&v1).is_none() {
            eprintln!("not root or no v1 freezer: not tested");
            return;
        }
        let path = format!("/podctl-freezer-{}", std::process::id());
        tree::create(&v1, &path).expect("made");
        let dir = v1_freezer(&v1).expect("freezer").dir(&path);
        let script = format!(
            "echo $$ > {}/cgroup.procs; for i in $(seq 40); do while :; do sleep 0.01 & sleep 0.01; done & done; wait",
            dir.display()
        );
        let mut child = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).spawn().expect("a shell");
        let deadline = Instant::now() + Duration::from_secs(10);
        while tree::pids_below(&dir).len() < 60 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let killed = kill(&v1, &path);
        let _ = child.kill();
        child.wait().expect("reaped");
        tree::remove(&v1, &path).expect("removed");
        killed.expect("killed");
    }
}
