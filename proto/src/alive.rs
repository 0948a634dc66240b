//! Who is alive: a process as (pid, start time, boot id), and an flock as the sign of life of an owner.
//!
//! A pid alone is never used: the kernel gives it to somebody else (proc_pid_stat(5), field 22).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

use crate::patience;

/// A process that existed when this was written.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    /// Pid in the engine's PID namespace.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot.
    pub start_time: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

impl Process {
    /// The process that has `pid` now; `None` when there is none.
    pub fn of(pid: u32) -> Option<Process> {
        Some(Process { pid, start_time: start_time(pid)?, boot_id: boot_id().to_owned() })
    }

    /// This process.
    pub fn this() -> Process {
        Process::of(std::process::id()).unwrap_or_default()
    }

    /// Whether it is still there, as a process or as a zombie nobody has reaped.
    pub fn exists(&self) -> bool {
        self.state().is_some()
    }

    /// Whether it still runs: it exists and is no zombie.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state(), Some('Z' | 'X') | None)
    }

    /// Its state letter while it exists; one look answers for its identity and its state.
    fn state(&self) -> Option<char> {
        if self.pid == 0 || self.boot_id != boot_id() {
            return None;
        }
        let fields = stat_fields(self.pid)?;
        let start_time: u64 = fields.get(19)?.parse().ok()?;
        if start_time == self.start_time { fields.first()?.chars().next() } else { None }
    }

    /// A pidfd of it, when it is still the same process.
    ///
    /// # Errors
    /// `ESRCH` when it has gone.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        let fd = pidfd_open(self.pid)?;
        // Checked after opening: from here on the fd stands for that process.
        if self.exists() { Ok(fd) } else { Err(Errno::ESRCH.into()) }
    }
}

/// The id of this boot, or a test's stand-in from `PODCTL_BOOT_ID`.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::env::var("PODCTL_BOOT_ID").unwrap_or_else(|_| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
        })
    })
}

/// Fields of `/proc/PID/stat` from the third on (the second may contain anything, parentheses too); `None` when there is
/// no such process.
pub fn stat_fields(pid: u32) -> Option<Vec<String>> {
    // The line is shorter than this (52 numbers and a name), and the kernel makes it anew for every read.
    let mut stat = [0u8; 2048];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = &stat[..length];
    let end = memchr::memrchr(b')', stat)?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Start time of `pid` in clock ticks since boot; `None` when there is no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    stat_fields(pid)?.get(19)?.parse().ok()
}

/// The state of `pid` as proc_pid_stat(5) has it, `T` for one that a signal has stopped; `None` when there is no such
/// process.
pub fn state(pid: u32) -> Option<char> {
    stat_fields(pid)?.first()?.chars().next()
}

/// The parent of `pid`; `None` when there is no such process.
pub fn parent(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// pidfd_open(2).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    sys::pidfd_open(pid)
}

/// pidfd_send_signal(2): a signal that can only reach the process the fd stands for.
///
/// # Errors
/// `ESRCH` when it has gone.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    sys::pidfd_send_signal(pidfd.as_fd(), signal)
}

/// How long a lock may be kept that is held for a few system calls.
const HELD: Duration = Duration::from_secs(30);
/// Between two looks at a lock that somebody has.
const LOOK: Duration = Duration::from_millis(2);

