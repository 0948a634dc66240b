//! The columns of top: AIX format descriptors of ps(1) and those psgo adds, by name or by code.

use jiff::{Timestamp, ToSpan};
use proto::{Refusal, refusal::Result};

use super::{process::Process, users::Users};
use proto::human;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    name: &'static str,
    code: &'static str,
    title: &'static str,
}

const fn column(name: &'static str, code: &'static str, title: &'static str) -> Descriptor {
    Descriptor { name, code, title }
}

const DESCRIPTORS: [Descriptor; 32] = [
    column("args", "%a", "COMMAND"),
    column("capamb", "", "AMBIENT CAPS"),
    column("capbnd", "", "BOUNDING CAPS"),
    column("capeff", "", "EFFECTIVE CAPS"),
    column("capinh", "", "INHERITED CAPS"),
    column("capprm", "", "PERMITTED CAPS"),
    column("comm", "%c", "COMMAND"),
    column("etime", "%t", "ELAPSED"),
    column("group", "%G", "GROUP"),
    column("groups", "", "GROUPS"),
    column("hgroup", "", "HGROUP"),
    column("hgroups", "", "HGROUPS"),
    column("hpid", "", "HPID"),
    column("huid", "", "HUID"),
    column("huser", "", "HUSER"),
    column("label", "", "LABEL"),
    column("nice", "%n", "NI"),
    column("pcpu", "%C", "%CPU"),
    column("pgid", "%r", "PGID"),
    column("pid", "%p", "PID"),
    column("ppid", "%P", "PPID"),
    column("rgroup", "%g", "RGROUP"),
    column("rss", "", "RSS"),
    column("ruser", "%u", "RUSER"),
    column("seccomp", "", "SECCOMP"),
    column("state", "", "STATE"),
    column("stime", "", "STIME"),
    column("time", "%x", "TIME"),
    column("tty", "%y", "TTY"),
    column("uid", "", "UID"),
    column("user", "%U", "USER"),
    column("vsz", "%z", "VSZ"),
];

const DEFAULT: [&str; 8] = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];

/// Names by bit of a capability set (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The columns that are asked for, separate or joined by commas; the usual ones where there are none.
///
/// # Errors
/// podman's words for one that does not exist.
pub(super) fn parse(descriptors: &[String]) -> Result<Vec<Descriptor>> {
    let mut wanted: Vec<&str> =
        descriptors.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect();
    if wanted.is_empty() {
        wanted = DEFAULT.to_vec();
    }
    let find = |word: &str| DESCRIPTORS.iter().find(|descriptor| descriptor.name == word || descriptor.code == word);
    wanted
        .into_iter()
        .map(|word| find(word).copied().ok_or_else(|| Refusal::invalid(format!("'{word}': unknown descriptor"))))
        .collect()
}

/// What cells are made from.
pub(super) struct Context<'a> {
    pub(super) init: &'a Process,
    pub(super) users: &'a Users,
    pub(super) host: &'a Users,
    pub(super) processes: &'a [Process],
}

impl Descriptor {
    /// The word above the column.
    pub(super) fn title(self) -> &'static str {
        self.title
    }
}

