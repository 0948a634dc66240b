//! The container's cgroup in all hierarchies: freezer, out-of-memory kills.
//!
//! Works on v1, v2 and the hybrid of both (cgroups(7)): each controller is looked up by itself.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use proto::{Kind, Refusal, alive, patience, refusal::Result};
use tokio::time::{Instant, sleep};

/// How long all processes may take to freeze: one in an uninterruptible sleep cannot be frozen.
const FREEZE: Duration = Duration::from_secs(10);
/// Name of the v2 hierarchy in [`Cgroup`].
const UNIFIED: &str = "";

/// Makes the directories of `limits` and writes their values.
pub fn limit(limits: &[(PathBuf, String)]) {
    for (file, value) in limits {
        // What is not there is not to be made. A limit that the kernel takes no more keeps nothing from running: it was
        // there when the container was first run.
        let _ = file
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| io::Write::write_all(&mut fs::File::options().write(true).open(file)?, value.as_bytes()));
    }
}

/// Directories of one cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Controller, or [`UNIFIED`], → directory.
    directories: HashMap<String, PathBuf>,
}

impl Cgroup {
    /// The cgroup of the container whose first process is `pid` and whose record says `expected`.
    ///
    /// A system manager in the container may have moved the first process into a cgroup below.
    pub fn of(pid: u32, expected: &str) -> Cgroup {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Cgroup::find(&membership, &mounts, expected)
    }

    /// The cgroup that the record names, where there is no process to ask.
    pub fn named(expected: &str) -> Cgroup {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found = Cgroup::default();
        if !expected.trim_matches('/').is_empty() {
            for mount in mounts.lines().filter_map(Mount::parse) {
                let directory = mount.point.join(expected.trim_start_matches('/'));
                for controller in &mount.controllers {
                    found.directories.insert(controller.clone(), directory.clone());
                }
            }
        }
        found.directories.retain(|_, directory| directory.is_dir());
        found
    }

    fn find(membership: &str, mounts: &str, expected: &str) -> Cgroup {
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let expected = format!("/{}", expected.trim_matches('/'));
        let mut found = Cgroup::default();
        for line in membership.lines() {
            // hierarchy:controllers:path
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let path = if expected.len() > 1 && Path::new(path).starts_with(&expected) { &expected } else { path };
            for controller in controllers.split(',') {
                let mount = mounts.iter().find(|mount| mount.controllers.iter().any(|other| other == controller));
                if let Some(directory) = mount.and_then(|mount| mount.directory(path)) {
                    found.directories.insert(controller.to_owned(), directory);
                }
            }
        }
        found
    }

    /// Where the freezer is controlled: v1 where there is one (the runtime uses it too), else v2. Never the root: it would
    /// freeze the machine.
    fn freezer(&self) -> Option<Freezer> {
        if let Some(directory) =
            self.directories.get("freezer").filter(|directory| directory.join("freezer.state").exists())
        {
            return Some(Freezer { directory: directory.clone(), version: 1 });
        }
        let directory = self.directories.get(UNIFIED).filter(|directory| directory.join("cgroup.freeze").exists())?;
        Some(Freezer { directory: directory.clone(), version: 2 })
    }

    /// Freezes all processes; none is left frozen when this fails.
    ///
    /// # Errors
    /// When there is no freezer, or when they do not freeze in time.
    pub async fn freeze(&self) -> Result<()> {
        let freezer = self.freezer().ok_or_else(no_freezer)?;
        freezer.order(true).map_err(|error| Refusal::internal("pause: freezer", error))?;
        let limit = patience::at_most(FREEZE);
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(200);
        while !freezer.is_frozen() {
            if Instant::now() >= deadline {
                let asleep: Vec<u32> =
                    self.processes().into_iter().filter(|pid| alive::state(*pid) == Some('D')).collect();
                let who = if asleep.is_empty() { "some process".to_owned() } else { patience::who(&asleep) };
                // The order is taken back; that fails only when the cgroup has gone.
                let _ = freezer.order(false);
                let words = format!("pause: not frozen within {} s: {who}", limit.as_secs_f64());
                return Err(Refusal::new(Kind::TimedOut, words));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether it was told to stand, be all of it frozen yet or not.
    pub fn is_to_stand(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.is_ordered())
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// When there is no freezer.
    pub fn thaw(&self) -> Result<()> {
        let freezer = self.freezer().ok_or_else(no_freezer)?;
        freezer.order(false).map_err(|error| Refusal::internal("unpause: freezer", error))
    }

    /// Processes killed for want of memory so far.
    pub fn oom_kills(&self) -> u64 {
        let v1 = self.read("memory", "memory.oom_control").and_then(|text| keyed(&text, "oom_kill"));
        v1.or_else(|| self.read(UNIFIED, "memory.events").and_then(|text| keyed(&text, "oom_kill"))).unwrap_or(0)
    }

    /// All processes, those of cgroups below included.
    pub fn processes(&self) -> Vec<u32> {
        let directory = self
            .directories
            .get(UNIFIED)
            .filter(|directory| !is_root(directory))
            .or_else(|| self.directories.get("freezer"))
            .or_else(|| self.directories.get("pids"));
        let mut pids = Vec::new();
        if let Some(directory) = directory.filter(|directory| !is_root(directory)) {
            collect(directory, &mut pids, 0);
        }
        pids
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.directories.get(controller)?.join(file)).ok()
    }
}

fn no_freezer() -> Refusal {
    Refusal::new(Kind::NotSupported, "pause: the container has no cgroup with a freezer")
}

/// The number after `key` in lines of "key number".
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The root cgroup of a hierarchy has no parent that is one.
fn is_root(directory: &Path) -> bool {
    !directory.parent().is_some_and(|parent| parent.join("cgroup.procs").exists())
}

fn collect(directory: &Path, pids: &mut Vec<u32>, depth: usize) {
    const DEEPEST: usize = 32;
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids, depth + 1);
        }
    }
}

