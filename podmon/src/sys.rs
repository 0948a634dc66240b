//! Every unsafe block of podmon.
//!
//! What nix and tokio offer safely is used where it is needed; here is only what they do not offer.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Takes over a descriptor that was passed to this process by number (LISTEN_FDS) or has just been made by the kernel.
///
/// The caller names each number once, and nobody else owns it.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller has the number from the kernel or from whoever started this process and passes it here once;
    // nothing else in this process closes it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Registers `fd` with tokio's reactor. Must be called inside the runtime.
///
/// # Errors
/// `EPERM` for what epoll cannot watch (a regular file).
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps its descriptor open until it is dropped, and AsyncFd deregisters it before that.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Closes every descriptor from `first` on (close_range(2)).
pub fn close_from(first: RawFd) {
    let first = libc::c_uint::try_from(first).unwrap_or(libc::c_uint::MAX);
    // SAFETY: called before anything of ours has opened descriptors at or above `first`, so no owner is left behind.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Gives every signal its default action, and blocks none.
pub fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no handler of ours; the kernel refuses what may not be changed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is made valid by sigemptyset before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Ignores `signal`.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is no handler of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Keeps freed big blocks from staying in the heap: glibc otherwise raises its threshold after the first of them.
pub fn return_big_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters of the allocator; called before there are threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
    }
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its pid.
    pub pid: u32,
    /// Raw status as wait(2) gives it.
    pub status: i32,
}

/// A child that has ended, left as a zombie: any, or the one with `pid`. `None` while none has.
///
/// # Errors
/// `ECHILD` where there is no such child.
pub fn peek_ended(pid: Option<u32>) -> io::Result<Option<Ended>> {
    let (kind, id) = match pid {
        Some(pid) => (libc::P_PID, pid),
        None => (libc::P_ALL, 0),
    };
    // SAFETY: siginfo_t is plain data for which all zeroes is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a siginfo_t of ours that lives for the call.
    let result =
        unsafe { libc::waitid(kind, id, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid(2) filled in the SIGCHLD members, or left the pid zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Ok(pid) = u32::try_from(pid) else { return Ok(None) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(Ended { pid, status }))
}

/// Reaps the child with `pid` if it has ended.
pub fn reap(pid: u32) -> Option<Ended> {
    let mut status = 0;
    let id = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: `status` is an int of ours that lives for the call.
    let result = unsafe { libc::waitpid(id, &mut status, libc::WNOHANG | libc::__WALL) };
    (result == id).then_some(Ended { pid, status })
}

/// Bytes sent into a socket that its other end has not read (SIOCOUTQ, which has the number of TIOCOUTQ); 0 where that is
/// not known.
pub fn unread_bytes(fd: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ writes one int, which is ours and lives for the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &mut count) };
    if result < 0 { 0 } else { usize::try_from(count).unwrap_or(0) }
}

/// Sets the size of a terminal (TIOCSWINSZ).
///
/// # Errors
/// `ENOTTY` for what is no terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which is ours and lives for the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct pidfd_info` of linux/pidfd.h, first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// _IOWR(0xFF, 11, struct pidfd_info)
const PIDFD_GET_INFO: libc::Ioctl = 0xC040_FF0B_u32 as libc::Ioctl;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How the process behind a pidfd ended, as wait(2) would say it; `None` while it has not been reaped or where the kernel
/// does not tell (before Linux 6.15).
pub fn pidfd_exit(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..Default::default() };
    // SAFETY: the ioctl's number carries the size of PidfdInfo, which is ours and lives for the call.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// A file mapped shared: what is stored here outlives this process, whatever instruction it is killed at.
