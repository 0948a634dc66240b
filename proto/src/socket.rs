//! Unix sockets in our directories.
//!
//! `$RUN/pods/ID/containers/ID/mon.sock` is 166 characters long, `sun_path` holds 107 (unix(7)): every bind and connect
//! goes through `/proc/self/fd/DIRFD/NAME`. Sockets are path sockets of mode 0600 in directories of mode 0700; on top of
//! that a server takes only peers of its own uid or root.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{OpenOptionsExt, PermissionsExt},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, UnixCredentials, bind, connect, getsockopt, listen, socket,
    sockopt::PeerCredentials,
};

/// A directory opened as a handle, and the short path of a file in it.
fn short_path(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let handle =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", handle.as_raw_fd()));
    Ok((handle, path))
}

/// Removes a socket file that an earlier owner left. The caller holds the lock that makes it the owner.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Binds a stream socket at `dir/name`, mode 0600, replacing a stale one.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn listen_stream(dir: &Path, name: &str) -> io::Result<UnixListener> {
    let (_handle, path) = short_path(dir, name)?;
    remove_stale(&path)?;
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the stream socket at `dir/name`.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` where nobody listens.
pub fn connect_stream(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let (_handle, path) = short_path(dir, name)?;
    UnixStream::connect(&path)
}

/// Binds a SEQPACKET socket at `dir/name`, mode 0600, non-blocking, replacing a stale one.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn listen_seqpacket(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_handle, path) = short_path(dir, name)?;
    remove_stale(&path)?;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(&path)?)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Connects to the SEQPACKET socket at `dir/name`; the socket is blocking until [`crate::raw::Raw`] takes it.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` where nobody listens.
pub fn connect_seqpacket(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_handle, path) = short_path(dir, name)?;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(&path)?)?;
    Ok(fd)
}

/// Binds a datagram socket at `dir/name`, mode 0600, non-blocking, replacing a stale one (`NOTIFY_SOCKET`).
///
/// # Errors
/// Those of socket(2) and bind(2).
pub fn bind_datagram(dir: &Path, name: &str) -> io::Result<UnixDatagram> {
    let (_handle, path) = short_path(dir, name)?;
    remove_stale(&path)?;
    let socket = UnixDatagram::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A datagram socket connected to the one at `path`, however long the path is.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` where nobody listens.
pub fn connect_datagram(path: &Path) -> io::Result<UnixDatagram> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (_handle, path) = short_path(dir, name)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// Whether the peer of a connected socket may use this engine: it is of our own uid, or root.
pub fn peer_is_allowed(socket: BorrowedFd<'_>) -> bool {
    peer(socket).is_some_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

/// Credentials of the peer of a connected socket (SO_PEERCRED, unix(7)).
pub fn peer(socket: BorrowedFd<'_>) -> Option<UnixCredentials> {
    getsockopt(&socket.as_fd(), PeerCredentials).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_path_longer_than_sun_path_works() {
        let dir = tempfile::tempdir().expect("tempdir");
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).expect("dirs");
        let listener = listen_stream(&deep, "mon.sock").expect("listen");
        let mut client = connect_stream(&deep, "mon.sock").expect("connect");
        client.write_all(b"hi").expect("write");
        drop(client);
        listener.set_nonblocking(false).expect("blocking");
        let (mut server, _) = listener.accept().expect("accept");
        assert!(peer_is_allowed(server.as_fd()));
        let mut text = String::new();
        server.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hi");
        let mode = fs::metadata(deep.join("mon.sock")).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A second owner replaces what the first has left.
        drop(listener);
        listen_stream(&deep, "mon.sock").expect("listen again");
    }
}
