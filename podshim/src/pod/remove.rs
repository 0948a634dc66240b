//! Removing members.

use std::sync::Arc;

use proto::{
    Id, Kind, Refusal, record::ContainerRecord, refusal::Result, state::ContainerState, wire::ContainerResult,
};

use super::{Pod, dependents, member::result, record};
use crate::index;

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
            Err(refusal) if refusal.kind == Kind::NoSuchContainer => return Err(refusal),
            Err(refusal) if !force => return Err(refusal),
            Err(_) => {
                let removed = self.remove_broken(id).await?;
                // A hidden pod of one goes with it.
                self.settle().await;
                return Ok(removed);
            }
        };
        dependents::check(&self.engine.roots, &self.id, id, false)?;
        self.stop(id, timeout_ms).await.or_else(|refusal| gone_is_fine(refusal, &record))?;
        self.remove_member(id, force).await?;
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
                if let Ok(client) = monitor.client() {
                    let stop = proto::wire::MonitorStop { timeout_ms: 0, ..Default::default() };
                    // A container that was created and not started is given up instead.
                    if found.state == ContainerState::Initialized
                        || client.stop(proto::serve::deadline(std::time::Duration::from_secs(15)), &stop).await.is_err()
                    {
                        let _ = client
                            .shutdown(
                                proto::serve::deadline(std::time::Duration::from_secs(15)),
                                &proto::wire::Empty {},
                            )
                            .await;
                    }
                }
            }
            monitor.ended().await;
        }
        self.tear_down(&record);
        self.forget(&record)
    }

    /// Removes the record, the names and the anonymous volumes of a member. The caller has its turn.
    pub(super) fn forget(&self, container: &ContainerRecord) -> Result<()> {
        let roots = &self.engine.roots;
        record::remove_container(roots, &self.id, &container.id, &container.name)?;
        self.note("remove", container);
        if let Some(pod) = index::pod(roots, &self.id).and_then(|pod| pod.record.ok()) {
            dependents::release(roots, &dependents::needed(&container.config, &pod.config), &container.id);
        }
        for path in [&container.config.pidfile, &container.config.conmon_pidfile] {
            if !path.is_empty() {
                // It says nothing any more; somebody else may have removed it.
                let _ = std::fs::remove_file(path);
            }
        }
        for volume in &container.anonymous_volumes {
            // Used by another container by its name: it stays.
            let _ = self.volumes.remove(volume);
        }
        if let Some(image) = container.image.as_ref().filter(|_| container.config.rmi) {
            self.remove_image(&image.id);
        }
        Ok(())
    }

    /// `--rmi`: the image goes with the container, unless somebody else has it.
    fn remove_image(&self, id: &str) {
        let removed = self.images.remove(&[id.to_owned()], false, false, true);
        if let Some(error) = removed.map_or_else(|refusal| Some(refusal.message), |done| done.errors.into_iter().next())
        {
            tracing::info!("pod {}: --rmi: {error}", self.id);
        }
    }

    /// Removes a member whose record cannot be read: what is known of it is its id.
    async fn remove_broken(&self, id: &Id) -> Result<ContainerResult> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        if let Some(monitor) = self.monitors.get(id)
            && let Ok(client) = monitor.client()
        {
            let stop = proto::wire::MonitorStop { timeout_ms: 0, ..Default::default() };
            let _ = client.stop(proto::serve::deadline(std::time::Duration::from_secs(15)), &stop).await;
            monitor.ended().await;
        }
        let roots = &self.engine.roots;
        let target = proto::layout::Target::Container { pod: self.id.clone(), container: id.clone() };
        for entry in std::fs::read_dir(roots.names()).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str() {
                record::release(roots, name, &target);
            }
        }
        record::remove_container(roots, &self.id, id, id.as_str())?;
        Ok(ContainerResult { id: id.to_string(), name: id.to_string(), ..Default::default() })
    }
}

fn gone_is_fine(refusal: Refusal, record: &ContainerRecord) -> Result<ContainerResult> {
    if refusal.kind == Kind::NoSuchContainer { Ok(result(record)) } else { Err(refusal) }
}
