//! Why something was not done: a value with a kind, a subject and its final words.
//!
//! It travels in the details of a ttrpc status, and podctl turns its kind into an exit code in one place.

use std::fmt;

use prost::Message;

use crate::wire;
pub use crate::wire::refusal::Kind;

const TYPE_URL: &str = "podctl.v1/Refusal";

/// A refusal. `message` is what the user reads after `Error: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Decides the exit code and what a program may do about it.
    pub kind: Kind,
    /// The object it is about; empty where there is none.
    pub subject: String,
    /// The final words, one line.
    pub message: String,
}

/// Result of anything that may be refused.
pub type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    /// A refusal of `kind` without a subject.
    pub fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal { kind, subject: String::new(), message: message.into() }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Invalid, message)
    }

    /// The engine failed at `what`.
    pub fn internal(what: impl fmt::Display, cause: impl fmt::Display) -> Refusal {
        Refusal::new(Kind::Internal, format!("{what}: {cause}"))
    }

    /// Names what it is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Refusal {
        self.subject = subject.into();
        self
    }

    /// podman's words for a pod that does not exist.
    pub fn no_such_pod(name: &str) -> Refusal {
        Refusal::new(Kind::NoSuchPod, format!("no pod with name or ID {name} found: no such pod")).about(name)
    }

    /// podman's words for a container that does not exist.
    pub fn no_such_container(name: &str) -> Refusal {
        Refusal::new(Kind::NoSuchContainer, format!("no container with name or ID \"{name}\" found: no such container"))
            .about(name)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for ttrpc::Error {
    fn from(refusal: Refusal) -> ttrpc::Error {
        let code = match refusal.kind {
            Kind::Invalid => ttrpc::Code::INVALID_ARGUMENT,
            Kind::NoSuchPod
            | Kind::NoSuchContainer
            | Kind::NoSuchImage
            | Kind::NoSuchVolume
            | Kind::NoSuchNetwork
            | Kind::NoSuchSecret
            | Kind::ImageMissing
            | Kind::Gone => ttrpc::Code::NOT_FOUND,
            Kind::NameInUse => ttrpc::Code::ALREADY_EXISTS,
            Kind::InUse | Kind::WrongState | Kind::NeedsContainer | Kind::NeedsLog => ttrpc::Code::FAILED_PRECONDITION,
            Kind::TimedOut => ttrpc::Code::DEADLINE_EXCEEDED,
            Kind::NotSupported => ttrpc::Code::UNIMPLEMENTED,
            Kind::Internal | Kind::CommandNotFound | Kind::CommandNotExecutable => ttrpc::Code::INTERNAL,
        };
        let mut status = ttrpc::get_status(code, refusal.message.clone());
        let detail = wire::Refusal { kind: refusal.kind.into(), subject: refusal.subject, message: refusal.message };
        status.details.push(ttrpc::proto::Any { type_url: TYPE_URL.to_owned(), value: detail.encode_to_vec() });
        ttrpc::Error::RpcStatus(status)
    }
}

impl From<ttrpc::Error> for Refusal {
    fn from(error: ttrpc::Error) -> Refusal {
        match error {
            ttrpc::Error::RpcStatus(status) => status
                .details
                .iter()
                .filter(|any| any.type_url == TYPE_URL)
                .find_map(|any| wire::Refusal::decode(any.value.as_slice()).ok())
                .map(|detail| Refusal { kind: detail.kind(), subject: detail.subject, message: detail.message })
                .unwrap_or_else(|| {
                    let kind = match status.code() {
                        ttrpc::Code::DEADLINE_EXCEEDED => Kind::TimedOut,
                        ttrpc::Code::UNIMPLEMENTED => Kind::NotSupported,
                        _ => Kind::Internal,
                    };
                    Refusal::new(kind, status.message)
                }),
            other => Refusal::new(
                Kind::Internal,
                format!("a part of the engine went away before it answered ({other}): try again"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusal = Refusal::no_such_pod("web");
        let back = Refusal::from(ttrpc::Error::from(refusal.clone()));
        assert_eq!(back, refusal);
    }

    #[test]
    fn a_foreign_status_keeps_its_words() {
        let status = ttrpc::get_status(ttrpc::Code::DEADLINE_EXCEEDED, "slow");
        let refusal = Refusal::from(ttrpc::Error::RpcStatus(status));
        assert_eq!((refusal.kind, refusal.message.as_str()), (Kind::TimedOut, "slow"));
    }
}
