//! Descriptors that a parent has left for us at agreed numbers.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Takes the descriptor `number`, which the parent passed on purpose, and makes it close-on-exec.
///
/// Called once per number, by the role's start-up before anything else is opened.
///
/// # Errors
/// `EBADF` where the parent passed nothing.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is defined; EBADF tells that nothing is open there.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (checked above), and by contract nobody else in this process owns this number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on: what a careless parent left open is not ours.
pub fn close_from(first: RawFd) {
    let Ok(first) = u32::try_from(first) else { return };
    // SAFETY: called at the start of a role, before this process owns any descriptor at or above `first`.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } == 0 {
        return;
    }
    // Kernels and sandboxes without close_range(2): the limit is small enough to walk.
    let limit =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    for number in first..u32::try_from(limit.min(65_536)).unwrap_or(1024) {
        // SAFETY: as above; closing a number that is not open is EBADF and nothing else.
        unsafe { libc::close(number.cast_signed()) };
    }
}

/// Takes a descriptor that recvmsg(2) has just installed.
pub fn received(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this number for the message that was received; nobody else in this process knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Watches `io` with the reactor of this runtime.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn watch<T: std::os::fd::AsFd + std::os::fd::AsRawFd>(io: T) -> io::Result<tokio::io::unix::AsyncFd<T>> {
    // SAFETY: every type we watch (sockets, pidfds) owns its descriptor and keeps it open until it is dropped, which
    // AsyncFd does after deregistering it.
    unsafe { tokio::io::unix::AsyncFd::register_with_interest(io, tokio::io::Interest::READABLE) }
        .map_err(io::Error::from)
}
