//! Where the output of the container is kept.
//!
//! A [`Sink`] takes whole records and never fails its caller: what it cannot store it counts. `stdio::ledger` decides
//! what is a record and when; a driver with another format, or rotation, is another `Sink`.

pub mod k8s_file;
pub mod lines;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use proto::{Refusal, refusal::Result, wire::LogConfig};

/// Which file a log is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// What became of the records given to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes that are in the log now: whole records, a beginning of what was given.
    pub bytes: usize,
    /// Why the rest is not; it will not be tried again.
    pub lost: Option<Errno>,
}

/// Stores records.
pub trait Sink: std::fmt::Debug {
    /// Appends `records`, each ended by a newline. After a failure the log ends with a whole record.
    fn append(&mut self, records: &[u8]) -> Stored;
    /// Length of the log in bytes, as far as this sink knows.
    fn len(&self) -> u64;
    /// Time of the last record that was there when the log was opened, 0 = none.
    fn last_time(&self) -> i64;
    /// Which file it is now.
    fn identity(&self) -> Identity;
    /// The log for reading from its beginning; the file this sink writes even if it was renamed.
    ///
    /// # Errors
    /// Those of open(2).
    fn reader(&self) -> io::Result<File>;
    /// Looks whether somebody has removed or truncated the file, and opens a new one if need be.
    fn look_after(&mut self);
    /// Opens the path anew: the file was renamed by whoever rotates it.
    ///
    /// # Errors
    /// When the new file cannot be opened; the old one stays in use.
    fn reopen(&mut self) -> Result<()>;
    /// Cuts the log to `length`, which is where a record ends.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The sink that `config` asks for; `None` for driver `none`.
///
/// # Errors
/// For an unknown driver, and for a path that cannot be a log.
pub fn open(config: &LogConfig, default: &Path) -> Result<Option<Box<dyn Sink>>> {
    match config.driver.as_str() {
        "" | "k8s-file" | "json-file" => Ok(Some(Box::new(k8s_file::K8sFile::open(path(config, default))?))),
        "none" => Ok(None),
        other => Err(Refusal::invalid(format!("log driver {other:?} is not known: use k8s-file or none"))),
    }
}

/// As [`open`], for a container that runs already: a log that cannot be opened now is tried again later.
pub fn open_again(config: &LogConfig, default: &Path) -> Option<Box<dyn Sink>> {
    match open(config, default) {
        Ok(sink) => sink,
        Err(_) => Some(Box::new(k8s_file::K8sFile::closed(path(config, default)))),
    }
}

fn path(config: &LogConfig, default: &Path) -> PathBuf {
    if config.path.is_empty() { default.to_owned() } else { PathBuf::from(&config.path) }
}
