//! Monitors: starting podmon, speaking to it, and keeping its descriptors while it is away.
//!
//! podshim is to podmon what systemd is to a service: listening sockets and stored descriptors go in by `LISTEN_FDS`, and
//! `FDSTORE=1` comes back on `NOTIFY_SOCKET` (sd_notify(3), systemd's FILE_DESCRIPTOR_STORE). So a monitor that is killed
//! gets a successor that goes on with the same pipes, terminal and log. Nothing else in podshim knows that podmon exists.

mod notify;
mod orphan;
mod reap;
mod supervisor;

pub use supervisor::{Ended, Monitor, Supervisor};
