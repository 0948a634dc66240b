//! A command with everything it has started, told apart from the rest of the container.

use std::fs;

use proto::{Id, alive};

/// Rounds of killing: what forks meanwhile is found in the next one.
const ROUNDS: usize = 64;

/// A process as `/proc/PID/stat` has it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: u32,
    parent: u32,
    session: u32,
    /// In ticks since boot.
    started: u64,
}

/// The mark that every process of a check is born with: a limit of its own on the microseconds that it may use of a
/// processor in real time at a stretch (RLIMIT_RTTIME, getrlimit(2)), more than a hundred thousand years. What it starts
/// inherits that, whatever it does with its parents, session, user and environment, and nobody else has it.
pub fn mark() -> Option<u64> {
    let random = Id::random().ok()?;
    Some((1 << 62) + u64::from_str_radix(random.short(), 16).ok()?)
}

/// Its line in `/proc/PID/limits` (proc_pid_limits(5)).
const LIMIT: &str = "Max realtime timeout";

/// What a command has started: its descendants, and what has its mark. A process whose parent has ended is the child of
/// the container's PID 1, but it keeps its session, which is that of the runtime's call and so of this command alone.
/// Where the container has a limit of that kind for itself there is no mark, and a daemon that forks twice is the
/// container's.
#[derive(Debug)]
pub struct Subtree {
    /// The command's first process.
    pub root: u32,
    /// The container's first process.
    pub init: u32,
    /// This command's own.
    pub mark: Option<u64>,
}

impl Subtree {
    /// Kills all of it.
    pub fn kill(&self) {
        let containers = read(self.init).map_or(0, |entry| entry.session);
        let root = read(self.root);
        let session = root.map(|entry| entry.session).filter(|session| *session != 0 && *session != containers);
        // Only what is younger can be its.
        let since = root.map_or(0, |entry| entry.started);
        let mut killed: Vec<u32> = Vec::new();
        for _ in 0..ROUNDS {
            let all = processes();
            let mut found = members(self.root, session, &all);
            let strangers = all.iter().filter(|entry| entry.started >= since && !found.contains(&entry.pid));
            let marked: Vec<u32> = strangers.map(|entry| entry.pid).filter(|pid| self.is_marked(*pid)).collect();
            found.extend(marked);
            found.retain(|pid| !killed.contains(pid));
            if found.is_empty() {
                return;
            }
            for pid in found {
                // It was in the tree a moment ago; a pid is not given away again so soon. It may have ended.
                if let Ok(pidfd) = alive::pidfd_open(pid) {
                    let _ = alive::pidfd_signal(&pidfd, libc::SIGKILL);
                }
                killed.push(pid);
            }
        }
    }

    fn is_marked(&self, pid: u32) -> bool {
        let Some(mark) = self.mark else { return false };
        fs::read_to_string(format!("/proc/{pid}/limits")).is_ok_and(|limits| limit(&limits) == Some(mark))
    }
}

/// The one that is a mark; `None` where it is unlimited.
fn limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(LIMIT))?.split_ascii_whitespace().next()?.parse().ok()
}

fn processes() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

fn read(pid: u32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: u32, stat: &str) -> Option<Entry> {
    // pid (name) state ppid pgrp session
    let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, session, started: fields.nth(15)?.parse().ok()? })
}

fn members(root: u32, session: Option<u32>, all: &[Entry]) -> Vec<u32> {
    let is_of_it = |entry: &&Entry| entry.pid == root || Some(entry.session) == session;
    let mut members: Vec<u32> = all.iter().filter(is_of_it).map(|entry| entry.pid).collect();
    let mut next = 0;
    while let Some(above) = members.get(next).copied() {
        let below = all.iter().filter(|entry| entry.parent == above).map(|entry| entry.pid);
        let below: Vec<u32> = below.filter(|pid| !members.contains(pid)).collect();
        members.extend(below);
        next += 1;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_and_the_session_are_its_own() {
        let entry = |pid, parent, session| Entry { pid, parent, session, started: 0 };
        let all = [
            entry(1, 0, 1),
            entry(10, 5, 9),
            entry(11, 10, 9),
            // It made a session of its own, and has a child there.
            entry(12, 11, 12),
            entry(13, 12, 12),
            // Its parent has ended.
            entry(14, 1, 9),
            entry(20, 1, 1),
            entry(21, 20, 1),
        ];
        let mut found = members(10, Some(9), &all);
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 13, 14]);
        assert_eq!(members(20, None, &all), [20, 21]);
        assert!(members(99, None, &all).is_empty());
    }

    #[test]
    fn the_mark_is_found_among_the_limits() {
        let limits = |text| format!("Max nice priority 0 0 \n{LIMIT}      {text}            us        \n");
        let mark = mark().expect("a mark");
        assert!(mark < i64::MAX.unsigned_abs());
        assert_eq!(limit(&limits(format!("{mark} {mark}"))), Some(mark));
        assert_eq!(limit(&limits("unlimited            unlimited".into())), None);
    }

    #[test]
    fn a_name_may_have_brackets() {
        // proc_pid_stat(5): the start is the 22nd field.
        let read = parse(7, "7 (a) b) R 3 7 5 0 -1 9 10 11 12 13 14 15 16 17 18 19 20 21 2200 23");
        assert_eq!(read, Some(Entry { pid: 7, parent: 3, session: 5, started: 2200 }));
    }
}
