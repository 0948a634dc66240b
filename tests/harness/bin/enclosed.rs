//! PID 1 of an enclosure, started by unshare(1) in new mount, network and pid namespaces.
//!
//! Lays out a pretend machine, says `ready PID` (the pid that the outside knows it by), then reaps what is orphaned.
//! It ends when its standard input does, and with it, by the kernel's rule for PID 1, everything in the enclosure:
//! a test that dies in any way leaves no process, link, rule or mount behind.

use std::{
    io::Write,
    os::fd::AsFd,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, waitpid},
    },
};

/// The machine's own address, and what else is on its network.
const LINKS: &str = "\
link set lo up
netns add outside
link add eth0 type veth peer name eth0 netns outside
addr add 198.51.100.1/24 dev eth0
link set eth0 up
route add default via 198.51.100.2
";
const OUTSIDE_LINKS: &str = "\
link set lo up
addr add 198.51.100.2/24 dev eth0
link set eth0 up
";

fn main() -> Result<()> {
    // The procfs mounted now still counts pids from outside.
    let outer_pid = std::fs::read_link("/proc/self").context("/proc/self")?;
    let none: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mount /proc")?;
    for (point, mode) in [("/run", "mode=755"), ("/dev/shm", "mode=1777")] {
        mount(Some("tmpfs"), point, Some("tmpfs"), MsFlags::empty(), Some(mode)).context(point)?;
    }
    if std::env::args().any(|argument| argument == "--shared") {
        mount(none, "/", none, MsFlags::MS_SHARED | MsFlags::MS_REC, none).context("share /")?;
    }
    ip(&[], LINKS)?;
    ip(&["-n", "outside"], OUTSIDE_LINKS)?;

    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().context("block SIGCHLD")?;
    let ended = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    println!("ready {}", outer_pid.display());
    std::io::stdout().flush()?;

    let stdin = std::io::stdin();
    loop {
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        if fds[0].any() == Some(true) {
            return Ok(());
        }
        while ended.read_signal()?.is_some() {}
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status.pid().is_none() {
                break;
            }
        }
    }
}

fn ip(arguments: &[&str], batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("ip (Debian package iproute2)")?;
    child.stdin.take().context("stdin of ip")?.write_all(batch.as_bytes())?;
    ensure!(child.wait()?.success(), "ip refused: {batch}");
    Ok(())
}
