//! The infra of a pod: control group, namespaces, network, ports, files. Up with the first member, down with `pod stop`.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use proto::{
    Id, Refusal,
    alive::{self, Process},
    failpoint::{self, Point},
    record::{self, ContainerRecord, Durability, PodRecord, PodState, StartRecord},
    refusal::Result,
    wire::NetworkConfig,
};
use tokio::task::JoinHandle;

use super::{Pod, files, record::make_dir, undo::Undo};
use crate::{
    cgroup, index,
    namespace::{infra, pin, pin::Kind},
    network, programs, rootfs, spec, sys,
};

/// What only the driver of the pod changes.
#[derive(Default)]
pub(super) struct Core {
    /// Absent until the pod is created and after it is removed.
    pub(super) record: Option<Arc<PodRecord>>,
    /// The record cannot be read, and `record` is a stand-in for it: the pod can go down, not up.
    damaged: bool,
    /// The record of what is up cannot be read: that can go down, and until then nothing else comes up.
    lost: bool,
    up: Option<Up>,
}

struct Up {
    state: PodState,
    /// Host ports, bound for as long as they are published.
    _holds: Vec<OwnedFd>,
    _dns: Option<network::DnsServer>,
    _guard: Option<network::Guard>,
}

impl Core {
    /// The infra is up.
    pub(super) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Something is up of which there is no record.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// What is up has changed; with a new server for names and a new guard, or none.
    pub(super) fn replace(&mut self, state: PodState, dns: Option<network::DnsServer>, guard: Option<network::Guard>) {
        if let Some(up) = &mut self.up {
            (up.state, up._dns, up._guard) = (state, dns, guard);
        }
    }

    /// What is up.
    pub(super) fn state(&self) -> Option<&PodState> {
        self.up.as_ref().map(|up| &up.state)
    }
}

/// How long monitors that are there may take to tell us what they hold.
const TOLD: Duration = Duration::from_millis(500);
/// Size of a pod's shared /dev/shm where none was asked for (podman-pod-create(1), --shm-size).
const SHM_SIZE: i64 = 64 << 20;

/// The namespaces of a pod that are made anew and pinned; not PID, which needs a process.
fn kinds(pod: &PodRecord) -> Vec<Kind> {
    let shares = |name: &str| pod.config.share.iter().any(|share| share == name);
    let mut kinds = Vec::new();
    if shares("ipc") {
        kinds.push(Kind::Ipc);
    }
    if spec::makes(&pod.config, "uts") {
        kinds.push(Kind::Uts);
    }
    if has_own_network(&pod.config.network.clone().unwrap_or_default()) && (shares("net") || pod.config.hidden) {
        kinds.push(Kind::Net);
    }
    kinds
}

/// Whether a network configuration asks for a namespace of the pod's own.
fn has_own_network(network: &NetworkConfig) -> bool {
    matches!(network.mode.as_str(), "" | "bridge" | "private" | "none")
}

/// The host name members of the pod see where they share it.
fn hostname(pod: &PodRecord) -> String {
    spec::hostname(None, &pod.name, &pod.config)
}

