//! What the pumps of both streams share: the log, and the clients.

use std::{
    cell::{Cell, RefCell, RefMut},
    io,
    rc::Rc,
};

use proto::log_line::Stream;
use tokio::sync::Notify;

use super::{ledger::Ledger, position::index};
use crate::attach::Clients;

/// See the module.
#[derive(Debug, Default)]
pub struct Output {
    /// Absent with log driver `none`, and before create.
    ledger: RefCell<Option<Ledger>>,
    clients: Rc<Clients>,
    /// For log driver `none`.
    buffer: RefCell<Vec<u8>>,
    offset: Cell<[u64; 2]>,
    busy: Cell<[bool; 2]>,
    lost: Notify,
}

impl Output {
    /// The log, from now on.
    pub fn set_ledger(&self, ledger: Option<Ledger>) {
        *self.ledger.borrow_mut() = ledger;
    }

    /// The log; `None` with driver `none`. Not held across an await.
    pub fn ledger(&self) -> RefMut<'_, Option<Ledger>> {
        self.ledger.borrow_mut()
    }

    /// The attached clients.
    pub fn clients(&self) -> &Rc<Clients> {
        &self.clients
    }

    /// The buffer of driver `none`. Not held across an await.
    pub fn buffer(&self) -> RefMut<'_, Vec<u8>> {
        self.buffer.borrow_mut()
    }

    /// Counts `length` more bytes of `stream` with driver `none`; answers the offsets before.
    pub fn count(&self, stream: Stream, length: usize) -> [u64; 2] {
        let before = self.offset.get();
        let mut after = before;
        after[index(stream)] += length as u64;
        self.offset.set(after);
        before
    }

    /// Records were lost.
    pub fn say_lost(&self) {
        self.lost.notify_one();
    }

    /// Waits until records are lost.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Whether `stream` flows. Big buffers are given back when neither does any more.
    pub fn flows(&self, stream: Stream, yes: bool) {
        let mut busy = self.busy.get();
        busy[index(stream)] = yes;
        self.busy.set(busy);
        if busy.iter().any(|busy| *busy) {
            return;
        }
        *self.buffer.borrow_mut() = Vec::new();
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.release();
        }
        proto::memory::trim();
    }

    /// Writes what has no newline: nothing will follow.
    ///
    /// # Errors
    /// When the run directory is unusable.
    pub fn flush(&self) -> io::Result<()> {
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.flush(Stream::Stdout)?;
            ledger.flush(Stream::Stderr)?;
        }
        Ok(())
    }
}
