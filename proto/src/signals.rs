//! Signals as they come, by a signalfd(2).
//!
//! tokio's own keep a channel for each signal there is, 23 kB of every process, and are made with the runtime where they
//! are compiled in at all.

use std::io;

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::raw;

/// Signals that are caught instead of doing what they do.
#[derive(Debug)]
pub struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Catches `numbers` from now on: they are blocked in this thread and in those it starts later, and there must be no
    /// other yet that they could end. A program of ours that is started has none blocked ([`crate::spawn`]).
    ///
    /// # Errors
    /// Those of signalfd(2); `EINVAL` for what is no signal.
    pub fn catch(numbers: &[i32]) -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for &number in numbers {
            set.add(Signal::try_from(number)?);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        raw::watch(signals, Interest::READABLE).map(Signals)
    }

    /// The next one. One of a kind may stand for several that came meanwhile (signal(7)).
    pub async fn next(&mut self) -> i32 {
        loop {
            // Without a reactor the whole program ends.
            let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
            match ready.get_inner().read_signal() {
                Ok(Some(signal)) => return i32::try_from(signal.ssi_signo).unwrap_or_default(),
                _ => ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_and_not_obeyed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut signals = Signals::catch(&[libc::SIGUSR1, libc::SIGWINCH]).expect("catch");
            for signal in [Signal::SIGWINCH, Signal::SIGUSR1] {
                // It is sent to this thread: the others of the test program have not blocked it.
                nix::sys::signal::raise(signal).expect("raise");
                assert_eq!(signals.next().await, signal as i32);
            }
            assert!(Signals::catch(&[0]).is_err());
        });
    }
}
