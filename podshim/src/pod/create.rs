//! Creating containers: everything is checked before anything is made.

use std::os::fd::{AsRawFd, OwnedFd};

use proto::{
    Id, Kind, Refusal, Roots, event,
    failpoint::{self, Point},
    layout::{JOURNALD, Target},
    record::{ContainerRecord, ImageUse, PodRecord},
    refusal::Result,
    wire::{ContainerConfig, ContainerCreated, CreateContainer, LogConfig, Mount, NetworkConfig, PodConfig, mount},
};

use super::{
    Pod,
    dependents::{self, add_volumes, hold, name_of, needed, release},
    record::{claim_container, create_container, create_pod, remove_pod},
    sources::{Brought, Opened, ROOT, assign},
};
use crate::{
    bundle, cgroup,
    image::{self, Image},
    network, spec,
    volume::Volumes,
};

impl Pod {
    /// Creates a container, and the pod with it where the request brings one; inits or starts it where asked.
    ///
    /// # Errors
    /// In podman's words; nothing is left then, except a container that was created and could not be started, which
    /// stays as podman leaves it (unless `--rm`).
    pub async fn create(
        &self,
        request: CreateContainer,
        sources: Vec<OwnedFd>,
        log: Option<OwnedFd>,
    ) -> Result<ContainerCreated> {
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
        let mut config = self.check(config, pod_config)?;
        config.log.as_ref().map_or(Ok(()), |config| check_log(config, log.as_ref()))?;
        self.check_dependencies(&config, pod_config)?;
        if !config.init_ctr.is_empty() && self.core.lock().await.is_up() {
            return Err(Refusal::new(Kind::WrongState, "cannot add init-ctr to a running pod"));
        }
        self.check_secrets(&config.secrets)?;
        add_volumes(&self.engine.roots, &config.volumes_from, &mut config.mounts)?;
        for mount in config.mounts.iter().filter(|mount| mount.kind() == mount::Kind::Image) {
            self.images.resolve(&mount.source).map_err(|refusal| Refusal {
                kind: Kind::NoSuchImage,
                message: format!("--mount type=image,source={}: pull it first", refusal.message),
                ..refusal
            })?;
        }
        check_health_log(&config)?;
        super::record::refuse_taken(&self.engine.roots, &config.name, &self.id, request.replace)?;
        let image = match config.rootfs.as_str() {
            "" => Some(self.image_for(&config, request.image_pulled)?),
            _ => None,
        };
        // A root file system of the user's own has no check, but options may ask for one.
        spec::merge_health(&mut config, image.as_ref().and_then(|image| image.healthcheck.as_ref()))?;
        if request.start || request.init {
            self.elsewhere(&config.name, &config, &request.met).await?;
        }
        let new_pod = new_pod
            .map(|mut new_pod| {
                spec::publish_all(&mut new_pod, image.as_ref().map(|image| &image.config)).map(|()| new_pod)
            })
            .transpose()?;

        let gate = self.gate.read().await;
        let intent = self.intents.begin();
        if request.replace {
            self.replace(&config.name).await?;
        }
        let made = new_pod.is_some();
        let pod = self.pod_for(new_pod).await?;
        let record = match self.record_container(config, &pod, image.as_ref()) {
            Ok(record) => record,
            Err(refusal) => {
                if made {
                    self.unmake().await;
                }
                return Err(refusal);
            }
        };
        drop(gate);
        drop(intent);
        self.born();
        self.note("create", &record);
        let mut opened = self.opened(&record, &pod, made, sources);
        opened.log = log;
        failpoint::pass(Point::MemberMade);
        let brought = Brought { opened, notify_socket: request.notify_socket, met: Some(request.met), log_asked: true };
        let up = if request.start {
            self.start_with(&record.id, brought).await
        } else if request.init {
            self.init_with(&record.id, brought).await
        } else {
            Ok(())
        };
        if let Err(refusal) = up {
            failpoint::pass(Point::MemberFailed);
            self.clear_up(&record, &pod, made).await;
            // What it needs has ended within a moment: asked again, there would be two of it.
            let kind = if refusal.kind == Kind::NeedsContainer { Kind::WrongState } else { refusal.kind };
            return Err(Refusal { kind, ..refusal });
        }
        Ok(ContainerCreated { id: record.id.to_string(), name: record.name, pod: self.id.to_string(), warnings })
    }

