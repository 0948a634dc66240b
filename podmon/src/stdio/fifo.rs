//! The FIFOs of a container's standard streams, in its run directory.
//!
//! The container has stdout and stderr open for reading *and* writing, so a write never fails for want of a reader: while
//! none of ours is there it waits at a full pipe. Their mode lets the container's user open `/dev/stdout` again. Our read
//! end is open for reading only and sees the end when the last process of the container has closed them.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown},
    },
    path::Path,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
};

/// A new FIFO at `path`, replacing what an earlier run left (somebody may still have that one open).
///
/// # Errors
/// Those of the file system.
pub fn make(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600))?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
    }
    Ok(())
}

/// Our end of a stream the container writes: non-blocking, sees the end.
///
/// # Errors
/// When there is no FIFO at `path`.
pub fn open_reader(path: &Path) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().read(true), libc::O_NONBLOCK)
}

/// The container's end of a stream it writes.
///
/// # Errors
/// When there is no FIFO at `path`.
pub fn open_both(path: &Path, nonblocking: bool) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().read(true).write(true), if nonblocking { libc::O_NONBLOCK } else { 0 })
}

/// Both ends of a stream the container reads: its own, blocking, and ours.
///
/// # Errors
/// When there is no FIFO at `path`.
pub fn open_stdin(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let reader = open_reader(path)?;
    let writer = open_writer(path)?;
    // Opening it for reading must not wait for a writer; the container's read(2) must wait for bytes.
    let flags = OFlag::from_bits_retain(fcntl(&reader, FcntlArg::F_GETFL)?);
    fcntl(&reader, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// Our end of a stream the container reads; somebody must have it open for reading.
///
/// # Errors
/// `ENXIO` when nobody reads.
pub fn open_writer(path: &Path) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().write(true), libc::O_NONBLOCK)
}

fn open(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<OwnedFd> {
    let file: File = options.custom_flags(flags | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
    if file.metadata()?.file_type().is_fifo() { Ok(file.into()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_seen_when_the_last_writer_has_closed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stdout");
        make(&path, None).expect("make");
        let reader = open_reader(&path).expect("reader");
        let container = open_both(&path, false).expect("container");
        let mut buffer = [0; 8];
        assert_eq!(nix::unistd::read(&reader, &mut buffer), Err(nix::errno::Errno::EAGAIN));
        nix::unistd::write(&container, b"bye").expect("write");
        drop(container);
        assert_eq!(nix::unistd::read(&reader, &mut buffer), Ok(3));
        assert_eq!(nix::unistd::read(&reader, &mut buffer), Ok(0));
    }

    #[test]
    fn closing_our_end_of_stdin_ends_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stdin");
        make(&path, None).expect("make");
        let (reader, writer) = open_stdin(&path).expect("both");
        nix::unistd::write(&writer, b"x").expect("write");
        drop(writer);
        let mut buffer = [0; 8];
        assert_eq!(nix::unistd::read(&reader, &mut buffer), Ok(1));
        assert_eq!(nix::unistd::read(&reader, &mut buffer), Ok(0));
        // Nobody reads: there is nothing to open.
        drop(reader);
        assert!(open_writer(&path).is_err());
    }

    #[test]
    fn what_is_no_fifo_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("stdout");
        std::fs::write(&path, "x").expect("write");
        assert!(open_reader(&path).is_err());
    }
}