#[derive(Debug)]
struct Freezer {
    directory: PathBuf,
    version: u8,
}

impl Freezer {
    fn order(&self, frozen: bool) -> io::Result<()> {
        let (file, word) = match (self.version, frozen) {
            (1, true) => ("freezer.state", "FROZEN"),
            (1, false) => ("freezer.state", "THAWED"),
            (_, true) => ("cgroup.freeze", "1"),
            (_, false) => ("cgroup.freeze", "0"),
        };
        // A file of the kernel: there is nothing to write whole.
        let mut file = fs::OpenOptions::new().write(true).open(self.directory.join(file))?;
        io::Write::write_all(&mut file, word.as_bytes())
    }

    /// The order that was given last.
    fn is_ordered(&self) -> bool {
        let (file, none) = if self.version == 1 { ("freezer.state", "THAWED") } else { ("cgroup.freeze", "0") };
        fs::read_to_string(self.directory.join(file)).is_ok_and(|text| text.trim() != none)
    }

    fn is_frozen(&self) -> bool {
        if self.version == 1 {
            // Reading is what makes the v1 freezer look again (FREEZING → FROZEN).
            fs::read_to_string(self.directory.join("freezer.state")).is_ok_and(|text| text.trim() == "FROZEN")
        } else {
            fs::read_to_string(self.directory.join("cgroup.events")).is_ok_and(|text| keyed(&text, "frozen") == Some(1))
        }
    }
}

/// A cgroup hierarchy in `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug)]
struct Mount {
    root: String,
    point: PathBuf,
    controllers: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let kind = back.next()?;
        let options = back.nth(1)?;
        let controllers = match kind {
            "cgroup2" => vec![UNIFIED.to_owned()],
            "cgroup" => options.split(',').map(str::to_owned).collect(),
            _ => return None,
        };
        let mut front = front.split(' ').skip(3);
        let root = unescape(front.next()?);
        let point = PathBuf::from(unescape(front.next()?));
        Some(Mount { root, point, controllers })
    }

    /// The directory of cgroup `path`, if it is below what is mounted, and not the root of all.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (inside && path != "/").then(|| self.point.join(below))
    }
}

/// Undoes the kernel's `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:9 - cgroup cgroup rw,freezer\n\
        41 31 0:38 /outer /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn each_controller_is_found_by_itself() {
        let membership = "6:freezer:/pod/x\n2:cpu,cpuacct:/pod/x/init\n1:name=systemd:/pod/x\n0::/outer/pod/x\n";
        let found = Cgroup::find(membership, MOUNTS, "/pod/x");
        let directory = |name: &str| found.directories.get(name).map(|path| path.display().to_string());
        assert_eq!(directory("freezer").as_deref(), Some("/sys/fs/cgroup/freezer/pod/x"));
        // Its first process sits in a cgroup below: the container's own is meant.
        assert_eq!(directory("cpuacct").as_deref(), Some("/sys/fs/cgroup/cpu/pod/x"));
        assert_eq!(directory(UNIFIED).as_deref(), Some("/sys/fs/cgroup/uni fied/pod/x"));
        assert_eq!(directory("name=systemd"), None);
    }

    #[test]
    fn the_root_is_never_ours() {
        let found = Cgroup::find("6:freezer:/\n0::/\n", MOUNTS, "");
        assert_eq!(found, Cgroup::default());
        let found = Cgroup::find("6:freezer:/../x\n0::/other\n", MOUNTS, "");
        assert_eq!(found, Cgroup::default());
    }

    #[test]
    fn keys_are_whole_words() {
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(keyed("oom 1\n", "oom_kill"), None);
    }
}
