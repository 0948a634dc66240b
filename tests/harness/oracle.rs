//! What an engine can leave behind, and the proof that it has not.
//!
//! Only what bears the engine's mark is counted: its enclosure's namespaces are its own, its control groups carry its
//! label. Links and control groups vanish some time after the command that removed them, so [`nothing_left`] asks
//! until a deadline.

use std::{
    collections::BTreeSet,
    fmt,
    fs::DirEntry,
    path::{Path, PathBuf},
};

use crate::{cli, enclosure::Enclosure, engine::HOME, wait};

/// Everything that can be left, in words that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What is here and not in `before`.
    pub fn beyond(&self, before: &Traces) -> Traces {
        Traces(self.0.difference(&before.0).cloned().collect())
    }

    /// Without what outlives the last pod for a moment: bridges and the table of rules.
    #[must_use]
    pub fn without_lingering(self) -> Traces {
        let lingers = |trace: &String| trace.starts_with("link podctl") || trace.starts_with("nft table");
        Traces(self.0.into_iter().filter(|trace| !lingers(trace)).collect())
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        self.0.iter().take(SHOWN).try_for_each(|trace| writeln!(f, "  {trace}"))?;
        if self.0.len() > SHOWN { writeln!(f, "  … and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

/// What is there now.
pub fn look(enclosure: &Enclosure, label: &str) -> Traces {
    let mut traces = BTreeSet::new();
    mounts(enclosure, &mut traces);
    network(enclosure, &mut traces);
    for process in processes(enclosure) {
        traces.insert(format!("process {}", process.command));
    }
    // The group of the label itself is the enclosure's, not the engine's.
    for group in cgroups(label).iter().filter(|group| !group.ends_with(label)) {
        traces.insert(format!("cgroup {}", group.display()));
    }
    for directory in ["state", "runroot", "tmp"] {
        files(&enclosure.path(HOME).join(directory), directory, &mut traces);
    }
    Traces(traces)
}

/// Waits until nothing is there that was not there `before`.
///
/// # Panics
/// When something still is, after the usual patience.
#[track_caller]
pub fn nothing_left(enclosure: &Enclosure, label: &str, before: &Traces) {
    let mut left = Traces::default();
    let gone = wait::within(wait::PATIENCE, || {
        left = look(enclosure, label).beyond(before);
        left.is_empty().then_some(())
    });
    assert!(gone.is_some(), "this is left:\n{left}");
}

/// A process in an enclosure.
#[derive(Clone, Debug)]
pub struct Process {
    /// As the test knows it.
    pub pid: i32,
    /// Its command line; its name in brackets where it has none (a zombie).
    pub command: String,
}

/// The processes of an enclosure but its first.
pub fn processes(enclosure: &Enclosure) -> Vec<Process> {
    let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let first = enclosure.pid().to_string();
    let Some(own) = space(&first) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| *name != first) else { continue };
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A shared pid namespace of a pod, or a container's, is a child of the enclosure's: look at the parents.
        if space(pid).as_ref() != Some(&own) && !descends(pid, &first) {
            continue;
        }
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
        let command = if command.is_empty() {
            format!("({})", std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim())
        } else {
            command
        };
        if let Ok(pid) = pid.parse() {
            found.push(Process { pid, command });
        }
    }
    found
}

/// Whether `ancestor` is above `pid`.
fn descends(pid: &str, ancestor: &str) -> bool {
    let mut pid = pid.to_owned();
    while pid != ancestor {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let Some(parent) = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) else {
            return false;
        };
        if parent == "0" || parent == "1" {
            return false;
        }
        pid = parent.to_owned();
    }
    true
}

fn mounts(enclosure: &Enclosure, traces: &mut BTreeSet<String>) {
    let inside = std::fs::read_to_string(format!("/proc/{}/mountinfo", enclosure.pid())).unwrap_or_default();
    for line in inside.lines() {
        let mut words = line.split(' ');
        if let Some(point) = words.nth(4) {
            traces.insert(format!("mount {point}"));
        }
    }
}

fn network(enclosure: &Enclosure, traces: &mut BTreeSet<String>) {
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = enclosure.command("/", program);
        command.args(arguments);
        cli::start(program, command, None).finish().stdout()
    };
    for line in ask("ip", &["-brief", "link"]).lines() {
        let name = line.split(['@', ' ']).next().unwrap_or_default();
        traces.insert(format!("link {name}"));
    }
    for line in ask("nft", &["list", "ruleset"]).lines().filter(|line| line.starts_with("table ")) {
        traces.insert(format!("nft {line}"));
    }
}

/// Where the machine's control group hierarchies are mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().filter_map(point).collect()
}

/// The control groups of the engine `label`, in every hierarchy, deepest first.
pub fn cgroups(label: &str) -> Vec<PathBuf> {
    fn walk(directory: PathBuf, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(&directory) else { return };
        let is_directory = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        for entry in entries.flatten().filter(is_directory) {
            walk(entry.path(), found);
        }
        found.push(directory);
    }
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        walk(hierarchy.join(label), &mut found);
    }
    found
}

/// Removes what is left of them, for the sake of the next run. What is frozen is thawed first: it could not be killed, and
/// whoever ends its machine would wait for ever.
pub fn remove_cgroups(label: &str) {
    for group in cgroups(label) {
        for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if group.join(file).exists() {
                let _it_is_not_frozen = std::fs::write(group.join(file), thawed);
            }
        }
        let _still_busy_or_gone = std::fs::remove_dir(group);
    }
}

/// Everything in the engine's directories but what is meant to stay: images, networks' records, the empty frame.
fn files(directory: &Path, name: &str, traces: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let inside = format!("{name}/{}", entry.file_name().to_string_lossy());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let of_network =
            inside.strip_prefix("runroot/networks/").map(|rest| rest.split_once('/').map_or("", |(_, rest)| rest));
        if STAYS.contains(&inside.as_str()) || matches!(of_network, Some("lock" | "last")) {
            continue;
        }
        if is_directory {
            files(&entry.path(), &inside, traces);
        }
        let frame = FRAME.contains(&inside.as_str()) || matches!(of_network, Some("" | "leases" | "pods"));
        if !(is_directory && frame) {
            traces.insert(format!("file {inside}"));
        }
    }
}

/// What stays when pods are gone, whole.
const STAYS: [&str; 6] = [
    "state/images",
    "state/events",
    "state/networks",
    "state/volumes/.lock",
    "state/secrets/.lock",
    "runroot/networks/.lock",
];
/// Directories that stay and must be empty. A network that was used keeps its lock and the last address it gave.
const FRAME: [&str; 8] = [
    "state/names",
    "state/pods",
    "state/pods/.open",
    "state/volumes",
    "state/secrets",
    "runroot/pods",
    "runroot/networks",
    "runroot/runtime",
];
