//! Directories of cgroups: made together, removed leaf first, counted.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use proto::{Refusal, refusal::Result};

use super::{
    hierarchy::{Hierarchies, Hierarchy, Version},
    path::DEFAULT_PARENT,
};

/// How long a busy cgroup is tried again: the kernel lets go of one some milliseconds after its last process.
const PATIENCE: Duration = Duration::from_secs(1);
/// Deepest nesting below a pod that is looked at; the kernel's own default has no limit.
const DEEPEST: usize = 64;

/// Makes `path` in every hierarchy.
pub(super) fn create(hierarchies: &Hierarchies, path: &str) -> Result<()> {
    for hierarchy in &hierarchies.all {
        let dir = hierarchy.dir(path);
        make(hierarchy, &dir).map_err(|error| Refusal::internal(format!("cgroup {}", dir.display()), error))?;
    }
    Ok(())
}

/// mkdir -p, from the leaf: parents are usually there. One that is may vanish at any moment, when the last other pod is
/// removed just then; that shows as ENOENT or ENODEV in whatever comes next, and we begin again.
fn make(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        let made = match fs::create_dir(dir) {
            Ok(()) => prepare(hierarchy, dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && dir != hierarchy.mount => {
                make(hierarchy, dir.parent().unwrap_or(&hierarchy.mount)).and(Err(error))
            }
            Err(error) => return Err(error),
        };
        match made {
            Err(error) if is_gone(&error) && attempts < 100 => attempts += 1,
            other => return other,
        }
    }
}

/// The cgroup was not there, or was removed between open and read or write.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

/// Writes to a file of the kernel's; never makes one (cgroup file systems would answer EACCES, not that it is missing).
pub(super) fn put(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// What a new cgroup needs before a process or a limit can be put into it.
fn prepare(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    match hierarchy.version {
        Version::V1 if hierarchy.has("cpuset") => {
            if dir.file_name().is_some_and(|name| name == DEFAULT_PARENT) {
                // The pods' cgroups, and those the runtime makes below them, then begin as copies of their parent.
                let _ = put(&dir.join("cgroup.clone_children"), "1");
            }
            inherit_cpuset(hierarchy, dir)
        }
        Version::V2 => {
            delegate(hierarchy, dir);
            Ok(())
        }
        Version::V1 => Ok(()),
    }
}

/// A v1 cpuset begins empty and takes no process until it has CPUs and memory nodes.
pub(super) fn inherit_cpuset(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent().filter(|_| dir != hierarchy.mount) else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !fs::read_to_string(dir.join(file))?.trim().is_empty() {
            continue;
        }
        let mut parents = fs::read_to_string(parent.join(file))?;
        if parents.trim().is_empty() {
            inherit_cpuset(hierarchy, parent)?;
            parents = fs::read_to_string(parent.join(file))?;
        }
        put(&dir.join(file), parents.trim())?;
    }
    Ok(())
}

/// Switches the controllers on for the cgroup at `dir` from its parent. A parent with processes of its own refuses; an
/// explicit limit then finds no file, and says so.
fn delegate(hierarchy: &Hierarchy, dir: &Path) {
    let (Some(parent), false) = (dir.parent(), hierarchy.controllers.is_empty()) else { return };
    let Ok(offered) = fs::read_to_string(parent.join("cgroup.controllers")) else { return };
    let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
    let enabled: Vec<&str> = enabled.split_ascii_whitespace().collect();
    for controller in offered.split_ascii_whitespace().filter(|name| !enabled.contains(name)) {
        // One by one: one that cannot be had must not take the others with it.
        let _ = put(&parent.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// Removes `path` and what is below it from every hierarchy, then the default parent if nothing else is in it.
pub(super) fn remove(hierarchies: &Hierarchies, path: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut busy = None;
    for hierarchy in &hierarchies.all {
        let dir = hierarchy.dir(path);
        match remove_tree(&dir, deadline) {
            Ok(()) => remove_default_parent(&dir),
            // One that stays must not keep the others.
            Err(error) => busy = Some((dir, error)),
        }
    }
    match busy {
        None => Ok(()),
        Some((dir, error)) => Err(still_there(hierarchies, path, &dir, &error)),
    }
}

fn remove_tree(dir: &Path, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => {
                // Children are the usual reason, so they come before any waiting.
                let children = descendants(dir);
                let removed = children.iter().rev().filter(|child| fs::remove_dir(child).is_ok()).count();
                if removed > 0 && removed == children.len() {
                    continue;
                }
                if Instant::now() >= deadline {
                    return Err(error);
                }
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// rmdir of the nearest parent of ours. It fails while another pod is in it, which is the point: nobody counts.
fn remove_default_parent(dir: &Path) {
    if let Some(parent) = dir.parent().filter(|parent| parent.file_name().is_some_and(|name| name == DEFAULT_PARENT)) {
        let _ = fs::remove_dir(parent);
    }
}

fn still_there(hierarchies: &Hierarchies, path: &str, dir: &Path, error: &io::Error) -> Refusal {
    let holder = pids(hierarchies, path).first().map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!(": process {pid} ({}) is still in it", name.trim().escape_debug())
    });
    Refusal::internal(format!("cgroup {}", dir.display()), format!("{error}{}", holder.unwrap_or_default()))
}

/// The cgroups below `dir`, parents before children.
pub(super) fn descendants(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut level = vec![dir.to_owned()];
    for _ in 0..DEEPEST {
        let mut below = Vec::new();
        for dir in &level {
            let Ok(entries) = fs::read_dir(dir) else { continue };
            let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            below.extend(dirs.map(|entry| entry.path()));
        }
        if below.is_empty() {
            break;
        }
        found.extend(below.iter().cloned());
        level = below;
    }
    found
}

/// The processes in `path` and below it.
pub(super) fn pids(hierarchies: &Hierarchies, path: &str) -> Vec<u32> {
    let Some(hierarchy) = hierarchies.tracking() else { return Vec::new() };
    pids_below(&hierarchy.dir(path))
}

/// The processes in the cgroup at `dir` and below it.
pub(super) fn pids_below(dir: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for dir in std::iter::once(dir.to_owned()).chain(descendants(dir)) {
        // 0 stands for a process outside our PID namespace: nothing that could be named or signalled.
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    }
    found
}
