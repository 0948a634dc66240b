//! What the programs of podctl must agree on.
//!
//! | module | agreed between | what |
//! |---|---|---|
//! | [`wire`] | all | messages and services (`wire/*.proto`), one service per noun |
//! | [`refusal`] | all | why something was not done: kind, subject, final words ⇄ ttrpc status |
//! | [`layout`] | all | every path under `$STATE` and `$RUN` |
//! | [`record`] | podshim, podmon | the JSON files at those paths; written whole, read without a lock |
//! | [`state`] | podshim, podctl | container states, pod status as one pure function |
//! | [`id`], [`name`] | all | 64-hex ids, names |
//! | [`event`] | podshim, podmon | the append-only file of what happened, and its copy in the journal |
//! | [`journal`] | podshim, podmon | entries of systemd's journal |
//! | [`exit`] | all | exit codes of the command line |
//! | [`failpoint`] | all | where tests make a program fail |
//! | [`alive`] | podshim, podmon | a process as (pid, start time, boot id); an flock as the sign of life |
//! | [`patience`] | all | how long is waited for others before they count as hung, and who that is |
//! | [`socket`] | all | unix sockets whose path is longer than sun_path; peer credentials |
//! | [`spawn`] | podshim, podmon | how a program of ours is started: signals at their defaults, descriptors by number |
//! | [`memory`] | all | how little a program that stays keeps while it sleeps |
//! | [`signals`] | podshim, podctl | signals as they come |
//! | [`raw`] | all | the SEQPACKET socket beside ttrpc: fds under a token, attach |
//! | [`frame`] | podmon, podctl | the frames of an attach session |
//! | [`log_line`], [`json_line`] | podmon, podshim | the CRI log format and Docker's: one encoder, one decoder |
//!
//! Nothing of ours is below this crate, and it does no I/O but reading and writing what it defines.

pub mod alive;
pub mod deletions;
pub mod event;
pub mod exit;
pub mod failpoint;
pub mod frame;
pub mod human;
pub mod id;
pub mod journal;
pub mod json_line;
pub mod layout;
pub mod log_line;
pub mod memory;
pub mod name;
pub mod patience;
pub mod raw;
pub mod record;
pub mod refusal;
pub mod restart;
pub mod serve;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod state;
pub mod time;
pub mod ulimit;

/// Messages and services generated from `wire/*.proto`.
#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, unsafe_code, rustdoc::all, unused)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/podctl.v1.rs"));
}

pub use exit::{ENGINE_ERROR, NOT_EXECUTABLE, NOT_FOUND};
pub use id::Id;
pub use layout::Roots;
pub use refusal::{Kind, Refusal};

/// Version of the protocol between the programs. Raised when an older peer could misunderstand a newer one; fields are
/// added without raising it.
pub const PROTOCOL: u32 = 1;

/// Version of the programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The protocol and version that this program greets with, or a test's stand-in from `PODCTL_GREETING` (`0 0.0.1`).
pub fn greeting() -> (u32, String) {
    let stand_in = std::env::var("PODCTL_GREETING").ok();
    let parts = stand_in.as_deref().and_then(|text| text.split_once(' '));
    match parts.and_then(|(protocol, version)| Some((protocol.parse().ok()?, version.to_owned()))) {
        Some(greeting) => greeting,
        None => (PROTOCOL, VERSION.to_owned()),
    }
}
