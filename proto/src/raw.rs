//! The SEQPACKET socket beside ttrpc: it carries what ttrpc cannot, file descriptors and the bytes of stdio.
//!
//! The first byte of a packet says what it is:
//!
//! | client → server | payload | fds | answer |
//! |---|---|---|---|
//! | [`DEPOSIT`] | a token | what a later request refers to by the token | [`ACK`] |
//! | [`PTY`] | id of an exec session | | [`ACK`] with the pty master |
//! | [`ATTACH`] | [`frame::Attach`](crate::frame::Attach) as JSON | | [`ACK`], then frames both ways |
//!
//! or [`NAK`] with the words. A deposit belongs to its connection: what no request has taken is closed with it. Several
//! deposits under one token append.

use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt, socketpair,
    sockopt,
};
use tokio::io::{Interest, unix::AsyncFd};

/// See the module's table.
pub const DEPOSIT: u8 = b'D';
/// See the module's table.
pub const PTY: u8 = b'P';
/// See the module's table.
pub const ATTACH: u8 = b'T';
/// Done.
pub const ACK: u8 = b'A';
/// Refused; the rest of the packet says why.
pub const NAK: u8 = b'N';

/// Largest packet: header and payload of a frame.
pub const MAX_PACKET: usize = 64 * 1024 + 16;
/// Descriptors in one packet (SCM_MAX_FD is 253).
pub const MAX_FDS: usize = 64;

/// One connection of the raw socket.
#[derive(Debug)]
pub struct Raw(AsyncFd<OwnedFd>);

impl Raw {
    /// Takes a connected SEQPACKET socket; it becomes non-blocking. Needs a running tokio reactor.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub fn new(fd: OwnedFd) -> io::Result<Raw> {
        set_nonblocking(fd.as_fd())?;
        Ok(Raw(watch(fd, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// A connected pair of SEQPACKET sockets.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(nix::sys::socket::AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
    }

    /// Sends one packet, with `fds`.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer has gone.
    pub async fn send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |fd| send_packet(fd.as_fd(), packet, fds)).await
    }

    /// Sends one packet if that is possible now; `WouldBlock` when the peer lags.
    ///
    /// # Errors
    /// `WouldBlock`, or `BrokenPipe` when the peer has gone.
    pub fn try_send(&self, packet: &[u8]) -> io::Result<()> {
        send_packet(self.0.get_ref().as_fd(), packet, &[])
    }

    /// The same with `fds`.
    ///
    /// # Errors
    /// `WouldBlock`, or `BrokenPipe` when the peer has gone.
    pub fn try_send_with(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_packet(self.0.get_ref().as_fd(), packet, fds)
    }

    /// The same of a packet that is in two parts.
    ///
    /// # Errors
    /// `WouldBlock`, or `BrokenPipe` when the peer has gone.
    pub fn try_send_parts(&self, parts: [&[u8]; 2]) -> io::Result<()> {
        let socket = self.0.get_ref().as_raw_fd();
        sendmsg::<()>(socket, &parts.map(IoSlice::new), &[], MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Lets so many bytes wait for the peer. What this user may have is taken where that is less.
    pub fn widen(&self, bytes: usize) {
        let forced = setsockopt(self.0.get_ref(), sockopt::SndBufForce, &bytes);
        if forced.is_err() {
            // As it is, at worst.
            let _ = setsockopt(self.0.get_ref(), sockopt::SndBuf, &bytes);
        }
    }

    /// Waits until a packet can be sent.
    ///
    /// # Errors
    /// Those of epoll.
    pub async fn writable(&self) -> io::Result<()> {
        let mut guard = self.0.writable().await?;
        // try_send goes past tokio: the readiness must be asked for anew every time.
        guard.clear_ready();
        Ok(())
    }

    /// Receives one packet into `buffer`: its length and its descriptors. Length 0 is the end.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.0.async_io(Interest::READABLE, |fd| receive_packet(fd.as_fd(), buffer)).await
    }

    /// Receives a packet if there is one now; `WouldBlock` where there is none. After [`Raw::readable`] that has to be
    /// heard before it is waited for again.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        receive_packet(self.0.get_ref().as_fd(), buffer)
    }

