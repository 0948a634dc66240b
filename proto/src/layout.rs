//! Every path under `$STATE` and `$RUN`.
//!
//! ```text
//! $STATE  /var/lib/podctl                      0700
//!   names/NAME or ID → ../pods/ID | ../pods/ID/containers/ID | ../pods/ID/infra
//!   pods/ID/pod.json    pods/.open/ID while an act changes which containers the pod has, or whether there is one
//!   pods/ID/containers/ID/{container.json, ctr.log, exit.json, health.json, upper/, work/, dependents/ID}
//!   images/   volumes/NAME/{volume.json, _data}   networks/NAME.json   secrets/ID/{secret.json, data}   events/{log, log.1, lock}
//! $RUN    /run/podctl                          0700
//!   pods/ID/{lock, shim.sock, shim.raw, notify.sock, state.json, hosts, resolv.conf, hostname, shm/, ns/{net,ipc,uts,pid}}
//!   pods/ID/containers/ID/{mon.sock, mon.raw, start.json, state.json, health.json, stdin, stdout, stderr, bundle/, rootfs/}
//!   networks/NAME/{lock, leases/IP → pod}
//!   cgroups/… parents of control groups that were made, see podshim's `cgroup`
//! ```
//! All on-disk names are our own ids but volumes and networks, whose names obey [`crate::name`]. A name is a symlink:
//! making it is the uniqueness check for pods and containers at once.

use std::path::{Path, PathBuf};

use crate::{Id, Kind, Refusal, id};

/// Default `$STATE` of root.
pub const STATE: &str = "/var/lib/podctl";
/// Default `$RUN` of root.
pub const RUN: &str = "/run/podctl";
/// Where journald takes entries by its native protocol.
pub const JOURNALD: &str = "/run/systemd/journal/socket";

/// The two directories everything of an engine is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `--root`: survives a reboot.
    pub state: PathBuf,
    /// `--runroot`: does not.
    pub run: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { state: STATE.into(), run: RUN.into() }
    }
}

/// File name of [`Roots::ended_by_user`].
pub const ENDED_BY_USER: &str = "ended-by-user";

/// What a name or id stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A pod.
    Pod(Id),
    /// The infra of a pod, which is no container of its own.
    Infra(Id),
    /// A container of a pod.
    Container {
        /// The pod, perhaps a hidden pod of one.
        pod: Id,
        /// The container.
        container: Id,
    },
}

impl Target {
    /// The pod it belongs to.
    pub fn pod(&self) -> &Id {
        match self {
            Target::Pod(pod) | Target::Infra(pod) | Target::Container { pod, .. } => pod,
        }
    }

    /// The text of the symlink in `names/`.
    pub fn link(&self) -> PathBuf {
        match self {
            Target::Pod(pod) => Path::new("../pods").join(pod.as_str()),
            Target::Infra(pod) => Path::new("../pods").join(pod.as_str()).join("infra"),
            Target::Container { pod, container } => {
                Path::new("../pods").join(pod.as_str()).join("containers").join(container.as_str())
            }
        }
    }

    /// The target a symlink in `names/` names; `None` when its text is nothing of ours.
    pub fn from_link(link: &Path) -> Option<Target> {
        let parts: Vec<&str> = link.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        match parts.as_slice() {
            ["..", "pods", pod] => Some(Target::Pod(pod.parse().ok()?)),
            ["..", "pods", pod, "infra"] => Some(Target::Infra(pod.parse().ok()?)),
            ["..", "pods", pod, "containers", container] => {
                Some(Target::Container { pod: pod.parse().ok()?, container: container.parse().ok()? })
            }
            _ => None,
        }
    }
}

