//! Our processes: which file one runs (the one that is installed now, or an earlier one), and whose it is.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use proto::{Id, Roots, alive::Process};

/// Whether the process `pid` runs the file at `program`, and not one that was there before.
pub fn is_current(pid: u32, program: &Path) -> bool {
    let file = |metadata: Metadata| (metadata.dev(), metadata.ino());
    // Following the link of /proc leads to the very file, also when it has no name any more.
    let runs = fs::metadata(format!("/proc/{pid}/exe")).ok().map(file);
    runs.is_some() && runs == fs::metadata(program).ok().map(file)
}

/// The inode of the file that the process `pid` runs; 0 when it has gone.
pub fn inode(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |file| file.ino())
}

/// A process of ours that serves a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfPod {
    /// It.
    pub process: Process,
    /// The pod.
    pub pod: Id,
}

/// The processes `podshim ROLE POD … --runroot RUN …` of this engine. Every process of the machine is looked at: only for
/// when something is broken.
pub fn of_pods(roots: &Roots, role: &str) -> Vec<OfPod> {
    all()
        .filter_map(|(process, line)| Some(OfPod { pod: pod_of(&line, roots, role)?, process }))
        .filter(|found| found.process.is_alive())
        .collect()
}

/// The process `podmon … --start-record PATH`, likewise.
pub fn monitor_of(start_record: &Path) -> Option<Process> {
    let is_it = |line: &[u8]| {
        let words = words(line);
        words.first().is_some_and(|word| word.ends_with(b"podmon"))
            && words.contains(&start_record.as_os_str().as_bytes())
    };
    // What it has forked bears its command line until it is another program.
    let found = all().filter(|(_, line)| is_it(line)).map(|(process, _)| process);
    found.filter(Process::is_alive).min_by_key(|process| process.start_time)
}

/// All processes, zombies too, with their command lines.
pub fn all() -> impl Iterator<Item = (Process, Vec<u8>)> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| {
        let process = Process::of(pid)?;
        // Read after its start time: it is that process', or gone.
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((process, line))
    })
}

/// The words of a command line.
pub fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == 0).collect()
}

fn pod_of(line: &[u8], roots: &Roots, role: &str) -> Option<Id> {
    let words = words(line);
    let ours = |pair: &[&[u8]]| pair[0] == b"--runroot" && OsStr::from_bytes(pair[1]) == roots.run.as_os_str();
    if !words.first()?.ends_with(b"podshim") || *words.get(1)? != role.as_bytes() || !words.windows(2).any(ours) {
        return None;
    }
    std::str::from_utf8(words.get(2)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_ours_is_known_by_its_command_line() {
        let id = Id::random().expect("id");
        let roots = Roots { state: "/s".into(), run: "/r".into() };
        let line = |program: &str, role: &str, run: &str| format!("{program}\0{role}\0{id}\0--runroot\0{run}\0");
        let of = |line: String| pod_of(line.as_bytes(), &roots, "infra");
        assert_eq!(of(line("/usr/libexec/podshim", "infra", "/r")), Some(id.clone()));
        assert_eq!(of(line("podshim", "pod", "/r")), None);
        assert_eq!(of(line("podshim", "infra", "/other")), None);
        assert_eq!(of(line("sleep", "infra", "/r")), None);
        assert_eq!(of("podshim\0infra\0".to_owned()), None);
    }
}
