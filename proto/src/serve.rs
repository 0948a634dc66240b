//! Serving ttrpc: the event loop it runs in, accepting only allowed peers, and knowing how many connections are open.

use std::{
    io,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};
use ttrpc::r#async::transport::Listener;

use crate::socket;

/// Connections served at once; more wait in the backlog of the socket.
pub const MAX_CONNECTIONS: usize = 64;

/// Requests of one connection that may wait for their answers, unless a server says otherwise; the next one is not read
/// before one of them has got its own. ttrpc itself takes as many as there are, and keeps them in memory.
pub const MAX_REQUESTS: usize = 1024;

/// Events taken from the kernel at once: tokio's own 1024 are 12 kB that no program of ours ever fills.
const EVENTS: usize = 64;

/// The event loop of a program of ours: one thread.
///
/// # Errors
/// When the process has no descriptor left for it.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS).build()
}

/// How many connections of a server are open, and whether it takes more. Cloned handles are of the same server.
#[derive(Clone, Debug)]
pub struct Connections(Arc<watch::Sender<State>>, usize);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: usize,
    closed: bool,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections::with_requests(MAX_REQUESTS)
    }
}

impl Connections {
    /// Connections on each of which so many requests may wait for their answers.
    pub fn with_requests(most: usize) -> Connections {
        Connections(Arc::new(watch::Sender::default()), most)
    }

    /// Open connections now.
    pub fn open(&self) -> usize {
        self.0.borrow().open
    }

    /// Waits until `open` connections are no longer what is open.
    pub async fn changed_from(&self, open: usize) {
        self.until(|state| state.open != open).await;
    }

    /// Takes no more connections: the listening socket is closed, and whoever waits in its backlog is cut off before its
    /// greeting is answered. Open connections go on.
    pub fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut states = self.0.subscribe();
        // The sender is in `self`: it cannot end before this does.
        let _ = states.wait_for(|state| condition(state)).await;
    }

    fn enter(&self) -> Guard {
        self.0.send_modify(|state| state.open += 1);
        Guard(self.clone())
    }
}

#[derive(Debug)]
struct Guard(Connections);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.open -= 1);
    }
}

/// Where one direction of a connection is in the frames of ttrpc: ten bytes, the first four of them the length of what
/// follows (its PROTOCOL.md).
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 10],
    /// How much of the header has been seen.
    seen: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Goes on by `bytes`; how many frames have begun to be whole: their headers are complete.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (self.header.len() - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + taken].copy_from_slice(&bytes[..taken]);
            self.seen += taken;
            bytes = &bytes[taken..];
            if self.seen == self.header.len() {
                let [a, b, c, d, ..] = self.header;
                (self.left, self.seen) = (u64::from(u32::from_be_bytes([a, b, c, d])), 0);
                count += 1;
            }
        }
        count
    }

    /// Between two frames.
    fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }
}

/// One counted connection.
#[derive(Debug)]
struct Counted {
    stream: tokio::net::UnixStream,
    guard: Guard,
    requests: Frames,
    answers: Frames,
    /// Requests without an answer.
    waiting: usize,
    /// Whoever wants to read the next request.
    reader: Option<Waker>,
}

impl Counted {
    fn new(stream: tokio::net::UnixStream, guard: Guard) -> Counted {
        let (requests, answers) = (Frames::default(), Frames::default());
        Counted { stream, guard, requests, answers, waiting: 0, reader: None }
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting >= this.guard.0.1 && this.requests.is_between() {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.waiting += this.requests.pass(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = written {
            let answered = this.answers.pass(&buf[..length]);
            this.waiting = this.waiting.saturating_sub(answered);
            if answered > 0
                && let Some(reader) = this.reader.take()
            {
                reader.wake();
            }
        }
        written
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Pause after accept(2) fails for want of descriptors or memory, so that the loop does not spin.
const BACK_OFF: std::time::Duration = std::time::Duration::from_millis(50);

/// A ttrpc listener over a bound socket, and `first` connections that are already there (a socketpair of the parent).
///
/// Peers that are neither root nor of our uid are dropped. Dropping the returned listener closes the socket. Must be
/// called inside a tokio runtime.
///
/// # Errors
/// When the reactor refuses the descriptors.
pub fn listener(
    socket: Option<UnixListener>,
    first: Option<UnixStream>,
    connections: &Connections,
) -> io::Result<Listener> {
    let (sender, receiver) = mpsc::channel::<io::Result<Counted>>(1);
    let connections = connections.clone();
    if let Some(stream) = first {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        // The channel is new and has room for one.
        let _ = sender.try_send(Ok(Counted::new(stream, connections.enter())));
    }
    if let Some(socket) = socket {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixListener::from_std(socket)?;
        tokio::spawn(async move {
            loop {
                connections.until(|state| state.open < MAX_CONNECTIONS || state.closed).await;
                tokio::select! {
                    // Once no more are taken none is, however ready it may be.
                    biased;
                    () = sender.closed() => break,
                    () = connections.until(|state| state.closed) => break,
                    accepted = socket.accept() => match accepted {
                        Ok((stream, _)) if socket::peer_is_allowed(stream.as_fd()) => {
                            let counted = Counted::new(stream, connections.enter());
                            if sender.send(Ok(counted)).await.is_err() {
                                break;
                            }
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(BACK_OFF).await,
                    },
                }
            }
        });
    }
    Ok(Listener::new(ReceiverStream(receiver)))
}

struct ReceiverStream(mpsc::Receiver<io::Result<Counted>>);

impl futures_core::Stream for ReceiverStream {
    type Item = io::Result<Counted>;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(cx)
    }
}

/// A ttrpc client over a connected socket. Must be called inside a tokio runtime.
///
/// # Errors
/// When the reactor refuses the descriptor.
pub fn client(stream: UnixStream) -> io::Result<ttrpc::r#async::Client> {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    Ok(ttrpc::r#async::Client::new(ttrpc::r#async::transport::Socket::new(stream)))
}

/// A ttrpc context with a deadline.
pub fn deadline(timeout: std::time::Duration) -> ttrpc::context::Context {
    ttrpc::context::with_duration(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_come() {
        let frame = |length: u32| [&length.to_be_bytes()[..], &[0, 0, 0, 1, 1, 0], &vec![7; length as usize]].concat();
        let bytes = [frame(0), frame(3), frame(1000), frame(0)].concat();
        for step in [1, 2, 7, 10, 13, 500, bytes.len()] {
            let mut frames = Frames::default();
            let count: usize = bytes.chunks(step).map(|part| frames.pass(part)).sum();
            assert_eq!((count, frames.is_between()), (4, true), "by {step}");
        }
        let mut frames = Frames::default();
        assert_eq!(frames.pass(&bytes[..12]), 1);
        assert!(!frames.is_between());
    }
}
