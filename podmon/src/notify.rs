//! What we tell whoever supervises us, in the protocol of sd_notify(3).
//!
//! Descriptors are stored with `FDPOLL=0`: a finished writer would else make the supervisor drop them. Nothing here ever
//! waits or fails: a supervisor that is away asks for the descriptors again when it is back (`StoreFds`).

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

use proto::{raw, socket};

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<PathBuf>,
}

impl Supervisor {
    /// The one that listens at `socket` (NOTIFY_SOCKET); with `None` nobody is told anything.
    pub fn new(socket: Option<PathBuf>) -> Supervisor {
        Supervisor { socket }
    }

    /// We serve.
    pub fn ready(&self) {
        self.send("READY=1", &[]);
    }

    /// One line for people.
    pub fn status(&self, words: &str) {
        self.send(&format!("STATUS={words}"), &[]);
    }

    /// Keep this descriptor for our successor.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) {
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd]);
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) {
        let Some(path) = &self.socket else { return };
        // Connected anew each time: the supervisor may have been replaced, and binds the path again.
        let Ok(socket) = socket::connect_datagram(path) else { return };
        if socket.set_nonblocking(true).is_ok() {
            let _ = raw::send_packet(socket.as_fd(), text.as_bytes(), fds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_stored_under_its_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let listener = socket::bind_datagram(dir.path(), "notify.sock").expect("bind");
        let supervisor = Supervisor::new(Some(dir.path().join("notify.sock")));
        let (reader, _writer) = nix::unistd::pipe().expect("pipe");
        supervisor.store("stdout", reader.as_fd());
        let mut buffer = [0; 256];
        let (length, fds) = raw::receive_packet(listener.as_fd(), &mut buffer).expect("receive");
        assert_eq!(&buffer[..length], b"FDSTORE=1\nFDNAME=stdout\nFDPOLL=0");
        assert_eq!(fds.len(), 1);
    }

    #[test]
    fn a_supervisor_that_is_away_is_no_error() {
        Supervisor::new(Some("/nonexistent/notify.sock".into())).ready();
        Supervisor::new(None).status("x");
    }
}
