//! The engine's mount namespace: entered before this process has threads.

use std::{fs::File, io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use proto::alive::Process;

/// Makes a new mount namespace and enters it. Mounts of the host still arrive here, ours never get there.
///
/// # Errors
/// Those of unshare(2) and mount(2).
pub fn enter_new() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Where / is shared (every systemd host) this makes us its slave; where it is private it stays private.
    mount(None::<&Path>, "/", None::<&Path>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&Path>)?;
    Ok(())
}

/// Enters the engine mount namespace that an earlier shim made and `monitor` still lives in.
///
/// # Errors
/// `ESRCH` when the monitor has gone, else those of setns(2).
pub fn enter_of(monitor: &Process) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", monitor.pid))?;
    // Checked after opening: the handle is then of that very process.
    if !monitor.exists() {
        return Err(nix::errno::Errno::ESRCH.into());
    }
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    Ok(())
}
