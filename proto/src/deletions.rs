//! Somebody deletes something in a directory of ours: the kernel tells by a signal (fcntl(2), `F_NOTIFY`).
//!
//! Not by inotify(7): of that a user has 128 instances where nobody has changed it, and there may be a thousand of us.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use crate::signals::Signals;

/// `DN_DELETE` and `DN_MULTISHOT` of the kernel's linux/fcntl.h: whatever is deleted, again and again.
const DELETED: libc::c_long = 0x8000_0008;

/// From the first thing that is deleted until we look at what is left.
const PAUSE: Duration = Duration::from_millis(100);

/// What is deleted in some directories.
#[derive(Debug)]
pub struct Deletions {
    signals: Signals,
    directories: Vec<File>,
}

impl Deletions {
    /// Nothing yet. As with any [`Signals`] it comes before there are threads.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> io::Result<Deletions> {
        // SAFETY: SIG_IGN is no handler of ours. A signal that is blocked is kept all the same; one that comes while this
        // process becomes another program, which has none blocked, must not end it.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        Ok(Deletions { signals: Signals::catch(&[libc::SIGIO])?, directories: Vec::new() })
    }

    /// From now on those in `directory`, too, but not below it.
    ///
    /// # Errors
    /// Those of open(2); `EINVAL` where the kernel does not tell of this.
    pub fn watch(&mut self, directory: &Path) -> io::Result<()> {
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(directory)?;
        // SAFETY: the descriptor is open; the kernel forgets the wish when it is closed.
        if unsafe { libc::fcntl(directory.as_raw_fd(), libc::F_NOTIFY, DELETED) } < 0 {
            return Err(io::Error::last_os_error());
        }
        self.directories.push(directory);
        Ok(())
    }

    /// Waits until something was deleted, and a moment more: what goes at once goes in several steps.
    pub async fn next(&mut self) {
        self.signals.next().await;
        tokio::time::sleep(PAUSE).await;
    }
}
