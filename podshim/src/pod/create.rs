//! Creating containers: everything is checked before anything is made.

use std::os::fd::OwnedFd;

use proto::{
    Id, Kind, Refusal, Roots,
    layout::JOURNALD,
    record::{ContainerRecord, ImageUse, PodRecord},
    refusal::Result,
    wire::{ContainerConfig, ContainerCreated, CreateContainer, LogConfig, NetworkConfig, PodConfig, mount},
};

use super::{
    Pod,
    record::{claim_container, create_container, create_pod, remove_pod},
    sources::{Opened, assign},
};
use crate::{cgroup, image::Image, network, spec, volume::Volumes};

impl Pod {
    /// Creates a container, and the pod with it where the request brings one; inits or starts it where asked.
    ///
    /// # Errors
    /// In podman's words; nothing is left then, except a container that was created and could not be started, which
    /// stays as podman leaves it (unless `--rm`).
    pub async fn create(&self, request: CreateContainer, sources: Vec<OwnedFd>) -> Result<ContainerCreated> {
        let config = request.config.unwrap_or_default();
        let existing = self.core.lock().await.record.clone();
        // As it was asked for: the check drops the ports that nothing can be done with.
        let asked = request.new_pod.clone();
        let new_pod = match (&existing, request.new_pod) {
            (None, Some(new_pod)) => Some(self.check_new_pod(new_pod)?),
            (None, None) => return Err(Refusal::no_such_pod(&request.pod)),
            (Some(_), _) => None,
        };
        let pod_config = match (&new_pod, &existing) {
            (Some(config), _) => config,
            (None, Some(record)) => &record.config,
            (None, None) => return Err(Refusal::no_such_pod(&request.pod)),
        };
        let warnings = spec::warnings(&config, asked.as_ref().filter(|_| new_pod.is_some()).unwrap_or(pod_config));
        let config = self.check(config, pod_config)?;
        self.check_dependencies(&config)?;
        if !config.init_ctr.is_empty() && self.core.lock().await.is_up() {
            return Err(Refusal::new(Kind::WrongState, "cannot add init-ctr to a running pod"));
        }
        let image = self.images.resolve(&config.image)?;
        let new_pod = new_pod
            .map(|mut new_pod| spec::publish_all(&mut new_pod, Some(&image.config)).map(|()| new_pod))
            .transpose()?;

        let gate = self.gate.read().await;
        if request.replace {
            self.replace(&config.name).await?;
        }
        let made = new_pod.is_some();
        let pod = self.pod_for(new_pod).await?;
        let record = match self.record_container(config, &pod, &image) {
            Ok(record) => record,
            Err(refusal) => {
                if made {
                    self.unmake().await;
                }
                return Err(refusal);
            }
        };
        drop(gate);
        let opened = self.opened(&record, &pod, made, sources);
        let up = if request.start {
            self.start_with(&record.id, opened).await
        } else if request.init {
            self.init_with(&record.id, opened).await
        } else {
            Ok(())
        };
        if let Err(refusal) = up {
            self.clear_up(&record, &pod, made).await;
            return Err(refusal);
        }
        Ok(ContainerCreated { id: record.id.to_string(), name: record.name, pod: self.id.to_string(), warnings })
    }

    fn check_new_pod(&self, config: PodConfig) -> Result<PodConfig> {
        let config = spec::check_pod(config)?;
        // It is started at once: a port that is taken now cannot be had.
        check_host(&self.networks, &config, Ports::Free)?;
        Ok(config)
    }

    fn check(&self, config: ContainerConfig, pod: &PodConfig) -> Result<ContainerConfig> {
        let config = spec::check_container(config, pod)?;
        if let Some(limits) = &config.resources {
            cgroup::check(limits)?;
        }
        self.engine.runtime_path(&config.runtime)?;
        config.log.as_ref().map_or(Ok(()), check_log)?;
        Ok(config)
    }

