//! Removing members.

use std::{io::Read, path::Path, sync::Arc, time::Duration};

use proto::{
    Id, Kind, Refusal, Roots,
    failpoint::{self, Point},
    layout::Target,
    patience,
    record::{ContainerRecord, PodRecord},
    refusal::Result,
    state::ContainerState,
    wire::ContainerResult,
};

use super::{
    Pod, dependents, files,
    member::{is_new, result},
    record, sources,
    stop::RECORDED,
};
use crate::{cgroup, image, network, rootfs, volume::Volumes};

/// How long a monitor may take to end its container.
const ANSWER: Duration = Duration::from_secs(15);

/// What `rm` answers for a container that is up (podman's words).
fn refuse_running(record: &ContainerRecord, state: ContainerState) -> Refusal {
    Refusal::new(
        Kind::WrongState,
        format!(
            "cannot remove container {} as it is {state} - running or paused containers cannot be removed without force: container state improper",
            record.id
        ),
    )
    .about(&record.name)
}

impl Pod {
    /// Removes a member; with `force` it is stopped first. The hidden pod of one goes with it.
    ///
    /// # Errors
    /// [`Kind::WrongState`] when it is up and `force` is not given.
    pub async fn remove(self: &Arc<Self>, id: &Id, force: bool, timeout_ms: Option<i64>) -> Result<ContainerResult> {
        let record = match self.container(id) {
            Ok((record, found)) => {
                if matches!(found.state, ContainerState::Running | ContainerState::Paused | ContainerState::Stopping)
                    && !force
                {
                    return Err(refuse_running(&record, found.state));
                }
                record
            }
            Err(refusal) if refusal.kind == Kind::NoSuchContainer => {
                if self.intents.is_kept() {
                    // An earlier try may have failed when the record had gone: what that has left goes now.
                    finish_buried(&self.engine.roots, &self.id)?;
                    self.settle().await;
                }
                return Err(refusal);
            }
            Err(refusal) if !force => return Err(refusal),
            Err(_) => {
                let _intent = self.intents.begin();
                let removed = self.remove_broken(id).await;
                self.settle().await;
                return removed;
            }
        };
        dependents::check(&self.engine.roots, &self.id, id, false)?;
        let _intent = self.intents.begin();
        self.stop(id, timeout_ms).await.or_else(|refusal| gone_is_fine(refusal, &record))?;
        failpoint::refuse(Point::RmStopped)?;
        self.remove_member(id, force).await?;
        failpoint::pass(Point::RmForgotten);
        self.settle().await;
        Ok(result(&record))
    }

    /// Removes a member that has ended; the caller settles the pod.
    pub(super) async fn remove_member(&self, id: &Id, force: bool) -> Result<()> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        // Removed meanwhile, by --rm or by somebody else: that is what was asked for.
        let Ok((record, found)) = self.container(id) else { return Ok(()) };
        if let Some(monitor) = self.monitors.get(id) {
            if found.init().is_some() {
                if !force {
                    return Err(refuse_running(&record, found.state));
                }
                let run = self.run_of(&found);
                // A container that was created and not started is given up instead.
                let limit = patience::at_most(ANSWER);
                if found.state == ContainerState::Initialized || monitor.kill(limit).await.is_err() {
                    let _ = monitor.give_up(limit).await;
                }
                // Whoever forgets one that lives can never end it.
                self.make_sure(&record, &run).await?;
            }
            if is_new(&found) {
                self.dismiss(&monitor).await;
            }
            self.monitors.end(&monitor, RECORDED).await?;
        }
        failpoint::refuse(Point::RmTornDown)?;
        self.tear_down(&record);
        self.forget(&record)
    }

    /// Removes the record, the names and the anonymous volumes of a member. The caller has its turn, and has begun an
    /// intent.
    pub(super) fn forget(&self, container: &ContainerRecord) -> Result<()> {
        let roots = &self.engine.roots;
        let removed = record::bury_container(roots, &self.id, &container.id).and_then(|()| {
            self.note("remove", container);
            failpoint::pass(Point::RmRecord);
            finish(roots, container)
        });
        removed.inspect_err(|_| self.intents.keep())
    }

    /// Removes the record and the names of the pod itself, of which nothing is up. As [`Pod::forget`].
    pub(super) fn forget_pod(&self, pod: &PodRecord) -> Result<()> {
        if network::has_left(&self.networks, &self.id)
            && let Err(refusal) = network::take_down_now(&self.networks, &self.id)
        {
            // A start has failed, and its network could not be taken down either.
            tracing::warn!("pod {}: {refusal}", self.id);
            self.intents.keep();
        }
        // What a member has left elsewhere is known by its tombstone alone.
        finish_buried(&self.engine.roots, &self.id)
            .and_then(|()| record::remove_pod(&self.engine.roots, pod))
            .inspect_err(|_| self.intents.keep())
    }

    /// Ends and unmounts what is left of a member of which nothing is known but its id.
    async fn end_remains(&self, id: &Id) -> Result<()> {
        let roots = &self.engine.roots;
        if let Ok(pod) = self.record().await {
            let parent = pod.config.cgroup_parent.as_str();
            let cgroup = cgroup::container_path(&cgroup::pod_path(&self.id, parent)?, id);
            cgroup::kill(&cgroup).and_then(|()| cgroup::remove(&cgroup))?;
        }
        rootfs::unmount(&roots.rootfs(&self.id, id))?;
        sources::release(&roots.run_container(&self.id, id));
        let runtime = roots.runtime().join(id.as_str());
        record::remove_all(&runtime).map_err(|error| Refusal::internal(runtime.display(), error))
    }

    /// Removes a member whose record cannot be read: what is known of it is its id.
    pub(super) async fn remove_broken(&self, id: &Id) -> Result<ContainerResult> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        if let Some(monitor) = self.monitors.get(id) {
            let _ = monitor.kill(ANSWER).await;
            self.monitors.end(&monitor, RECORDED).await?;
        }
        let roots = &self.engine.roots;
        self.end_remains(id).await?;
        let target = proto::layout::Target::Container { pod: self.id.clone(), container: id.clone() };
        for (name, _) in record::names_of(roots, &self.id) {
            record::release(roots, &name, &target);
        }
        record::bury_container(roots, &self.id, id)?;
        let broken = |error: std::io::Error| Refusal::internal(format!("removing container {id}"), error);
        record::remove_all(&roots.run_container(&self.id, id)).map_err(broken)?;
        record::remove_all(&record::container_tombstone(roots, &self.id, id)).map_err(broken)?;
        Ok(ContainerResult { id: id.to_string(), name: id.to_string(), ..Default::default() })
    }
}