/// A lock held for the life of its owner.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// Takes the lock at `path`, creating the file, or answers `None` when somebody holds it.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn try_take(path: &Path) -> io::Result<Option<Lock>> {
        Lock::take_with(path, FlockArg::LockExclusiveNonblock)
    }

    /// Takes the lock at `path`, waiting for whoever holds it. Blocks: only for locks that are held for milliseconds.
    ///
    /// # Errors
    /// Those of open(2), and as [`take_within`](Self::take_within).
    pub fn take(path: &Path) -> io::Result<Lock> {
        Lock::take_within(path, HELD)
    }

    /// The same, waiting for at most `limit`, and no longer than [`patience`] allows.
    ///
    /// # Errors
    /// Those of open(2); `TimedOut` when somebody keeps it, saying who.
    pub fn take_within(path: &Path, limit: Duration) -> io::Result<Lock> {
        Lock::wait(path, FlockArg::LockExclusiveNonblock, limit)
    }

    /// Shares the lock at `path` with others that share it; else as [`take`](Self::take).
    ///
    /// # Errors
    /// As there.
    pub fn share(path: &Path) -> io::Result<Lock> {
        Lock::wait(path, FlockArg::LockSharedNonblock, HELD)
    }

    fn wait(path: &Path, how: FlockArg, limit: Duration) -> io::Result<Lock> {
        let limit = patience::at_most(limit);
        let begun = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            if let Some(lock) = Lock::take_with(path, how)? {
                return Ok(lock);
            }
            if begun.elapsed() >= limit {
                let words = format!("locked for {} s by {}", limit.as_secs_f64(), Lock::holder(path));
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{}: {words}", path.display())));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LOOK);
        }
    }

    /// Who has the lock at `path`, as far as the kernel says.
    pub fn holders(path: &Path) -> Vec<u32> {
        holders(path)
    }

    /// The words for who has the lock at `path`.
    pub fn holder(path: &Path) -> String {
        match holders(path).as_slice() {
            [] => "somebody else".to_owned(),
            pids => patience::who(pids),
        }
    }

    /// The lock at `path` that an earlier program of this process holds by `file`: it passes from one to the other and
    /// is never free in between.
    ///
    /// # Errors
    /// `InvalidInput` when `file` is not that file, or somebody else has the lock.
    pub fn inherited(file: File, path: &Path) -> io::Result<Lock> {
        if fs::metadata(path)?.ino() != file.metadata()?.ino() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Lock).map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    /// Its file, for [`Lock::inherited`].
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn file(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    fn take_with(path: &Path, how: FlockArg) -> io::Result<Option<Lock>> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            let lock = match Flock::lock(file, how) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, Errno::EINTR)) => continue,
                Err((_, error)) => return Err(error.into()),
            };
            // Whoever removed the file while we waited has left us a lock that nobody else can see: take the new one.
            match fs::metadata(path) {
                Ok(now) if now.ino() == lock.metadata()?.ino() => return Ok(Some(Lock(lock))),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether somebody holds the lock at `path` now.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = OpenOptions::new().read(true).open(path) else { return false };
        // A shared lock that is granted at once shows that nobody has the exclusive one; it ends with `file`.
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// See [`Lock::holders`]; proc_locks(5) knows files by `MAJOR:MINOR:INODE`.
fn holders(path: &Path) -> Vec<u32> {
    let Ok(meta) = fs::metadata(path) else { return Vec::new() };
    let (major, minor) = (nix::sys::stat::major(meta.dev()), nix::sys::stat::minor(meta.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let of = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // Who waits for it has an arrow in its line.
        let holds = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file.as_str());
        holds.then(|| words.get(4)?.parse().ok()).flatten()
    };
    locks.lines().filter_map(of).filter(|pid| *pid > 0).collect()
}

#[allow(unsafe_code)]
mod sys {
    use std::{
        io,
        os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    };

    pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
        // SAFETY: a null siginfo is allowed (pidfd_send_signal(2)); the descriptor is borrowed for the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_earlier_one_of_its_pid_is_not() {
        let this = Process::this();
        assert!(this.is_alive() && this.exists());
        assert!(this.pidfd().is_ok());
        let earlier = Process { start_time: this.start_time - 1, ..this.clone() };
        assert!(!earlier.is_alive());
        assert!(earlier.pidfd().is_err());
        assert!(!Process { boot_id: "other".into(), ..this }.is_alive());
    }

    #[test]
    fn a_lock_is_the_sign_of_life_of_its_owner() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path));
        let lock = Lock::try_take(&path).expect("open").expect("free");
        assert!(Lock::is_held(&path));
        assert!(Lock::try_take(&path).expect("open").is_none());
        let refused = Lock::take_within(&path, Duration::from_millis(5)).expect_err("held");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(refused.to_string().contains(&format!("by pid {}, ", std::process::id())), "{refused}");
        drop(lock);
        let shared = Lock::share(&path).expect("free");
        drop(Lock::share(&path).expect("shared"));
        drop(shared);
        assert!(!Lock::is_held(&path));
    }
}
