//! Clients that see the container's output live.
//!
//! Every batch goes to each client at once, or not at all: a client never slows the container. What happens to one whose
//! socket is full depends on what it asked for:
//!
//! - an ordinary client misses bytes, and is told how many ([`Kind::Skipped`]);
//! - a lossless one (the terminal that started the container) is served from the log until it has caught up;
//! - a lossless one with log driver `none` has no log to be served from, and one with `json-file` none that has every byte:
//!   there the container waits, as with podman. It also waits before a rotation drops a file that such a client needs.

mod behind;
mod session;

use std::{
    cell::RefCell,
    io,
    os::fd::AsFd,
    rc::Rc,
    time::{Duration, Instant},
};

use proto::{
    frame::{Frame, Kind, MAX_PAYLOAD},
    log_line::Stream,
    raw::Raw,
    wire::ExitStatus,
};
use tokio::{sync::Notify, time::timeout};

pub use session::serve;

use crate::{
    log::Identity,
    stdio::{ledger::Mark, position::index},
    sys,
};
use behind::Behind;

/// Clients attached at once.
pub const MAX_CLIENTS: usize = 32;
/// How long an ordinary client may take for its last frames without reading any, and if it reads on.
const LAST_FRAMES: Duration = Duration::from_secs(2);
const MORE_FRAMES: Duration = Duration::from_secs(10);
/// How long the terminal that started the container may take for them: it may be a pager in which somebody reads.
const LAST_FRAMES_LOSSLESS: Duration = Duration::from_secs(3600);

/// All clients of the container.
#[derive(Debug, Default)]
pub struct Clients {
    list: RefCell<Vec<Rc<Client>>>,
    exit: RefCell<Option<ExitStatus>>,
    changed: Notify,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    raw: Raw,
    output: bool,
    lossless: bool,
    delivery: RefCell<Delivery>,
    /// The delivery is not live any more, or the container has ended.
    wake: Notify,
}

/// How a client gets its bytes.
#[derive(Debug)]
enum Delivery {
    /// At once.
    Live,
    /// It lags: so many bytes were skipped.
    Skipping(u64),
    /// It lags, and is served from the log.
    Behind(Box<Behind>),
    /// It lags and there is no log: the container waits until these packets are sent.
    Waiting(Vec<Vec<u8>>),
}

impl Clients {
    /// Sends `stream`'s bytes of one batch to every client. `mark` is where things were before the batch, `logged` whether
    /// the bytes can be read from the log.
    pub fn send(&self, stream: Stream, mark: Mark, bytes: &[u8], logged: bool) {
        let clients = self.list.borrow();
        if clients.iter().all(|client| !client.output) {
            return;
        }
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        let mut start = 0;
        for payload in bytes.chunks(MAX_PAYLOAD) {
            let frame = Frame { kind, offset: mark.offset[index(stream)] + start as u64, payload };
            for client in clients.iter().filter(|client| client.output) {
                client.send(stream, mark, start, &frame, logged);
            }
            start += payload.len();
        }
    }

    /// Whether a client is still served from another file than `log`, or from `log` itself where that is the `only` one.
    pub fn need_more_than(&self, log: Identity, only: bool) -> bool {
        self.list.borrow().iter().any(|client| match &*client.delivery.borrow() {
            Delivery::Behind(behind) => only || behind.log() != log,
            _ => false,
        })
    }

    /// Waits until something has changed for a client.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until no client makes the container wait.
    pub async fn caught_up(&self) {
        while self.list.borrow().iter().any(|client| matches!(*client.delivery.borrow(), Delivery::Waiting(_))) {
            // Nobody else runs between the look and this.
            self.changed.notified().await;
        }
    }

    /// The container has ended: every client gets what it has not got yet, then this. Waits until they have gone.
    pub async fn end(&self, exit: &ExitStatus) {
        self.say_end(exit);
        let gone = |lossless: bool| async move {
            loop {
                let changed = self.changed.notified();
                if self.list.borrow().iter().all(|client| client.lossless != lossless) {
                    return;
                }
                changed.await;
            }
        };
        // Past the deadline they are left where they are.
        let (end, mut unread) = (Instant::now() + MORE_FRAMES, self.unread());
        while timeout(LAST_FRAMES, gone(false)).await.is_err() && Instant::now() < end {
            let before = std::mem::replace(&mut unread, self.unread());
            if unread >= before {
                break;
            }
        }
        let _ = timeout(LAST_FRAMES_LOSSLESS, gone(true)).await;
    }

    /// Bytes that ordinary clients have not read.
    fn unread(&self) -> usize {
        let clients = self.list.borrow();
        clients.iter().filter(|client| !client.lossless).map(|client| sys::unread_bytes(client.raw.as_fd())).sum()
    }

    /// Tells every client that the container has ended, without waiting.
    pub fn say_end(&self, exit: &ExitStatus) {
        *self.exit.borrow_mut() = Some(*exit);
        for client in self.list.borrow().iter() {
            client.wake.notify_one();
        }
    }

    fn exit(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    fn add(&self, client: Rc<Client>) -> Result<(), &'static str> {
        let mut list = self.list.borrow_mut();
        if list.len() >= MAX_CLIENTS {
            return Err("too many attach clients");
        }
        list.push(client);
        Ok(())
    }

    fn remove(&self, client: &Rc<Client>) {
        self.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, client));
        self.changed.notify_waiters();
    }
}

impl Client {
    /// Sends one frame of a batch, `start` bytes into it, or remembers that it could not be sent.
    fn send(&self, stream: Stream, mark: Mark, start: usize, frame: &Frame<'_>, logged: bool) {
        let payload = frame.payload.len() as u64;
        let mut delivery = self.delivery.borrow_mut();
        let next = match &mut *delivery {
            Delivery::Live => match self.raw.try_send_parts([&frame.header(), frame.payload]) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.lossless && logged {
                        Delivery::Behind(Box::new(Behind::from(mark, stream, start)))
                    } else if self.lossless {
                        Delivery::Waiting(vec![frame.encode()])
                    } else {
                        Delivery::Skipping(payload)
                    }
                }
                // It has gone; its session notices by itself.
                Err(_) => return,
            },
            Delivery::Skipping(bytes) => {
                *bytes += payload;
                return;
            }
            Delivery::Behind(_) => return,
            Delivery::Waiting(packets) => {
                packets.push(frame.encode());
                return;
            }
        };
        *delivery = next;
        self.wake.notify_one();
    }
}
