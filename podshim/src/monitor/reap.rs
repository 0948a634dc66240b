//! What becomes of the children of this shim: orphans that have ended are reaped, a monitor that was stopped is noticed.
//!
//! podshim is the subreaper above its monitors: when a monitor is killed, its container becomes our child and its exit
//! status is ours to witness. Children that other code of this process waits for (nft) share our process group, a
//! monitor or a container never does: so the group tells whose child a zombie is.

use std::{io, time::Duration};

use nix::{
    errno::Errno,
    sys::wait::{Id as WaitId, WaitPidFlag, WaitStatus, waitid, waitpid},
    unistd::{Pid, getpgid, getpgrp},
};
use proto::signals::Signals;
use tokio::time::timeout;

/// How long somebody in this process may need to wait for a child of his.
const AGAIN: Duration = Duration::from_millis(20);

/// Sees the children of this process end.
#[derive(Debug)]
pub(super) struct Reaper {
    children: Signals,
}

impl Reaper {
    /// Begins to watch.
    pub(super) fn new() -> io::Result<Reaper> {
        Ok(Reaper { children: Signals::catch(&[libc::SIGCHLD])? })
    }

    /// What has happened since the last call.
    pub(super) async fn changes(&mut self) -> Vec<Change> {
        loop {
            // First of all what ended before anybody looked: an earlier program of this process had children, too.
            let mut changes = stopped();
            let (reaped, all) = reap();
            changes.extend(reaped.into_iter().map(|(pid, status)| Change::Ended(pid, status)));
            if !changes.is_empty() {
                return changes;
            }
            if all {
                self.children.next().await;
            } else {
                // No signal tells that somebody has waited for what is in the way.
                let _ = timeout(AGAIN, self.children.next()).await;
            }
        }
    }
}

/// What may become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// An orphan has ended: pid and raw wait status (wait(2)).
    Ended(u32, i32),
    /// A child was stopped by a signal.
    Stopped(u32),
}

fn stopped() -> Vec<Change> {
    let look = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
    std::iter::from_fn(|| waitid(WaitId::All, look).ok()?.pid())
        .map(|pid| Change::Stopped(pid.as_raw().unsigned_abs()))
        .collect()
}

/// Whom it has reaped, and whether that are all that have ended.
fn reap() -> (Vec<(u32, i32)>, bool) {
    let mut reaped = Vec::new();
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(WaitId::All, look).ok().and_then(|status| status.pid()) {
        if getpgid(Some(pid)) == Ok(getpgrp()) {
            // Somebody in this process waits for it, and there may be orphans behind it.
            return (reaped, false);
        }
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => reaped.extend(raw(status)),
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    (reaped, true)
}

/// The raw status of wait(2) again, which is what exit records are made of.
fn raw(status: WaitStatus) -> Option<(u32, i32)> {
    let (pid, raw): (Pid, i32) = match status {
        WaitStatus::Exited(pid, code) => (pid, (code & 0xff) << 8),
        WaitStatus::Signaled(pid, signal, core) => (pid, signal as i32 | if core { 0x80 } else { 0 }),
        _ => return None,
    };
    Some((pid.as_raw().unsigned_abs(), raw))
}
