//! The engine's mount namespace: entered before this process has threads.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

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
    hide_stray_controllers()
}

/// Puts `runtime` on a read-only mount, in our view of the machine. crun would otherwise do that for itself in each call
/// and execute itself once more from there, a third of the time of an exec: a container must have no way to write to
/// the program that its processes came from (CVE-2019-5736).
///
/// # Errors
/// Those of mount(2); the runtime then looks after itself.
pub fn guard(runtime: &Path) -> io::Result<()> {
    mount(Some(runtime), runtime, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&Path>, runtime, None::<&Path>, read_only, None::<&Path>)?;
    Ok(())
}

/// Where a hybrid machine keeps its cgroup2 tree (cgroups(7)); a machine with cgroup2 alone has no such directory.
const HYBRID_CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";

/// crun refuses every container of a hybrid machine while any controller (hugetlb, as a rule) is left to the cgroup2
/// tree. Nothing of ours uses such a controller, so that in our view of the machine there is none.
fn hide_stray_controllers() -> io::Result<()> {
    let stray = fs::read_to_string(HYBRID_CONTROLLERS).is_ok_and(|names| !names.trim().is_empty());
    if stray {
        mount(Some("/dev/null"), HYBRID_CONTROLLERS, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    }
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
