//! Our supervisor has died: the pod gets another one.
//!
//! It is watched by pidfd, so a monitor with nothing to do sleeps. When it has ended, every monitor of the pod sees that;
//! each waits a moment of its own, and the first that finds the pod's lock free starts the shim. Where two are started the
//! lock picks one. The winner adopts us, says who it is (`StoreFds`), and is watched from then on.

use std::{
    cell::RefCell,
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    rc::Rc,
    time::Duration,
};

use nix::unistd::getppid;
use proto::{
    alive::{self, Lock, Process},
    record::{Heir as Command, StartRecord},
    spawn::{Apart, Program, environment, spawn},
};
use tokio::{io::Interest, task::JoinHandle, time::sleep};

use crate::sys;

/// What the next command of a user may take to bring a shim by itself.
const FIRST: Duration = Duration::from_millis(100);
/// Pause before a second try, doubled up to [`LONGEST`].
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Variables of ours that are not the shim's.
const OURS: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "GLIBC_TUNABLES", crate::config::SUPERVISOR];

/// See the module.
#[derive(Debug, Default)]
pub struct Heir {
    command: Option<Command>,
    moment: Duration,
    watching: RefCell<Option<JoinHandle<()>>>,
}

impl Heir {
    /// For the container of `start`; without a command there nothing is ever started.
    pub fn new(start: &StartRecord) -> Rc<Heir> {
        // 0…255 ms: monitors of one pod have random ids, and a shim takes the lock within a few milliseconds.
        let share = u64::from_str_radix(start.id.as_str().get(..2).unwrap_or("0"), 16).unwrap_or(0);
        let moment = FIRST + Duration::from_millis(share);
        Rc::new(Heir { command: start.heir.clone(), moment, watching: RefCell::default() })
    }

    /// Watches our parent, who has said that its pid is `pid`.
    pub fn watch_parent(self: &Rc<Self>, pid: u32) {
        let pidfd = alive::pidfd_open(pid).ok();
        // Asked after opening: while it is our parent nobody else can have the pid.
        let is_parent = u32::try_from(getppid().as_raw()) == Ok(pid);
        self.watch_pidfd(pidfd.filter(|_| is_parent));
    }

    /// Watches `process`, our supervisor from now on.
    pub fn watch(self: &Rc<Self>, process: &Process) {
        self.watch_pidfd(process.pidfd().ok());
    }

    /// `None` stands for one that has ended already.
    fn watch_pidfd(self: &Rc<Self>, pidfd: Option<OwnedFd>) {
        if self.command.is_none() {
            return;
        }
        let pidfd = pidfd.and_then(|pidfd| sys::watch(pidfd, Interest::READABLE).ok());
        let heir = self.clone();
        let task = tokio::task::spawn_local(async move {
            if let Some(pidfd) = pidfd {
                // The only event of a pidfd is the end of its process (pidfd_open(2)).
                let _ = pidfd.readable().await;
            }
            heir.bring().await;
        });
        if let Some(earlier) = self.watching.replace(Some(task)) {
            earlier.abort();
        }
    }

    /// Until a new supervisor has told us who it is, which ends this.
    async fn bring(&self) {
        let mut pause = self.moment;
        loop {
            sleep(pause).await;
            if let Some(command) = self.command.as_ref().filter(|command| !Lock::is_held(&command.lock)) {
                // Not installed, or no memory: later, perhaps.
                let _ = start(command);
            }
            pause = (pause * 2).clamp(AGAIN, LONGEST);
        }
    }
}

fn start(command: &Command) -> io::Result<u32> {
    let args: Vec<CString> =
        command.args.iter().map(|arg| CString::new(arg.as_os_str().as_bytes())).collect::<Result<_, _>>()?;
    let Some(path) = args.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let env = environment(&OURS);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let fds = [null.as_fd(); 3];
    // Our child for as long as we live, and it lives longer: no signal of ours is for it. The reaper takes it if it ends.
    spawn(&Program { path, args: &args, env: &env, directory: c"/", fds: &fds, apart: Apart::Session })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heir(dir: &std::path::Path, script: &str) -> Rc<Heir> {
        let args = ["/bin/sh", "-c", script].map(Into::into).to_vec();
        let command = Command { lock: dir.join("lock"), args };
        Rc::new(Heir { command: Some(command), moment: Duration::ZERO, watching: RefCell::default() })
    }

    async fn appears(path: &std::path::Path) -> bool {
        for _ in 0..500 {
            if path.exists() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_finds_the_lock_free_starts_one_and_nobody_else_does() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (began, script) = (dir.path().join("began"), format!("> {}/began", dir.path().display()));
        tokio::task::LocalSet::new()
            .run_until(async {
                let lock = Lock::try_take(&dir.path().join("lock")).expect("lock").expect("free");
                let heir = heir(dir.path(), &script);
                // Nobody has this pid as parent: it has ended.
                heir.watch_parent(u32::MAX >> 1);
                sleep(Duration::from_millis(200)).await;
                assert!(!began.exists(), "started although the lock is held");
                drop(lock);
                assert!(appears(&began).await);
                heir.watch(&Process::this());
                std::fs::remove_file(&began).expect("began");
                sleep(AGAIN * 2).await;
                assert!(!began.exists(), "started although its supervisor lives");
            })
            .await;
    }
}