impl Context<'_> {
    /// The cell of `process` in a column.
    pub(super) fn cell(&self, descriptor: Descriptor, process: &Process) -> String {
        let groups =
            |users: &dyn Fn(u32) -> String| process.groups.iter().map(|gid| users(*gid)).collect::<Vec<_>>().join(",");
        match descriptor.name {
            "args" => process.command.clone(),
            "comm" => process.name.clone(),
            "capinh" => capabilities(process.capabilities[0]),
            "capprm" => capabilities(process.capabilities[1]),
            "capeff" => capabilities(process.capabilities[2]),
            "capbnd" => capabilities(process.capabilities[3]),
            "capamb" => capabilities(process.capabilities[4]),
            "etime" => human::go_duration(nanoseconds(process.elapsed())),
            "group" => self.users.group(process.gids[1]),
            "rgroup" => self.users.group(process.gids[0]),
            "groups" => groups(&|gid| self.users.group(gid)),
            "hgroup" => self.host.group(process.gids[1]),
            "hgroups" => groups(&|gid| gid.to_string()),
            "hpid" => process.pid.to_string(),
            "huid" | "uid" => process.uids[1].to_string(),
            "huser" => self.host.user(process.uids[1]),
            "user" => self.users.user(process.uids[1]),
            "ruser" => self.users.user(process.uids[0]),
            "label" => label(process.pid),
            "nice" => process.nice.clone(),
            "pcpu" => {
                let share = process.cpu_time().as_secs_f64() / process.elapsed().as_secs_f64().max(0.01);
                format!("{:.3}", share * 100.0)
            }
            "pgid" => process.process_group_in(self.init).to_string(),
            "pid" => process.pid_in(self.init).to_string(),
            "ppid" => self.parent(process).to_string(),
            "rss" if process.resident.is_empty() => "0".to_owned(),
            "rss" => process.resident.clone(),
            "seccomp" => seccomp(&process.seccomp).to_owned(),
            "state" => process.state.clone(),
            "stime" => start_time(process),
            "time" => human::go_duration(nanoseconds(process.cpu_time())),
            "tty" => tty(process.tty),
            "vsz" => (process.virtual_size / 1024).to_string(),
            _ => String::new(),
        }
    }

    /// The parent's pid as the container sees it: 0 for one that is outside.
    fn parent(&self, process: &Process) -> u32 {
        let parent = self.processes.iter().find(|other| other.pid == process.parent).cloned();
        parent.or_else(|| Process::read(process.parent)).map_or(0, |parent| parent.pid_in(self.init))
    }
}

fn capabilities(set: u64) -> String {
    const FULL: u64 = (1 << CAPABILITIES.len()) - 1;
    if set == FULL {
        return "full".to_owned();
    }
    let bits = (0..64).filter(|bit| set >> bit & 1 == 1);
    let mut names: Vec<&str> = bits.map(|bit| CAPABILITIES.get(bit).copied().unwrap_or("unknown")).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.sort_unstable();
    names.join(",")
}

fn seccomp(mode: &str) -> &'static str {
    match mode {
        "0" => "disabled",
        "1" => "strict",
        "2" => "filter",
        _ => "?",
    }
}

/// The security label, `?` where there is none.
fn label(pid: u32) -> String {
    let label = std::fs::read(format!("/proc/{pid}/attr/current")).unwrap_or_default();
    let label = String::from_utf8_lossy(&label);
    let label = label.trim_end_matches(['\0', '\n']);
    if label.is_empty() { "?".to_owned() } else { label.to_owned() }
}

/// The name of a terminal by its device number: `pts/0`, `tty1`, or `?` for none (proc_pid_stat(5), tty_nr).
fn tty(number: u32) -> String {
    let major = number >> 8 & 0xfff;
    let minor = number & 0xff | number >> 12 & 0xfff00;
    match major {
        // Unix98 pseudo-terminals have eight majors.
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

/// When it was started, in seconds: `2026-11-23 18:11:16 +0000 UTC`.
fn start_time(process: &Process) -> String {
    let elapsed = i64::try_from(process.elapsed().as_secs()).unwrap_or(0);
    let start = Timestamp::now().checked_sub(elapsed.seconds()).unwrap_or_default();
    start.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(words: &[&str]) -> Result<Vec<&'static str>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(parse(&words)?.into_iter().map(Descriptor::title).collect())
    }

    #[test]
    fn columns_by_name_code_and_comma() {
        assert_eq!(titles(&[]).expect("default"), ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]);
        assert_eq!(titles(&["pid,%C", "hpid"]).expect("columns"), ["PID", "%CPU", "HPID"]);
        assert_eq!(titles(&["-eo"]).expect_err("no column").message, "'-eo': unknown descriptor");
    }

    #[test]
    fn terminals_by_number() {
        for (number, name) in
            [(0, "?"), (136 << 8, "pts/0"), (136 << 8 | 5, "pts/5"), (4 << 8 | 1, "tty1"), (4 << 8 | 64, "ttyS0")]
        {
            assert_eq!(tty(number), name);
        }
        // pts/300: the minor number does not fit into eight bits.
        assert_eq!(tty(136 << 8 | 300 & 0xff | (300 & 0xfff00) << 12), "pts/300");
    }

    #[test]
    fn capability_sets() {
        assert_eq!(capabilities(0), "none");
        assert_eq!(capabilities(0x1ff_ffff_ffff), "full");
        assert_eq!(capabilities(1 << 7 | 1 << 5), "KILL,SETUID");
        assert_eq!(capabilities(1 << 63), "unknown");
    }
}
