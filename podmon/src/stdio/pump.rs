//! Moves one stream of the container: from its FIFO or terminal into the log and to the clients.
//!
//! A container that writes a line now and then finds our caches cold, and what we touch is what it costs: nothing is
//! allocated for a line, no timer is armed or taken back, and only the pump is woken.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};
use proto::log_line::Stream;
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep, timeout},
};

use super::{
    BIG_PIPE, PIPE,
    ledger::{Ledger, Mark},
    output::Output,
    position::index,
};
use crate::sys;

/// Where nothing has flowed between two looks, so far apart, big buffers are given back.
const IDLE: Duration = Duration::from_millis(700);
/// After the first process has ended a terminal that others keep open may still be delivering what it wrote.
const DELIVERY: Duration = Duration::from_millis(20);
/// A terminal that nobody has open is looked at again after pauses from the first to the second: epoll has nothing more to
/// say about it than that it is closed.
const CLOSED: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(640));
/// Pause before what could not be recorded is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long output may go on after the first process has ended, while others keep the stream open.
const GRACE: Duration = Duration::from_secs(2);

/// What one turn has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Moved what was there.
    Moved,
    /// Moved all that there was: whatever comes after it is told by an event that has not been heard yet.
    All,
    /// There is nothing now.
    Empty,
    /// Nobody has the terminal open, and all that was written to it has been read.
    Closed,
    /// It cannot be moved now.
    Stuck,
    /// There will never be anything again.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Pump {
    stream: Stream,
    source: Rc<AsyncFd<OwnedFd>>,
    terminal: bool,
    output: Rc<Output>,
    last: Rc<Last>,
    grown: Cell<bool>,
    /// There are bytes that could not be recorded.
    behind: Cell<bool>,
    /// A rotation waits for a client that needs the file it would drop.
    patient: Cell<bool>,
    /// Something has flowed since the last look.
    flowed: Cell<bool>,
    /// Something flows, and somebody looks whether it still does.
    looked_after: Cell<bool>,
}

/// Tells pumps that the first process has ended: what can be read now is all that is waited for.
#[derive(Debug, Default)]
pub struct Last {
    said: Cell<bool>,
    /// Of the pumps that wait.
    wakers: RefCell<[Option<Waker>; 2]>,
}

impl Last {
    /// Says so.
    pub fn say(&self) {
        self.said.set(true);
        self.wakers.take().into_iter().flatten().for_each(Waker::wake);
    }

    /// Another run follows.
    pub fn take_back(&self) {
        self.said.set(false);
    }

