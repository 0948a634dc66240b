//! Shims and monitors that a signal has stopped go on while a command waits for them.

use std::time::Duration;

use proto::alive::{self, Process};
use tokio::task::AbortHandle;

use crate::error::warn;

/// The first look: who is well has answered most commands by then.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two looks; each is twice as long as the one before.
const LAST: Duration = Duration::from_secs(5);

/// Looks after a process of ours for as long as this is held. Nobody stops one who knows what he does; the kernel tells that
/// to its parent alone, which has gone, or was stopped as well.
#[derive(Debug)]
pub struct Awake(AbortHandle);

impl Awake {
    /// Looks after the program `name`, whose pid `find` says when it is needed. Needs a running tokio runtime.
    pub fn keep(name: &'static str, find: impl Fn() -> Option<u32> + Send + 'static) -> Awake {
        let look = async move {
            tokio::time::sleep(FIRST).await;
            let Some(process) = find().and_then(Process::of) else { return };
            let mut pause = FIRST;
            while process.is_alive() {
                if alive::state(process.pid) == Some('T') {
                    goes_on(name, &process);
                }
                pause = (pause * 2).min(LAST);
                tokio::time::sleep(pause).await;
            }
        };
        Awake(tokio::spawn(look).abort_handle())
    }
}

/// Has a process that is stopped go on.
fn goes_on(name: &str, process: &Process) {
    let pidfd = process.pidfd();
    if pidfd.is_ok_and(|pidfd| alive::pidfd_signal(&pidfd, libc::SIGCONT).is_ok()) {
        warn(&format!("{name} (pid {}) was stopped by a signal and goes on now", process.pid));
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.abort();
    }
}
