//! Every unsafe block of this program.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::sys::signal::{SigHandler, Signal, signal};

/// Ends the process as SIGPIPE does, which is what a shell expects of `podctl … | head -1`.
pub fn die_of_broken_pipe() -> ! {
    // SAFETY: SIG_DFL is no handler: no code of ours runs in signal context.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = nix::sys::signal::raise(Signal::SIGPIPE);
    std::process::exit(128 + Signal::SIGPIPE as i32);
}

/// Ends the process by `number`, so that whoever waits for it sees that signal.
pub fn die_of_signal(number: i32) -> ! {
    if let Ok(number) = Signal::try_from(number) {
        // SAFETY: SIG_DFL is no handler: no code of ours runs in signal context.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
        let _ = nix::sys::signal::raise(number);
    }
    std::process::exit(128 + number);
}

/// Makes every descriptor from 3 on close-on-exec: what the caller left open (a test's pipe, a script's lock) must not
/// live on in a pod's shim.
pub fn seal_inherited_descriptors() {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC closes nothing, it only sets flags of descriptors.
    // A kernel older than 5.11 refuses; then the descriptors stay as the caller wanted them.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Descriptors of ours, by number, that were inherited: for `--preserve-fds`.
///
/// # Errors
/// `EBADF` where one is not open.
pub fn duplicate_inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed for one fcntl(2), which checks whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(nix::unistd::dup(borrowed)?)
}

/// The mount tree at `path` as this process sees it, detached: open_tree(2) with clone, and `whole` with what is mounted
/// below it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `ENOSYS` before Linux 5.2, `ENOENT`.
pub fn clone_tree(path: &Path, whole: bool) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let recursive = if whole { libc::AT_RECURSIVE as libc::c_uint } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | recursive;
    // SAFETY: the path is a C string that outlives the call; the kernel returns a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Size of the terminal at `fd`: rows and columns.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which points at one.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0).then_some((size.ws_row, size.ws_col))
}

/// Sets the size of the terminal whose master is `fd`; its foreground process gets SIGWINCH.
pub fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer, which points at one.
    // A master whose other end has gone has no size to set.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}

/// `fd` under a number from 10 on, so that it stays what it is while a child's descriptors are put in place.
///
/// # Errors
/// `EMFILE`
pub fn out_of_the_way(fd: &impl AsFd) -> io::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(10))?;
    // SAFETY: fcntl(2) has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Waits until the process `pid`, a child of ours, has ended; `false` after `milliseconds`.
pub fn wait_for_end(pid: nix::unistd::Pid, milliseconds: i32) -> bool {
    // SAFETY: pidfd_open(2) takes two numbers and returns a new descriptor or an error.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let Ok(number) = i32::try_from(number) else { return false };
    if number < 0 {
        return true;
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let mut poll = [nix::poll::PollFd::new(fd.as_fd(), nix::poll::PollFlags::POLLIN)];
    let timeout = nix::poll::PollTimeout::try_from(milliseconds).unwrap_or(nix::poll::PollTimeout::MAX);
    nix::poll::poll(&mut poll, timeout).is_ok_and(|ready| ready > 0)
}

/// A descriptor that the reactor watches for input and output. It must be pollable (no regular file).
///
/// # Errors
/// `EPERM` where it is not.
pub fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    use tokio::io::Interest;
    // SAFETY: an OwnedFd keeps its descriptor open until it is dropped, and AsyncFd deregisters it before that.
    unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE) }
        .map_err(io::Error::from)
}

/// Writes what it can of `bytes` without waiting, though `fd` may be a descriptor that waits: pwritev2(2) with RWF_NOWAIT.
///
/// # Errors
/// `WouldBlock` where nothing can be written now, `Unsupported` where the kernel does not know that of such a file.
pub fn write_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel reads `bytes`, which outlives the call, and writes nothing; -1 is the file's own position.
    let written = unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Standard output or error (1 or 2) as a file without a buffer, which is not closed when it is dropped.
pub fn standard(number: i32) -> ManuallyDrop<File> {
    // SAFETY: the standard library keeps 0, 1 and 2 open for the life of the process, and ManuallyDrop never closes them.
    ManuallyDrop::new(unsafe { File::from_raw_fd(number) })
}