///
/// Used by one thread. The file has all its blocks (fallocate) before it is mapped, so a full file system cannot raise
/// SIGBUS, and it is in a directory of mode 0700 where nobody else truncates it.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes of `file`.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(file: &File, length: usize) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave no address"))?;
        Ok(Mapping { start, length })
    }

    /// The bytes at `offset`. The caller does not [`put`](Self::put), [`splice`](Self::splice) or [`read`](Self::read) there
    /// while it holds them.
    pub fn get(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: the range was checked; the mapping lives as long as `self`; its users (the headers, the held lines and the
        // journals of `stdio::position`) write only to a range that is not current, never to one they have borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }

    /// Stores `bytes` at `offset`.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        assert!(offset.checked_add(bytes.len()).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: the range was checked. `copy` allows for a source inside the mapping.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len()) };
    }

    /// Stores `value` at `offset` (a multiple of 8) in one instruction, after everything that was stored before.
    pub fn publish(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Release);
        // Nothing that follows (a write of the log, a splice into the file) may happen before it.
        fence(Ordering::SeqCst);
    }

    /// The value at `offset` (a multiple of 8).
    pub fn published(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Moves up to `length` bytes of the pipe `source` into `file`, which is the one that is mapped, to where the word at
    /// `place` says. The kernel moves that word on by as much in the same call: however this process ends, a byte has
    /// either left the pipe and is counted, or is still in it.
    ///
    /// # Errors
    /// Those of splice(2); then nothing has left the pipe.
    pub fn splice(&self, source: BorrowedFd<'_>, file: &File, place: usize, length: usize) -> nix::Result<usize> {
        let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
        let word = self.word(place);
        // Stored into, its page is here and may be written: the kernel's store will not have to wait, where it could be killed.
        word.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        let place = word.as_ptr().cast::<libc::loff_t>();
        // SAFETY: the kernel reads and writes one loff_t, which is an aligned word of the mapping, and only during the
        // call. What it writes into the file is not borrowed: see `get`.
        let moved = unsafe {
            libc::splice(source.as_raw_fd(), std::ptr::null_mut(), file.as_fd().as_raw_fd(), place, length, flags)
        };
        nix::errno::Errno::result(moved).map(isize::unsigned_abs)
    }

    /// Reads up to `length` bytes of `source` to `offset`.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&self, source: BorrowedFd<'_>, offset: usize, length: usize) -> nix::Result<usize> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: the range was checked, and nobody has borrowed it: see `get`.
        let read = unsafe { libc::read(source.as_raw_fd(), self.start.as_ptr().add(offset).cast(), length) };
        nix::errno::Errno::result(read).map(isize::unsigned_abs)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length, "a word inside the mapping");
        // SAFETY: in range and aligned (mmap gives whole pages); every bit pattern is a valid u64.
        unsafe { &*self.start.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    /// Lets go of the pages; they stay in the file and come back when they are touched.
    pub fn release(&self) {
        // SAFETY: MADV_DONTNEED on a shared file mapping drops page table entries only, never content (madvise(2)).
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_the_file() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(4096).expect("length");
        let mapping = Mapping::new(&file, 4096).expect("map");
        mapping.put(100, b"hello");
        mapping.publish(8, 42);
        mapping.release();
        assert_eq!((mapping.get(100, 5), mapping.published(8)), (&b"hello"[..], 42));
        let mut text = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut text, 100).expect("read");
        assert_eq!(&text, b"hello");
    }

    #[test]
    fn what_leaves_a_pipe_for_the_file_is_counted_by_the_kernel() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(8192).expect("length");
        let mapping = Mapping::new(&file, 8192).expect("map");
        mapping.publish(16, 4096);
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        nix::unistd::write(&writer, b"hello").expect("write");
        assert_eq!(mapping.splice(reader.as_fd(), &file, 16, 3), Ok(3));
        assert_eq!(mapping.splice(reader.as_fd(), &file, 16, 100), Ok(2));
        assert_eq!((mapping.get(4096, 5), mapping.published(16)), (&b"hello"[..], 4101));
        assert_eq!(mapping.splice(reader.as_fd(), &file, 16, 100), Err(nix::errno::Errno::EAGAIN));
        nix::unistd::write(&writer, b"!").expect("write");
        assert_eq!(mapping.read(reader.as_fd(), 4101, 100), Ok(1));
        assert_eq!((mapping.get(4096, 6), mapping.published(16)), (&b"hello!"[..], 4101));
    }

    #[test]
    fn bytes_wait_in_a_socket() {
        let (ours, theirs) = proto::raw::Raw::pair().expect("pair");
        assert_eq!(unread_bytes(ours.as_fd()), 0);
        proto::raw::send_packet(ours.as_fd(), b"abc", &[]).expect("sent");
        assert!(unread_bytes(ours.as_fd()) >= 3);
        proto::raw::receive_packet(theirs.as_fd(), &mut [0; 8]).expect("received");
        assert_eq!(unread_bytes(ours.as_fd()), 0);
    }
}
