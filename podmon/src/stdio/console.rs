//! Receives the master of a terminal that the runtime makes (`--console-socket`).
//!
//! The runtime connects by itself, so its path must fit into `sun_path`: the socket is in the bundle, the runtime is
//! started there, and the path is the socket's name.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use proto::{Refusal, raw, refusal::Result, socket};
use tokio::{io::Interest, time::timeout};

use crate::sys;

/// How long the terminal may take after the runtime has said that all is well.
const LATE: Duration = Duration::from_secs(2);

/// A socket that waits for a terminal. Its file is removed with it.
#[derive(Debug)]
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// A socket `name` in `directory`.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn bind(directory: &Path, name: &str) -> io::Result<Console> {
        Ok(Console { listener: socket::listen_stream(directory, name)?, path: directory.join(name) })
    }

    /// Runs `call`, which makes the runtime send a terminal, and answers the terminal.
    ///
    /// # Errors
    /// Those of `call`; and when no terminal comes though all is well.
    pub async fn during(&self, call: impl Future<Output = Result<()>>) -> Result<OwnedFd> {
        let receive = self.receive();
        tokio::pin!(call, receive);
        let early = tokio::select! {
            result = &mut call => {
                result?;
                None
            }
            master = &mut receive => Some(master),
        };
        let master = match early {
            Some(master) => {
                call.await?;
                master
            }
            // The same future: it may have accepted the connection already.
            None => timeout(LATE, receive)
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the runtime did not set up a terminal"))),
        };
        master.map_err(|error| Refusal::internal("terminal", error))
    }

    async fn receive(&self) -> io::Result<OwnedFd> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let (stream, _) = listener.accept().await?;
        let stream: OwnedFd = stream.into_std()?.into();
        let stream = sys::watch(stream, Interest::READABLE)?;
        let mut name = [0; 256];
        let (_, mut fds) =
            stream.async_io(Interest::READABLE, |socket| raw::receive_packet(socket.as_fd(), &mut name)).await?;
        let master = fds.pop().ok_or_else(|| io::Error::other("the runtime sent no terminal"))?;
        set_nonblocking(&master)?;
        Ok(master)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // A leftover goes with the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Sets O_NONBLOCK.
///
/// # Errors
/// Those of fcntl(2).
pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
