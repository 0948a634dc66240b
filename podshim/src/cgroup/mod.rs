//! Control groups of pods and their members: v1, hybrid and v2.
//!
//! A pod's cgroup is `[$PODCTL_CGROUP_PREFIX]/podctl_parent/POD`, or below `--cgroup-parent`; a member's is the pod's with
//! its id. The same path is used in every mounted hierarchy, relative to that hierarchy's mount point, which is also how
//! OCI runtimes read `linux.cgroupsPath`. The OCI runtime makes and limits the members' cgroups and removes only their
//! leaves; the pod's cgroup, its limits and everything above it are ours.
//!
//! `PODCTL_CGROUP_PREFIX` puts all cgroups of an engine below one of its own (nested engines, tests); that one is made
//! when it is not there and never removed.
//!
//! Nothing here moves a process: a migration can wait for a whole RCU grace period. Functions block for as long as they
//! say; daemons call [`remove`], [`kill`] and [`freeze`] from a blocking thread where that matters.

mod block;
mod change;
mod figures;
mod freezer;
mod hierarchy;
mod limits;
mod mark;
mod parents;
mod path;
mod real_time;
mod tree;

use std::path::{Path, PathBuf};

use proto::{Id, refusal::Result, wire::Resources};

pub use figures::Figures;
pub use hierarchy::{Hierarchies, Version};
pub(crate) use limits::{cpu_quota, memory_swap};
pub use path::DEFAULT_PARENT;

/// The cgroup of a pod, relative to every hierarchy's mount point (begins with '/').
///
/// `parent` is `--cgroup-parent` as typed, "" = the default.
///
/// # Errors
/// When `parent` is not a clean path, naming the flag.
pub fn pod_path(pod: &Id, parent: &str) -> Result<String> {
    let prefix = std::env::var("PODCTL_CGROUP_PREFIX").unwrap_or_default();
    path::pod(&prefix, parent, pod.as_str())
}

/// The cgroup of a member.
pub fn container_path(pod_path: &str, container: &Id) -> String {
    format!("{pod_path}/{}", container.as_str())
}

/// Makes the pod's cgroup in every hierarchy and sets its limits. One that is there already is taken as it is.
///
/// # Errors
/// When the kernel refuses a limit (naming its flag) or a directory; nothing of `path` is left then.
pub fn create_pod(path: &str, limits: Option<&Resources>) -> Result<()> {
    let hierarchies = Hierarchies::of_this_machine();
    let made = tree::create(hierarchies, path).and_then(|()| match limits {
        Some(limits) => limits::apply(hierarchies, path, limits),
        None => Ok(()),
    });
    if made.is_err() {
        // The cause is what the user needs to read; what cannot be removed now is removed with the pod.
        let _ = remove(path);
    }
    made
}

/// Marks the pod's cgroup as one of the engine whose run root is `run`: others may share the parent. Where no hierarchy
/// keeps attributes (v1 alone) it stays without.
pub fn mark(path: &str, run: &Path) {
    mark::mark(Hierarchies::of_this_machine(), path, run);
}

/// The cgroups of pods below `parent` (as typed, "" = the default) that bear the mark of the engine at `run`.
pub fn marked(parent: &str, run: &Path) -> Vec<(Id, String)> {
    mark::marked(Hierarchies::of_this_machine(), parent, run)
}

/// Before anything is made at `path`: remembers, in the run root `run`, which of its parents are not there.
pub fn note_parents(path: &str, run: &Path) {
    parents::note(Hierarchies::of_this_machine(), path, run);
}

/// `path` has been removed: its note goes, and the parents that were made for it or others like it, where nothing is in
/// them any more.
pub fn remove_parents(path: &str, run: &Path) {
    mark::forget(path, run);
    parents::remove(Hierarchies::of_this_machine(), path, run);
}

/// Removes it and what is left below it; busy ones are retried for a short while (at most a second), missing ones are
/// fine. The parent that all pods share goes with the last of them.
///
/// # Errors
/// When a process is still in it, naming it.
pub fn remove(path: &str) -> Result<()> {
    tree::remove(Hierarchies::of_this_machine(), path)
}

/// Checks that explicit limits can be set on this machine.
///
/// # Errors
/// The refusal names the flag of the first limit whose controller is missing, or whose value can never be set.
pub fn check(limits: &Resources) -> Result<()> {
    limits::check(Hierarchies::of_this_machine(), limits)
}

/// Makes a member's cgroup before its runtime does, with what `limits` say of block I/O: runtimes know only the files of
/// a scheduler that kernels since 5.0 do not have.
///
/// # Errors
/// Those of the kernel, naming the flag.
pub fn set_block_limits(path: &str, limits: &Resources) -> Result<()> {
    limits::set_block(Hierarchies::of_this_machine(), path, limits)
}

/// The files that [`set_block_limits`] writes, and what it writes: for whoever has the cgroup made again.
///
/// # Errors
/// For a path that is no block device.
pub fn block_limits(path: &str, limits: &Resources) -> Result<Vec<(PathBuf, String)>> {
    limits::block_files(Hierarchies::of_this_machine(), path, limits)
}

/// Gives the parents of the cgroup `path` the time of real-time processes that it is to have: by itself a new one has none
/// for its children (kernel, scheduler/sched-rt-group.rst). Nothing where none is asked for.
///
/// # Errors
/// When the machine has not so much left.
pub fn make_room(path: &str, limits: &Resources) -> Result<()> {
    real_time::make_room(Hierarchies::of_this_machine(), path, limits)
}

/// Gives a cgroup the limits of the options in `given` (long names), each as `limits` has it: all of them, or none. One
/// that is not there is fine.
///
/// # Errors
/// When the kernel refuses one, naming its flag; the others are then as they were.
pub fn update(path: &str, limits: &Resources, given: &[String]) -> Result<()> {
    change::update(Hierarchies::of_this_machine(), path, limits, given)
}

/// Whether `controller` (memory, cpu, cpuset, pids, blkio, devices …) limits anything on this machine.
pub fn has(controller: &str) -> bool {
    Hierarchies::of_this_machine().controls(controller)
}

/// SIGKILL to everything in the cgroup and below it, frozen or not. Does not wait for the ends.
///
/// # Errors
/// When processes are left that were not there for the signal: a fork storm outran half a second of trying.
pub fn kill(path: &str) -> Result<()> {
    freezer::kill(Hierarchies::of_this_machine(), path)
}

/// Stops everything in the cgroup and below it, and waits (at most two seconds) until it stands.
///
/// # Errors
/// When there is no freezer, or something does not stand in time; it is then thawed again.
pub fn freeze(path: &str) -> Result<()> {
    freezer::freeze(Hierarchies::of_this_machine(), path)
}

/// Lets everything in the cgroup and below it go on. A cgroup that is gone is fine.
///
/// # Errors
/// Those of the kernel.
pub fn thaw(path: &str) -> Result<()> {
    freezer::thaw(Hierarchies::of_this_machine(), path)
}

/// What the cgroup and those below it use of the machine.
pub fn figures(path: &str) -> Figures {
    figures::read(Hierarchies::of_this_machine(), path)
}

/// The processes in the cgroup and below it, as pids of our PID namespace; empty when it is gone.
pub fn pids(path: &str) -> Vec<u32> {
    tree::pids(Hierarchies::of_this_machine(), path)
}
