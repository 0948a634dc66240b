//! The edge: ttrpc services and the raw socket. A handler parses, calls, translates; it decides nothing.

pub mod containers;
pub mod images;
pub mod networks;
pub mod pods;
pub mod raw;
pub mod secrets;
pub mod system;
pub mod volumes;

use std::future::Future;

use proto::{
    Id, Refusal,
    refusal::Result,
    wire::{Document, HelloReply, HelloRequest},
};

/// Answer to a client's or a newer program's greeting.
pub(crate) fn hello(_: &HelloRequest) -> HelloReply {
    let (protocol, version) = proto::greeting();
    HelloReply { protocol, version, pid: std::process::id() }
}

/// Runs `work` to its end even if the client goes away: ttrpc drops a handler whose connection is lost.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> ttrpc::Result<T> {
    let done = tokio::spawn(work).await.unwrap_or_else(|error| Err(Refusal::internal("the request broke off", error)));
    done.map_err(ttrpc::Error::from)
}

/// The id in a request; podctl sends full ids.
pub(crate) fn id(text: &str) -> Result<Id> {
    text.parse().map_err(|_| Refusal::invalid(format!("{text:?} is not a full id")))
}

/// A document of `value`.
pub(crate) fn json(value: &serde_json::Value) -> Document {
    Document { json: value.to_string().into_bytes() }
}