/// What is left to do for a container that has been buried: its names, what it left in `$RUN`, who it needed, its
/// anonymous volumes, its image where it was to go with it. Done twice it does no harm.
///
/// # Errors
/// Those of the disk; asked again it goes on.
pub(super) fn finish(roots: &Roots, container: &ContainerRecord) -> Result<()> {
    let (pod, id) = (&container.pod, &container.id);
    let target = Target::Container { pod: pod.clone(), container: id.clone() };
    let broken = |error: std::io::Error| Refusal::internal(format!("removing container {id}"), error);
    record::release(roots, &container.name, &target);
    record::release(roots, id.as_str(), &target);
    failpoint::refuse(Point::RmNames)?;
    // Of a pod that is down it has gone already.
    let _ = files::take_out(&roots.run_pod(pod).join("hosts"), &files::member(&container.name));
    record::remove_all(&roots.run_container(pod, id)).map_err(broken)?;
    if let Ok(pod) = proto::record::read::<PodRecord>(&roots.pod_record(pod)) {
        dependents::release(roots, &dependents::needed(&container.config, &pod.config), id);
    }
    for path in [&container.config.pidfile, &container.config.conmon_pidfile] {
        if !path.is_empty() {
            // It says nothing any more; somebody else may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
    let cidfile = &container.config.cidfile;
    if !cidfile.is_empty() && names(Path::new(cidfile), id) {
        let _ = std::fs::remove_file(cidfile);
    }
    failpoint::pass(Point::RmDependents);
    let volumes = Volumes::open(roots);
    for volume in &container.anonymous_volumes {
        // Used by another container by its name: it stays.
        let _ = volumes.remove(volume);
    }
    failpoint::pass(Point::RmVolumes);
    if let Some(image) = container.image.as_ref().filter(|_| container.config.rmi) {
        // The image goes with the container, unless somebody else has it.
        let removed = image::Store::open(roots).remove(std::slice::from_ref(&image.id), false, false, true);
        let error = removed.map_or_else(|refusal| Some(refusal.message), |done| done.errors.into_iter().next());
        if let Some(error) = error {
            tracing::info!("pod {pod}: --rmi: {error}");
        }
    }
    failpoint::refuse(Point::RmTombstone)?;
    record::remove_all(&record::container_tombstone(roots, pod, id)).map_err(broken)
}

/// Finishes the removal of the members of `pod` that have been buried.
///
/// # Errors
/// As [`finish`].
pub fn finish_buried(roots: &Roots, pod: &Id) -> Result<()> {
    for entry in std::fs::read_dir(roots.containers(pod)).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(record::TOMBSTONE) {
            continue;
        }
        match proto::record::read::<ContainerRecord>(&entry.path().join("container.json")) {
            Ok(record) => finish(roots, &record)?,
            Err(_) => record::remove_all(&entry.path())
                .map_err(|error| Refusal::internal(format!("removing {}", entry.path().display()), error))?,
        }
    }
    Ok(())
}

/// Whether the file at `path` has `id` in it and nothing else: it may be somebody else's by now.
fn names(path: &Path, id: &Id) -> bool {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(128).read_to_string(&mut text));
    read.is_ok() && text.trim_end() == id.as_str()
}

fn gone_is_fine(refusal: Refusal, record: &ContainerRecord) -> Result<ContainerResult> {
    if refusal.kind == Kind::NoSuchContainer { Ok(result(record)) } else { Err(refusal) }
}
