//! Which hierarchies are mounted where, and which controllers are in them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::sys::mount::unescape;

/// Kind of one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// cgroup v1: its controllers are its own.
    V1,
    /// cgroup v2: controllers are switched on from the top by `cgroup.subtree_control`.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which kind.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Controllers in it; of a named v1 hierarchy `name=…`.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// The directory of the cgroup `path`, which begins with '/'.
    pub fn dir(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }

    /// Whether it has `controller`, by its v1 name.
    pub fn has(&self, controller: &str) -> bool {
        let v2_name = if controller == "blkio" { "io" } else { controller };
        let name = if self.version == Version::V2 { v2_name } else { controller };
        self.controllers.iter().any(|has| has == name)
    }
}

/// All mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// In the order of mountinfo, each once.
    pub all: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Those this process sees, looked up once.
    pub fn of_this_machine() -> &'static Hierarchies {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        FOUND.get_or_init(|| {
            let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            Hierarchies::parse(&mountinfo, |mount| {
                fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
            })
        })
    }

    /// Those of a `mountinfo` (proc(5)). `v2_controllers` reads `cgroup.controllers` at a v2 mount.
    pub fn parse(mountinfo: &str, v2_controllers: impl Fn(&Path) -> String) -> Hierarchies {
        let mut all: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4).map(unescape) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            let found = match kind {
                "cgroup2" => Hierarchy {
                    version: Version::V2,
                    controllers: v2_controllers(&mount).split_ascii_whitespace().map(str::to_owned).collect(),
                    mount,
                },
                "cgroup" => Hierarchy { version: Version::V1, mount, controllers: v1_controllers(options) },
                _ => continue,
            };
            // A second mount of a hierarchy (a bind mount, a container's view) shows the same cgroups.
            if !all.iter().any(|had| had.version == found.version && had.controllers == found.controllers) {
                all.push(found);
            }
        }
        Hierarchies { all }
    }

    /// The hierarchy that `controller` (by its v1 name) is in.
    pub fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.all.iter().find(|hierarchy| hierarchy.has(controller))
    }

    /// Whether `controller` can limit a cgroup below the root. The devices controller of v2 is a BPF program, and its
    /// freezer is part of the core: neither is listed.
    pub fn controls(&self, controller: &str) -> bool {
        let core = matches!(controller, "devices" | "freezer") && !self.all.iter().any(|h| h.version == Version::V1);
        self.with(controller).is_some() || (core && self.v2().is_some())
    }

    /// The v2 hierarchy, with or without controllers.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.all.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// The hierarchy whose `cgroup.procs` tell who is in a cgroup: one that a process cannot be outside of when it was
    /// started by an OCI runtime.
    pub fn tracking(&self) -> Option<&Hierarchy> {
        self.with("freezer").or_else(|| self.with("pids")).or_else(|| self.v2()).or_else(|| self.all.first())
    }

    /// `v1`, `hybrid` or `v2`, for messages.
    pub fn name(&self) -> &'static str {
        let v1 = self.all.iter().any(|hierarchy| hierarchy.version == Version::V1);
        match (v1, self.v2().is_some()) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "not mounted",
        }
    }
}

/// The controllers among the super block options of a v1 mount.
fn v1_controllers(options: &str) -> Vec<String> {
    const FLAGS: [&str; 8] =
        ["rw", "ro", "none", "noprefix", "clone_children", "cpuset_v2_mode", "xattr", "favordynmods"];
    options
        .split(',')
        .filter(|option| !FLAGS.contains(option) && !option.starts_with("release_agent=") && *option != "nsdelegate")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
90 31 0:32 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid_has_every_hierarchy_once() {
        let found = Hierarchies::parse(HYBRID, |_| String::new());
        let mounts: Vec<_> = found.all.iter().map(|h| h.mount.display().to_string()).collect();
        assert_eq!(
            mounts,
            ["cpu,cpuacct", "memory", "freezer", "systemd", "unified"].map(|n| format!("/sys/fs/cgroup/{n}"))
        );
        assert_eq!(found.all[3].controllers, ["name=systemd"]);
        assert_eq!(found.name(), "hybrid");
        assert!(found.controls("cpu") && found.controls("memory") && !found.controls("pids"));
        assert_eq!(found.tracking().map(|h| h.mount.as_path()), Some(Path::new("/sys/fs/cgroup/freezer")));
    }

    #[test]
    fn v2_has_controllers_by_their_old_names() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(text, |_| "cpuset cpu io memory pids\n".to_owned());
        assert_eq!(found.name(), "v2");
        assert!(["blkio", "memory", "pids", "devices", "freezer"].iter().all(|name| found.controls(name)));
        assert!(!found.controls("hugetlb"));
    }

    #[test]
    fn no_cgroups_at_all_is_no_error() {
        let found = Hierarchies::parse("rubbish\n1 2 - \n", |_| String::new());
        assert_eq!((found.all.len(), found.name()), (0, "not mounted"));
    }
}