impl Pod {
    /// Brings the infra up unless it is.
    ///
    /// # Errors
    /// When a port is taken, an address cannot be had, the kernel refuses; nothing of it is left then.
    pub(super) async fn ensure_up(&self) -> Result<Arc<PodRecord>> {
        let mut core = self.core.lock().await;
        let pod = core.record.clone().ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))?;
        if core.damaged {
            let words = "its record cannot be read: remove it with pod rm -f";
            return Err(Refusal::internal(format!("pod {}", pod.name), words));
        }
        if core.lost {
            let words = "its record of what is up cannot be read: stop it first with pod stop";
            return Err(Refusal::internal(format!("pod {}", pod.name), words));
        }
        if core.up.is_none() && !pod.config.no_infra {
            core.up = Some(self.bring_up(&pod).await?);
        }
        self.renew_infra(&mut core)?;
        Ok(pod)
    }

    /// Where PID 1 of a shared PID namespace was killed, and all in there with it, there is another: the members of a
    /// restart policy run again, and those that are started run at all.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn renew_infra(&self, core: &mut Core) -> Result<()> {
        let Some(up) = &mut core.up else { return Ok(()) };
        if up.state.infra_init.as_ref().is_none_or(Process::is_alive) {
            return Ok(());
        }
        tracing::warn!("pod {}: PID 1 of its PID namespace was killed, and gets a successor", self.id);
        pin::let_go(&self.engine.roots.namespaces(&self.id), Kind::Pid);
        let broken = |error| Refusal::internal(format!("pod {}: its PID 1", self.id), error);
        let infra = self.start_infra().map_err(broken)?;
        up.state.infra_init = Some(infra.process.clone());
        self.write_state(&up.state);
        infra.stay().map_err(broken)?;
        self.watch_infra(&up.state);
        Ok(())
    }

    fn start_infra(&self) -> io::Result<infra::Infra> {
        let roots = &self.engine.roots;
        infra::start(&self.engine.program("podshim")?, &self.id, roots, &roots.namespaces(&self.id))
    }

    /// Notices when PID 1 of a shared PID namespace is killed.
    fn watch_infra(&self, state: &PodState) {
        let Some(Ok(pidfd)) = state.infra_init.as_ref().map(|init| init.pidfd().and_then(sys::fd::watch)) else {
            // There is none, or it has gone already: the next start sees that.
            return;
        };
        let lost = self.lost.clone();
        tokio::spawn(async move {
            // The only event of a pidfd is the end of its process (pidfd_open(2)).
            let _ = pidfd.readable().await;
            lost.notify_one();
        });
    }

    async fn bring_up(&self, pod: &PodRecord) -> Result<Up> {
        let roots = &self.engine.roots;
        let run = roots.run_pod(&pod.id);
        let broken = |what: &str| {
            let what = format!("starting pod {}: {what}", pod.name);
            move |error: io::Error| Refusal::internal(what, error)
        };
        let network = pod.config.network.clone().unwrap_or_default();
        let mut undo = Undo::default();

        let cgroup = cgroup::pod_path(&pod.id, &pod.config.cgroup_parent)?;
        cgroup::note_parents(&cgroup, &roots.run);
        cgroup::create_pod(&cgroup, pod.config.resources.as_ref())?;
        cgroup::mark(&cgroup, &roots.run);
        undo.push({
            let (cgroup, run) = (cgroup.clone(), roots.run.clone());
            move || {
                // What is busy is found by `system check`.
                let _ = cgroup::remove(&cgroup);
                cgroup::remove_parents(&cgroup, &run);
            }
        });

        failpoint::refuse(Point::UpCgroup)?;
        let kinds = kinds(pod);
        let namespaces = roots.namespaces(&pod.id);
        pin::make(&namespaces, &kinds, &hostname(pod)).map_err(broken("its namespaces"))?;
        undo.push({
            let namespaces = namespaces.clone();
            move || pin::unpin(&namespaces)
        });
        failpoint::refuse(Point::UpNamespaces)?;
        if let Some(path) = network.mode.strip_prefix("ns:") {
            pin::pin(Path::new(path), &namespaces, Kind::Net).map_err(broken(&format!("--network ns:{path}")))?;
        }
        if let Some(name) = network.mode.strip_prefix("container:") {
            let lent = self.namespace_of(name, Kind::Net)?;
            pin::pin(&lent, &namespaces, Kind::Net).map_err(broken(&format!("--network container:{name}")))?;
        }
        let infra_init = if spec::makes(&pod.config, "pid") {
            let infra = self.start_infra().map_err(broken("its PID 1"))?;
            undo.push({
                let process = infra.process.clone();
                move || end(&process)
            });
            Some(infra)
        } else {
            None
        };
        failpoint::refuse(Point::UpInfra)?;
        if kinds.contains(&Kind::Ipc) {
            let shm = run.join("shm");
            make_shm(&shm, pod.config.shm_size).map_err(broken("its /dev/shm"))?;
            undo.push(move || drop_shm(&shm));
        }

        failpoint::refuse(Point::UpShm)?;
        let up = if kinds.contains(&Kind::Net) {
            let netns = pin::open(&namespaces, Kind::Net).map_err(broken("its network namespace"))?;
            let names = self.names(pod);
            let request = network::Request { pod: &pod.id, names: &names, config: &network, netns: netns.as_fd() };
            Some(network::up(&self.networks, request).await?)
        } else {
            None
        };
        let (networks, ports, holds) = up.map_or_else(Default::default, |up| (up.networks, up.ports, up.holds));
        let state = PodState {
            schema: record::SCHEMA,
            started: true,
            boot_id: alive::boot_id().to_owned(),
            started_at: proto::time::now(),
            shim: Process::this(),
            infra_init: infra_init.as_ref().map(|infra| infra.process.clone()),
            networks,
            ports,
            start_order: Vec::new(),
            cgroup,
            paused: false,
        };
        failpoint::pass(Point::UpNetwork);
        // From here on a failure has a network to take down as well, which cannot be a plain step back.
        let stay = || infra_init.map_or(Ok(()), |infra| infra.stay().map_err(broken("its PID 1")));
        let finished = self
            .write_files(pod, &network, &state)
            .and_then(|()| failpoint::refuse(Point::UpState))
            .and_then(|()| stay())
            .and_then(|()| self.serve_dns(&state));
        match finished {
            Ok(dns) => {
                undo.forget();
                failpoint::pass(Point::UpServes);
                let guard = self.guard(&state);
                self.watch_infra(&state);
                Ok(Up { state, _holds: holds, _dns: dns, _guard: guard })
            }
            Err(refusal) => {
                drop(holds);
                self.take_network_down(&state).await;
                Err(refusal)
            }
        }
    }

    /// Every name other pods may know this one by.
    pub(super) fn names(&self, pod: &PodRecord) -> Vec<String> {
        let members = index::pod(&self.engine.roots, &pod.id).map(|pod| pod.containers).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        if !pod.config.hidden {
            names.extend([pod.name.clone(), pod.id.short().to_owned()]);
            names.extend(pod.infra.as_ref().map(|_| pod.infra_name()));
        }
        names.extend(Some(pod.config.hostname.clone()).filter(|hostname| !hostname.is_empty()));
        for member in members.iter().filter_map(|member| member.record.as_ref().ok()) {
            names.extend([member.name.clone(), member.id.short().to_owned()]);
        }
        names.extend(pod.config.network.iter().flat_map(|network| network.aliases.iter().cloned()));
        names.dedup();
        names
    }

    pub(super) fn write_files(&self, pod: &PodRecord, network: &NetworkConfig, state: &PodState) -> Result<()> {
        let roots = &self.engine.roots;
        let run = roots.run_pod(&pod.id);
        let resolv_conf = network::resolv_conf(&self.networks, network, &state.networks)?;
        let infra = pod.infra_name();
        let hostname = hostname(pod);
        let own: Vec<&str> = if pod.config.hidden { Vec::new() } else { vec![&hostname, &infra] };
        (|| {
            files::write(
                &run.join("hosts"),
                &files::hosts(&files::base(network, None)?, network, &state.networks, &own),
            )?;
            files::write(&run.join("resolv.conf"), &resolv_conf)?;
            failpoint::check(Point::UpFiles)?;
            write_pidfile(pod)?;
            files::write(&run.join("hostname"), &format!("{hostname}\n"))?;
            // After a reboot this tells a pod that was stopped by it from one that never ran.
            fs::File::create(index::ran(roots, &pod.id))?;
            failpoint::check(Point::UpRan)?;
            record::write(&roots.pod_state(&pod.id), state, Durability::Volatile)
        })()
        .map_err(|error| Refusal::internal(format!("starting pod {}: its files", pod.name), error))
    }

    /// Hears when somebody removes what a pod with networks has.
    pub(super) fn guard(&self, state: &PodState) -> Option<network::Guard> {
        if state.networks.is_empty() {
            return None;
        }
        let guard = network::guard(&self.networks, &self.id, &state.networks, self.lost.clone());
        guard.map_err(|error| tracing::warn!("pod {}: its network is not watched: {error}", self.id)).ok()
    }

    pub(super) fn serve_dns(&self, state: &PodState) -> Result<Option<network::DnsServer>> {
        if !state.networks.iter().any(|network| network.dns) {
            return Ok(None);
        }
        let netns = pin::open(&self.engine.roots.namespaces(&self.id), Kind::Net)
            .map_err(|error| Refusal::internal("the pod's network namespace", error))?;
        network::serve_dns(&self.networks, &self.id, netns.as_fd(), &state.networks).map(Some)
    }

    /// Takes the infra down. Members have ended. Asked twice it does nothing.
    pub(super) async fn take_down(&self, core: &mut Core) {
        let Some(up) = core.up.take() else {
            if std::mem::take(&mut core.lost) {
                let parent = core.record.as_ref().map(|pod| pod.config.cgroup_parent.as_str());
                super::intent::clear(&self.engine.roots, &self.id, parent.unwrap_or_default()).await;
                if let Err(refusal) = network::tidy(&self.networks).await {
                    tracing::warn!("pod {}: {refusal}", self.id);
                }
                drop_shm(&self.engine.roots.run_pod(&self.id).join("shm"));
                // Not there is as good.
                let _ = fs::remove_file(self.engine.roots.pod_state(&self.id));
            }
            return;
        };
        let Up { mut state, _holds: holds, _dns: dns, _guard: guard } = up;
        drop((dns, guard));
        self.take_network_down(&state).await;
        failpoint::pass(Point::DownNetwork);
        drop(holds);
        if let Some(init) = &state.infra_init {
            end(init);
        }
        let roots = &self.engine.roots;
        drop_shm(&roots.run_pod(&self.id).join("shm"));
        pin::unpin(&roots.namespaces(&self.id));
        failpoint::pass(Point::DownNamespaces);
        if let Err(refusal) = cgroup::remove(&state.cgroup) {
            tracing::warn!("pod {}: {refusal}", self.id);
            // What is busy now is not for long: whoever comes after us takes it down.
            self.intents.keep();
        }
        cgroup::remove_parents(&state.cgroup, &roots.run);
        failpoint::pass(Point::DownCgroup);
        // When it ended, for after the shim, whose directory goes with it.
        if let Err(error) = fs::File::create(index::ran(roots, &self.id)) {
            tracing::warn!("pod {}: the time of its end: {error}", self.id);
        }
        if let Some(path) =
            core.record.as_ref().map(|pod| &pod.config.infra_conmon_pidfile).filter(|path| !path.is_empty())
        {
            // Somebody else may have removed it.
            let _ = fs::remove_file(path);
        }
        failpoint::pass(Point::DownRan);
        state.started = false;
        state.start_order.clear();
        if let Err(error) = record::write(&roots.pod_state(&self.id), &state, Durability::Volatile) {
            tracing::warn!("pod {}: state record: {error}", self.id);
        }
    }

    /// Removes the control group of a pod of which nothing is up.
    pub(super) fn remove_cgroup(&self, pod: &PodRecord) {
        let removed = cgroup::pod_path(&pod.id, &pod.config.cgroup_parent).and_then(|path| {
            let removed = cgroup::remove(&path);
            cgroup::remove_parents(&path, &self.engine.roots.run);
            removed
        });
        if let Err(refusal) = removed {
            tracing::warn!("pod {}: {refusal}", self.id);
            self.intents.keep();
        }
    }

    async fn take_network_down(&self, state: &PodState) {
        if state.networks.is_empty() && state.ports.is_empty() {
            return;
        }
        // By label and idempotent: what fails now is found by the next pod that comes up.
        if let Err(refusal) = network::down(&self.networks, &self.id).await {
            tracing::warn!("pod {}: {refusal}", self.id);
        }
    }

    /// Notes that a member was started, and lets the others find it.
    pub(super) async fn note_start(&self, member: &ContainerRecord) {
        let mut core = self.core.lock().await;
        let Some(up) = &mut core.up else { return };
        for network in &mut up.state.networks {
            for name in [member.name.as_str(), member.id.short()] {
                if !network.aliases.iter().any(|alias| alias == name) {
                    network.aliases.push(name.to_owned());
                }
            }
        }
        up.state.start_order.retain(|id| id != &member.id);
        up.state.start_order.push(member.id.clone());
        self.write_state(&up.state);
    }

    /// Notes that the pod was paused or goes on.
    pub(super) async fn note_pause(&self, paused: bool) {
        let mut core = self.core.lock().await;
        if let Some(up) = &mut core.up {
            up.state.paused = paused;
            self.write_state(&up.state);
        }
    }

    /// Writes what is up.
    pub(super) fn write_core(&self, core: &Core) {
        if let Some(state) = core.state() {
            self.write_state(state);
        }
    }

    fn write_state(&self, state: &PodState) {
        if let Err(error) = record::write(&self.engine.roots.pod_state(&self.id), state, Durability::Volatile) {
            tracing::warn!("pod {}: state record: {error}", self.id);
        }
    }

    /// Adopts what an earlier shim of this pod left running.
    pub(super) async fn adopt(&self) -> Result<()> {
        let roots = &self.engine.roots;
        let mut core = self.core.lock().await;
        let Some(found) = index::pod(roots, &self.id) else { return Ok(()) };
        core.damaged = found.record.is_err();
        // Members that live show that something is up, whatever has become of the record.
        let lives = || found.containers.iter().any(|member| member.init().is_some());
        let lost = found.state.is_none() && (roots.pod_state(&self.id).exists() || lives());
        let pod = Arc::new(found.record.unwrap_or_else(|_| super::record::stand_in(roots, &self.id)));
        core.record = Some(pod.clone());
        core.lost = lost && !pod.config.no_infra;
        if let Some(mut state) = found.state.filter(|state| state.started) {
            let pinned = self.pin_again(&pod, &state, &found.containers);
            self.share_shm_again(&found.containers);
            failpoint::refuse(Point::AdoptPinned)?;
            let holds = network::hold_ports(&state.ports).unwrap_or_else(|refusal| {
                tracing::warn!("pod {}: {refusal}", pod.name);
                Vec::new()
            });
            let dns = self.serve_dns(&state).unwrap_or_else(|refusal| {
                tracing::warn!("pod {}: {refusal}", pod.name);
                None
            });
            failpoint::refuse(Point::AdoptNetwork)?;
            state.shim = Process::this();
            if let Err(error) = write_pidfile(&pod) {
                tracing::warn!("pod {}: {error}", pod.name);
            }
            self.write_state(&state);
            let guard = self.guard(&state);
            self.watch_infra(&state);
            core.up = Some(Up { state, _holds: holds, _dns: dns, _guard: guard });
            if pinned {
                if let Err(refusal) = self.renew_infra(&mut core) {
                    tracing::error!("{refusal}");
                }
            } else {
                for member in &found.containers {
                    self.monitors.end_runtime(member.id());
                    if let Ok(record) = &member.record {
                        self.end_leftover(record);
                    }
                }
                // Its namespaces have ended with the last process in them: what else was up has no use any more.
                self.take_down(&mut core).await;
            }
        }
        failpoint::refuse(Point::AdoptState)?;
        let told: Vec<_> = found.containers.iter().filter_map(|container| self.adopt_member(container)).collect();
        // Before anybody is served: what ends a container must not find us without what its monitor has left with us.
        let _ = tokio::time::timeout(TOLD, join_all(told)).await;
        failpoint::refuse(Point::AdoptMembers)?;
        Ok(())
    }

    /// Where the engine's mount namespace was lost with the last of our processes, a member's namespaces are taken from it.
    /// `false` where one cannot be had.
    fn pin_again(&self, pod: &PodRecord, state: &PodState, members: &[index::Container]) -> bool {
        let mut all = true;
        let dir = self.engine.roots.namespaces(&pod.id);
        let member = members.iter().find_map(index::Container::init);
        for kind in [Kind::Net, Kind::Ipc, Kind::Uts, Kind::Pid] {
            let pinned = pin::open(&dir, kind).is_ok_and(|fd| {
                nix::sys::statfs::fstatfs(&fd).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
            });
            let wanted = kinds(pod).contains(&kind) || (kind == Kind::Pid && state.infra_init.is_some());
            if pinned || !wanted {
                continue;
            }
            // A member may have processes of its own.
            let source = if kind == Kind::Pid { state.infra_init.as_ref() } else { member };
            let Some(source) = source.filter(|source| source.is_alive()) else {
                all = false;
                continue;
            };
            let source = format!("/proc/{}/ns/{}", source.pid, kind.as_str());
            if let Err(error) = pin::pin(Path::new(&source), &dir, kind) {
                tracing::warn!("pod {}: its {} namespace: {error}", pod.name, kind.as_str());
            }
        }
        all
    }

    /// Tells the next monitor of a member whose root file system was unmounted with the last of our processes.
    fn note_unmounted(&self, id: &Id) {
        let roots = &self.engine.roots;
        if rootfs::is_mounted(&roots.rootfs(&self.id, id)) {
            return;
        }
        let path = roots.start_record(&self.id, id);
        let noted = record::read::<StartRecord>(&path)
            .and_then(|start| record::write(&path, &StartRecord { unmounted: true, ..start }, Durability::Volatile));
        if let Err(error) = noted {
            tracing::warn!("container {id}: start record: {error}");
        }
    }

    /// Gives a member a monitor, where it needs one; who waits until one that is there has told us what it holds.
    fn adopt_member(&self, container: &index::Container) -> Option<JoinHandle<()>> {
        let monitor = container.monitor.as_ref()?;
        let id: &Id = container.id();
        let start = self.engine.roots.start_record(&self.id, id);
        let monitor = match container.is_lost() {
            // What it has written of itself cannot be read.
            true => programs::monitor_of(&start),
            false => Some(monitor.monitor.clone()).filter(Process::is_alive),
        };
        if let Some(monitor) = monitor {
            return Some(self.monitors.adopt(id, monitor));
        }
        if self.monitors.has_finished(id) {
            self.monitors.end_runtime(id);
        } else if !start.exists() {
            tracing::warn!("container {id}: its run directory was deleted: it has no monitor any more");
        } else {
            self.note_unmounted(id);
            self.monitors.take_over(id);
        }
        None
    }
}

/// `--infra-conmon-pidfile`: who is the infra.
fn write_pidfile(pod: &PodRecord) -> io::Result<()> {
    let path = &pod.config.infra_conmon_pidfile;
    if path.is_empty() { Ok(()) } else { fs::write(path, format!("{}\n", std::process::id())) }
}

/// Ends PID 1 of a shared PID namespace, and with it what is left in there.
fn end(process: &Process) {
    if let Ok(pidfd) = process.pidfd() {
        // It has ended meanwhile: fine.
        let _ = alive::pidfd_signal(&pidfd, Signal::SIGKILL as i32);
    }
}

fn make_shm(dir: &Path, size: i64) -> io::Result<()> {
    make_dir(dir)?;
    let size = if size > 0 { size } else { SHM_SIZE };
    let options = format!("mode=1777,size={size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), dir, Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(())
}

fn drop_shm(dir: &Path) {
    // Not mounted is as good as unmounted.
    let _ = umount2(dir, MntFlags::MNT_DETACH);
    let _ = fs::remove_dir(dir);
}
