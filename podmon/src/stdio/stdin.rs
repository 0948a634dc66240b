//! The container's standard input: bytes of clients into its FIFO, or into its terminal.
//!
//! Who writes faster than the container reads waits here, and nobody else does.

use std::{cell::RefCell, io, os::fd::OwnedFd, path::PathBuf, rc::Rc};

use nix::errno::Errno;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use crate::sys;

/// See the module.
#[derive(Debug, Default)]
pub struct Stdin {
    writer: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    /// Removed with the writer: that it is missing tells a successor that stdin has ended.
    path: RefCell<Option<PathBuf>>,
    closed: Notify,
}

impl Stdin {
    /// Bytes go to the FIFO `writer` at `path` from now on.
    ///
    /// # Errors
    /// When the reactor refuses it.
    pub fn open_fifo(&self, writer: OwnedFd, path: PathBuf) -> io::Result<()> {
        *self.writer.borrow_mut() = Some(Rc::new(sys::watch(writer, Interest::WRITABLE)?));
        *self.path.borrow_mut() = Some(path);
        Ok(())
    }

    /// Bytes go to the terminal `master` from now on.
    pub fn open_terminal(&self, master: Rc<AsyncFd<OwnedFd>>) {
        *self.writer.borrow_mut() = Some(master);
    }

    /// Whether there is somewhere to write.
    pub fn is_open(&self) -> bool {
        self.writer.borrow().is_some()
    }

    /// The FIFO, for a client that writes into it itself.
    pub fn fifo(&self) -> Option<Rc<AsyncFd<OwnedFd>>> {
        self.path.borrow().as_ref().and(self.writer.borrow().clone())
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let closed = self.closed.notified();
        if self.is_open() {
            closed.await;
        }
    }

    /// Ends it: the container reads what is there, then the end. A terminal has no end.
    pub fn end(&self) {
        if let Some(path) = self.path.borrow_mut().take() {
            self.writer.borrow_mut().take();
            // A leftover is only a hint, and goes with the directory.
            let _ = std::fs::remove_file(path);
            self.closed.notify_waiters();
        }
    }

    /// Closes it: the container has ended.
    pub fn close(&self) {
        self.writer.borrow_mut().take();
        self.closed.notify_waiters();
    }

    /// Writes all of `bytes`, or nothing more once it is closed.
    pub async fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(writer) = self.writer.borrow().clone() else { return };
            let closed = self.closed.notified();
            // Closed between the look above and here: the waiters have been told already.
            if !self.is_open() {
                return;
            }
            tokio::select! {
                () = closed => {}
                ready = writer.writable() => {
                    let Ok(mut ready) = ready else { return };
                    match ready.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                        Ok(Ok(written)) => bytes = &bytes[written..],
                        Ok(Err(error)) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                        Ok(Err(_)) => {
                            // Nobody reads any more; a terminal may be opened again.
                            self.end();
                            return;
                        }
                        Err(_would_block) => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stdio::fifo;

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_pipe_makes_the_writer_wait_and_the_end_frees_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stdin");
        fifo::make(&path, None).expect("make");
        let (reader, writer) = fifo::open_stdin(&path).expect("both");
        let stdin = Stdin::default();
        stdin.open_fifo(writer, path.clone()).expect("open");
        let bytes = vec![b'x'; 100_000];
        tokio::select! {
            () = stdin.write(&bytes) => panic!("65536 bytes fit, no more"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let mut write = Box::pin(stdin.write(b"y"));
        tokio::select! {
            () = &mut write => panic!("full"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        stdin.end();
        write.await;
        assert!(!path.exists() && !stdin.is_open());
        let mut all = 0;
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = nix::unistd::read(&reader, &mut buffer) {
            all += length;
        }
        assert_eq!(all, 65536);
    }
}
