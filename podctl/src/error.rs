//! What went wrong, as the user reads it and the shell sees it: the one place where a refusal becomes an exit code, and
//! the only one that prints errors.

use std::{
    fmt, io,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use proto::{ENGINE_ERROR, Kind, NOT_EXECUTABLE, NOT_FOUND, Refusal};

use crate::output;

/// How a command ends: with an exit code, or with a failure.
pub type Outcome = Result<i32, Failure>;

/// One or more things that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the program.
    pub code: i32,
    /// One message per thing, without `Error: `; a message may have several lines (pointers to help).
    pub messages: Vec<String>,
    /// Kind of the first refusal, for those who may do something about it.
    pub kind: Kind,
    /// What that refusal is about; empty where there is none.
    pub subject: String,
}

impl Failure {
    /// The request cannot be met: 125.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure { code: ENGINE_ERROR, messages: vec![message.into()], kind: Kind::Invalid, subject: String::new() }
    }

    /// A flag is wrong: the words, and where help is.
    pub fn usage(message: impl fmt::Display, path: &str) -> Failure {
        Failure::invalid(format!("{message}\nSee '{path} --help'"))
    }

    /// `what` could not be done.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        Failure { kind: Kind::Internal, ..Failure::invalid(format!("{what}: {}", plain(error))) }
    }

    /// Adds another's messages.
    pub fn join(&mut self, other: Failure) {
        self.messages.extend(other.messages);
    }

    /// Puts `context: ` before each message.
    #[must_use]
    pub fn within(mut self, context: &str) -> Failure {
        for message in &mut self.messages {
            *message = format!("{context}: {message}");
        }
        self
    }

    /// Prints the messages to stderr.
    pub fn print(&self) {
        let mut text = String::new();
        for message in &self.messages {
            text.push_str("Error: ");
            // One line, whatever was typed; a second one only says where help is.
            let (first, pointer) = match message.rsplit_once('\n') {
                Some((first, last)) if last.starts_with("See '") || last.starts_with("Try '") => (first, Some(last)),
                _ => (message.as_str(), None),
            };
            text.push_str(&output::escape::line(first));
            text.push('\n');
            if let Some(pointer) = pointer {
                text.push_str(&output::escape::line(pointer));
                text.push('\n');
            }
        }
        // There is nowhere left to report a failure to write to stderr.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("\n"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let code = match refusal.kind {
            Kind::CommandNotFound => NOT_FOUND,
            Kind::CommandNotExecutable => NOT_EXECUTABLE,
            _ => ENGINE_ERROR,
        };
        Failure { code, messages: vec![refusal.message], kind: refusal.kind, subject: refusal.subject }
    }
}

impl From<ttrpc::Error> for Failure {
    fn from(error: ttrpc::Error) -> Failure {
        match error {
            status @ ttrpc::Error::RpcStatus(_) => Refusal::from(status).into(),
            // The other end has gone: with its container, or it was killed, or has crashed. How the socket tells is no
            // news for a user.
            ttrpc::Error::Socket(_) | ttrpc::Error::RemoteClosed | ttrpc::Error::LocalClosed => {
                Failure { kind: Kind::Gone, ..Failure::invalid("the engine went away before it answered: ask again") }
            }
            other => Failure {
                kind: Kind::Gone,
                ..Failure::invalid(format!("the engine went away before it answered ({other}): ask again"))
            },
        }
    }
}

/// Exit code of `rm` and its like for a refusal: 1 = there is no such thing, 2 = it is in use.
pub fn removal_code(kind: Kind) -> i32 {
    match kind {
        Kind::NoSuchPod
        | Kind::NoSuchContainer
        | Kind::NoSuchImage
        | Kind::NoSuchVolume
        | Kind::NoSuchNetwork
        | Kind::NoSuchSecret => 1,
        Kind::InUse | Kind::WrongState => 2,
        _ => ENGINE_ERROR,
    }
}

/// Whether a refusal says that there is no such object.
pub fn is_missing(kind: Kind) -> bool {
    removal_code(kind) == 1
}

/// The words of an I/O error without Rust's `(os error 2)`.
pub fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Whether warnings are shown: `--log-level`.
static WARNINGS: AtomicBool = AtomicBool::new(true);

/// Sets `--log-level`: above `warning` nothing but errors is shown.
pub fn set_level(level: &str) {
    WARNINGS.store(!matches!(level, "error" | "fatal" | "panic"), Ordering::Relaxed);
}

/// Prints a warning the way podman's log prints it.
pub fn warn(message: &str) {
    if !WARNINGS.load(Ordering::Relaxed) {
        return;
    }
    let time = proto::time::rfc3339(proto::time::now());
    let seconds = time.get(..19).unwrap_or_default();
    let text =
        format!("time=\"{seconds}Z\" level=warning msg=\"{}\"\n", output::escape::line(message).replace('"', "\\\""));
    // There is nowhere left to report a failure to write to stderr.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_exit_codes() {
        for (kind, code, removal) in [
            (Kind::Internal, 125, 125),
            (Kind::Invalid, 125, 125),
            (Kind::NoSuchPod, 125, 1),
            (Kind::NoSuchContainer, 125, 1),
            (Kind::NoSuchImage, 125, 1),
            (Kind::NoSuchVolume, 125, 1),
            (Kind::NoSuchNetwork, 125, 1),
            (Kind::NameInUse, 125, 125),
            (Kind::InUse, 125, 2),
            (Kind::WrongState, 125, 2),
            (Kind::ImageMissing, 125, 125),
            (Kind::CommandNotFound, 127, 125),
            (Kind::CommandNotExecutable, 126, 125),
            (Kind::TimedOut, 125, 125),
            (Kind::NotSupported, 125, 125),
            (Kind::Gone, 125, 125),
            (Kind::NeedsContainer, 125, 125),
            (Kind::NeedsLog, 125, 125),
        ] {
            assert_eq!(Failure::from(Refusal::new(kind, "x")).code, code, "{kind:?}");
            assert_eq!(removal_code(kind), removal, "{kind:?}");
        }
    }

    #[test]
    fn io_errors_read_like_the_kernels_words() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(Failure::io("open /x", &error).to_string(), "open /x: no such file or directory");
    }
}
