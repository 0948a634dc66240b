//! The user's side of a container's streams: stdin as it comes, stdout and stderr to the last byte, signals.
//!
//! The user's descriptors are shared with other programs (the shell's terminal), so they are never made non-blocking.
//! stdin is read when poll(2) says that a read does not block. Output is written at once as far as that does not block, and
//! the rest by a thread of its own: a reader that does not read must not keep podctl from its signals. One thread for both
//! streams keeps the order in which their bytes came.

use std::{
    fs::File,
    io::{self, Write},
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot},
};

use crate::sys;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// stdout
    Out,
    /// stderr
    Err,
}

/// Most bytes a pipe takes without blocking once poll(2) calls it writable (PIPE_BUF).
const AT_ONCE: usize = 4096;
/// Chunks that wait for the writing thread.
const QUEUE: usize = 8;
/// What a pipe that much is written to is made to hold: whoever reads it and we take turns less often.
const PIPE: i32 = 1 << 20;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

type Chunk = (Stream, Vec<u8>);

/// Writes to stdout and stderr.
#[derive(Debug, Default)]
pub struct Printer {
    thread: Option<(mpsc::Sender<Chunk>, oneshot::Receiver<io::Result<()>>)>,
    /// Chunks that the thread has not written yet.
    queued: Arc<AtomicUsize>,
    /// Of stdout and stderr, whether they have been made to hold more.
    widened: [bool; 2],
}

