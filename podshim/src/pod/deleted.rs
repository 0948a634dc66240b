//! Somebody has deleted the pod's run directory, or some of what is in it (`rm -rf $RUN`): it is made again.
//!
//! What runs is not hurt by that, and neither is what we know of it. We take the lock anew, write the records again, wait
//! for the monitors, who do the same for theirs, and begin anew with what is there then, as after an upgrade. Mounts below
//! the directory are lost: namespaces and /dev/shm are taken from a member, so a pod of which nothing runs goes down.

use std::{
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use nix::sys::stat::fstat;
use proto::{
    deletions::Deletions,
    failpoint::{self, Point},
    layout::sockets,
    refusal::Result,
};
use tokio::time::{Instant, sleep};

use super::{Pod, files, intent, sources};
use crate::{
    index,
    namespace::{pin, tree},
    network,
};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the monitors may take to make their directories again.
const MONITORS: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

impl Pod {
    /// From now on we are told when something of the directory has been deleted. Our sockets are bound.
    pub fn watch_directory(self: &Arc<Self>, deletions: Option<Deletions>) {
        let Some(mut deletions) = deletions else { return };
        if let Err(error) = deletions.watch(&self.engine.roots.run_pod(&self.id)) {
            tracing::warn!("pod {}: nobody tells when its run directory is deleted: {error}", self.id);
            return;
        }
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(whole) = is_whole(&this).await {
                if whole {
                    deletions.next().await;
                    continue;
                }
                if let Some(pod) = this.upgrade()
                    && let Err(refusal) = pod.make_again().await
                {
                    tracing::warn!("pod {}: its run directory was deleted: {refusal}", pod.id);
                }
                sleep(AGAIN).await;
            }
        });
    }

    /// Whether the lock that we hold is the one that others find.
    fn has_lock(&self) -> bool {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = lock.as_ref().and_then(|lock| fstat(lock.as_fd()).ok()).map(|file| file.st_ino);
        ours.is_some() && ours == self.engine.roots.pod_lock(&self.id).metadata().ok().map(|file| file.ino())
    }

    /// We are about to go, and take the directory with us.
    fn is_leaving(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Makes what is missing and begins anew. Comes back where that cannot be now.
    async fn make_again(&self) -> Result<()> {
        let gate = self.gate.write().await;
        let core = self.core.lock().await;
        if !self.is_at_rest() || self.is_leaving() {
            return Ok(());
        }
        tracing::warn!("pod {}: somebody has deleted its run directory, or some of it", self.id);
        let roots = &self.engine.roots;
        if !self.has_lock() {
            // Whoever has it now has found nothing, and will leave.
            let broken = |error| proto::Refusal::internal("its lock", error);
            let Some(lock) = intent::lock(roots, &self.id).map_err(broken)? else { return Ok(()) };
            self.keep_lock(&lock);
            // Until this process is another program, or ends.
            std::mem::forget(lock);
            failpoint::pass(Point::DeletedLocked);
        }
        let members = index::pod(roots, &self.id).map(|pod| pod.containers).unwrap_or_default();
        if let (Some(state), Some(record)) = (core.state(), &core.record) {
            if !roots.run_pod(&self.id).join("hosts").exists() {
                self.write_files(record, &record.config.network.clone().unwrap_or_default(), state)?;
                for member in members.iter().filter_map(|member| member.record.as_ref().ok()) {
                    // A name that is missing here is asked for in vain, and nothing else.
                    let _ = files::append_once(&roots.run_pod(&self.id).join("hosts"), &files::member(&member.name));
                }
            }
            self.write_core(&core);
            network::note_again(&self.networks, &self.id, &state.networks)?;
            if !roots.pod_state(&self.id).exists() {
                // A full disk: whoever begins anew would begin with nothing.
                return Ok(());
            }
        }
        failpoint::pass(Point::DeletedWritten);
        self.monitors_are_back().await;
        // As somebody else: all of it is read again.
        drop(core);
        drop(gate);
        self.begin_anew().await
    }

    /// Waits until every monitor can be found again.
    async fn monitors_are_back(&self) {
        let end = Instant::now() + MONITORS;
        for (container, process) in self.monitors.processes() {
            let directory = self.engine.roots.run_container(&self.id, &container);
            let found = || {
                let files: [PathBuf; 2] =
                    [directory.join(sockets::MONITOR), self.engine.roots.container_state(&self.id, &container)];
                files.iter().all(|file| file.exists())
            };
            while !found() && process.exists() && Instant::now() < end {
                sleep(LOOK).await;
            }
        }
    }

    /// Where the pod's /dev/shm was lost with its directory, it is taken from a member.
    pub(super) fn share_shm_again(&self, members: &[index::Container]) {
        let run = self.engine.roots.run_pod(&self.id);
        let Some(member) = members.iter().find_map(index::Container::init) else { return };
        if run.join("shm").exists() || pin::open(&self.engine.roots.namespaces(&self.id), pin::Kind::Ipc).is_err() {
            return;
        }
        let shared = tree::clone_from(member.pid, Path::new("/dev/shm"));
        if let Err(error) = shared.and_then(|shm| sources::attach(&shm, &run, "shm")) {
            tracing::warn!("pod {}: its /dev/shm: {error}", self.id);
        }
    }
}

/// Whether everything is there that others find us by; `None` when we are about to go.
async fn is_whole(pod: &Weak<Pod>) -> Option<bool> {
    let pod = pod.upgrade()?;
    let up = pod.core.lock().await.is_up();
    if pod.is_leaving() {
        return None;
    }
    let run = pod.engine.roots.run_pod(&pod.id);
    let sockets = [sockets::SHIM, sockets::SHIM_RAW, sockets::NOTIFY].iter().all(|name| run.join(name).exists());
    Some(pod.has_lock() && sockets && (!up || pod.engine.roots.pod_state(&pod.id).exists()))
}