    fn poll(&self, stream: Stream, cx: &Context<'_>) -> Poll<()> {
        if self.said.get() {
            return Poll::Ready(());
        }
        let waker = &mut self.wakers.borrow_mut()[index(stream)];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Pump {
    /// A pump for `stream`, from `source`.
    pub fn new(
        stream: Stream,
        source: Rc<AsyncFd<OwnedFd>>,
        terminal: bool,
        output: Rc<Output>,
        last: Rc<Last>,
    ) -> Pump {
        Pump {
            stream,
            source,
            terminal,
            output,
            last,
            grown: Cell::new(false),
            behind: Cell::new(false),
            patient: Cell::new(true),
            flowed: Cell::new(false),
            looked_after: Cell::new(false),
        }
    }

    /// Pumps until the end of the stream.
    pub async fn run(self: Rc<Self>) {
        // What an earlier monitor has brought and not recorded comes first.
        self.record();
        let mut deadline = None;
        let mut delivered = false;
        let mut closed = CLOSED.0;
        loop {
            if self.last.said.get() && deadline.is_none() {
                deadline = Some(Instant::now() + GRACE);
            }
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over {
                self.patient.set(false);
            }
            if self.behind.get() {
                // A client that has read on may be what was waited for; as long as it does, there is time.
                let changed = timeout(RETRY, self.output.clients().changed()).await.is_ok();
                if changed && self.patient.get() {
                    deadline = deadline.map(|_| Instant::now() + GRACE);
                }
                self.record();
                if self.behind.get() && over {
                    break;
                }
                continue;
            }
            match self.turn() {
                Turn::Moved | Turn::All if over => break,
                Turn::All if !self.last.said.get() && !self.behind.get() => {
                    closed = CLOSED.0;
                    self.output.clients().caught_up().await;
                    self.readable().await;
                }
                Turn::Moved | Turn::All => {
                    closed = CLOSED.0;
                    self.output.clients().caught_up().await;
                    tokio::task::yield_now().await;
                }
                Turn::Empty if self.last.said.get() => {
                    if !self.terminal || std::mem::replace(&mut delivered, true) {
                        break;
                    }
                    sleep(DELIVERY).await;
                }
                Turn::Closed if self.last.said.get() => break,
                Turn::Stuck if over => break,
                Turn::Stuck => sleep(RETRY).await,
                Turn::Empty => self.readable().await,
                Turn::Closed => {
                    self.wait(sleep(closed)).await;
                    closed = (closed * 2).min(CLOSED.1);
                }
                Turn::End => break,
            }
        }
        self.shrink();
    }

    /// Waits for `event`, or until it is the last time to look.
    async fn wait(&self, event: impl Future<Output = ()>) {
        let mut event = pin!(event);
        std::future::poll_fn(|cx| match self.last.poll(self.stream, cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => event.as_mut().poll(cx),
        })
        .await;
    }

    /// Waits until there may be something to read, or until it is the last time to look.
    async fn readable(&self) {
        std::future::poll_fn(|cx| {
            if self.last.poll(self.stream, cx).is_ready() {
                return Poll::Ready(());
            }
            self.source.poll_read_ready(cx).map(|ready| {
                if let Ok(mut ready) = ready {
                    // The next turn looks itself; what comes after this line makes a new event.
                    ready.clear_ready();
                }
            })
        })
        .await;
    }

    /// Something has been read.
    fn flows(self: &Rc<Self>) {
        if self.flowed.replace(true) || self.looked_after.replace(true) {
            return;
        }
        self.output.flows(self.stream, true);
        // Not in the wait for the next line, which would have more to do then.
        let pump = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                sleep(IDLE).await;
                let Some(pump) = pump.upgrade() else { return };
                if !pump.flowed.replace(false) {
                    pump.looked_after.set(false);
                    pump.shrink();
                    return;
                }
            }
        });
    }

    /// Reads what is there, and brings it into the log and to the clients.
    fn turn(self: &Rc<Self>) -> Turn {
        let size = if self.grown.get() { BIG_PIPE } else { PIPE };
        let source = self.source.get_ref().as_fd();
        let read = match self.output.ledger().as_mut() {
            Some(ledger) if self.terminal => ledger.read(self.stream, source).map(|read| (read, false)),
            Some(ledger) => ledger.bring(self.stream, source, size),
            None => return self.turn_direct(),
        };
        let (moved, all) = match read.map_err(|error| self.without(error)) {
            Ok((0, _)) => return self.end(),
            Ok(moved) => moved,
            Err(turn) => return turn,
        };
        self.flows();
        self.record();
        if moved == PIPE && !self.terminal {
            self.grow();
        }
        // What has come since found a place that this has freed, after the readiness that we act on was taken back.
        if all { Turn::All } else { Turn::Moved }
    }

    /// Nothing was read, and there is no writer.
    fn end(&self) -> Turn {
        if self.terminal { Turn::Closed } else { Turn::End }
    }

    /// Nothing was read.
    fn without(&self, error: Errno) -> Turn {
        match error {
            Errno::EAGAIN => Turn::Empty,
            Errno::EINTR => Turn::Moved,
            // Nobody has the terminal open now. Somebody may open it again while the container lives.
            Errno::EIO if self.terminal => Turn::Closed,
            // The run directory takes nothing.
            _ => Turn::Stuck,
        }
    }

    /// Brings what waits into the log and to the clients.
    fn record(&self) {
        self.behind.set(false);
        let mut ledger = self.output.ledger();
        let Some(ledger) = ledger.as_mut() else { return };
        while ledger.waits(self.stream) {
            let lost = ledger.place().lost_records;
            let needed = self.patient.get() && self.needed(ledger);
            ledger.hold_back(needed);
            // What is not recorded waits until it can be, here or by the next monitor.
            let Ok((mark, taken)) = ledger.enter(self.stream) else {
                self.behind.set(true);
                return;
            };
            self.output.clients().send(self.stream, mark, ledger.input(self.stream, taken), ledger.is_exact());
            if ledger.place().lost_records != lost {
                self.output.say_lost();
            }
        }
    }

    /// Whether a client is served from a file that a rotation may drop.
    fn needed(&self, ledger: &Ledger) -> bool {
        self.output.clients().need_more_than(ledger.sink().identity(), ledger.sink().would_drop_at_once())
    }

    /// One read with log driver `none`: what no client wants is gone.
    fn turn_direct(self: &Rc<Self>) -> Turn {
        let mut buffer = self.output.buffer();
        if buffer.len() != PIPE {
            *buffer = vec![0; PIPE];
        }
        let length = match nix::unistd::read(self.source.get_ref(), &mut buffer) {
            Ok(0) => return self.end(),
            Ok(length) => length,
            Err(error) => return self.without(error),
        };
        self.flows();
        let offset = self.output.count(self.stream, length);
        let mark = Mark { offset, ..Mark::default() };
        self.output.clients().send(self.stream, mark, &buffer[..length], false);
        Turn::Moved
    }

    /// Whole pipes come: a bigger one saves system calls and switches between the container and us.
    fn grow(&self) {
        if self.grown.replace(true) {
            return;
        }
        // Where the limit of this user is reached it stays as it is.
        let _ = fcntl(self.source.get_ref(), FcntlArg::F_SETPIPE_SZ(BIG_PIPE as i32));
    }

    fn shrink(&self) {
        if self.grown.replace(false) {
            // EBUSY where more is in it by now: it shrinks the next time.
            let _ = fcntl(self.source.get_ref(), FcntlArg::F_SETPIPE_SZ(PIPE as i32));
        }
        self.output.flows(self.stream, false);
    }
}

/// Registers a stream of the container with the reactor.
///
/// # Errors
/// When the reactor refuses it.
pub fn watch(source: OwnedFd, terminal: bool) -> io::Result<Rc<AsyncFd<OwnedFd>>> {
    use tokio::io::Interest;
    let interest = if terminal { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
    Ok(Rc::new(sys::watch(source, interest)?))
}
