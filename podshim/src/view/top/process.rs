//! One process, from `/proc/PID/{stat,status,cmdline}` (proc(5)).

use std::{fs, io::Read, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// Longest command line that is shown.
const COMMAND: u64 = 16 * 1024;
/// Clock ticks in a second: USER_HZ is 100 on every architecture Linux has kept.
const TICKS: u64 = 100;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    /// Pid as we see it.
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
    pub(super) command: String,
    pub(super) state: String,
    pub(super) tty: u32,
    pub(super) nice: String,
    /// Bytes.
    pub(super) virtual_size: u64,
    /// KiB; absent for a kernel thread.
    pub(super) resident: String,
    pub(super) seccomp: String,
    /// Real, effective.
    pub(super) uids: [u32; 2],
    pub(super) gids: [u32; 2],
    pub(super) groups: Vec<u32>,
    /// In capability sets' order of status: inheritable, permitted, effective, bounding, ambient.
    pub(super) capabilities: [u64; 5],
    /// Pids from our namespace inwards.
    pids: Vec<u32>,
    process_groups: Vec<u32>,
    /// Clock ticks since boot.
    start: u64,
    /// Clock ticks.
    cpu: u64,
}

impl Process {
    /// The process `pid`; `None` when it has gone.
    pub(super) fn read(pid: u32) -> Option<Process> {
        let mut process = Process { pid, ..Process::default() };
        process.read_stat(&read(pid, "stat", u64::MAX)?)?;
        process.read_status(&read(pid, "status", u64::MAX)?);
        // The memory of the process: as long as it likes.
        let mut command = read(pid, "cmdline", COMMAND)?;
        while command.last() == Some(&0) {
            command.pop();
        }
        process.command = String::from_utf8_lossy(&command).replace('\0', " ");
        if process.command.is_empty() {
            process.command = format!("[{}]", process.name);
        }
        Some(process)
    }

    fn read_stat(&mut self, stat: &[u8]) -> Option<()> {
        // The name is in parentheses and may contain anything, parentheses too.
        let (open, close) = (memchr::memchr(b'(', stat)?, memchr::memrchr(b')', stat)?);
        self.name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // fields[0] is field 3 of the manual page.
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        self.tty = u32::try_from(number(7).unwrap_or(0)).unwrap_or(0);
        self.nice = (*fields.get(19 - 3)?).to_owned();
        self.cpu = number(14)? + number(15)?;
        self.start = number(22)?;
        self.virtual_size = number(23)?;
        Some(())
    }

    fn read_status(&mut self, status: &[u8]) {
        let status = String::from_utf8_lossy(status);
        for line in status.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let numbers = || value.split_ascii_whitespace().filter_map(|text| text.parse::<u32>().ok());
            let pair = || {
                let mut numbers = numbers();
                [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
            };
            let mask = || u64::from_str_radix(value, 16).unwrap_or(0);
            match key {
                "State" => self.state = value.chars().take(1).collect(),
                "PPid" => self.parent = value.parse().unwrap_or(0),
                "Uid" => self.uids = pair(),
                "Gid" => self.gids = pair(),
                "Groups" => self.groups = numbers().collect(),
                "NSpid" => self.pids = numbers().collect(),
                "NSpgid" => self.process_groups = numbers().collect(),
                "VmRSS" => self.resident = value.trim_end_matches(" kB").to_owned(),
                "Seccomp" => self.seccomp = value.to_owned(),
                "CapInh" => self.capabilities[0] = mask(),
                "CapPrm" => self.capabilities[1] = mask(),
                "CapEff" => self.capabilities[2] = mask(),
                "CapBnd" => self.capabilities[3] = mask(),
                "CapAmb" => self.capabilities[4] = mask(),
                _ => {}
            }
        }
    }

    /// How deep its PID namespace is below ours.
    fn depth(&self) -> usize {
        self.pids.len().saturating_sub(1)
    }

    /// Its pid in the PID namespace of `init`; 0 where it is not in it.
    pub(super) fn pid_in(&self, init: &Process) -> u32 {
        if self.pids.is_empty() { self.pid } else { self.pids.get(init.depth()).copied().unwrap_or(0) }
    }

    /// Its process group in the PID namespace of `init`.
    pub(super) fn process_group_in(&self, init: &Process) -> u32 {
        self.process_groups.get(init.depth()).copied().unwrap_or(0)
    }

    /// Time since it was started.
    pub(super) fn elapsed(&self) -> Duration {
        // The clock that start times are counted by: it is never set, and goes on while the machine sleeps.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        now.saturating_sub(Duration::from_millis(self.start * (1000 / TICKS)))
    }

    /// Time it has used, in whole seconds.
    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_secs(self.cpu / TICKS)
    }
}

/// The first `most` bytes of a file of the process.
fn read(pid: u32, file: &str, most: u64) -> Option<Vec<u8>> {
    // These files have no size that could be asked for; this is more than they usually have.
    let mut bytes = Vec::with_capacity(4096);
    fs::File::open(format!("/proc/{pid}/{file}")).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let this = Process::read(std::process::id()).expect("this process");
        assert_eq!(this.pid_in(&this), *this.pids.last().expect("NSpid"));
        assert!(this.elapsed() < Duration::from_secs(3600), "{:?}", this.elapsed());
        assert!(!this.command.is_empty() && this.virtual_size > 0);
        assert_eq!(this.state.len(), 1);
        assert!(Process::read(u32::MAX).is_none());
    }

    #[test]
    fn a_name_may_contain_anything() {
        let mut process = Process::default();
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b (c) S {}", fields[1..].join(" "));
        process.read_stat(stat.as_bytes()).expect("parses");
        assert_eq!((process.name.as_str(), process.tty, process.nice.as_str()), ("a) b (c", 7, "19"));
        assert_eq!((process.cpu, process.start, process.virtual_size), (29, 22, 23));
        assert!(Process::default().read_stat(b"7 (a").is_none());
        assert!(Process::default().read_stat(b"7 (a) S 1").is_none());
    }
}
