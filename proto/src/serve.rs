//! Serving ttrpc: the event loop it runs in, accepting only allowed peers, and knowing how many connections are open.

use std::{
    future::Future,
    io,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, watch},
    time::Sleep,
};
use ttrpc::r#async::transport::Listener;

use crate::socket;

/// Connections served at once; more wait in the backlog of the socket.
pub const MAX_CONNECTIONS: usize = 64;

/// Requests of one connection that may wait for their answers, unless a server says otherwise; the next one is not read
/// before one of them has got its own. ttrpc itself takes as many as there are, and keeps them in memory.
pub const MAX_REQUESTS: usize = 1024;

/// Bytes of a request that is taken whoever else sends; what is longer has to find room among all that is being read or
/// answered.
const SHORT: usize = 1 << 10;

/// What a server takes. All of it is memory that whoever sends decides about.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests of one connection that may wait for their answers.
    pub requests: usize,
    /// Bytes of one request; whoever sends more is cut off.
    pub largest: usize,
    /// Bytes of the requests of all connections together, but for short ones.
    pub room: usize,
    /// How long somebody may keep that room with a request that does not come to its end.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let largest = ttrpc::proto::MESSAGE_LENGTH_MAX;
        Limits { requests: MAX_REQUESTS, largest, room: 4 * largest, patience: Duration::from_secs(10) }
    }
}

/// Events taken from the kernel at once: tokio's own 1024 are 12 kB that no program of ours ever fills.
const EVENTS: usize = 64;

/// The event loop of a program of ours: one thread, for tasks that stay on it.
///
/// # Errors
/// When the process has no descriptor left for it.
pub fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS).build_local(LocalOptions::default())
}

/// How many connections of a server are open, and whether it takes more. Cloned handles are of the same server.
#[derive(Clone, Debug)]
pub struct Connections {
    state: Arc<watch::Sender<State>>,
    limits: Limits,
    room: Arc<Mutex<Room>>,
}

/// Room for requests that are no short ones.
#[derive(Debug, Default)]
struct Room {
    taken: usize,
    /// Who waits for some.
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: usize,
    closed: bool,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections::with(Limits::default())
    }
}

impl Connections {
    /// Connections that are limited so.
    pub fn with(limits: Limits) -> Connections {
        Connections { state: Arc::new(watch::Sender::default()), limits, room: Arc::default() }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for `bytes`, or is woken when some has become free. One that is alone always finds it.
    fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<usize> {
        let mut room = self.room();
        let bytes = bytes.min(self.limits.room);
        if room.taken + bytes > self.limits.room {
            room.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        room.taken += bytes;
        Poll::Ready(bytes)
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            let mut room = self.room();
            room.taken -= bytes;
            room.waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// Open connections now.
    pub fn open(&self) -> usize {
        self.state.borrow().open
    }

    /// Waits until `open` connections are no longer what is open.
    pub async fn changed_from(&self, open: usize) {
        self.until(|state| state.open != open).await;
    }

    /// Takes no more connections: the listening socket is closed, and whoever waits in its backlog is cut off before its
    /// greeting is answered. Open connections go on.
    pub fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut states = self.state.subscribe();
        // The sender is in `self`: it cannot end before this does.
        let _ = states.wait_for(|state| condition(state)).await;
    }

    fn enter(&self) -> Guard {
        self.state.send_modify(|state| state.open += 1);
        Guard(self.clone())
    }
}

#[derive(Debug)]
struct Guard(Connections);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.open -= 1);
    }
}

/// Where the answers of a connection are in the frames of ttrpc: ten bytes, the first four of them the length of what
/// follows, the next four the stream (its PROTOCOL.md).
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    /// How much of the header has been seen.
    seen: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Goes on by `bytes`; the streams of the frames that have begun to be whole: their headers are complete.
    fn pass(&mut self, mut bytes: &[u8]) -> Vec<u32> {
        let mut streams = Vec::new();
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
                (self.left, self.seen) = (u64::from(word(&self.header, 0)), 0);
                streams.push(word(&self.header, 4));
            }
        }
        streams
    }
}

