//! Starting a child as a session of its own with descriptors at agreed numbers.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

/// The first number of passed descriptors (sd_listen_fds(3)).
pub const FIRST: RawFd = 3;

/// Starts `command` in a session of its own, stdio at /dev/null, with `fds` at [`FIRST`] and following. Its exit is
/// seen by whoever reaps for this process; dropping nothing kills it.
///
/// # Errors
/// Those of fork(2) and execve(2).
pub fn session(command: &mut Command, fds: &[BorrowedFd<'_>]) -> io::Result<u32> {
    // Numbers are copied out of the way first, so that no source is overwritten before it is placed.
    let sources: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let spare = FIRST + RawFd::try_from(sources.len()).map_err(io::Error::other)?;
    let mut moved = vec![-1; sources.len()];
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let place = move || {
        // SAFETY: between fork and exec only async-signal-safe calls are made: setsid, fcntl, dup2 (signal-safety(7)).
        // All numbers are open descriptors of the parent that the child has inherited; `moved` was allocated before.
        unsafe {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            for (slot, source) in moved.iter_mut().zip(&sources) {
                *slot = libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, spare);
                if *slot < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for (number, source) in (FIRST..).zip(&moved) {
                if libc::dup2(*source, number) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        Ok(())
    };
    // SAFETY: the closure keeps to async-signal-safe calls, see above.
    unsafe { command.pre_exec(place) };
    Ok(command.spawn()?.id())
}
