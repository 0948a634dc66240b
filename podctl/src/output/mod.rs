//! What people and scripts read: tables, JSON, templates, words for times and sizes.

pub mod escape;
pub mod human;
pub mod json;
mod omitted;
pub mod table;
pub mod template;

use std::io::{self, Write};

use crate::{
    error::{Failure, Outcome},
    sys,
};

/// Writes `text` to stdout, whole. Where nobody reads any more the program ends as by SIGPIPE.
///
/// # Errors
/// When stdout cannot be written (a full disk).
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(error) => Err(unread(&error)),
    }
}

/// What becomes of a command whose output cannot be written: it dies as others do where nobody reads, else it says why.
pub fn unread(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        sys::die_of_broken_pipe();
    }
    Failure::io("write to stdout", error)
}

/// Writes a line to stdout, with what is hostile to a terminal escaped.
///
/// # Errors
/// See [`print()`].
pub fn line(text: &str) -> Outcome {
    print(&format!("{}\n", escape::line(text)))
}