    /// Waits until there may be a packet.
    ///
    /// # Errors
    /// Those of epoll.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }

    /// Deposits `fds` under `token` and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the server refuses or has gone.
    pub async fn deposit(&self, token: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut packet = Vec::with_capacity(1 + token.len());
        packet.push(DEPOSIT);
        packet.extend_from_slice(token.as_bytes());
        if fds.is_empty() {
            self.send(&packet, &[]).await?;
            self.acknowledgement().await?;
        }
        for chunk in fds.chunks(MAX_FDS) {
            self.send(&packet, chunk).await?;
            self.acknowledgement().await?;
        }
        Ok(())
    }

    /// Waits for [`ACK`] and the descriptors that come with it.
    ///
    /// # Errors
    /// With the server's words when it refuses; `UnexpectedEof` when it has gone.
    pub async fn acknowledgement(&self) -> io::Result<Vec<OwnedFd>> {
        let mut buffer = [0u8; 1024];
        let (length, fds) = self.receive(&mut buffer).await?;
        match buffer[..length].split_first() {
            Some((&ACK, _)) => Ok(fds),
            Some((&NAK, words)) => Err(io::Error::other(String::from_utf8_lossy(words).into_owned())),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// A random token.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn token() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(crate::id::hex(&bytes))
}

/// Descriptors that wait under their tokens for the request that names them.
#[derive(Debug, Default)]
pub struct Deposits {
    held: HashMap<String, Vec<OwnedFd>>,
}

/// Tokens held at once, over all connections.
const MAX_DEPOSITS: usize = 256;

impl Deposits {
    /// Adds `fds` under `token`.
    ///
    /// # Errors
    /// When too much waits already.
    pub fn add(&mut self, token: &str, fds: Vec<OwnedFd>) -> Result<(), &'static str> {
        if !self.held.contains_key(token) && self.held.len() >= MAX_DEPOSITS {
            return Err("too many descriptors wait to be taken");
        }
        let held = self.held.entry(token.to_owned()).or_default();
        if held.len() + fds.len() > 4096 {
            return Err("too many descriptors under one token");
        }
        held.extend(fds);
        Ok(())
    }

    /// Takes what is held under `token`; empty where there is nothing.
    pub fn take(&mut self, token: &str) -> Vec<OwnedFd> {
        self.held.remove(token).unwrap_or_default()
    }
}

/// sendmsg(2) of one packet with descriptors.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket whose peer lags.
pub fn send_packet(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(packet)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// recvmsg(2) of one packet with its descriptors, which are close-on-exec.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket without a packet; `InvalidData` when descriptors were cut off.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            fds.extend(raw.into_iter().map(own));
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((message.bytes, fds))
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Takes over a descriptor that the kernel has just made.
#[allow(unsafe_code)]
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers have just had this number from recvmsg(2) or fcntl(2); nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Watches `owner` with the reactor of this runtime. It owns its descriptor.
#[allow(unsafe_code)]
pub(crate) fn watch<T: AsFd + AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: both types we watch (OwnedFd, SignalFd) keep their descriptor open until they are dropped, and AsyncFd
    // deregisters it before that.
    unsafe { AsyncFd::register_with_interest(owner, interest) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn descriptors_travel_under_a_token() {
        let (client, server) = Raw::pair().expect("pair");
        let (client, server) = (Raw::new(client).expect("raw"), Raw::new(server).expect("raw"));
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        let token = token().expect("token");
        let serve = async {
            let mut buffer = [0u8; 256];
            let (length, fds) = server.receive(&mut buffer).await.expect("receive");
            assert_eq!(buffer[0], DEPOSIT);
            let mut deposits = Deposits::default();
            deposits.add(std::str::from_utf8(&buffer[1..length]).expect("text"), fds).expect("room");
            server.send(&[ACK], &[]).await.expect("answer");
            deposits.take(&token)
        };
        let fds = [writer.as_fd()];
        let (sent, mut taken) = tokio::join!(client.deposit(&token, &fds), serve);
        sent.expect("deposited");
        nix::unistd::write(taken.pop().expect("one fd"), b"x").expect("write");
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
    }
}