    /// The pod a new container goes to: the one there is, or one made now.
    async fn pod_for(&self, new_pod: Option<PodConfig>) -> Result<std::sync::Arc<PodRecord>> {
        let mut core = self.core.lock().await;
        if let Some(record) = &core.record {
            return Ok(record.clone());
        }
        let config = new_pod.ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))?;
        let record = std::sync::Arc::new(make_pod(&self.engine.roots, &self.volumes, &self.id, config)?);
        core.record = Some(record.clone());
        Ok(record)
    }

    fn record_container(&self, config: ContainerConfig, pod: &PodRecord, image: &Image) -> Result<ContainerRecord> {
        let roots = &self.engine.roots;
        let id = Id::random().map_err(|error| Refusal::internal("a new id", error))?;
        let name = claim_container(roots, &pod.id, &id, &config.name)?;
        let used = ImageUse { id: image.id.clone(), name: image.name.clone(), digest: image.digest.clone() };
        let merged = spec::merge(id.clone(), name.clone(), config, pod, Some((&image.config, used)));
        let recorded = merged.and_then(|record| {
            create_container(roots, &record)?;
            // After the record, which keeps `volume rm` from taking what was made for it.
            match self.ensure_volumes(&record) {
                Ok(()) => Ok(record),
                Err(refusal) => self.forget(&record).and(Err(refusal)),
            }
        });
        if recorded.is_err() {
            let target = proto::layout::Target::Container { pod: pod.id.clone(), container: id.clone() };
            super::record::release(roots, &name, &target);
            super::record::release(roots, id.as_str(), &target);
        }
        recorded
    }

    fn ensure_volumes(&self, record: &ContainerRecord) -> Result<()> {
        for volume in record.mounts.iter().filter(|mount| mount.kind() == mount::Kind::Volume) {
            self.volumes.ensure(&volume.source, record.anonymous_volumes.contains(&volume.source))?;
        }
        Ok(())
    }

    /// Which opened source belongs to which mount: those of a new pod come first.
    fn opened(&self, record: &ContainerRecord, pod: &PodRecord, new_pod: bool, fds: Vec<OwnedFd>) -> Opened {
        let of_pod = pod.config.mounts.iter().filter(|_| new_pod);
        let driver = record.config.log.as_ref().map_or("", |log| &log.driver);
        let passes_through = matches!(driver, "passthrough" | "passthrough-tty");
        assign(of_pod.chain(&record.config.mounts), passes_through, fds)
    }

    /// `--replace`: whoever has the name now goes. Only of this pod; podctl asks other pods itself.
    async fn replace(&self, name: &str) -> Result<()> {
        let found = self.engine.roots.resolve(name)?;
        if let Some(proto::layout::Target::Container { pod, container }) = found
            && pod == self.id
        {
            self.refuse_needed(&container)?;
            self.remove_member(&container, true).await?;
        }
        Ok(())
    }

    /// After a failed start: what podman would not leave behind goes.
    async fn clear_up(&self, record: &ContainerRecord, pod: &PodRecord, made: bool) {
        let goes = record.config.auto_remove || (made && !pod.config.hidden);
        if goes && let Err(refusal) = self.remove_member(&record.id, true).await {
            tracing::warn!("container {}: {refusal}", record.id);
        }
        if made && !pod.config.hidden {
            self.unmake().await;
        } else {
            self.settle().await;
        }
    }

    /// Removes a pod that was made for a container which could not be.
    async fn unmake(&self) {
        let mut core = self.core.lock().await;
        self.take_down(&mut core).await;
        if let Some(record) = core.record.take()
            && let Err(refusal) = super::record::remove_pod(&self.engine.roots, &record)
        {
            tracing::warn!("pod {}: {refusal}", self.id);
        }
    }
}

/// Records a pod that has passed every check, and makes its volumes. Nothing runs.
///
/// # Errors
/// When a name is taken or the disk refuses; nothing is left then but volumes, which may be somebody else's by now.
pub fn make_pod(roots: &Roots, volumes: &Volumes, id: &Id, config: PodConfig) -> Result<PodRecord> {
    let record = create_pod(roots, id, config)?;
    let named = record.config.mounts.iter().filter(|mount| mount.kind() == mount::Kind::Volume);
    for volume in named {
        if let Err(refusal) = volumes.ensure(&volume.source, spec::is_anonymous(&volume.source)) {
            remove_pod(roots, &record)?;
            return Err(refusal);
        }
    }
    Ok(record)
}

/// Whether a pod's ports must be free when it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The pod is started at once.
    Free,
    /// They are asked for when they are bound: two pods may take turns at one.
    Later,
}

/// What can only be checked against this machine, before a pod is made.
///
/// # Errors
/// Naming the flag.
pub fn check_host(networks: &network::Networks, config: &PodConfig, ports: Ports) -> Result<()> {
    if let Some(limits) = &config.resources {
        cgroup::check(limits)?;
    }
    if let Some(network) = &config.network {
        match ports {
            Ports::Free => network::check(networks, network)?,
            Ports::Later => network::check(networks, &NetworkConfig { ports: Vec::new(), ..network.clone() })?,
        }
    }
    if !config.name.is_empty() && !proto::name::is_valid(&config.name) {
        return Err(Refusal::new(Kind::Invalid, proto::name::RULE).about(&config.name));
    }
    Ok(())
}

/// Refuses what can be no log before anything is made; the monitor looks again when it opens it.
fn check_log(log: &LogConfig) -> Result<()> {
    let path = &log.path;
    if log.driver == "journald" && !std::path::Path::new(JOURNALD).exists() {
        return Err(Refusal::new(
            Kind::NotSupported,
            format!("--log-driver journald: there is no journald on this machine ({JOURNALD}): use k8s-file"),
        ));
    }
    if path.is_empty() {
        return Ok(());
    }
    let refuse = |words: &str| Err(Refusal::invalid(format!("--log-opt path={}: {words}", spec::quotable(path))));
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => refuse("it is no regular file: give the path of one, or one that is not there yet"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = std::path::Path::new(path).parent().is_some_and(std::path::Path::is_dir);
            if directory { Ok(()) } else { refuse("its directory does not exist: make it first") }
        }
        Err(error) => refuse(&error.to_string()),
    }
}
