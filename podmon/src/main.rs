//! podmon: the monitor of one container. It holds its standard streams, its log and its exit code.
//!
//! ```text
//! main          command line → config → daemon → the loop
//! monitor       the loop; nothing else decides        state     what follows from what, pure
//! service, raw  the edges: ttrpc, and the raw socket  notify    what the supervisor is told and keeps for us
//! stdio, log    FIFOs or terminal → journal → log     attach    clients that see it live
//! exec          commands in the container             runtime   the OCI runtime's command line
//! health        checks of the container's health      readiness what the container says of itself, passed on
//! reap          the one reaper                        cgroup    freezer, out-of-memory kills
//! record        state.json, exit.json                 heir      another supervisor when ours dies
//! sys           every unsafe block
//! ```
//! It is started by a supervisor (podshim, or systemd) with its sockets and the descriptors that an earlier monitor of the
//! container has stored, in the container's run directory. It ends when the container has ended and its exit is on disk.

mod attach;
mod cgroup;
mod config;
mod daemon;
mod exec;
#[cfg(test)]
mod fuzz;
mod health;
mod heir;
mod log;
mod monitor;
mod notify;
mod raw;
mod readiness;
mod reap;
mod record;
mod runtime;
mod service;
mod signal;
mod state;
mod stdio;
mod sys;

use std::{env, io::Write, process::ExitCode};

use anyhow::Context;

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    if matches!(args.as_slice(), [flag] if flag == "--version") {
        // A closed stdout is no reason to fail.
        let _ = writeln!(std::io::stdout(), "podmon version {}", proto::VERSION);
        return ExitCode::SUCCESS;
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Until we have settled there may be somebody who reads it.
            let _ = writeln!(std::io::stderr(), "podmon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<std::ffi::OsString>) -> anyhow::Result<()> {
    let passed = config::passed();
    proto::failpoint::arm();
    daemon::sanitise(passed.end);
    let config = config::load(args.into_iter(), passed)?;
    daemon::settle(&config.directory).with_context(|| config.directory.display().to_string())?;
    daemon::abort_on_panic();
    let runtime = proto::serve::runtime()?;
    // Boxed: by value it would be handed from frame to frame, and lie in the stack several times for good. A task: what the
    // runtime blocks on is asked whenever any task is, and the loop has nothing to do with each line of the output.
    let monitor = Box::pin(monitor::run(config));
    runtime.block_on(runtime.spawn_local(monitor))?
}
