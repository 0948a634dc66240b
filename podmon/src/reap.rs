//! The one reaper of this process.
//!
//! Three kinds of children come here: runtime invocations, which were spawned by us; the container's first process and
//! exec'd processes, which the runtime leaves behind and which the kernel gives to us as the nearest subreaper; and
//! orphans of a container in the host's PID namespace, which nobody asks for.
//!
//! The pid of the second kind is known only after the runtime has written its pid file, and the process may have ended by
//! then: while a runtime invocation is under way the reaper keeps the codes of pids it does not know yet.
//!
//! The container's first process is *held*: its end is told at once, but it stays a zombie until its status is on disk.
//! If we are killed in between, the zombie goes to our supervisor, which can still read how it ended.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

use crate::sys;

/// Codes of unknown pids kept while a claim may come.
const MAX_UNCLAIMED: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct Reaper(RefCell<Table>);

#[derive(Debug, Default)]
struct Table {
    watched: HashMap<u32, oneshot::Sender<i32>>,
    unclaimed: VecDeque<sys::Ended>,
    /// Runtime invocations whose pid file has not been read yet.
    expecting: usize,
    held: Option<u32>,
    /// The held process has ended and is a zombie now.
    held_ended: bool,
}

/// While one of these lives, codes of unknown pids are kept.
#[derive(Debug)]
pub struct Expecting(Rc<Reaper>);

impl Drop for Expecting {
    fn drop(&mut self) {
        let mut table = self.0.0.borrow_mut();
        table.expecting -= 1;
        if table.expecting == 0 {
            table.unclaimed = VecDeque::new();
        }
    }
}

impl Reaper {
    /// A reaper, and the descriptor that becomes readable when a child ends. Blocks SIGCHLD in this thread, so it comes
    /// before any child.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> io::Result<(Rc<Reaper>, AsyncFd<std::os::fd::OwnedFd>)> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let signals = std::os::fd::AsFd::as_fd(&signals).try_clone_to_owned()?;
        Ok((Rc::new(Reaper::default()), sys::watch(signals, Interest::READABLE)?))
    }

    /// Reaps for ever.
    pub async fn run(self: Rc<Self>, signals: AsyncFd<std::os::fd::OwnedFd>) {
        // What ended before SIGCHLD was blocked has left no signal.
        self.reap_all();
        loop {
            let Ok(mut ready) = signals.readable().await else { return };
            let mut buffer = [0u8; 512];
            // The signals themselves say nothing: several ends may be merged into one.
            while nix::unistd::read(signals.get_ref(), &mut buffer).is_ok_and(|length| length > 0) {}
            ready.clear_ready();
            self.reap_all();
        }
    }

    /// Keeps codes of unknown pids until the returned value is dropped.
    pub fn expect(self: &Rc<Self>) -> Expecting {
        self.0.borrow_mut().expecting += 1;
        Expecting(self.clone())
    }

    /// The raw wait(2) status of `pid`, a child or a process that becomes one, when it has ended.
    pub fn watch(&self, pid: u32) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.0.borrow_mut();
        let known = table.unclaimed.iter().rposition(|ended| ended.pid == pid);
        match known.and_then(|at| table.unclaimed.remove(at)) {
            // An older process may have had the pid: the code counts only if nobody has the pid now.
            Some(ended) if proto::alive::start_time(pid).is_none() => {
                // Nobody waits any more: then nobody needs it.
                let _ = sender.send(ended.status);
            }
            _ => {
                table.watched.insert(pid, sender);
            }
        }
        drop(table);
        self.reap_all();
        receiver
    }

    /// As [`watch`](Self::watch), and keeps the zombie until [`release`](Self::release).
    pub fn hold(&self, pid: u32) -> oneshot::Receiver<i32> {
        {
            let mut table = self.0.borrow_mut();
            table.held = Some(pid);
            table.held_ended = false;
        }
        self.watch(pid)
    }

    /// The held process may be reaped.
    pub fn release(&self) {
        {
            let mut table = self.0.borrow_mut();
            table.held = None;
            table.held_ended = false;
        }
        self.reap_all();
    }

    fn reap_all(&self) {
        let mut table = self.0.borrow_mut();
        while let Ok(Some(ended)) = sys::peek_ended(None) {
            if table.held == Some(ended.pid) {
                table.held_has_ended(ended);
                // The zombie we keep would be found again and again: from here on only those that are asked for.
                table.reap_watched();
                return;
            }
            if sys::reap(ended.pid).is_some() {
                table.tell(ended);
            }
        }
    }
}

impl Table {
    fn held_has_ended(&mut self, ended: sys::Ended) {
        if !self.held_ended {
            self.held_ended = true;
            if let Some(sender) = self.watched.remove(&ended.pid) {
                // Nobody waits any more: then nobody needs it.
                let _ = sender.send(ended.status);
            }
        }
    }

    fn reap_watched(&mut self) {
        let pids: Vec<u32> = self.watched.keys().copied().filter(|pid| self.held != Some(*pid)).collect();
        for pid in pids {
            if let Some(ended) = sys::reap(pid) {
                self.tell(ended);
            }
        }
    }

    fn tell(&mut self, ended: sys::Ended) {
        if let Some(sender) = self.watched.remove(&ended.pid) {
            // Nobody waits any more: then nobody needs it.
            let _ = sender.send(ended.status);
        } else if self.expecting > 0 {
            if self.unclaimed.len() == MAX_UNCLAIMED {
                self.unclaimed.pop_front();
            }
            self.unclaimed.push_back(ended);
        }
    }
}
