//! Which processes a container has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::process::Process;

/// Deepest cgroup below the container's that is looked at.
const DEPTH: usize = 32;

/// Pids of the processes in the cgroup of `init` and below; where it has none of its own, those of its PID namespace.
pub(super) fn pids(init: &Process) -> Vec<u32> {
    if let Some(directory) = cgroup(init.pid) {
        let mut pids = BTreeSet::new();
        collect(&directory, DEPTH, &mut pids);
        if pids.contains(&init.pid) {
            return pids.into_iter().collect();
        }
    }
    namespace(init)
}

/// The directory of a cgroup of `pid` that is not the root of its hierarchy.
fn cgroup(pid: u32) -> Option<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    cgroups.lines().filter_map(Hierarchy::parse).find_map(|hierarchy| {
        // In a cgroup that we are in too are more than its processes.
        let ours = own.lines().filter_map(Hierarchy::parse).any(|other| other == hierarchy);
        if hierarchy.path == "/" || ours {
            return None;
        }
        let mount = mounts.lines().find_map(|line| hierarchy.mounted_at(line))?;
        Some(mount).filter(|directory| directory.join("cgroup.procs").exists())
    })
}

/// A line of `/proc/PID/cgroup`: `ID:CONTROLLERS:PATH` (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy<'a> {
    controllers: &'a str,
    path: &'a str,
}

impl<'a> Hierarchy<'a> {
    fn parse(line: &'a str) -> Option<Hierarchy<'a>> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some(Hierarchy { controllers, path })
    }

    /// Its directory below the mount that `line` of mountinfo describes, if that is its hierarchy.
    fn mounted_at(&self, line: &str) -> Option<PathBuf> {
        let (mount, kind) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (root, target) = (*fields.get(3)?, *fields.get(4)?);
        let kind: Vec<&str> = kind.split(' ').collect();
        let matches = match *kind.first()? {
            "cgroup2" => self.controllers.is_empty(),
            "cgroup" => {
                let options: Vec<&str> = kind.get(2)?.split(',').collect();
                !self.controllers.is_empty() && self.controllers.split(',').all(|name| options.contains(&name))
            }
            _ => false,
        };
        let below = self.path.strip_prefix(if root == "/" { "" } else { root })?;
        matches.then(|| Path::new(target).join(below.trim_start_matches('/')))
    }
}

/// Adds the pids in `directory` and below.
fn collect(directory: &Path, depth: usize, pids: &mut BTreeSet<u32>) {
    let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|pid| pid.parse::<u32>().ok()).filter(|pid| *pid != 0));
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth - 1, pids);
        }
    }
}

/// Pids of all processes in the PID namespace of `init`; only its own where that is ours too.
fn namespace(init: &Process) -> Vec<u32> {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = of(&init.pid.to_string());
    if wanted.is_none() || wanted == of("self") {
        return vec![init.pid];
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| of(&pid.to_string()) == wanted)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_by_their_mounts() {
        let v1 = Hierarchy::parse("4:cpu,cpuacct:/podctl/x").expect("parses");
        let line = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct";
        assert_eq!(v1.mounted_at(line), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/podctl/x")));
        let named = Hierarchy::parse("1:name=systemd:/a").expect("parses");
        let line = "31 25 0:27 /a /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        assert_eq!(named.mounted_at(line), Some(PathBuf::from("/sys/fs/cgroup/systemd")));
        assert_eq!(v1.mounted_at(line), None);
        let v2 = Hierarchy::parse("0::/a:b").expect("parses");
        let line = "32 25 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(v2.mounted_at(line), Some(PathBuf::from("/sys/fs/cgroup/a:b")));
    }
}
