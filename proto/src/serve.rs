//! Serving ttrpc: the event loop it runs in, accepting only allowed peers, and knowing how many connections are open.

use std::{
    io,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
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
pub struct Connections(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: usize,
    closed: bool,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections(Arc::new(watch::Sender::default()))
    }
}

impl Connections {
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

/// One counted connection.
#[derive(Debug)]
struct Counted {
    stream: tokio::net::UnixStream,
    _guard: Guard,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
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
        let _ = sender.try_send(Ok(Counted { stream, _guard: connections.enter() }));
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
                            let counted = Counted { stream, _guard: connections.enter() };
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
