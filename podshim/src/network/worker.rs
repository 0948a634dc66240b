//! Where the work on a network is done: on a thread of its own.
//!
//! The kernel does the work inside the calls, and the shim's loop goes on meanwhile. A thread that has entered a pod's
//! network namespace never comes back from there: it ends.

use std::{os::fd::AsFd, thread, time::Duration};

use nix::sched::{CloneFlags, setns};
use proto::{Kind, Refusal, Roots, alive::Lock, patience, refusal::Result};

use super::{
    conntrack::{self, Which},
    firewall::Published,
    lease,
    netlink::Socket,
};

/// How long bringing a network up or down may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Threads here call into the kernel and little else.
pub(super) const STACK: usize = 256 << 10;

/// Runs `work` on a thread in this thread's namespaces and waits for it.
pub(super) async fn on_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = move || {
        // Nobody listens any more: the caller has given up on us.
        let _ = sender.send(work());
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(run);
    let thread = thread.map_err(|error| Refusal::internal(what, error))?;
    // Longer than the waits for locks inside.
    let deadline = 4 * patience::at_most(DEADLINE / 4);
    match tokio::time::timeout(deadline, receiver).await {
        Ok(Ok(result)) => {
            // It has said its last word. One that is waited for gives its stack back, any other leaves it to the next.
            let _ended = thread.join();
            result
        }
        Ok(Err(_)) => Err(Refusal::internal(what, "its thread has ended without an answer")),
        Err(_) => {
            Err(Refusal::new(Kind::TimedOut, format!("{what}: no answer of the kernel in {} s", deadline.as_secs())))
        }
    }
}

/// Runs `work` in the network namespace `netns`, on a thread that never comes back from there.
pub(super) fn inside<T: Send>(netns: impl AsFd + Send, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = move || {
        setns(netns, CloneFlags::CLONE_NEWNET)
            .map_err(|error| failed("entering the pod's network namespace", error))?;
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| failed("a thread for the pod's network namespace", error))?;
        thread.join().unwrap_or_else(|_| Err(Refusal::internal("network", "its thread has panicked")))
    })
}

/// The engine failed at `what`.
pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::internal(format_args!("network: {what}"), error)
}

/// Sockets of the host's namespace.
#[derive(Debug)]
pub(super) struct Host {
    /// Links, addresses, routes.
    pub(super) route: Socket,
    /// Rules and flows.
    pub(super) filter: Socket,
}

impl Host {
    /// Opens them in this thread's namespace.
    pub(super) fn open() -> Result<Host> {
        let open = || Ok(Host { route: Socket::route()?, filter: Socket::netfilter()? });
        open().map_err(|error: std::io::Error| failed("opening netlink", error))
    }
}

/// A kernel without conntrack netlink keeps its flows until they time out; nothing else depends on it.
pub(super) fn forget_flows(filter: &mut Socket, published: &[Published], which: Which) {
    if let Err(error) = conntrack::forget(filter, published, which) {
        tracing::warn!(%error, "UDP flows of a published port could not be forgotten");
    }
}

/// Takes the lock of the run root's table.
pub(super) fn lock_rules(roots: &Roots) -> Result<Lock> {
    lease::lock(&roots.run.join("networks/.lock"))
}
