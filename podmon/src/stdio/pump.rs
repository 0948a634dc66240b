//! Moves one stream of the container: from its FIFO or terminal through the journal into the log and to the clients.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SpliceFFlags, fcntl, splice},
};
use proto::log_line::Stream;
use tokio::{
    io::unix::AsyncFd,
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    BIG_PIPE, PIPE,
    ledger::{HEADROOM, Ledger, Mark},
    output::Output,
};
use crate::sys;

/// After this long without data big buffers are given back.
const IDLE: Duration = Duration::from_secs(1);
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
    /// There will never be anything again.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Pump {
    stream: Stream,
    source: Rc<AsyncFd<OwnedFd>>,
    terminal: bool,
    /// Absent with log driver `none`: then nothing has to survive us.
    journal: Option<Rc<OwnedFd>>,
    output: Rc<Output>,
    last: Rc<Last>,
    grown: Cell<bool>,
    /// The journal has bytes that could not be recorded.
    behind: Cell<bool>,
    /// A rotation waits for a client that needs the file it would drop.
    patient: Cell<bool>,
}

/// Tells pumps that the first process has ended: what can be read now is all that is waited for.
#[derive(Debug, Default)]
pub struct Last {
    said: Cell<bool>,
    notify: Notify,
}

impl Last {
    /// Says so.
    pub fn say(&self) {
        self.said.set(true);
        self.notify.notify_waiters();
    }

    /// Another run follows.
    pub fn take_back(&self) {
        self.said.set(false);
    }
}

impl Pump {
    /// A pump for `stream`, from `source`.
    pub fn new(
        stream: Stream,
        source: Rc<AsyncFd<OwnedFd>>,
        terminal: bool,
        journal: Option<Rc<OwnedFd>>,
        output: Rc<Output>,
        last: Rc<Last>,
    ) -> Pump {
        Pump {
            stream,
            source,
            terminal,
            journal,
            output,
            last,
            grown: Cell::new(false),
            behind: Cell::new(false),
            patient: Cell::new(true),
        }
    }

