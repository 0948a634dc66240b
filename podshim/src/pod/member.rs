//! The steps of one member: init (file system, mounts, bundle, monitor, runtime create), start, pause, signals, end.

use std::{
    collections::HashMap,
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proto::{
    Id, Kind, Refusal, Roots,
    event::Event,
    failpoint::{self, Point},
    record::{self, ContainerRecord, Durability, PodRecord, Readiness, StartRecord},
    refusal::Result,
    serve,
    state::ContainerState,
    wire::{self, ContainerAct, ContainerResult, LogConfig, MonitorClient, MonitorKill},
};

use super::{
    Pod, Starting,
    create::check_log,
    files,
    record::make_dir,
    sources::{self, Brought, Places},
    undo::Undo,
    volumes,
};
use crate::{
    bundle::{self, Namespace, Namespaces},
    cgroup, index,
    monitor::Monitor,
    namespace::pin,
    rootfs::{self, Keep},
    spec::{self, Place, Sharing},
};

/// Deadline of runtime create and what is around it: the monitor has its own, which is shorter.
const CREATE: Duration = Duration::from_secs(75);
/// Deadline of runtime start, likewise.
const START: Duration = Duration::from_secs(40);
/// Deadline of what a monitor does by itself.
const PROMPT: Duration = Duration::from_secs(15);
/// Grace of stop where none was asked for (podman-stop(1)).
const STOP_SECONDS: u32 = 10;

/// Tells who follows the log of a container that it is stopped to be started again, as long as this lives.
#[derive(Debug)]
pub(super) struct Restarting(PathBuf);

impl Restarting {
    pub(super) fn begin(roots: &Roots, pod: &Id, container: &Id) -> Restarting {
        let path = roots.restarting(pod, container);
        // Where the disk refuses it, followers end between the two.
        let _ = std::fs::File::create(&path);
        Restarting(path)
    }
}

impl Drop for Restarting {
    fn drop(&mut self) {
        // A leftover keeps followers for some seconds, and goes with the container.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Pod {
    /// Starts a member. Its bind sources are looked up in the view this shim was started with, `log` is the directory of
    /// its log in the caller's.
    ///
    /// # Errors
    /// When it is paused, when the command cannot be run, when the engine fails; [`Kind::NeedsContainer`] and
    /// [`Kind::NeedsLog`] where the caller has to do something first.
    pub async fn start(&self, act: ContainerAct, id: &Id, log: Option<OwnedFd>) -> Result<ContainerResult> {
        let brought = Brought::with(act, log);
        let (record, found) = self.container(id)?;
        if !found.state.is_alive() {
            check_brought(&record, &brought)?;
        }
        self.start_with(id, brought).await?;
        Ok(result(&record))
    }

    /// Stops a member, where it runs, and starts it.
    ///
    /// # Errors
    /// Like [`Pod::start`]; it has not been stopped where the caller has to do something first.
    pub async fn restart(
        self: &Arc<Self>,
        act: ContainerAct,
        id: &Id,
        timeout_ms: Option<i64>,
        log: Option<OwnedFd>,
    ) -> Result<ContainerResult> {
        let brought = Brought::with(act, log);
        let (record, _) = self.container(id)?;
        check_brought(&record, &brought)?;
        self.elsewhere(&record.name, &record.config, brought.met.as_deref().unwrap_or_default()).await?;
        let _restarting = Restarting::begin(&self.engine.roots, &self.id, id);
        self.stop(id, timeout_ms).await?;
        self.start_with(id, brought).await?;
        self.restarted(id);
        Ok(result(&record))
    }

    /// Brings a member as far as the OCI "created" state, in which clients can attach.
    ///
    /// # Errors
    /// Like start.
    pub async fn init(&self, act: ContainerAct, id: &Id, log: Option<OwnedFd>) -> Result<ContainerResult> {
        let (record, found) = self.container(id)?;
        if act.fresh && found.state.is_alive() {
            return Err(Refusal::new(
                Kind::WrongState,
                format!("container {id} has already been created in runtime: container state improper"),
            ));
        }
        let brought = Brought::with(act, log);
        if !found.state.is_alive() {
            check_brought(&record, &brought)?;
        }
        self.init_with(id, brought).await?;
        Ok(result(&record))
    }

    /// Gives a member another name.
    ///
    /// # Errors
    /// When the name is taken or is none.
    pub async fn rename(&self, id: &Id, name: &str) -> Result<ContainerResult> {
        if !proto::name::is_valid(name) {
            return Err(Refusal::invalid(proto::name::rule(name)).about(name));
        }
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let (mut record, _) = self.container(id)?;
        let roots = &self.engine.roots;
        let target = proto::layout::Target::Container { pod: self.id.clone(), container: id.clone() };
        let _intent = self.intents.begin();
        super::record::claim(roots, name, &target)?;
        failpoint::pass(Point::RenameClaimed);
        let old = std::mem::replace(&mut record.name, name.to_owned());
        if let Err(error) = record::write(&roots.container_record(&self.id, id), &record, Durability::Durable) {
            super::record::release(roots, name, &target);
            return Err(Refusal::internal(format!("renaming container {id}"), error));
        }
        failpoint::pass(Point::RenameRecorded);
        if old != name {
            super::record::release(roots, &old, &target);
            // The old name is not to be there again after a power cut; where that cannot be had, it only may be.
            let _ = fs::File::open(roots.names()).and_then(|names| names.sync_all());
        }
        self.note("rename", &record);
        Ok(result(&record))
    }

    /// Starts a member, and before it the infra and what it needs. One that runs already is fine.
    ///
    /// # Errors
    /// When it is paused, when the command cannot be run, when the engine fails.
    pub(super) async fn start_with(&self, id: &Id, brought: Brought) -> Result<()> {
        self.fulfil(id, &[], brought.met.as_deref()).await?;
        let started = {
            let _gate = self.gate.read().await;
            self.start_inside(id, brought).await
        };
        if started.is_err() {
            // What was brought up for it goes, where nobody else needs it.
            self.settle().await;
        }
        started
    }

    /// [`Pod::start_with`] for who has the gate, and has started what the member needs.
    pub(super) async fn start_inside(&self, id: &Id, brought: Brought) -> Result<()> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let _starting = Starting::new(self);
        let (record, found) = self.container(id)?;
        match found.state {
            ContainerState::Running => return Ok(()),
            ContainerState::Paused => {
                return Err(Refusal::new(
                    Kind::WrongState,
                    format!("cannot start paused container {id}: container state improper"),
                ));
            }
            _ => {}
        }
        let monitor = self.prepare(&record, &found, brought).await?;
        let start = |client: MonitorClient| async move { client.start(serve::deadline(START), &wire::Empty {}).await };
        let started = monitor.ask(start).await;
        if let Err(refusal) = started {
            self.abandon(&record, &monitor).await;
            return Err(refusal);
        }
        failpoint::pass(Point::StartStarted);
        self.note_start(&record).await;
        failpoint::pass(Point::StartNoted);
        self.note("start", &record);
        Ok(())
    }

    /// Brings a member as far as the OCI "created" state, in which clients can attach.
    ///
    /// # Errors
    /// Like start.
    pub(super) async fn init_with(&self, id: &Id, brought: Brought) -> Result<()> {
        self.fulfil(id, &[], brought.met.as_deref()).await?;
        let _gate = self.gate.read().await;
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let _starting = Starting::new(self);
        let (record, found) = self.container(id)?;
        if found.state.is_alive() {
            return Ok(());
        }
        self.prepare(&record, &found, brought).await.map(|_| ())
    }

    /// The steps up to there; the caller has the turn.
    async fn prepare(
        &self,
        record: &ContainerRecord,
        found: &index::Container,
        brought: Brought,
    ) -> Result<Arc<Monitor>> {
        let Brought { mut opened, notify_socket, .. } = brought;
        if let Some(monitor) = self.monitors.get(&record.id) {
            if found.state == ContainerState::Initialized {
                return Ok(monitor);
            }
            if is_new(found) {
                // Started by a shim that was killed before it asked for anything.
                self.dismiss(&monitor).await;
            } else if found.init().is_none() {
                // The last run is over and its monitor about to go: its end is part of this start.
                let _ = tokio::time::timeout(PROMPT, monitor.ended()).await;
            }
        }
        if found.init().is_some() || self.monitors.get(&record.id).is_some() {
            return Err(Refusal::new(
                Kind::WrongState,
                format!(
                    "container {} is still being stopped: wait for it, or kill it: container state improper",
                    record.name
                ),
            ));
        }
        sources::answer(record, &opened).await?;
        self.tear_down(record);
        let pod = self.ensure_up().await?;
        let roots = &self.engine.roots;
        let run = roots.run_container(&pod.id, &record.id);
        let broken = |error: io::Error| Refusal::internal(format!("preparing container {}", record.name), error);
        let mut undo = Undo::default();
        make_dir(&run).map_err(broken)?;
        undo.push({
            let run = run.clone();
            move || drop(fs::remove_dir_all(run))
        });

        failpoint::refuse(Point::StartDir)?;
        let used = record.image.clone().unwrap_or_default();
        let image = if record.image.is_some() { Some(self.images.resolve(&used.id)?) } else { None };
        let dir = roots.container(&pod.id, &record.id);
        let target = roots.rootfs(&pod.id, &record.id);
        let keep = if record.config.auto_remove { Keep::Volatile } else { Keep::Safe };
        match &image {
            Some(image) => rootfs::mount(&image.layers, &dir.join("upper"), &dir.join("work"), &target, keep)?,
            None => sources::root(&mut opened, &record.config.rootfs, &target)?,
        }
        undo.push({
            let target = target.clone();
            move || drop(rootfs::unmount(&target))
        });
        undo.push({
            let run = run.clone();
            move || sources::release(&run)
        });
        failpoint::refuse(Point::StartRootfs)?;
        let mounted = &self.mount_volumes(record, &run).await?;
        let places = Places { volumes: &self.volumes, images: &self.images, run_dir: &run, rootfs: &target, mounted };
        let mut mounts = sources::bind(record, &mut opened, &places)?;
        failpoint::refuse(Point::StartMounts)?;
        let secrets = self.give_secrets(record, &run)?;
        mounts.extend(secrets.mounts);
        // What the runtime is told is not what is recorded.
        let mut told = record.clone();
        told.env.extend(secrets.env);

        let namespaces = self.namespaces(record, &pod)?;
        let shm = self.shm(record, &pod, &run)?;
        let own = self.write_own_files(record, &pod, &namespaces, &run).map_err(broken)?;
        failpoint::refuse(Point::StartFiles)?;
        let cgroup = self.cgroup(record, &pod).await?;
        let hostname = self.hostname_of(record, &pod, &namespaces);
        let readiness = readiness(record, notify_socket);
        let notify = readiness.as_ref().filter(|readiness| readiness.mode == "container");
        let notify = notify.map(|_| roots.notify_directory(&pod.id, &record.id));
        if let Some(directory) = &notify {
            // Whoever the container runs as looks in here.
            fs::DirBuilder::new().mode(0o755).create(directory).map_err(broken)?;
        }
        let written = bundle::write(&bundle::Input {
            record: &told,
            pod: &pod,
            image: image.as_ref().map(|image| &image.config),
            rootfs: &target,
            bundle: &roots.bundle(&pod.id, &record.id),
            namespaces: &namespaces,
            mounts: &mounts,
            hosts: own.hosts.as_deref(),
            resolv_conf: own.resolv_conf.as_deref(),
            hostname_file: own.hostname.as_deref(),
            shm: shm.as_deref(),
            hostname: &hostname,
            cgroup: &cgroup,
            notify: notify.as_deref(),
        })?;
        failpoint::refuse(Point::StartBundle)?;
        let log = opened.log.take().map(|tree| sources::attach(&tree, &run.join(sources::BINDS), "log"));
        let log = log.transpose().map_err(broken)?;
        self.write_start_record(record, &pod, &cgroup, &written, (readiness, log))?;
        failpoint::refuse(Point::StartRecorded)?;
        let monitor = self.monitors.start_with(&record.id, opened.streams)?;
        failpoint::pass(Point::StartMonitor);
        let create = |client: MonitorClient| async move {
            client.create(serve::deadline(CREATE), &wire::MonitorCreate {}).await
        };
        if let Err(refusal) = monitor.ask(create).await {
            self.dismiss(&monitor).await;
            return Err(refusal);
        }
        failpoint::pass(Point::StartCreated);
        undo.forget();
        self.note("init", record);
        Ok(monitor)
    }

    /// Mounts what its volumes mount, beside everything else this shim does.
    async fn mount_volumes(&self, record: &ContainerRecord, run: &Path) -> Result<HashMap<usize, volumes::Mounted>> {
        if !volumes::any(&self.volumes, record) {
            return Ok(HashMap::new());
        }
        let (roots, volumes) = (self.engine.roots.clone(), self.volumes.clone());
        let (record, run) = (record.clone(), run.to_owned());
        let mounted = tokio::task::spawn_blocking(move || volumes::provide(&roots, &volumes, &record, &run)).await;
        mounted.unwrap_or_else(|error| Err(Refusal::internal("mounting volumes", error)))
    }

    fn write_start_record(
        &self,
        record: &ContainerRecord,
        pod: &PodRecord,
        cgroup: &str,
        written: &bundle::Bundle,
        (readiness, log_directory): (Option<Readiness>, Option<PathBuf>),
    ) -> Result<()> {
        let roots = &self.engine.roots;
        let mut log = record.config.log.clone().unwrap_or_default();
        complete_log(&mut log, record, roots.log(&pod.id, &record.id));
        let seconds = record.config.stop_timeout_seconds.unwrap_or(STOP_SECONDS);
        let limits = record.config.resources.clone().unwrap_or_default();
        let start = StartRecord {
            schema: record::SCHEMA,
            id: record.id.clone(),
            pod: pod.id.clone(),
            name: record.name.clone(),
            bundle: roots.bundle(&pod.id, &record.id),
            runtime: self.engine.runtime_path(&record.config.runtime)?,
            runtime_root: roots.runtime(),
            exit_record: roots.exit_record(&pod.id, &record.id),
            state_record: roots.container_state(&pod.id, &record.id),
            log,
            tty: record.config.tty,
            stdin: record.config.interactive,
            stop_signal: record.stop_signal.clone(),
            stop_timeout_ms: i64::from(seconds) * 1000,
            timeout_seconds: record.config.timeout_seconds,
            restart: record.config.restart.clone().unwrap_or_default(),
            detach_keys: record.config.detach_keys.clone(),
            cgroup: cgroup.to_owned(),
            uid: written.uid,
            gid: written.gid,
            log_directory,
            pidfile: record.config.pidfile.clone(),
            conmon_pidfile: record.config.conmon_pidfile.clone(),
            witnessed_exit: None,
            events: roots.events(),
            event: Event::of_container("", record, if pod.config.hidden { "" } else { pod.id.as_str() }),
            health: record.config.health.clone(),
            readiness,
            witnessed_pid: 0,
            limits: cgroup::block_limits(cgroup, &limits)?,
            unmounted: false,
            heir: self.engine.heir(&pod.id).ok(),
        };
        record::write(&roots.start_record(&pod.id, &record.id), &start, Durability::Volatile)
            .map_err(|error| Refusal::internal(format!("preparing container {}", record.name), error))
    }

    /// The cgroup of a member: below the pod's, or below the parent it asks for.
    pub(super) async fn cgroup(&self, record: &ContainerRecord, pod: &PodRecord) -> Result<String> {
        let asked = &record.config.cgroup_parent;
        if !asked.is_empty() {
            let path = cgroup::pod_path(&pod.id, asked)?;
            cgroup::note_parents(&path, &self.engine.roots.run);
            return Ok(cgroup::container_path(&path, &record.id));
        }
        let core = self.core.lock().await;
        match core.state() {
            Some(state) => Ok(cgroup::container_path(&state.cgroup, &record.id)),
            None => Ok(cgroup::container_path(&cgroup::pod_path(&pod.id, &pod.config.cgroup_parent)?, &record.id)),
        }
    }

    /// Which namespaces a member joins.
    fn namespaces(&self, record: &ContainerRecord, pod: &PodRecord) -> Result<Namespaces> {
        let sharing = Sharing::of(&record.config, &pod.config);
        Ok(Namespaces {
            net: self.namespace(&sharing.net, pin::Kind::Net)?,
            ipc: self.namespace(&sharing.ipc, pin::Kind::Ipc)?,
            uts: self.namespace(&sharing.uts, pin::Kind::Uts)?,
            pid: self.namespace(&sharing.pid, pin::Kind::Pid)?,
            cgroup: self.namespace(&sharing.cgroup, pin::Kind::Cgroup)?,
        })
    }

    fn namespace(&self, place: &Place, kind: pin::Kind) -> Result<Namespace> {
        Ok(match place {
            Place::Own => Namespace::Private,
            Place::Pod => Namespace::Path(pin::path(&self.engine.roots.namespaces(&self.id), kind)),
            Place::Host => Namespace::Host,
            Place::Path(path) => Namespace::Path(PathBuf::from(path)),
            Place::Container(name) => Namespace::Path(self.namespace_of(name, kind)?),
        })
    }

    /// /etc/hosts, /etc/resolv.conf and /etc/hostname of a member: the pod's where it shares its network and host name.
    fn write_own_files(
        &self,
        record: &ContainerRecord,
        pod: &PodRecord,
        namespaces: &Namespaces,
        run: &Path,
    ) -> io::Result<OwnFiles> {
        let dir = self.engine.roots.run_pod(&pod.id);
        let network = record.config.network.clone().unwrap_or_default();
        let pod_network = pod.config.network.clone().unwrap_or_default();
        let in_pod = matches!(&namespaces.net, Namespace::Path(path) if path.starts_with(&dir));
        let lender = pod_network.mode.strip_prefix("container:").and_then(|name| self.lender(name));
        let mut files = OwnFiles::default();
        let no_hosts = network.no_hosts || pod_network.no_hosts;
        if let Some(lender) = lender {
            // Who lives in another's network has its names and servers, too.
            let there = |name: &str| Some(lender.join(name)).filter(|path| path.exists());
            (files.hosts, files.resolv_conf) = (there("hosts"), there("resolv.conf"));
        } else if in_pod && !no_hosts {
            let hosts = dir.join("hosts");
            if pod.config.hidden {
                let networks =
                    proto::record::read::<proto::record::PodState>(&self.engine.roots.pod_state(&pod.id))?.networks;
                let hostname = self.hostname_of(record, pod, namespaces);
                let base = files::base(&pod_network, Some(&self.engine.roots.rootfs(&pod.id, &record.id)))?;
                let names = [hostname.as_str(), &record.name];
                files::write(&hosts, &files::hosts(&base, &pod_network, &networks, &names))?;
            } else {
                files::append_once(&hosts, &files::member(&record.name))?;
            }
            files.hosts = Some(hosts);
        } else if !no_hosts && namespaces.net == Namespace::Private {
            let hosts = run.join("hosts");
            let base = files::base(&network, Some(&self.engine.roots.rootfs(&pod.id, &record.id)))?;
            files::write(&hosts, &files::hosts(&base, &network, &[], &[&record.name]))?;
            files.hosts = Some(hosts);
        }
        if in_pod && files.resolv_conf.is_none() && !pod_network.dns_servers.iter().any(|server| server == "none") {
            files.resolv_conf = Some(dir.join("resolv.conf"));
        }
        if !record.config.no_hostname {
            let shared = matches!(&namespaces.uts, Namespace::Path(path) if path.starts_with(&dir));
            files.hostname = Some(if shared {
                dir.join("hostname")
            } else {
                let path = run.join("hostname");
                files::write(&path, &format!("{}\n", self.hostname_of(record, pod, namespaces)))?;
                path
            });
        }
        Ok(files)
    }

    /// Sends a monitor away whose container never ran.
    pub(super) async fn dismiss(&self, monitor: &Monitor) {
        // It has gone by itself: fine.
        let _ = monitor.give_up(PROMPT).await;
        if tokio::time::timeout(PROMPT, monitor.ended()).await.is_err() {
            tracing::error!("container {}: its monitor does not go", monitor.container());
        }
    }

    /// Takes back a member that was created and could not be started.
    async fn abandon(&self, record: &ContainerRecord, monitor: &Monitor) {
        self.dismiss(monitor).await;
        self.tear_down(record);
    }

    /// Unmounts and removes what a run of a member has left in `$RUN`. Nothing of it runs any more.
    pub(super) fn tear_down(&self, record: &ContainerRecord) {
        let roots = &self.engine.roots;
        let run = roots.run_container(&self.id, &record.id);
        self.end_leftover(record);
        if !run.exists() {
            return;
        }
        if let Err(refusal) = rootfs::unmount(&roots.rootfs(&self.id, &record.id)) {
            tracing::warn!("container {}: {refusal}", record.id);
        }
        sources::release(&run);
        if let Err(error) = fs::remove_dir_all(&run)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("container {}: {error}", record.id);
        }
        let parent = &record.config.cgroup_parent;
        if !parent.is_empty()
            && let Err(refusal) = cgroup::pod_path(&self.id, parent).and_then(|path| {
                let removed = cgroup::remove(&path);
                cgroup::remove_parents(&path, &roots.run);
                removed
            })
        {
            tracing::warn!("container {}: {refusal}", record.id);
        }
    }

    /// What the runtime knows of a member although nothing of it runs was left by a monitor that was killed.
    pub(super) fn end_leftover(&self, record: &ContainerRecord) {
        let leftover = self.engine.roots.runtime().join(record.id.as_str());
        if !leftover.exists() {
            return;
        }
        let parent = &record.config.cgroup_parent;
        let killed = cgroup::pod_path(&self.id, parent).and_then(|pod| {
            let path = cgroup::container_path(&pod, &record.id);
            cgroup::kill(&path).and_then(|()| cgroup::remove(&path))
        });
        if let Err(refusal) = killed {
            tracing::warn!("container {}: {refusal}", record.id);
        }
        if let Err(error) = fs::remove_dir_all(&leftover) {
            tracing::warn!("container {}: {error}", record.id);
        }
    }

    /// Pauses a running member.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&self, id: &Id) -> Result<ContainerResult> {
        let (record, found) = self.container(id)?;
        if found.state != ContainerState::Running {
            return Err(Refusal::new(
                Kind::WrongState,
                format!("\"{}\" is not running, can't pause: container state improper", found.state),
            ));
        }
        failpoint::refuse(Point::PauseAsked)?;
        self.monitor(id)?.client()?.pause(serve::deadline(PROMPT), &wire::Empty {}).await.map_err(Refusal::from)?;
        failpoint::pass(Point::PauseDone);
        self.note("pause", &record);
        Ok(result(&record))
    }

    /// Lets a paused member go on.
    ///
    /// # Errors
    /// When it is not paused.
    pub async fn unpause(&self, id: &Id) -> Result<ContainerResult> {
        let (record, found) = self.container(id)?;
        if found.state != ContainerState::Paused {
            return Err(Refusal::new(
                Kind::WrongState,
                format!("\"{}\" is not paused, can't unpause: container state improper", record.id),
            ));
        }
        failpoint::refuse(Point::UnpauseAsked)?;
        self.monitor(id)?.client()?.unpause(serve::deadline(PROMPT), &wire::Empty {}).await.map_err(Refusal::from)?;
        failpoint::pass(Point::UnpauseDone);
        self.note("unpause", &record);
        Ok(result(&record))
    }

    /// Sends a signal to a member.
    ///
    /// # Errors
    /// When it does not run, or there is no such signal.
    pub async fn kill(&self, id: &Id, signal: &str, all: bool) -> Result<ContainerResult> {
        let (record, found) = self.container(id)?;
        if !matches!(found.state, ContainerState::Running | ContainerState::Paused | ContainerState::Stopping) {
            return Err(Refusal::new(
                Kind::WrongState,
                format!(
                    "can only kill running containers. {} is in state {}: container state improper",
                    record.id, found.state
                ),
            ));
        }
        let kill = MonitorKill { signal: signal.to_owned(), all };
        self.monitor(id)?.client()?.kill(serve::deadline(PROMPT), &kill).await.map_err(Refusal::from)?;
        self.note("kill", &record);
        Ok(result(&record))
    }

    /// The monitor of a member that is up.
    pub(super) fn monitor(&self, id: &Id) -> Result<Arc<Monitor>> {
        self.monitors.get(id).ok_or_else(|| {
            Refusal::new(Kind::Gone, format!("container {} has no monitor at this moment: try again", id.short()))
                .about(id.as_str())
        })
    }
}