impl Printer {
    /// Writes `bytes`, or takes them over; gives back what of them is left where the queue is full: then
    /// [`Printer::room`] tells when to try again.
    ///
    /// # Errors
    /// Those of write(2), perhaps of an earlier one.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let written = if self.queued.load(Ordering::Acquire) == 0 { self.write_now(stream, bytes)? } else { 0 };
        let rest = &bytes[written..];
        if rest.is_empty() {
            return Ok(None);
        }
        if self.thread.is_none() {
            self.start()?;
        }
        let Some((sender, done)) = &mut self.thread else { return Ok(None) };
        self.queued.fetch_add(1, Ordering::AcqRel);
        match sender.try_send((stream, rest.to_vec())) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full((_, bytes))) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Ok(Some(bytes))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let error = done.try_recv().ok().and_then(Result::err);
                self.thread = None;
                Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// Writes what can be written without waiting; how much that was.
    fn write_now(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        let widened = &mut self.widened[usize::from(stream == Stream::Err)];
        if bytes.len() > AT_ONCE && !std::mem::replace(widened, true) {
            // Nothing but a pipe can be, and this user may have too many such pipes.
            let _ = fcntl(of(stream).as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE));
        }
        let mut written = 0;
        while written < bytes.len() {
            match sys::write_now(of(stream).as_fd(), &bytes[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_unknown(&error) => {
                    let rest = &bytes[written..];
                    if rest.len() <= AT_ONCE && is_ready(of(stream).as_fd(), PollFlags::POLLOUT) {
                        of(stream).write_all(rest)?;
                        written = bytes.len();
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn start(&mut self) -> io::Result<()> {
        let (sender, mut receiver) = mpsc::channel::<Chunk>(QUEUE);
        let (report, done) = oneshot::channel();
        let queued = self.queued.clone();
        std::thread::Builder::new().name("printer".to_owned()).spawn(move || {
            let mut result = Ok(());
            while let Some((stream, bytes)) = receiver.blocking_recv() {
                result = of(stream).write_all(&bytes);
                queued.fetch_sub(1, Ordering::AcqRel);
                if result.is_err() {
                    break;
                }
            }
            // Nobody may be waiting for it any more.
            let _ = report.send(result);
        })?;
        self.thread = Some((sender, done));
        Ok(())
    }

    /// Waits until [`Printer::write`] takes more.
    pub async fn room(&self) {
        if let Some((sender, _)) = &self.thread {
            // A closed queue is reported by the next write.
            let _ = sender.reserve().await;
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Those of write(2).
    pub async fn finish(&mut self) -> io::Result<()> {
        let Some((sender, done)) = self.thread.take() else { return Ok(()) };
        drop(sender);
        done.await.unwrap_or(Ok(()))
    }
}

/// Whether the kernel cannot write to such a file, or to any, without waiting.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ESPIPE))
}

/// stdout or stderr as a file that is not closed and has no buffer.
fn of(stream: Stream) -> ManuallyDrop<File> {
    sys::standard(match stream {
        Stream::Out => 1,
        Stream::Err => 2,
    })
}

/// Whether an operation on `fd` would not block now.
pub fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// The user's stdin.
#[derive(Debug)]
pub enum Input {
    /// A terminal, pipe or socket.
    Watched(AsyncFd<OwnedFd>),
    /// A file or the like: never blocks.
    Ready(OwnedFd),
    /// It has ended, or is not wanted.
    Ended,
}

impl Input {
    /// stdin, or nothing.
    pub fn stdin(wanted: bool) -> Input {
        if !wanted {
            return Input::Ended;
        }
        let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() else { return Input::Ended };
        match fd.try_clone().and_then(sys::watch) {
            Ok(watched) => Input::Watched(watched),
            Err(_) => Input::Ready(fd),
        }
    }

    /// A stdin that ends at once.
    pub fn empty() -> Input {
        std::fs::File::open("/dev/null").map_or(Input::Ended, |null| Input::Ready(null.into()))
    }

    /// What has come; empty = the end. Waits for ever after the end.
    pub async fn read(&mut self) -> Vec<u8> {
        let result = match self {
            Input::Ended => std::future::pending().await,
            Input::Ready(fd) => read_now(fd),
            Input::Watched(fd) => loop {
                let Ok(mut guard) = fd.readable().await else { break Ok(Vec::new()) };
                // The descriptor blocks: that it was readable once is not enough.
                if !is_ready(fd.as_fd(), PollFlags::POLLIN) {
                    guard.clear_ready();
                    continue;
                }
                match read_now(fd.get_ref()) {
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                        guard.clear_ready();
                    }
                    other => break other,
                }
            },
        };
        // EIO: the terminal has gone, which is an end.
        let bytes = result.unwrap_or_default();
        if bytes.is_empty() {
            *self = Input::Ended;
        }
        bytes
    }
}

/// Signals that are passed on to a container.
pub const PROXIED: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
];

/// Signals that end podctl where they are not passed on; it must put the terminal in order first.
pub const ENDING: &[i32] = &[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Makes `fd`, which is ours alone, non-blocking and watches it.
///
/// # Errors
/// Those of fcntl(2) and epoll_ctl(2).
pub fn watch_own(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    sys::watch(fd)
}

/// What has come at a descriptor of our own; empty = the end.
pub async fn read_own(fd: &AsyncFd<OwnedFd>) -> Vec<u8> {
    loop {
        let Ok(mut guard) = fd.readable().await else { return Vec::new() };
        match guard.try_io(|fd| read_now(fd.get_ref())) {
            Ok(Ok(bytes)) => return bytes,
            // EIO: the last process has closed the terminal.
            Ok(Err(_)) => return Vec::new(),
            Err(_) => {}
        }
    }
}

/// What is there now, without waiting.
///
/// # Errors
/// `WouldBlock` where nothing is there, `EIO` of a terminal without processes.
pub fn read_now(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; BUFFER];
    let length = nix::unistd::read(fd, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Writes what it can of `bytes` into `sink` now; waits until that is something.
///
/// # Errors
/// `BrokenPipe` when nobody reads any more, or it has been closed.
pub async fn fill(sink: Option<&AsyncFd<OwnedFd>>, bytes: &[u8]) -> io::Result<usize> {
    let fd = sink.ok_or(io::ErrorKind::BrokenPipe)?;
    loop {
        let mut guard = fd.writable().await?;
        if let Ok(result) = guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
            return result;
        }
    }
}
