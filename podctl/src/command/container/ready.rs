//! A container that says when it is ready: `--sdnotify`, where this program was given a NOTIFY_SOCKET.

use proto::{Id, Kind, Refusal, wire::Empty};
use ttrpc::context::Context;

use super::records;
use crate::{command::row, dial::Engine, error::Failure};

/// Our NOTIFY_SOCKET, for the monitor to tell; empty where there is none.
pub fn notify_socket() -> String {
    std::env::var("NOTIFY_SOCKET").unwrap_or_default()
}

/// Waits until a container that was started is ready, where somebody is to hear of it. Only the container knows how long
/// that takes.
///
/// # Errors
/// When it ends before.
pub async fn wait(engine: &Engine, pod: &Id, id: &Id) -> Result<(), Failure> {
    if notify_socket().is_empty() {
        return Ok(());
    }
    while let Some(monitor) = engine.monitor(pod, id).await? {
        match monitor.client().wait_ready(Context::default(), &Empty {}).await {
            Ok(_) => return Ok(()),
            Err(refused @ ttrpc::Error::RpcStatus(_)) => return Err(refused.into()),
            // It went as we asked: with its container, or a successor answers.
            Err(_) => {}
        }
    }
    // The container has ended already. Whether it was ready depends on who was to say so.
    let record = records(engine, id).await?.unwrap_or_default();
    let mode = record.get("Config").map_or("", |config| row::text(config, "sdNotifyMode"));
    if matches!(mode, "conmon" | "ignore") {
        return Ok(());
    }
    let words = format!("container {id}: container stopped running before READY message was received: see --sdnotify");
    Err(Refusal::new(Kind::WrongState, words).into())
}
