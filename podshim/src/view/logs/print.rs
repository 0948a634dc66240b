//! Records as lines for people, in large writes.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::fstat,
};
use proto::log_line::{Record, Stream};

use super::side;

/// Bytes gathered before they are written.
const BATCH: usize = 128 * 1024;
/// Colours of the containers, in turn: light grey, red, yellow, blue, magenta, cyan, green.
const COLORS: [&str; 7] = ["\x1b[37m", "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[36m", "\x1b[32m"];
const RESET: &str = "\x1b[0m";

/// How the lines of one container look.
#[derive(Clone, Debug)]
pub(super) struct Style {
    container: usize,
    prefix: String,
    timestamps: bool,
    color: Option<&'static str>,
}

impl Style {
    /// Lines of the container with this number begin with `prefix`, then, if wanted, with their time.
    pub(super) fn new(container: usize, prefix: String, timestamps: bool, color: bool) -> Style {
        let color = color.then(|| COLORS[container % COLORS.len()]);
        Style { container, prefix, timestamps, color }
    }

    /// Lines are as the container wrote them.
    fn is_plain(&self) -> bool {
        self.prefix.is_empty() && !self.timestamps && self.color.is_none()
    }
}

/// One descriptor, and what is to be written to it.
#[derive(Debug)]
struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
    /// The line that is not yet ended, by container and stream.
    unfinished: Option<(usize, Stream)>,
}

/// Writes records of both streams.
#[derive(Debug)]
pub(super) struct Printer {
    sinks: Vec<Sink>,
    /// The sink of each stream.
    of: [usize; 2],
}

impl Printer {
    /// Takes the descriptors. Where both are one file there is one sink, so that lines keep their order.
    pub(super) fn new(stdout: OwnedFd, stderr: OwnedFd) -> Printer {
        let file = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino, stat.st_rdev));
        let one = matches!((file(&stdout), file(&stderr)), (Ok(a), Ok(b)) if a == b);
        let sink = |fd| Sink { fd, pending: Vec::with_capacity(BATCH * 2), unfinished: None };
        if one {
            Printer { sinks: vec![sink(stdout)], of: [0, 0] }
        } else {
            Printer { sinks: vec![sink(stdout), sink(stderr)], of: [0, 1] }
        }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Those of write(2): `BrokenPipe` when nobody reads.
    pub(super) fn print(&mut self, style: &Style, record: &Record<'_>) -> io::Result<()> {
        let sink = &mut self.sinks[self.of[side(record.stream)]];
        let out = &mut sink.pending;
        if style.is_plain() {
            out.extend_from_slice(record.text);
        } else {
            let this = (style.container, record.stream);
            let begins = sink.unfinished != Some(this);
            if begins && sink.unfinished.is_some() {
                out.push(b'\n');
            }
            out.extend_from_slice(style.color.unwrap_or_default().as_bytes());
            if begins {
                out.extend_from_slice(style.prefix.as_bytes());
                if style.timestamps {
                    out.extend_from_slice(record.stamp.as_bytes());
                    out.push(b' ');
                }
            }
            out.extend_from_slice(record.text);
            if style.color.is_some() {
                out.extend_from_slice(RESET.as_bytes());
            }
            sink.unfinished = (!record.full).then_some(this);
        }
        if record.full {
            out.push(b'\n');
        }
        if out.len() >= BATCH { sink.flush() } else { Ok(()) }
    }

    /// Writes what is pending.
    ///
    /// # Errors
    /// As [`Printer::print`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(Sink::flush)
    }

    /// The descriptors, to be watched for readers that have gone.
    pub(super) fn fds(&self) -> impl Iterator<Item = &OwnedFd> {
        self.sinks.iter().map(|sink| &sink.fd)
    }
}

impl Sink {
    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            match nix::unistd::write(&self.fd, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                // The descriptor is the client's and may be non-blocking, as terminals often are.
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut fds, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.pending.clear();
        Ok(())
    }
}