    /// Pumps until the end of the stream.
    pub async fn run(self) {
        // What an earlier monitor has left in the journal comes first.
        self.empty_journal();
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
                self.empty_journal();
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
                    self.wait(self.readable()).await;
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
                    tokio::time::sleep(DELIVERY).await;
                }
                Turn::Closed if self.last.said.get() => break,
                Turn::Empty => self.wait(self.readable()).await,
                Turn::Closed => {
                    self.wait(tokio::time::sleep(closed)).await;
                    closed = (closed * 2).min(CLOSED.1);
                }
                Turn::End => break,
            }
        }
        self.shrink();
    }

    /// Waits for `event`, or until it is the last time to look.
    async fn wait(&self, event: impl Future<Output = ()>) {
        let last = self.last.notify.notified();
        if self.last.said.get() {
            return;
        }
        tokio::select! {
            () = last => {}
            () = event => {}
        }
    }

    async fn readable(&self) {
        let ready = match timeout(IDLE, self.source.readable()).await {
            Ok(ready) => ready,
            Err(_) => {
                self.shrink();
                self.source.readable().await
            }
        };
        if let Ok(mut ready) = ready {
            // The next turn looks itself; what comes after this line makes a new event.
            ready.clear_ready();
        }
    }

    fn turn(&self) -> Turn {
        match &self.journal {
            Some(journal) => self.turn_journal(journal),
            None => self.turn_direct(),
        }
    }

    /// One batch through the journal.
    fn turn_journal(&self, journal: &OwnedFd) -> Turn {
        let size = if self.grown.get() { BIG_PIPE } else { PIPE };
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let moved = match splice(self.source.get_ref(), None, journal, None, size, flags) {
            Ok(0) if self.terminal => return Turn::Closed,
            Ok(0) => return Turn::End,
            Ok(moved) => moved,
            Err(Errno::EAGAIN) => return Turn::Empty,
            Err(Errno::EINTR) => return Turn::Moved,
            // Nobody has the terminal open now. Somebody may open it again while the container lives.
            Err(Errno::EIO) if self.terminal => return Turn::Closed,
            Err(_) => return Turn::End,
        };
        self.record(journal, moved);
        if moved == PIPE && !self.terminal {
            self.grow(journal);
        }
        // Both pipes have as many places, and the other one was empty: what has come since found one that this has freed,
        // after the readiness that we act on was taken back.
        if moved < PIPE && !self.terminal && !self.grown.get() { Turn::All } else { Turn::Moved }
    }

    fn empty_journal(&self) {
        if let Some(journal) = &self.journal {
            self.behind.set(false);
            let left = sys::waiting_bytes(journal.as_fd()).unwrap_or(0);
            self.record(journal, left);
        }
    }

    /// Brings `left` bytes of the journal into the log and to the clients.
    fn record(&self, journal: &OwnedFd, mut left: usize) {
        while left > 0 {
            let mut ledger = self.output.ledger();
            let Some(ledger) = ledger.as_mut() else { return };
            let lost = ledger.place().lost_records;
            let needed = self.patient.get() && self.needed(ledger);
            ledger.hold_back(needed);
            match ledger.enter(self.stream, journal.as_fd(), left) {
                Ok((mark, taken)) => {
                    self.output.touch();
                    let exact = ledger.is_exact();
                    self.output.clients().send(self.stream, mark, ledger.input(taken), exact);
                    if ledger.place().lost_records != lost {
                        self.output.say_lost();
                    }
                    left -= taken;
                }
                // The bytes stay in the journal until they can be recorded, here or by the next monitor.
                Err(_) => {
                    self.behind.set(true);
                    return;
                }
            }
        }
    }

    /// Whether a client is served from a file that a rotation may drop.
    fn needed(&self, ledger: &Ledger) -> bool {
        self.output.clients().need_more_than(ledger.sink().identity(), ledger.sink().would_drop_at_once())
    }

    /// One read with log driver `none`: what no client wants is gone.
    fn turn_direct(&self) -> Turn {
        let mut buffer = self.output.buffer();
        if buffer.len() != HEADROOM + PIPE {
            *buffer = vec![0; HEADROOM + PIPE];
        }
        let length = match nix::unistd::read(self.source.get_ref(), &mut buffer[HEADROOM..]) {
            Ok(0) if self.terminal => return Turn::Closed,
            Ok(0) => return Turn::End,
            Ok(length) => length,
            Err(Errno::EAGAIN) => return Turn::Empty,
            Err(Errno::EINTR) => return Turn::Moved,
            Err(Errno::EIO) if self.terminal => return Turn::Closed,
            Err(_) => return Turn::End,
        };
        self.output.touch();
        let offset = self.output.count(self.stream, length);
        let mark = Mark { offset, ..Mark::default() };
        self.output.clients().send(self.stream, mark, &mut buffer[..HEADROOM + length], false);
        Turn::Moved
    }

    /// Whole pipes come: bigger ones save system calls and switches between the container and us.
    fn grow(&self, journal: &OwnedFd) {
        if self.grown.replace(true) {
            return;
        }
        // Where the limit of this user is reached they stay as they are.
        let _ = fcntl(self.source.get_ref(), FcntlArg::F_SETPIPE_SZ(BIG_PIPE as i32));
        let _ = fcntl(journal, FcntlArg::F_SETPIPE_SZ(BIG_PIPE as i32));
        if let Some(ledger) = self.output.ledger().as_mut() {
            ledger.grow();
        }
    }

    fn shrink(&self) {
        if self.grown.replace(false) {
            // EBUSY where more is in it by now: it shrinks the next time.
            let _ = fcntl(self.source.get_ref(), FcntlArg::F_SETPIPE_SZ(PIPE as i32));
            if let Some(journal) = &self.journal {
                let _ = fcntl(journal.as_ref(), FcntlArg::F_SETPIPE_SZ(PIPE as i32));
            }
        }
        self.output.release();
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
