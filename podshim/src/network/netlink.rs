//! Netlink: a socket, messages of nested attributes, and the answers to them.
//!
//! rtnetlink(7), nf_tables and conntrack speak the same framing, so one codec serves links, rules and flows. It is
//! synchronous: the kernel does the work inside `send`, the answer is queued when `send` returns. A socket belongs to
//! the network namespace of the thread that opened it, for good. What the kernel sends is bounds-checked like
//! anything from outside.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
            sockopt::{ReceiveTimeout, SndBufForce},
        },
        time::TimeVal,
    },
};

/// Seconds the kernel may take for an answer; it is there when `send` returns, so this only ends a lost one.
const DEADLINE: i64 = 10;
/// Largest datagram the kernel sends in a dump. On the stack: these threads end, and a stack is given back whole.
const BUFFER: usize = 32 << 10;
/// Bytes of a request that fit into a socket's usual send buffer.
const USUAL_SEND: usize = 64 << 10;
/// A dump that others disturb is begun again this often.
const ATTEMPTS: usize = 16;

/// Length of nlmsghdr.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
const NLA_F_NESTED: u16 = 1 << 15;
/// Both flags of an attribute's type (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NLA_FLAGS: u16 = 3 << 14;

/// Ask for an acknowledgement.
pub(super) const ACK: u16 = libc::NLM_F_ACK as u16;
/// Make it if it is not there.
pub(super) const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Fail if it is there.
pub(super) const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
/// At the end of a list.
pub(super) const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// All there are.
pub(super) const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// One message, or the attributes inside of one, under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message of `kind`; its length and sequence number are filled in when it is sent.
    pub(super) fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        Message(bytes)
    }

    /// Bytes without an attribute around them: the family's own header.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An attribute.
    pub(super) fn bytes(mut self, attribute: u16, value: &[u8]) -> Message {
        // A length that does not fit is one the kernel refuses; callers split long lists.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&attribute.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A string with its terminating NUL.
    pub(super) fn text(self, attribute: u16, value: &str) -> Message {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(attribute, &bytes)
    }

    /// A number in the machine's byte order (rtnetlink).
    pub(super) fn number(self, attribute: u16, value: u32) -> Message {
        self.bytes(attribute, &value.to_ne_bytes())
    }

    /// A number in network byte order (netfilter).
    pub(super) fn big(self, attribute: u16, value: u32) -> Message {
        self.bytes(attribute, &value.to_be_bytes())
    }

    /// Attributes in an attribute.
    pub(super) fn nest(self, attribute: u16, inner: Message) -> Message {
        self.bytes(attribute | NLA_F_NESTED, &inner.0)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The family's own header of `length` bytes at the beginning of an answer, and the attributes after it.
pub(super) fn split(answer: &[u8], length: usize) -> Option<(&[u8], Attributes<'_>)> {
    let (header, rest) = answer.split_at_checked(length)?;
    Some((header, Attributes(rest)))
}

/// Attributes as the kernel sent them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes inside of an attribute's value.
    pub(super) fn of(value: &'a [u8]) -> Attributes<'a> {
        Attributes(value)
    }

    /// The value of the first attribute of this kind.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes inside of the first attribute of this kind.
    pub(super) fn inside(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }
}

impl<'a> IntoIterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    type IntoIter = AttributeIter<'a>;
    fn into_iter(self) -> AttributeIter<'a> {
        AttributeIter(self.0)
    }
}

/// See [`Attributes`].
#[derive(Debug)]
pub(super) struct AttributeIter<'a>(&'a [u8]);

impl<'a> Iterator for AttributeIter<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & !NLA_FLAGS, value))
    }
}

