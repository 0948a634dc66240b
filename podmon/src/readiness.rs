//! What the container says about itself in the protocol of sd_notify(3), passed on to who waits for it outside.
//!
//! The outside is the NOTIFY_SOCKET of whoever asked for the start (a systemd unit, mostly). It hears our pid as
//! `MAINPID=`, and `READY=1` when the container runs (`--sdnotify conmon`), is healthy (`healthy`), or says so itself
//! (`container`: a socket of ours is mounted into it). The container is not trusted: of what it says only fields that are
//! about itself pass; a descriptor it sends is closed by being received without room for it. Nobody is waited for: what a
//! full or missing socket does not take is lost.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
};

use nix::sys::socket::{MsgFlags, recv};
use proto::{record::Readiness as Wish, socket};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::JoinHandle,
};

use crate::sys;

/// Name of the container's socket, and of the descriptor that the supervisor keeps.
pub const SOCKET: &str = "notify.sock";
/// Longest message that is read (systemd's own limit, NOTIFY_BUFFER_MAX).
const MAX_MESSAGE: usize = 4096;

/// Lines that may pass.
const LINES: [&str; 5] = ["READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "WATCHDOG=trigger"];
/// Fields that may pass with any value.
const FIELDS: [&str; 4] = ["STATUS=", "ERRNO=", "BUSERROR=", "MONOTONIC_USEC="];

/// See the module.
#[derive(Debug)]
pub struct Readiness {
    wish: Wish,
    ready: bool,
    listening: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.listening {
            task.abort();
        }
    }
}

impl Readiness {
    /// What was asked for.
    pub fn new(wish: Wish) -> Readiness {
        Readiness { wish, ready: false, listening: None }
    }

    /// Hears the container from now on, where it is to say by itself that it is ready: by the socket that an earlier
    /// monitor has left, or by a new one in `directory`. What may pass is said to `heard`, message by message.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen(
        &mut self,
        directory: &Path,
        kept: Option<OwnedFd>,
        heard: impl Fn(Vec<String>) + 'static,
    ) -> io::Result<()> {
        if self.wish.mode != "container" || self.listening.is_some() {
            return Ok(());
        }
        let socket = kept.map_or_else(|| bind(directory), Ok)?;
        let kept = socket.try_clone()?;
        let socket = sys::watch(socket, Interest::READABLE)?;
        let task = tokio::task::spawn_local(async move {
            loop {
                let Ok(mut ready) = socket.readable().await else { return };
                ready.clear_ready();
                while let Some(lines) = receive(&socket) {
                    if !lines.is_empty() {
                        heard(lines);
                    }
                    // Others of ours have their turn, however much it says.
                    tokio::task::yield_now().await;
                }
            }
        });
        self.listening = Some((kept, task));
        Ok(())
    }

    /// What a successor needs.
    pub fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.listening.as_ref().map(|(socket, _)| socket.as_fd())
    }

    /// Whether the outside has been told that it is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The container runs.
    pub fn started(&mut self) {
        let main = format!("MAINPID={}", std::process::id());
        self.ready |= self.wish.mode == "conmon";
        self.tell(&if self.ready { format!("{main}\nREADY=1") } else { main });
    }

    /// The container is healthy.
    pub fn healthy(&mut self) {
        if self.wish.mode == "healthy" && !self.ready {
            self.ready = true;
            self.tell("READY=1");
        }
    }

    /// The container has said these lines, which may pass.
    pub fn pass(&mut self, lines: &[String]) {
        self.ready |= lines.iter().any(|line| line == "READY=1");
        self.tell(&lines.join("\n"));
    }

    fn tell(&self, text: &str) {
        // Connected anew each time: who listens may have been replaced.
        if let Ok(socket) = connect(&self.wish.socket)
            && socket.set_nonblocking(true).is_ok()
        {
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// A socket that everybody in the container may write to.
fn bind(directory: &Path) -> io::Result<OwnedFd> {
    let socket = socket::bind_datagram(directory, SOCKET)?;
    fs::set_permissions(directory.join(SOCKET), fs::Permissions::from_mode(0o777))?;
    Ok(socket.into())
}

/// NOTIFY_SOCKET: a path, or `@` and an abstract name.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    match name.strip_prefix('@') {
        Some(name) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            Ok(socket)
        }
        None => socket::connect_datagram(Path::new(name)),
    }
}

/// What may pass of the next message; `None` when there is none now.
fn receive(socket: &AsyncFd<OwnedFd>) -> Option<Vec<String>> {
    let mut buffer = [0; MAX_MESSAGE];
    // MSG_TRUNC: the true length, so that a message that was cut is known as one.
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC).ok()?;
    Some(buffer.get(..length).map_or_else(Vec::new, allowed))
}

/// The lines of a message that are about the container itself. Never `MAINPID`, `FDSTORE` and their like: they are about
/// the service, which is ours.
pub fn allowed(message: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(message) else { return Vec::new() };
    let passes = |line: &&str| {
        LINES.contains(line)
            || FIELDS.iter().any(|field| line.starts_with(field)) && !line.chars().any(char::is_control)
    };
    text.lines().filter(passes).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_container_passes() {
        let said = b"READY=1\nSTATUS=all is well\nMAINPID=1\nFDSTORE=1\nFDNAME=x\nEXTEND_TIMEOUT_USEC=9\nWATCHDOG=1\n\
            WATCHDOG_USEC=1\nREADY=2\nNOTIFYACCESS=all\nSTATUS=\x1b[31m\nERRNO=5\nX_OWN=1";
        assert_eq!(allowed(said), ["READY=1", "STATUS=all is well", "WATCHDOG=1", "ERRNO=5"]);
        assert!(allowed(b"READY=1\n\xff").is_empty());
    }

    #[test]
    fn the_outside_is_told_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let outside = socket::bind_datagram(dir.path(), "outside").expect("bind");
        let path = dir.path().join("outside").display().to_string();
        let told = || {
            let mut buffer = [0; 256];
            let length = outside.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let pid = std::process::id();
        let wish = |mode: &str| Wish { mode: mode.into(), socket: path.clone() };
        let mut readiness = Readiness::new(wish("conmon"));
        readiness.started();
        assert_eq!(told(), Some(format!("MAINPID={pid}\nREADY=1")));
        let mut readiness = Readiness::new(wish("healthy"));
        readiness.started();
        assert_eq!((told(), readiness.is_ready()), (Some(format!("MAINPID={pid}")), false));
        readiness.healthy();
        readiness.healthy();
        assert_eq!((told(), told(), readiness.is_ready()), (Some("READY=1".into()), None, true));
        // Who has gone is no error.
        drop(outside);
        readiness.started();
    }
}