    /// The image of a new container. Everything that needs none has been said by now: only then is it worth fetching one,
    /// which `pulled` says the caller has done as `--pull` asks.
    fn image_for(&self, config: &ContainerConfig, pulled: bool) -> Result<Image> {
        if !pulled && matches!(config.pull.as_str(), "always" | "newer") {
            return Err(image::missing(&config.image));
        }
        // What was pulled for it is what there is, whatever platform it says it is for.
        let platform = if pulled { "" } else { config.platform.as_str() };
        self.images.resolve_for(&config.image, platform)
    }

    fn check_new_pod(&self, config: PodConfig) -> Result<PodConfig> {
        let config = spec::check_pod(config)?;
        // It is started at once: a port that is taken now cannot be had.
        check_host(&self.networks, &self.id, &config, Ports::Free)?;
        Ok(config)
    }

    fn check(&self, config: ContainerConfig, pod: &PodConfig) -> Result<ContainerConfig> {
        let config = spec::check_container(config, pod)?;
        if let Some(limits) = &config.resources {
            cgroup::check(limits)?;
        }
        cgroup::pod_path(&self.id, &config.cgroup_parent)?;
        if config.init && !config.init_path.is_empty() {
            bundle::check_init_path(&config.init_path)?;
        }
        config.device_rules.iter().try_for_each(|rule| bundle::device_rule(rule).map(drop))?;
        self.engine.runtime_path(&config.runtime)?;
        self.check_members(&config, pod)?;
        Ok(config)
    }