impl Roots {
    /// `$STATE/names`
    pub fn names(&self) -> PathBuf {
        self.state.join("names")
    }
    /// `$STATE/pods`
    pub fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }
    /// `$STATE/images`
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }
    /// `$STATE/volumes`
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }
    /// `$STATE/secrets`
    pub fn secrets(&self) -> PathBuf {
        self.state.join("secrets")
    }
    /// `$STATE/networks`
    pub fn networks(&self) -> PathBuf {
        self.state.join("networks")
    }
    /// `$STATE/pods/ID`
    pub fn pod(&self, pod: &Id) -> PathBuf {
        self.pods().join(pod.as_str())
    }
    /// `$STATE/pods/ID/pod.json`
    pub fn pod_record(&self, pod: &Id) -> PathBuf {
        self.pod(pod).join("pod.json")
    }
    /// `$STATE/pods/ID/containers`
    pub fn containers(&self, pod: &Id) -> PathBuf {
        self.pod(pod).join("containers")
    }
    /// `$STATE/pods/ID/containers/ID`
    pub fn container(&self, pod: &Id, container: &Id) -> PathBuf {
        self.containers(pod).join(container.as_str())
    }
    /// `…/container.json`
    pub fn container_record(&self, pod: &Id, container: &Id) -> PathBuf {
        self.container(pod, container).join("container.json")
    }
    /// Where containers that need `target` (its namespaces, its volumes) have left a file called like their id.
    pub fn dependents(&self, target: &Target) -> PathBuf {
        match target {
            Target::Pod(pod) | Target::Infra(pod) => self.pod(pod),
            Target::Container { pod, container } => self.container(pod, container),
        }
        .join("dependents")
    }
    /// `…/exit.json`
    pub fn exit_record(&self, pod: &Id, container: &Id) -> PathBuf {
        self.container(pod, container).join("exit.json")
    }
    /// `…/ctr.log`, the default log
    pub fn log(&self, pod: &Id, container: &Id) -> PathBuf {
        self.container(pod, container).join("ctr.log")
    }
    /// `$STATE/events`: the directory of what happened, see [`crate::event`]
    pub fn events(&self) -> PathBuf {
        self.state.join("events")
    }
    /// `$RUN/pods`
    pub fn run_pods(&self) -> PathBuf {
        self.run.join("pods")
    }
    /// `$RUN/pods/ID`
    pub fn run_pod(&self, pod: &Id) -> PathBuf {
        self.run_pods().join(pod.as_str())
    }
    /// `$RUN/pods/ID/state.json`
    pub fn pod_state(&self, pod: &Id) -> PathBuf {
        self.run_pod(pod).join("state.json")
    }
    /// `$RUN/pods/ID/lock`: held by the pod's shim for its life
    pub fn pod_lock(&self, pod: &Id) -> PathBuf {
        self.run_pod(pod).join("lock")
    }
    /// `$RUN/pods/ID/ns`
    pub fn namespaces(&self, pod: &Id) -> PathBuf {
        self.run_pod(pod).join("ns")
    }
    /// `$RUN/pods/ID/containers/ID`
    pub fn run_container(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_pod(pod).join("containers").join(container.as_str())
    }
    /// `…/state.json`, written by podmon
    pub fn container_state(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("state.json")
    }
    /// `…/health.json` in `$STATE`: what was found last in the last run, written by podmon when it is over
    pub fn last_health_record(&self, pod: &Id, container: &Id) -> PathBuf {
        self.container(pod, container).join("health.json")
    }
    /// `…/health.json`, written by podmon
    pub fn health_record(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("health.json")
    }
    /// `…/notify`, where podmon's socket for what the container says of itself is, mounted into it
    pub fn notify_directory(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("notify")
    }
    /// `…/restarting` beside the record of a container: whoever follows its log goes on, for it will run again at once
    pub fn restarting(&self, pod: &Id, container: &Id) -> PathBuf {
        self.container(pod, container).join("restarting")
    }
    /// `…/start.json`, written by podshim for podmon
    pub fn start_record(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("start.json")
    }
    /// `…/ended-by-user`: a user has ended this run, no policy starts another
    pub fn ended_by_user(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join(ENDED_BY_USER)
    }
    /// `…/bundle`, the OCI bundle
    pub fn bundle(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("bundle")
    }
    /// `…/rootfs`, where the root file system is mounted in the engine's mount namespace
    pub fn rootfs(&self, pod: &Id, container: &Id) -> PathBuf {
        self.run_container(pod, container).join("rootfs")
    }
    /// `$RUN/runtime`: the OCI runtime's own state, a directory per container
    pub fn runtime(&self) -> PathBuf {
        self.run.join("runtime")
    }
    /// `$RUN/networks/NAME`
    pub fn run_network(&self, name: &str) -> PathBuf {
        self.run.join("networks").join(name)
    }

    /// Whether there is a record of `target`. A name may have outlived it, or be claimed for what is yet to be made.
    pub fn is_recorded(&self, target: &Target) -> bool {
        match target {
            Target::Pod(pod) | Target::Infra(pod) => self.pod_record(pod).exists(),
            Target::Container { pod, container } => self.container_record(pod, container).exists(),
        }
    }

    /// Whether a person has deleted the record of `target` while it is up: nothing can be done with it but to end it.
    pub fn is_lost(&self, target: &Target) -> bool {
        let up = match target {
            Target::Pod(pod) | Target::Infra(pod) => self.pod_state(pod),
            Target::Container { pod, container } => self.container_state(pod, container),
        };
        // What is being made or removed is not lost.
        !self.is_recorded(target) && up.exists() && !self.pods().join(".open").join(target.pod().as_str()).exists()
    }

    /// What `text` stands for: a name, a full id or a unique beginning of an id.
    ///
    /// `None` when there is nothing of that name.
    ///
    /// # Errors
    /// When several ids begin with it, with podman's words.
    pub fn resolve(&self, text: &str) -> Result<Option<Target>, Refusal> {
        if text.is_empty() || text.contains('/') || text == "." || text == ".." {
            return Ok(None);
        }
        if let Ok(link) = std::fs::read_link(self.names().join(text)) {
            return Ok(Target::from_link(&link).filter(|target| self.is_recorded(target) || self.is_lost(target)));
        }
        if !id::is_prefix(text) {
            return Ok(None);
        }
        let Ok(entries) = std::fs::read_dir(self.names()) else { return Ok(None) };
        let mut found: Option<Target> = None;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.len() != id::LENGTH || !name.starts_with(text) || !id::is_prefix(name) {
                continue;
            }
            let Some(target) = std::fs::read_link(entry.path()).ok().and_then(|link| Target::from_link(&link)) else {
                continue;
            };
            if !self.is_recorded(&target) && !self.is_lost(&target) {
                continue;
            }
            if found.replace(target).is_some() {
                return Err(Refusal::new(
                    Kind::Invalid,
                    format!("more than one result for ID or name \"{text}\": use more of it: container already exists"),
                )
                .about(text));
            }
        }
        Ok(found)
    }
}

