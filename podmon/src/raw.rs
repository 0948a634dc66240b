//! The raw socket: descriptors for a coming exec, terminals of execs, attach (see `proto::raw`).

use std::{
    cell::{Cell, RefCell},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use nix::sys::socket::{SockFlag, accept4};
use proto::{
    frame::Attach,
    raw::{ACK, ATTACH, DEPOSIT, Deposits, MAX_PACKET, NAK, PTY, Raw},
    socket,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use crate::{exec::Execs, state::State, stdio::Stdio, sys};

/// Connections served at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 96;
/// Pause after accept(2) fails for want of descriptors or memory, so that the loop does not spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// What connections need to know.
#[derive(Debug)]
pub struct Door {
    /// Where the container is.
    pub state: Rc<Cell<State>>,
    /// Its id, for words.
    pub id: String,
    /// Descriptors that wait for their request.
    pub deposits: Rc<RefCell<Deposits>>,
    /// Its streams.
    pub stdio: Rc<Stdio>,
    /// Its commands.
    pub execs: Rc<Execs>,
    open: Cell<usize>,
    closed: Notify,
}

impl Door {
    /// A door to these.
    pub fn new(
        state: Rc<Cell<State>>,
        id: String,
        deposits: Rc<RefCell<Deposits>>,
        stdio: Rc<Stdio>,
        execs: Rc<Execs>,
    ) -> Door {
        Door { state, id, deposits, stdio, execs, open: Cell::new(0), closed: Notify::new() }
    }

    /// Accepts for ever.
    pub async fn run(self: Rc<Self>, listener: OwnedFd) {
        if crate::stdio::console::set_nonblocking(&listener).is_err() {
            return;
        }
        let Ok(listener) = sys::watch(listener, Interest::READABLE) else { return };
        loop {
            while self.open.get() >= MAX_CONNECTIONS {
                self.closed.notified().await;
            }
            match accept(&listener).await {
                Ok(socket) if socket::peer_is_allowed(socket.as_fd()) => {
                    if let Ok(raw) = Raw::new(socket) {
                        self.open.set(self.open.get() + 1);
                        let door = self.clone();
                        tokio::task::spawn_local(async move {
                            door.serve(raw).await;
                            door.open.set(door.open.get() - 1);
                            door.closed.notify_one();
                        });
                    }
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(BACK_OFF).await,
            }
        }
    }

    /// One connection, to its end.
    async fn serve(&self, raw: Raw) {
        let mut tokens = Vec::new();
        self.serve_packets(raw, &mut tokens).await;
        // What no request has taken belongs to nobody.
        for token in tokens {
            self.deposits.borrow_mut().take(&token);
        }
        // The loop, which does this otherwise, has not heard of it.
        proto::memory::trim();
    }

    async fn serve_packets(&self, raw: Raw, tokens: &mut Vec<String>) {
        let mut terminals = Vec::new();
        // Untouched pages of it cost nothing.
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let Ok((length, fds)) = raw.receive(&mut buffer).await else { break };
            let Some((kind, payload)) = buffer[..length].split_first() else { break };
            let payload = std::str::from_utf8(payload).unwrap_or_default();
            match *kind {
                DEPOSIT => {
                    let added = self.deposits.borrow_mut().add(payload, fds);
                    match added {
                        Ok(()) if tokens.iter().any(|token| token == payload) => {}
                        Ok(()) => tokens.push(payload.to_owned()),
                        Err(words) => return refuse(&raw, words).await,
                    }
                    if raw.send(&[ACK], &[]).await.is_err() {
                        break;
                    }
                }
                PTY => match self.execs.terminal(payload) {
                    Ok(terminal) => {
                        if raw.send(&[ACK], &[terminal.master()]).await.is_err() {
                            break;
                        }
                        terminals.push(terminal);
                    }
                    Err(refusal) => return refuse(&raw, &refusal.message).await,
                },
                ATTACH => {
                    let Ok(request) = serde_json::from_str::<Attach>(payload) else {
                        return refuse(&raw, "the attach request is not understood").await;
                    };
                    if !self.state.get().may_attach() {
                        let words = format!("container {} is not running: container state improper", self.id);
                        return refuse(&raw, &words).await;
                    }
                    self.execs.events().tell("attach", None);
                    drop(buffer);
                    return crate::attach::serve(raw, request, &self.stdio).await;
                }
                _ => return refuse(&raw, "this packet is not understood").await,
            }
        }
        for terminal in terminals {
            tokio::task::spawn_local(terminal.throw_away());
        }
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> std::io::Result<OwnedFd> {
    listener
        .async_io(Interest::READABLE, |listener| {
            Ok(sys::own(accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?))
        })
        .await
}

async fn refuse(raw: &Raw, words: &str) {
    let packet = [&[NAK], words.as_bytes()].concat();
    // It has gone: then nobody needs to know.
    let _ = raw.send(&packet, &[]).await;
}
