//! The socket that monitors send sd_notify(3) messages to, with descriptors and the sender's credentials.

use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::Path,
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::PassCred};
use proto::{layout::sockets, socket};
use tokio::io::unix::AsyncFd;

/// One message of a monitor.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Who sent it, as the kernel says.
    pub(super) pid: u32,
    /// `READY=1`: it serves.
    pub(super) ready: bool,
    /// `FDSTORE=1` with this name.
    pub(super) store: Option<String>,
    /// `FDSTOREREMOVE=1` with this name.
    pub(super) remove: Option<String>,
    /// What came with it.
    pub(super) fds: Vec<OwnedFd>,
}

/// The bound socket.
#[derive(Debug)]
pub(super) struct NotifySocket(AsyncFd<UnixDatagram>);

/// Longest message that is read; the rest is cut off, as systemd does.
const MAX: usize = 4096;

impl NotifySocket {
    /// Binds it in the pod's run directory.
    pub(super) fn bind(dir: &Path) -> io::Result<NotifySocket> {
        let socket = socket::bind_datagram(dir, sockets::NOTIFY)?;
        setsockopt(&socket, PassCred, &true)?;
        Ok(NotifySocket(crate::sys::fd::watch(socket)?))
    }

    /// The next message.
    pub(super) async fn receive(&self) -> io::Result<Message> {
        self.0.async_io(tokio::io::Interest::READABLE, receive).await
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<Message> {
    let mut text = [0u8; MAX];
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials, [RawFd; 16]);
    let mut slices = [IoSliceMut::new(&mut text)];
    let received = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
    )?;
    let mut message = Message::default();
    for control in received.cmsgs()? {
        match control {
            ControlMessageOwned::ScmRights(fds) => message.fds.extend(fds.into_iter().map(crate::sys::fd::received)),
            ControlMessageOwned::ScmCredentials(peer) => message.pid = peer.pid().unsigned_abs(),
            _ => {}
        }
    }
    let length = received.bytes;
    parse(&text[..length], &mut message);
    Ok(message)
}

fn parse(text: &[u8], message: &mut Message) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    message.ready = value("READY") == Some("1");
    let name = value("FDNAME").unwrap_or("stored").to_owned();
    if value("FDSTORE") == Some("1") {
        message.store = Some(name);
    } else if value("FDSTOREREMOVE") == Some("1") {
        message.remove = Some(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, Option<String>) {
        let mut message = Message::default();
        parse(text.as_bytes(), &mut message);
        (message.store, message.remove)
    }

    #[test]
    fn what_a_monitor_says() {
        assert_eq!(parsed("FDSTORE=1\nFDNAME=pty\nFDPOLL=0"), (Some("pty".into()), None));
        assert_eq!(parsed("FDSTOREREMOVE=1\nFDNAME=pty"), (None, Some("pty".into())));
        assert_eq!(parsed("READY=1\nSTATUS=running"), (None, None));
        assert_eq!(parsed("FDSTORE=0"), (None, None));
    }
}
