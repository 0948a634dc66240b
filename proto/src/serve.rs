//! Serving ttrpc: accepting only allowed peers, and knowing how many connections are open.

use std::{
    io,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, mpsc},
};
use ttrpc::r#async::transport::Listener;

use crate::socket;

/// Connections served at once; more wait in the backlog of the socket.
pub const MAX_CONNECTIONS: usize = 64;

/// How many connections of a server are open. Cloned handles count the same server.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    changed: Notify,
}

impl Connections {
    /// Open connections now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until a connection is opened or closed.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn enter(&self) -> Guard {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
        Guard(self.clone())
    }
}

#[derive(Debug)]
struct Guard(Connections);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.0.changed.notify_waiters();
        self.0.0.changed.notify_one();
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
                while connections.open() >= MAX_CONNECTIONS {
                    connections.changed().await;
                }
                tokio::select! {
                    () = sender.closed() => break,
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
