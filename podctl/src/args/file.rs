//! Files of the caller's that options name: they are read here, and nobody waits for a file system that hangs.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use proto::patience;

/// Opens the file at `path`.
///
/// # Errors
/// Those of open(2); `TimedOut`, naming the file system, where it does not answer.
pub fn open(path: &str) -> io::Result<File> {
    match std::path::absolute(Path::new(path)).ok().and_then(|path| patience::hangs(&path)) {
        Some(words) => Err(io::Error::new(io::ErrorKind::TimedOut, words)),
        None => File::open(path),
    }
}

/// What is in it.
///
/// # Errors
/// As there, and when it is no text.
pub fn text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}
