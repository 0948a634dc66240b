//! How long is waited for what somebody else does, before it counts as hung.

use std::{
    ffi::CString,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};

use crate::{alive, spawn};

/// The variable that shortens every such wait: seconds, `2.5` too. For who would rather have an error soon, and for tests.
pub const VARIABLE: &str = "PODCTL_PATIENCE";

/// `usual`, or what [`VARIABLE`] says where that is less.
pub fn at_most(usual: Duration) -> Duration {
    static LIMIT: OnceLock<Option<Duration>> = OnceLock::new();
    let limit = LIMIT.get_or_init(|| parse(&std::env::var(VARIABLE).ok()?));
    limit.map_or(usual, |limit| usual.min(limit))
}

/// No number, or one that is no time, is no limit.
fn parse(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok().filter(|limit| !limit.is_zero())
}

/// File systems behind which somebody has to answer (proc_mounts(5), beginnings of their names).
const SERVED: [&str; 10] = ["fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "virtiofs", "autofs", "glusterfs"];
/// How long a file system may take to say what is at a path, and how a file there begins.
const LOOK: Duration = Duration::from_secs(10);

/// Whether somebody has to answer for `path`.
pub fn may_hang(path: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| served(path, &mounts).is_some())
}

/// The words for a file system that hangs at `path`, `None` where it answers or needs nobody to do so. Blocks until then.
pub fn hangs(path: &Path) -> Option<String> {
    let (point, kind) = served(path, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    let limit = at_most(LOOK);
    // Whoever cannot ask goes on without.
    let pid = spawn::look(&CString::new(path.as_os_str().as_bytes()).ok()?).ok()?;
    let pidfd = alive::pidfd_open(pid).ok()?;
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let ended = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
    if ended == Ok(0) {
        let _gone_meanwhile = alive::pidfd_signal(&pidfd, libc::SIGKILL);
        let seconds = limit.as_secs_f64();
        return Some(format!("the {kind} file system at {} has not answered for {seconds} s", point.display()));
    }
    let _reaped_already = waitpid(Pid::from_raw(i32::try_from(pid).ok()?), Some(WaitPidFlag::WNOHANG));
    None
}

/// Where the file system of `path` is mounted and what it is, when it is one of [`SERVED`]. Links are not followed: that
/// alone might hang.
fn served(path: &Path, mounts: &str) -> Option<(PathBuf, String)> {
    let mount = |line: &str| {
        let (mount, rest) = line.split_once(" - ")?;
        Some((PathBuf::from(mount.split(' ').nth(4)?), rest.split(' ').next()?.to_owned()))
    };
    // The last of those at one place is on top.
    let on = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    let (point, kind) = on.max_by_key(|(point, _)| point.components().count())?;
    SERVED.iter().any(|served| kind.starts_with(served)).then_some((point, kind))
}

/// The words for processes that hang: `pid 12, crun`, with what the kernel knows of why.
pub fn who(pids: &[u32]) -> String {
    let words: Vec<String> = pids.iter().map(|pid| one(*pid)).collect();
    words.join(" and ")
}

fn one(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match alive::state(pid) {
        Some('T') => format!("pid {pid}, {name}, stopped by a signal: kill -CONT {pid}"),
        Some('D') => {
            let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            format!("pid {pid}, {name}, in uninterruptible sleep ({place})")
        }
        Some(_) => format!("pid {pid}, {name}"),
        None => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_is_a_limit() {
        assert_eq!(parse("2.5\n"), Some(Duration::from_millis(2500)));
        for none in ["", "0", "-1", "soon", "inf", "NaN", "1e300"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn only_who_has_a_server_is_asked() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/root rw\n40 22 0:30 / /mnt rw shared:1 - fuse.sshfs there:/ rw\n\
                      41 40 0:31 / /mnt/memory rw - tmpfs t rw\n";
        let found = |path: &str| served(Path::new(path), mounts).map(|(_, kind)| kind);
        assert_eq!(found("/mnt/a/b").as_deref(), Some("fuse.sshfs"));
        assert_eq!(found("/mnt").as_deref(), Some("fuse.sshfs"));
        for not in ["/", "/mnt/memory/x", "/mntx", "/etc"] {
            assert_eq!(found(not), None, "{not}");
        }
        assert_eq!(hangs(Path::new("/etc")), None);
        let child = spawn::look(c"/etc").expect("a child");
        waitpid(Pid::from_raw(i32::try_from(child).expect("pid")), None).expect("ended");
    }

    #[test]
    fn a_process_is_named() {
        let own = std::process::id();
        assert!(who(&[own]).starts_with(&format!("pid {own}, ")), "{}", who(&[own]));
        assert_eq!(who(&[u32::MAX]), format!("pid {}", u32::MAX));
    }
}