    /// A member of a pod shares namespaces with members of the same pod only.
    fn check_members(&self, config: &ContainerConfig, pod: &PodConfig) -> Result<()> {
        if pod.hidden {
            return Ok(());
        }
        let modes = [&config.pid_mode, &config.ipc_mode, &config.uts_mode, &config.cgroupns_mode];
        let network = config.network.as_ref().map(|network| &network.mode);
        for name in modes.into_iter().chain(network).filter_map(|mode| mode.strip_prefix("container:")) {
            match self.engine.roots.resolve(name)? {
                Some(Target::Container { pod, .. } | Target::Infra(pod)) if pod == self.id => {}
                Some(Target::Container { container, .. }) => return Err(spec::not_a_member(&self.id, &container)),
                Some(Target::Infra(pod)) => return Err(spec::not_a_member(&self.id, &pod)),
                _ => return Err(Refusal::no_such_container(name)),
            }
        }
        Ok(())
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

    fn record_container(
        &self,
        config: ContainerConfig,
        pod: &PodRecord,
        image: Option<&Image>,
    ) -> Result<ContainerRecord> {
        let roots = &self.engine.roots;
        let id = Id::random().map_err(|error| Refusal::internal("a new id", error))?;
        failpoint::refuse(Point::MemberPod)?;
        let name = claim_container(roots, &pod.id, &id, &config.name)?;
        failpoint::pass(Point::MemberClaimed);
        let used =
            |image: &Image| ImageUse { id: image.id.clone(), name: image.name.clone(), digest: image.digest.clone() };
        let needs = needed(&config, &pod.config);
        let merged =
            spec::merge(id.clone(), name.clone(), config, pod, image.map(|image| (&image.config, used(image))));
        let recorded = merged.and_then(|record| {
            hold(roots, &needs, &id)?;
            failpoint::refuse(Point::MemberHeld)?;
            create_container(roots, &record)?;
            failpoint::pass(Point::MemberRecorded);
            // After the record, which keeps the image and what is made for it from being removed.
            let kept = image.map_or(Ok(()), |image| self.images.confirm(image));
            let made = kept.and_then(|()| self.ensure_volumes(&record));
            match made.and_then(|()| failpoint::refuse(Point::MemberVolumes)) {
                Ok(()) => Ok(record),
                Err(refusal) => self.forget(&record).and(Err(refusal)),
            }
        });
        if recorded.is_err() {
            release(roots, &needs, &id);
            let target = Target::Container { pod: pod.id.clone(), container: id.clone() };
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
        let rootfs = Mount { destination: ROOT.to_owned(), ..Default::default() };
        let rootfs = Some(&rootfs).filter(|_| !record.config.rootfs.is_empty());
        let driver = record.config.log.as_ref().map_or("", |log| &log.driver);
        let passes_through = matches!(driver, "passthrough" | "passthrough-tty");
        let preserved = usize::try_from(record.config.preserve_fds).unwrap_or(usize::MAX);
        assign(rootfs.into_iter().chain(of_pod).chain(&record.config.mounts), passes_through, preserved, fds)
    }

    /// `--replace`: whoever has the name now goes. Only of this pod; podctl asks other pods itself.
    async fn replace(&self, name: &str) -> Result<()> {
        let found = self.engine.roots.resolve(name)?;
        if let Some(Target::Container { pod, container }) = found
            && pod == self.id
        {
            dependents::check(&self.engine.roots, &self.id, &container, false)?;
            self.remove_member(&container, true).await?;
        }
        Ok(())
    }

    /// After a failed start: what podman would not leave behind goes.
    async fn clear_up(&self, record: &ContainerRecord, pod: &PodRecord, made: bool) {
        let _intent = self.intents.begin();
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
        let Some(record) = core.record.take() else { return };
        match self.forget_pod(&record) {
            Ok(()) => self.note_pod("remove", &record),
            Err(refusal) => tracing::warn!("pod {}: {refusal}", self.id),
        }
    }
}

/// The directory of `--health-log-destination` must be there: nobody would hear of it later.
pub(super) fn check_health_log(config: &ContainerConfig) -> Result<()> {
    let destination = config.health.as_ref().map_or("", |health| health.log_destination.as_str());
    if !destination.starts_with('/') {
        return Ok(());
    }
    match std::fs::metadata(destination) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => {
            let words = format!("HealthCheck Log '{}' destination must be directory", spec::quotable(destination));
            Err(Refusal::invalid(words))
        }
        Err(error) => Err(Refusal::invalid(format!(
            "HealthCheck Log '{}' destination error: {error}: see --health-log-destination",
            spec::quotable(destination)
        ))),
    }
}

/// Records a pod that has passed every check, and makes its volumes. Nothing runs.
///
/// # Errors
/// When a name is taken or the disk refuses; nothing is left then but volumes, which may be somebody else's by now.
pub fn make_pod(roots: &Roots, volumes: &Volumes, id: &Id, mut config: PodConfig) -> Result<PodRecord> {
    add_volumes(roots, &config.volumes_from.clone(), &mut config.mounts)?;
    let record = create_pod(roots, id, config)?;
    let sources: Vec<String> = record.config.volumes_from.iter().map(|source| name_of(source).to_owned()).collect();
    if let Err(refusal) = hold(roots, &sources, record.infra.as_ref().unwrap_or(&record.id)) {
        remove_pod(roots, &record)?;
        return Err(refusal);
    }
    failpoint::pass(Point::PodHeld);
    let named = record.config.mounts.iter().filter(|mount| mount.kind() == mount::Kind::Volume);
    for volume in named {
        if let Err(refusal) = volumes.ensure(&volume.source, spec::is_anonymous(&volume.source)) {
            remove_pod(roots, &record)?;
            return Err(refusal);
        }
    }
    failpoint::pass(Point::PodVolumes);
    if !record.config.hidden {
        event::note(roots, &super::events::of_pod("create", &record));
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
pub fn check_host(networks: &network::Networks, id: &Id, config: &PodConfig, ports: Ports) -> Result<()> {
    if let Some(limits) = &config.resources {
        cgroup::check(limits)?;
    }
    if let Some(network) = &config.network {
        match ports {
            Ports::Free => network::check(networks, network)?,
            Ports::Later => network::check(networks, &NetworkConfig { ports: Vec::new(), ..network.clone() })?,
        }
    }
    cgroup::pod_path(id, &config.cgroup_parent)?;
    if !config.name.is_empty() && !proto::name::is_valid(&config.name) {
        return Err(Refusal::new(Kind::Invalid, proto::name::rule(&config.name)).about(&config.name));
    }
    Ok(())
}

/// Refuses what can be no log before anything is made; the monitor looks again when it opens it.
pub(super) fn check_log(log: &LogConfig, directory: Option<&OwnedFd>) -> Result<()> {
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
    let name = std::path::Path::new(path).file_name().unwrap_or_default();
    // As the caller sees it, where that is known.
    let seen =
        directory.map(|directory| std::path::Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name));
    match std::fs::symlink_metadata(seen.as_deref().unwrap_or(std::path::Path::new(path))) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => refuse("it is no regular file: give the path of one, or one that is not there yet"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory.is_some() => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = std::path::Path::new(path).parent().is_some_and(std::path::Path::is_dir);
            if directory { Ok(()) } else { refuse("its directory does not exist: make it first") }
        }
        Err(error) => refuse(&error.to_string()),
    }
}
