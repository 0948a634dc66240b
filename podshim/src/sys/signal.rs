//! Signal dispositions.
#![allow(unsafe_code)]

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives `number` its default action.
pub fn default(number: Signal) {
    // SAFETY: SIG_DFL is no handler of ours, so nothing runs in signal context.
    let _ = unsafe { signal(number, SigHandler::SigDfl) };
}

/// Ignores `number`.
pub fn ignore(number: Signal) {
    // SAFETY: SIG_IGN is no handler of ours, so nothing runs in signal context.
    let _ = unsafe { signal(number, SigHandler::SigIgn) };
}
