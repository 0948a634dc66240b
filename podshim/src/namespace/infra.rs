//! `podshim infra`: PID 1 of a PID namespace that members share. It reaps and sleeps.

use std::{
    ffi::CString,
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
use proto::{
    Id, Roots,
    alive::{self, Process},
};

use super::pin::{self, Kind};
use crate::{programs, sys};

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

/// Starts PID 1 of a new PID namespace of `pod` and pins the namespace in `dir`.
///
/// # Errors
/// Those of unshare(2), fork(2), mount(2).
pub fn start(program: &Path, pod: &Id, roots: &Roots, dir: &Path) -> io::Result<Infra> {
    let (wait, word) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let own = File::open("/proc/thread-self/ns/pid")?;
    // unshare(CLONE_NEWPID) moves our future children, not us; the first of them is PID 1 (pid_namespaces(7)).
    unshare(CloneFlags::CLONE_NEWPID)?;
    // Whose it is it does not need to know, but whoever finds it.
    let mut command = std::process::Command::new(program);
    command.args(["infra", pod.as_str()]).arg("--runroot").arg(&roots.run);
    let spawned = sys::spawn::session(&command, &[wait.as_fd()]);
    if let Err(error) = setns(&own, CloneFlags::CLONE_NEWPID) {
        tracing::error!("cannot return to my own PID namespace: {error}");
        std::process::abort();
    }
    let pid = spawned?;
    let process = Process::of(pid).ok_or_else(|| io::Error::other("podshim infra ended at once"))?;
    pin::pin(Path::new(&format!("/proc/{pid}/ns/pid")), dir, Kind::Pid)?;
    Ok(Infra { process, word })
}

/// Ends PID 1 of `pod` by its command line, where the record of it is lost. None is fine.
pub fn end_of(pod: &Id, roots: &Roots) {
    for found in programs::of_pods(roots, "infra").into_iter().filter(|found| found.pod == *pod) {
        if let Ok(pidfd) = found.process.pidfd() {
            // It has ended meanwhile: fine.
            let _ = alive::pidfd_signal(&pidfd, Signal::SIGKILL as i32);
        }
    }
}

/// Has it become the program that is installed now at the path by which it was started. One of an earlier version takes no
/// notice: to the first process of a namespace nothing happens by a signal that it does not want.
///
/// # Errors
/// When it has ended.
pub fn upgrade(infra: &Process) -> io::Result<()> {
    alive::pidfd_signal(infra.pidfd()?, UPGRADE as i32)
}

/// Told by its shim. A member may send it, too, and changes nothing by that.
const UPGRADE: Signal = Signal::SIGHUP;
/// The argument of one that has been told to stay.
const STAYS: &str = "--stays";

/// The role: reap for ever. The pod's shim ends it with SIGKILL, which the kernel passes on to all of the namespace.
pub fn run() -> ! {
    let mut word = [0];
    let stays = std::env::args().any(|arg| arg == STAYS);
    // Nobody says so: who has started us was killed, and nobody knows of us.
    if !stays && !sys::fd::inherited(3).is_ok_and(|wait| nix::unistd::read(&wait, &mut word) == Ok(1)) {
        std::process::exit(0);
    }
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGCHLD);
    wanted.add(UPGRADE);
    let blocked = wanted.thread_block();
    loop {
        while matches!(waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
        match wanted.wait() {
            // Not installed, or no program of ours: it is as it was.
            Ok(UPGRADE) if blocked.is_ok() => drop(begin_anew()),
            Ok(_) if blocked.is_ok() => {}
            _ => {
                // Without signals there is still waitpid(2), which blocks while there are children.
                let _ = waitpid(Pid::from_raw(-1), None);
            }
        }
    }
}

/// Becomes the program at our own path. Children stay, and so do the blocked signals.
fn begin_anew() -> io::Result<()> {
    let mut args: Vec<CString> =
        std::env::args_os().map(|arg| CString::new(arg.into_encoded_bytes())).collect::<Result<_, _>>()?;
    let stays = CString::new(STAYS)?;
    if !args.contains(&stays) {
        args.push(stays);
    }
    let Some(path) = args.first() else { return Ok(()) };
    match nix::unistd::execve::<_, CString>(path, &args, &[])? {}
}
