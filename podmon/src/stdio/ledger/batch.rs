//! The bytes of one batch: read from a journal that keeps them.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, tee},
};

use super::HEADROOM;
use crate::stdio::{BIG_PIPE, PIPE};

/// See the module.
#[derive(Debug)]
pub struct Batch {
    /// Ours alone, and empty between batches.
    copy: Option<(OwnedFd, OwnedFd)>,
    capacity: usize,
    /// [`HEADROOM`], then what was read.
    bytes: Vec<u8>,
}

impl Batch {
    /// Without buffers, until there is something to read.
    pub fn new() -> Batch {
        Batch { copy: None, capacity: PIPE, bytes: vec![] }
    }

    /// The first `length` bytes.
    pub fn data(&self, length: usize) -> &[u8] {
        &self.bytes[HEADROOM..HEADROOM + length]
    }

    /// The first `length` bytes with [`HEADROOM`] in front.
    pub fn with_headroom(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[..HEADROOM + length]
    }

    /// From now on more at once.
    pub fn grow(&mut self) {
        if self.capacity < BIG_PIPE {
            self.capacity = BIG_PIPE;
            self.copy = None;
        }
    }

    /// Reads up to `available` bytes of the journal, and leaves them in it.
    ///
    /// # Errors
    /// Those of pipe(2), tee(2) and read(2).
    pub fn read(&mut self, journal: BorrowedFd<'_>, available: usize) -> io::Result<usize> {
        if self.bytes.len() != HEADROOM + self.capacity {
            self.bytes = vec![0; HEADROOM + self.capacity];
        }
        if self.copy.is_none() {
            let pair = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
            if self.capacity > PIPE {
                // Where the limit of this user is reached the pipe stays as it is, and batches are smaller.
                let _ = fcntl(&pair.1, FcntlArg::F_SETPIPE_SZ(self.capacity as i32));
            }
            self.copy = Some(pair);
        }
        let Some((reader, writer)) = &self.copy else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let length = tee(journal, writer, available.min(self.capacity), SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut filled = 0;
        while filled < length {
            match nix::unistd::read(reader, &mut self.bytes[HEADROOM + filled..HEADROOM + length]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(length)
    }
}
