//! The user's side of a container's streams: stdin as it comes, stdout and stderr to the last byte, signals.
//!
//! The user's descriptors are shared with other programs (the shell's terminal), so they are never made non-blocking.
//! stdin is read when poll(2) says that a read does not block. Output is written at once while that cannot block, and by
//! a thread of its own from the first time that it could: a reader that does not read must not keep podctl from its
//! signals. One thread for both streams keeps the order in which their bytes came.

use std::{
    fs::File,
    io::{self, Write},
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

type Chunk = (Stream, Vec<u8>);

/// Writes to stdout and stderr.
#[derive(Debug, Default)]
pub struct Printer {
    thread: Option<(mpsc::Sender<Chunk>, oneshot::Receiver<io::Result<()>>)>,
}

impl Printer {
    /// Writes `bytes`, or takes them over; gives them back where the queue is full: then [`Printer::room`] tells when to
    /// try again.
    ///
    /// # Errors
    /// Those of write(2), perhaps of an earlier one.
    pub fn write(&mut self, stream: Stream, bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if self.thread.is_none() {
            if bytes.len() <= AT_ONCE && is_ready(of(stream).as_fd(), PollFlags::POLLOUT) {
                return of(stream).write_all(&bytes).map(|()| None);
            }
            self.start()?;
        }
        let Some((sender, done)) = &mut self.thread else { return Ok(None) };
        match sender.try_send((stream, bytes)) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full((_, bytes))) => Ok(Some(bytes)),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(done.try_recv().ok().and_then(Result::err).unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let (sender, mut receiver) = mpsc::channel::<Chunk>(QUEUE);
        let (report, done) = oneshot::channel();
        std::thread::Builder::new().name("printer".to_owned()).spawn(move || {
            let mut result = Ok(());
            while let Some((stream, bytes)) = receiver.blocking_recv() {
                result = of(stream).write_all(&bytes);
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

/// Writes what it can of `bytes` now; waits until that is something.
///
/// # Errors
/// `BrokenPipe` when nobody reads any more.
pub async fn write_own(fd: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut guard = fd.writable().await?;
        if let Ok(result) = guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
            return result;
        }
    }
}