/// One counted connection.
struct Counted {
    stream: tokio::net::UnixStream,
    guard: Guard,
    request: Incoming,
    answers: Frames,
    /// Requests without an answer.
    waiting: usize,
    /// Room that some of them have, by stream.
    held: Vec<(u32, usize)>,
    /// Whoever wants to read the next request.
    reader: Option<Waker>,
}

/// The request that is being read. Its header is kept back until there is room for it: whoever reads makes that room as
/// soon as the header says how much.
#[derive(Default)]
struct Incoming {
    header: [u8; HEADER],
    /// How much of the header has come.
    come: usize,
    /// How much of it has been handed on; none before there is room.
    given: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// When one that has room must be whole.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Bytes of a header of ttrpc.
const HEADER: usize = ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// The number at `at` of a header.
fn word(header: &[u8; HEADER], at: usize) -> u32 {
    header[at..].iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

impl Counted {
    fn new(stream: tokio::net::UnixStream, guard: Guard) -> Counted {
        let (request, answers) = (Incoming::default(), Frames::default());
        Counted { stream, guard, request, answers, waiting: 0, held: Vec::new(), reader: None }
    }

    /// Reads what is there into `part`; how much.
    fn poll_part(
        stream: &mut tokio::net::UnixStream,
        cx: &mut Context<'_>,
        part: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut part = ReadBuf::new(part);
        let read = Pin::new(stream).poll_read(cx, &mut part);
        read.map_ok(|()| part.filled().len())
    }

    /// The header is whole: whether there is room for what it announces.
    fn poll_admission(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let length = usize::try_from(word(&self.request.header, 0)).unwrap_or(usize::MAX);
        let Connections { limits, .. } = &self.guard.0;
        // Beyond its own limit ttrpc throws away what comes, and says so.
        if length > limits.largest && length <= ttrpc::proto::MESSAGE_LENGTH_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if (SHORT + 1..=limits.largest).contains(&length) {
            let patience = limits.patience;
            let bytes = ready!(self.guard.0.poll_room(length, cx));
            self.held.push((word(&self.request.header, 4), bytes));
            self.request.deadline = Some(Box::pin(tokio::time::sleep(patience)));
        }
        Poll::Ready(Ok(length))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.guard.0.give_back(self.held.iter().map(|(_, bytes)| bytes).sum());
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.request.left > 0 && this.request.come == 0 {
            if this.request.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let wanted = this.request.left.min(buf.remaining());
            let read = ready!(Counted::poll_part(&mut this.stream, cx, buf.initialize_unfilled_to(wanted)))?;
            buf.advance(read);
            this.request.left -= read;
            if this.request.left == 0 {
                this.request.deadline = None;
            }
            return Poll::Ready(Ok(()));
        }
        while this.request.come < HEADER {
            if this.request.come == 0 && this.waiting >= this.guard.0.limits.requests {
                this.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let part = &mut this.request.header[this.request.come..];
            match ready!(Counted::poll_part(&mut this.stream, cx, part))? {
                0 => return Poll::Ready(Ok(())),
                read => this.request.come += read,
            }
        }
        if this.request.given == 0 {
            let length = ready!(this.poll_admission(cx))?;
            this.waiting += 1;
            this.request.left = length;
        }
        let rest = &this.request.header[this.request.given..];
        let rest = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(rest);
        this.request.given += rest.len();
        if this.request.given == HEADER {
            (this.request.come, this.request.given) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = written {
            let answered = this.answers.pass(&buf[..length]);
            this.waiting = this.waiting.saturating_sub(answered.len());
            for stream in &answered {
                if let Some(at) = this.held.iter().position(|(of, _)| of == stream) {
                    this.guard.0.give_back(this.held.swap_remove(at).1);
                }
            }
            if !answered.is_empty()
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
const BACK_OFF: Duration = Duration::from_millis(50);

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
pub fn deadline(timeout: Duration) -> ttrpc::context::Context {
    ttrpc::context::with_duration(timeout)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn frames_are_counted_however_they_come() {
        let frame = |length: u32| [&length.to_be_bytes()[..], &[0, 0, 0, 1, 1, 0], &vec![7; length as usize]].concat();
        let bytes = [frame(0), frame(3), frame(1000), frame(0)].concat();
        for step in [1, 2, 7, 10, 13, 500, bytes.len()] {
            let mut frames = Frames::default();
            let streams: Vec<u32> = bytes.chunks(step).flat_map(|part| frames.pass(part)).collect();
            assert_eq!(streams, [1; 4], "by {step}");
        }
    }

    /// A frame of a request.
    fn request(length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).expect("short").to_be_bytes();
        [&length_bytes[..], &[0, 0, 0, 1, 1, 0], &vec![7; length]].concat()
    }

    fn connection(connections: &Connections) -> (Counted, tokio::net::UnixStream) {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("pair");
        (Counted::new(ours, connections.enter()), theirs)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn long_requests_find_room_one_after_the_other_and_short_ones_pass() {
        let patience = Duration::from_millis(400);
        let connections = Connections::with(Limits { requests: 4, largest: 8192, room: 10_000, patience });
        let [(mut one, mut ours), (mut other, mut theirs), (mut third, mut last)] =
            [(); 3].map(|()| connection(&connections));
        let frame = request(8000);
        let mut buffer = vec![0; frame.len()];
        ours.write_all(&frame[..100]).await.expect("half of it");
        assert_eq!(one.read(&mut buffer).await.expect("header"), HEADER);
        assert_eq!(one.read(&mut buffer).await.expect("some of it"), 100 - HEADER);
        // No byte of the header comes out before there is room.
        theirs.write_all(&frame).await.expect("sent");
        assert!(tokio::time::timeout(patience / 4, other.read(&mut buffer)).await.is_err());
        let short = request(SHORT);
        last.write_all(&short).await.expect("sent");
        third.read_exact(&mut buffer[..short.len()]).await.expect("read");
        assert_eq!(&buffer[..short.len()], short);
        // Who keeps the room without end is cut off.
        let kept = one.read(&mut buffer).await.expect_err("cut off");
        assert_eq!(kept.kind(), io::ErrorKind::TimedOut);
        drop(one);
        other.read_exact(&mut buffer).await.expect("read");
        assert_eq!(buffer, frame);
        // It is kept until the request has its answer.
        assert_eq!(connections.room().taken, 8000);
        other.write_all(&request(5)).await.expect("an answer");
        assert_eq!(connections.room().taken, 0);
        theirs.write_all(&request(8193)).await.expect("sent");
        let error = other.read(&mut buffer).await.expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn requests_wait_for_answers_and_come_out_as_they_went_in() {
        let connections = Connections::with(Limits { requests: 2, ..Limits::default() });
        let (mut server, mut client) = connection(&connections);
        let frames = [request(0), request(3), request(5000)].concat();
        client.write_all(&frames).await.expect("sent");
        let mut read = Vec::new();
        let mut one_byte = [0];
        // By single bytes; the third one is not begun before another has been answered.
        while let Ok(Ok(1)) = tokio::time::timeout(Duration::from_millis(200), server.read(&mut one_byte)).await {
            read.push(one_byte[0]);
        }
        assert_eq!(read.len(), 2 * HEADER + 3);
        server.write_all(&request(1)).await.expect("an answer");
        let mut rest = vec![0; HEADER + 5000];
        server.read_exact(&mut rest).await.expect("the rest");
        read.extend(rest);
        assert_eq!(read, frames);
    }
}