/// File names of the sockets in `$RUN/pods/ID` and `$RUN/pods/ID/containers/ID`.
pub mod sockets {
    /// A pod shim's ttrpc socket.
    pub const SHIM: &str = "shim.sock";
    /// A pod shim's raw socket.
    pub const SHIM_RAW: &str = "shim.raw";
    /// Where a pod's monitors send sd_notify(3) messages.
    pub const NOTIFY: &str = "notify.sock";
    /// A monitor's ttrpc socket.
    pub const MONITOR: &str = "mon.sock";
    /// A monitor's raw socket.
    pub const MONITOR_RAW: &str = "mon.raw";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_their_targets() {
        let (pod, container) = (Id::random().expect("id"), Id::random().expect("id"));
        for target in
            [Target::Pod(pod.clone()), Target::Infra(pod.clone()), Target::Container { pod: pod.clone(), container }]
        {
            assert_eq!(Target::from_link(&target.link()), Some(target.clone()));
            assert_eq!(target.pod(), &pod);
        }
        assert_eq!(Target::from_link(Path::new("../pods/x")), None);
        assert_eq!(Target::from_link(Path::new("/etc")), None);
    }

    #[test]
    fn a_beginning_of_an_id_is_enough_where_it_is_unique() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().into(), run: dir.path().into() };
        std::fs::create_dir(roots.names()).expect("names");
        let one: Id = "a".repeat(64).parse().expect("id");
        let two: Id = format!("ab{}", "0".repeat(62)).parse().expect("id");
        for id in [&one, &two] {
            std::os::unix::fs::symlink(Target::Pod(id.clone()).link(), roots.names().join(id.as_str())).expect("link");
        }
        assert_eq!(roots.resolve("ab").expect("no such pod yet"), None);
        for id in [&one, &two] {
            std::fs::create_dir_all(roots.pod(id)).expect("directory");
            std::fs::write(roots.pod_record(id), "").expect("record");
        }
        assert_eq!(roots.resolve("ab").expect("unique"), Some(Target::Pod(two)));
        assert_eq!(roots.resolve("aa").expect("unique"), Some(Target::Pod(one)));
        assert!(roots.resolve("a").is_err());
        assert_eq!(roots.resolve("f").expect("none"), None);
        assert_eq!(roots.resolve("../x").expect("none"), None);
    }
}