/// A netlink socket of one namespace and one protocol.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket for links, addresses and routes of this thread's network namespace.
    pub(super) fn route() -> io::Result<Socket> {
        Socket::open(SockProtocol::NetlinkRoute)
    }

    /// A socket for nf_tables and conntrack of this thread's network namespace.
    pub(super) fn netfilter() -> io::Result<Socket> {
        Socket::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, ReceiveTimeout, &TimeVal::new(DEADLINE, 0))?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends `messages` in one datagram, each to be acknowledged, and gives what became of each, in order.
    ///
    /// # Errors
    /// When the kernel answers none of them.
    pub(super) fn each(&mut self, messages: Vec<Message>) -> io::Result<Vec<Result<(), Errno>>> {
        let count = messages.len();
        let first = self.send(messages)?;
        let mut results = vec![None; count];
        while results.iter().any(Option::is_none) {
            self.receive(|header, body| {
                if header.kind == NLMSG_ERROR
                    && let Some(slot) = results.get_mut(header.sequence.wrapping_sub(first) as usize)
                {
                    *slot = Some(error_of(body));
                }
                Ok(())
            })?;
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Sends `messages` in one datagram; the first that fails is the error.
    ///
    /// # Errors
    /// Those of the kernel. The others have been done all the same.
    pub(super) fn all(&mut self, messages: Vec<Message>) -> io::Result<()> {
        self.each(messages)?.into_iter().collect::<Result<(), Errno>>().map_err(io::Error::from)
    }

    /// Sends a nfnetlink batch: `inner` between `begin` and `end`, done wholly or not at all.
    ///
    /// # Errors
    /// The first of the kernel's; nothing has then changed.
    pub(super) fn batch(&mut self, begin: Message, inner: Vec<Message>, end: Message) -> io::Result<()> {
        let mut open = inner.len();
        let mut messages = Vec::with_capacity(open + 2);
        messages.push(begin);
        messages.extend(inner);
        messages.push(end);
        let first = self.send(messages)?;
        let mut failure = None;
        while open > 0 && failure.is_none() {
            self.receive(|header, body| {
                if header.kind == NLMSG_ERROR && header.sequence.wrapping_sub(first) <= u32::MAX / 2 {
                    open = open.saturating_sub(1);
                    if let Err(error) = error_of(body) {
                        // An error about the batch itself bears the number of its first message.
                        failure.get_or_insert(error);
                    }
                }
                Ok(())
            })?;
        }
        self.forget();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Asks for all there are, and gives what `each` makes of them. `each` may be shown an answer more than once.
    ///
    /// # Errors
    /// Those of the kernel, e.g. `ENOENT` where there is nothing of that name.
    pub(super) fn ask<T>(&mut self, message: &Message, mut each: impl FnMut(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            if let Some(answers) = self.dump(message.clone(), &mut each)? {
                return Ok(answers);
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// `None` when others changed what is dumped meanwhile.
    fn dump<T>(&mut self, message: Message, mut each: impl FnMut(&[u8]) -> Option<T>) -> io::Result<Option<Vec<T>>> {
        let first = self.send(vec![message])?;
        let (mut answers, mut done, mut disturbed) = (Vec::new(), false, false);
        while !done {
            self.receive(|header, body| {
                if header.sequence != first {
                    return Ok(());
                }
                disturbed |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_ERROR => {
                        done = true;
                        error_of(body)?;
                    }
                    NLMSG_DONE => done = true,
                    _ => answers.extend(each(body)),
                }
                Ok(())
            })?;
        }
        Ok((!disturbed).then_some(answers))
    }

    /// Asks for one thing, and gives the answer.
    ///
    /// # Errors
    /// Those of the kernel, e.g. `ENODEV` or `ENOENT` where there is nothing of that name.
    pub(super) fn ask_one(&mut self, message: &Message) -> io::Result<Vec<u8>> {
        let first = self.send(vec![message.clone()])?;
        let mut answer = None;
        while answer.is_none() {
            self.receive(|header, body| {
                if header.sequence == first {
                    if header.kind == NLMSG_ERROR {
                        error_of(body)?;
                    }
                    answer = Some(body.to_vec());
                }
                Ok(())
            })?;
        }
        Ok(answer.unwrap_or_default())
    }

    /// Sends and gives the sequence number of the first.
    fn send(&mut self, mut messages: Vec<Message>) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(messages.iter().map(Message::len).sum());
        for message in &mut messages {
            self.sequence = self.sequence.wrapping_add(1);
            let length = u32::try_from(message.len()).map_err(io::Error::other)?;
            message.0[0..4].copy_from_slice(&length.to_ne_bytes());
            message.0[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
            datagram.extend_from_slice(&message.0);
        }
        if datagram.len() > USUAL_SEND {
            // The kernel takes a batch as one piece of memory or not at all. Refused: the send says so.
            let _ = setsockopt(&self.fd, SndBufForce, &(datagram.len() * 2));
        }
        send(self.fd.as_raw_fd(), &datagram, MsgFlags::empty())?;
        Ok(first)
    }

    fn receive(&mut self, mut each: impl FnMut(Header, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => break length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        };
        let mut rest = &buffer[..length];
        while let Some((header, body, next)) = Header::parse(rest) {
            each(header, body)?;
            rest = next;
        }
        Ok(())
    }

    /// Throws away answers nobody waits for any more.
    fn forget(&mut self) {
        let mut buffer = [0; BUFFER];
        while recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    /// Header, body and what follows the message.
    fn parse(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
        let length = u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?) as usize;
        let header = Header {
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?),
        };
        let body = bytes.get(HEADER..length)?;
        Some((header, body, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
    }
}

/// The result in the body of NLMSG_ERROR; 0 is an acknowledgement.
fn error_of(body: &[u8]) -> Result<(), Errno> {
    let code = body.get(0..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_read_back() {
        let message = Message::new(16, ACK)
            .raw(&[1, 2, 3, 4])
            .text(3, "eth0")
            .nest(18, Message::default().text(1, "veth").number(2, 7));
        assert_eq!(message.len() % 4, 0);
        let (header, attributes) = split(&message.0[HEADER..], 4).expect("long enough");
        assert_eq!(header, [1, 2, 3, 4]);
        assert_eq!(attributes.get(3), Some(&b"eth0\0"[..]));
        let inside = attributes.inside(18).expect("nested");
        assert_eq!(inside.get(1), Some(&b"veth\0"[..]));
        assert_eq!(inside.get(2), Some(&7u32.to_ne_bytes()[..]));
        assert_eq!(attributes.get(9), None);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for bytes in [&[][..], &[0, 0, 1, 0], &[3, 0, 1, 0], &[200, 0, 1, 0, 5], &[4], &[255, 255, 255, 255]] {
            assert_eq!(Attributes(bytes).into_iter().count(), 0, "{bytes:?}");
        }
        for bytes in [&[][..], &[0; 16], &[15, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[255; 20]] {
            assert!(Header::parse(bytes).is_none(), "{bytes:?}");
        }
    }
}
