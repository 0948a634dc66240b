//! Where the output of the container is kept.
//!
//! A [`Sink`] takes whole records and never fails its caller: what it cannot store it counts. `stdio::ledger` decides
//! what is a record and when; a driver that keeps no file is another `Sink`.

pub mod file;
pub mod journald;
pub mod lines;
pub mod rotate;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use proto::{Refusal, log_line::Format, record::StartRecord, refusal::Result, wire::LogConfig};

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
    /// The file `log` for reading: the one this sink writes, or one it has written, whatever its name is now.
    ///
    /// # Errors
    /// Those of open(2); `NotFound` when it has gone.
    fn reader(&self, log: Identity) -> io::Result<File>;
    /// The file in which the log went on after `log`, for reading.
    ///
    /// # Errors
    /// Those of open(2).
    fn after(&self, log: Identity) -> io::Result<(File, Identity)>;
    /// How long the file `log` is, which this sink writes no more; `None` when it is not to be found.
    fn length_of(&self, log: Identity) -> Option<u64>;
    /// Whether every byte can be read back as it was written.
    fn is_exact(&self) -> bool;
    /// How its records look; and in JSON, what each says besides.
    fn format(&self) -> (Format, &str);
    /// Bytes that may come before the log is rotated.
    fn room(&self) -> usize;
    /// The next rotation drops a file.
    fn would_drop(&self) -> bool;
    /// Every rotation drops the file that was written.
    fn would_drop_at_once(&self) -> bool;
    /// Keeps what there is under another name and goes on in a new file. If that was done from outside, as
    /// [`reopen`](Self::reopen).
    ///
    /// # Errors
    /// Naming what could not be renamed or opened; the old file stays in use.
    fn rotate(&mut self) -> Result<()>;
    /// Looks whether somebody has removed or truncated the file, and opens a new one if need be.
    fn look_after(&mut self);
    /// Opens the path anew: the file was renamed by whoever rotates it.
    ///
    /// # Errors
    /// When the new file cannot be opened; the old one stays in use.
    fn reopen(&mut self) -> Result<()>;
    /// Cuts the file `log` to `length`, which is where a record ends.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn cut(&mut self, log: Identity, length: u64) -> io::Result<()>;
}

/// Whether the container writes to descriptors of whoever started it, past us.
pub fn passes_through(config: &LogConfig) -> bool {
    matches!(config.driver.as_str(), "passthrough" | "passthrough-tty")
}

/// The sink that the start record asks for; `None` where there is none. `directory` is the run directory.
///
/// # Errors
/// For an unknown driver, a path that cannot be a log, and a journal that is not there.
pub fn open(start: &StartRecord, directory: &Path) -> Result<Option<Box<dyn Sink>>> {
    match start.log.driver.as_str() {
        "none" | "passthrough" | "passthrough-tty" => Ok(None),
        "journald" => {
            let log = journal(start, directory)?;
            log.check()?;
            Ok(Some(Box::new(log)))
        }
        _ => {
            let mut log = closed(start)?;
            log.open()?;
            Ok(Some(Box::new(log)))
        }
    }
}

/// As [`open`], for a container that runs already: a log that cannot be opened now is tried again later.
pub fn open_again(start: &StartRecord, directory: &Path) -> Option<Box<dyn Sink>> {
    match start.log.driver.as_str() {
        "none" | "passthrough" | "passthrough-tty" => None,
        "journald" => Some(Box::new(journal(start, directory).ok()?)),
        _ => {
            let mut log = closed(start).ok()?;
            // It says itself why it cannot, when it is written to.
            let _ = log.open();
            Some(Box::new(log))
        }
    }
}

fn journal(start: &StartRecord, directory: &Path) -> Result<journald::Journald> {
    journald::Journald::new(start, directory)
        .map_err(|error| Refusal::internal(format!("run directory {}", directory.display()), error))
}

fn closed(start: &StartRecord) -> Result<file::LogFile> {
    let config = &start.log;
    let format = Format::of(&config.driver)
        .ok_or_else(|| Refusal::invalid(format!("log driver {:?} is not known: use k8s-file", config.driver)))?;
    // Else `ctr.log` beside exit.json.
    let path = match config.path.as_str() {
        "" => start.exit_record.with_file_name("ctr.log"),
        path => PathBuf::from(path),
    };
    // Mounts of an earlier shim may have gone with it.
    let mounted = start.log_directory.as_ref().filter(|_| !start.unmounted);
    let place = mounted.and_then(|directory| Some(directory.join(path.file_name()?)));
    let log = file::LogFile::closed(
        place.unwrap_or_else(|| path.clone()),
        format,
        attributes(config)?,
        file::Rotation::of(config)?,
    );
    Ok(log.called(path))
}

/// What each line of `json-file` says besides, as an object; nothing where there is nothing.
fn attributes(config: &LogConfig) -> Result<String> {
    let tag = config.options.get("tag").map(|tag| ("tag", tag.as_str()));
    let labels = config.labels.iter().filter_map(|label| label.split_once('='));
    let all: std::collections::BTreeMap<_, _> = tag.into_iter().chain(labels).collect();
    if all.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&all).map_err(|error| Refusal::internal("log options", error))
}
