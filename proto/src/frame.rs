//! The frames of an attach session on the raw socket.
//!
//! A packet is one frame: kind (1 byte), offset (8 bytes, little endian), payload. The offset of output counts the bytes
//! of that stream since the container started, so a gap or a repetition can be seen.

use serde::{Deserialize, Serialize};

/// Bytes before the payload.
pub const HEADER: usize = 9;
/// Largest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// What a client asks for when it attaches: payload of [`crate::raw::ATTACH`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// It will send stdin.
    pub stdin: bool,
    /// It wants output (`--attach stdin` alone does not).
    pub output: bool,
    /// It is the terminal that started the container: it loses nothing, from the container's first byte on.
    pub lossless: bool,
    /// It will write stdin into the container's FIFO itself, where there is one: the acknowledgement brings it. What is
    /// written so survives the monitor.
    pub direct: bool,
}

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// client → monitor: bytes for the container's stdin.
    Stdin = 0,
    /// monitor → client: bytes of stdout, or of the terminal.
    Stdout = 1,
    /// monitor → client: bytes of stderr.
    Stderr = 2,
    /// monitor → client: that many bytes (payload: u64, little endian) were skipped because the client lagged.
    Skipped = 3,
    /// monitor → client: the container has ended and all its output was sent; payload: [`crate::wire::ExitStatus`].
    Exit = 4,
    /// client → monitor: stdin has ended. monitor → client that has the FIFO: another client has said so.
    StdinEnd = 5,
    /// client → monitor: the terminal's size; payload: rows, columns (u16 each, little endian).
    Resize = 6,
    /// monitor → client: the session ends for another reason; payload: words.
    Closed = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Stdin, Kind::Stdout, Kind::Stderr, Kind::Skipped, Kind::Exit, Kind::StdinEnd, Kind::Resize, Kind::Closed]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One frame, borrowed from a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Offset of the payload in its stream.
    pub offset: u64,
    /// The bytes.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame in `packet`; `None` when it is none.
    pub fn decode(packet: &'a [u8]) -> Option<Frame<'a>> {
        let (header, payload) = packet.split_at_checked(HEADER)?;
        let offset = u64::from_le_bytes(header[1..].try_into().ok()?);
        Some(Frame { kind: Kind::from_byte(header[0])?, offset, payload })
    }

    /// Its header, to be followed by the payload.
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = self.kind as u8;
        header[1..].copy_from_slice(&self.offset.to_le_bytes());
        header
    }

    /// The whole packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER + self.payload.len());
        packet.extend_from_slice(&self.header());
        packet.extend_from_slice(self.payload);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_there_and_back() {
        let frame = Frame { kind: Kind::Stderr, offset: 1 << 40, payload: b"oops" };
        assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        assert_eq!(Frame::decode(b"\x01"), None);
        assert_eq!(Frame::decode(&[9; 20]), None);
    }
}
