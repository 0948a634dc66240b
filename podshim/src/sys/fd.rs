//! Descriptors that a parent has left for us at agreed numbers.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
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

/// Lets a netlink socket hear only messages of these types, by what the first of a datagram is (socket(7),
/// SO_ATTACH_FILTER; netlink(7)).
///
/// # Errors
/// Those of setsockopt(2).
pub fn filter_netlink(fd: impl AsFd, kinds: &[u16]) -> io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    // The type is the third half-word of the header; the filter reads it as if it were in the order of the network.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 4)];
    for (at, kind) in kinds.iter().enumerate() {
        let to_the_end = u8::try_from(kinds.len() - at).map_err(io::Error::other)?;
        let kind = u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_the_end, 0, kind));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX));
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&filter)).map_err(io::Error::other)?;
    // SAFETY: the program is an array of `len` instructions that lives for the call, in which the kernel copies it; the
    // descriptor is borrowed.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
