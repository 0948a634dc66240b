//! `podshim infra`: PID 1 of a PID namespace that members share. It reaps and sleeps.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use proto::alive::Process;

use super::pin::{self, Kind};
use crate::sys;

/// PID 1 that ends with us until it is told to stay.
#[derive(Debug)]
pub struct Infra {
    /// It.
    pub process: Process,
    word: OwnedFd,
}

impl Infra {
    /// From now on it lives until it is killed: the pod's record says that it is there.
    ///
    /// # Errors
    /// When it has ended.
    pub fn stay(self) -> io::Result<()> {
        nix::unistd::write(&self.word, b"1")?;
        Ok(())
    }
}

/// Starts PID 1 of a new PID namespace and pins the namespace in `dir`.
///
/// # Errors
/// Those of unshare(2), fork(2), mount(2).
pub fn start(program: &Path, dir: &Path) -> io::Result<Infra> {
    let (wait, word) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let own = File::open("/proc/thread-self/ns/pid")?;
    // unshare(CLONE_NEWPID) moves our future children, not us; the first of them is PID 1 (pid_namespaces(7)).
    unshare(CloneFlags::CLONE_NEWPID)?;
    let spawned = sys::spawn::session(std::process::Command::new(program).arg("infra"), &[wait.as_fd()]);
    if let Err(error) = setns(&own, CloneFlags::CLONE_NEWPID) {
        tracing::error!("cannot return to my own PID namespace: {error}");
        std::process::abort();
    }
    let pid = spawned?;
    let process = Process::of(pid).ok_or_else(|| io::Error::other("podshim infra ended at once"))?;
    pin::pin(Path::new(&format!("/proc/{pid}/ns/pid")), dir, Kind::Pid)?;
    Ok(Infra { process, word })
}

/// The role: reap for ever. The pod's shim ends it with SIGKILL, which the kernel passes on to all of the namespace.
pub fn run() -> ! {
    let mut word = [0];
    // Nobody says so: who has started us was killed, and nobody knows of us.
    if !sys::fd::inherited(3).is_ok_and(|wait| nix::unistd::read(&wait, &mut word) == Ok(1)) {
        std::process::exit(0);
    }
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let blocked = children.thread_block();
    loop {
        while matches!(waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
        if blocked.is_err() || children.wait().is_err() {
            // Without signals there is still waitpid(2), which blocks while there are children.
            let _ = waitpid(Pid::from_raw(-1), None);
        }
    }
}