/// A monitor is there that has been asked for nothing yet.
pub(super) fn is_new(found: &index::Container) -> bool {
    found.monitor.as_ref().is_some_and(|state| state.phase == record::Phase::Created && state.init.is_none())
}

/// The directory of a log is the caller's to open, who does not know that there is one.
fn check_brought(record: &ContainerRecord, brought: &Brought) -> Result<()> {
    let log = record.config.log.clone().unwrap_or_default();
    if !brought.log_asked && !log.path.is_empty() {
        let words = format!("--log-opt path={}: its directory is the caller's to open", spec::quotable(&log.path));
        return Err(Refusal::new(Kind::NeedsLog, words).about(log.path));
    }
    check_log(&log, brought.opened.log.as_ref())
}

/// The answer that names a container.
pub(super) fn result(record: &ContainerRecord) -> ContainerResult {
    ContainerResult { id: record.id.to_string(), name: record.name.clone(), ..Default::default() }
}

#[derive(Default)]
struct OwnFiles {
    hosts: Option<PathBuf>,
    resolv_conf: Option<PathBuf>,
    hostname: Option<PathBuf>,
}

/// Who is to hear that the container is ready, and when it is. A NOTIFY_SOCKET that nobody can send to is none.
fn readiness(record: &ContainerRecord, socket: String) -> Option<Readiness> {
    let mode = match record.config.sdnotify.as_str() {
        "" => "container",
        mode => mode,
    };
    let usable = socket.starts_with(['/', '@']) && !socket.contains('\0');
    (usable && mode != "ignore").then(|| Readiness { mode: mode.to_owned(), socket })
}

fn complete_log(log: &mut LogConfig, record: &ContainerRecord, default: PathBuf) {
    if log.driver.is_empty() {
        "k8s-file".clone_into(&mut log.driver);
    }
    if log.path.is_empty() {
        log.path = default.to_string_lossy().into_owned();
    }
    if let Some(tag) = log.options.get_mut("tag") {
        let image = record.image.as_ref().map_or("", |image| &image.name);
        let values = [record.id.short(), record.id.as_str(), &record.name, image];
        for (name, value) in spec::IN_TAG.into_iter().zip(values) {
            *tag = tag.replace(name, value);
        }
    }
}
