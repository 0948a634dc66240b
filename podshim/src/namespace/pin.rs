//! Making the namespaces that a pod's members share, and pinning them as files in the engine's mount namespace.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// A kind of namespace that members may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network.
    Net,
    /// IPC.
    Ipc,
    /// Host name.
    Uts,
    /// Processes.
    Pid,
    /// Control groups.
    Cgroup,
}

impl Kind {
    /// Its name in `/proc/PID/ns`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Net => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Pid => "pid",
            Kind::Cgroup => "cgroup",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Kind::Net => CloneFlags::CLONE_NEWNET,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        }
    }
}

/// Where `kind` is pinned in `dir`.
pub fn path(dir: &Path, kind: Kind) -> PathBuf {
    dir.join(kind.as_str())
}

/// Makes new namespaces of `kinds` (not PID) and pins them in `dir`. The calling thread is back in its own afterwards.
///
/// # Errors
/// Those of unshare(2) and mount(2); nothing stays pinned then.
pub fn make(dir: &Path, kinds: &[Kind], hostname: &str) -> io::Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let own: Vec<(Kind, OwnedFd)> = kinds
        .iter()
        .map(|kind| Ok((*kind, File::open(format!("/proc/thread-self/ns/{}", kind.as_str()))?.into())))
        .collect::<io::Result<_>>()?;
    unshare(kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag()))?;
    let result = (|| {
        if kinds.contains(&Kind::Uts) {
            nix::unistd::sethostname(hostname)?;
        }
        for kind in kinds {
            pin(Path::new(&format!("/proc/thread-self/ns/{}", kind.as_str())), dir, *kind)?;
        }
        Ok(())
    })();
    for (kind, namespace) in &own {
        if let Err(error) = setns(namespace.as_fd(), kind.flag()) {
            // A shim that cannot come home would do everything else in the wrong namespace.
            tracing::error!("cannot return to my own {} namespace: {error}", kind.as_str());
            std::process::abort();
        }
    }
    if result.is_err() {
        unpin(dir);
    }
    result
}

/// Pins the namespace `source` (a path below /proc) in `dir`.
///
/// # Errors
/// Those of open(2) and mount(2).
pub fn pin(source: &Path, dir: &Path, kind: Kind) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let target = path(dir, kind);
    File::create(&target)?;
    mount(Some(source), &target, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    Ok(())
}

/// Lets go of everything pinned in `dir`. The namespaces end with their last process.
pub fn unpin(dir: &Path) {
    for kind in [Kind::Net, Kind::Ipc, Kind::Uts, Kind::Pid, Kind::Cgroup] {
        let_go(dir, kind);
    }
}

/// The same for one of them.
pub fn let_go(dir: &Path, kind: Kind) {
    let path = path(dir, kind);
    // Neither pinned nor there is as good as unpinned.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

/// Opens a pinned namespace.
///
/// # Errors
/// `NotFound` where nothing is pinned.
pub fn open(dir: &Path, kind: Kind) -> io::Result<OwnedFd> {
    Ok(File::open(path(dir, kind))?.into())
}
