//! What a member has of another container: its namespaces, its /dev/shm, its host name.

use std::path::{Path, PathBuf};

use proto::{
    Kind, Refusal,
    layout::Target,
    record::{ContainerRecord, PodRecord},
    refusal::Result,
};

use super::{
    Pod,
    sources::{self, BINDS},
};
use crate::{
    bundle::{Namespace, Namespaces},
    index,
    namespace::{pin, tree},
    spec::{self, Place, Sharing},
};

/// Where a shared thing of another container is found.
enum Lender {
    /// In one of its processes.
    Process(u32),
    /// In what its pod holds, seen from the root of the pod's shim.
    Shim(u32, proto::Id),
}

impl Pod {
    /// The namespace of another container, which must run.
    pub(super) fn namespace_of(&self, name: &str, kind: pin::Kind) -> Result<PathBuf> {
        Ok(match self.lender_of(name, kind.as_str())? {
            Lender::Process(pid) => PathBuf::from(format!("/proc/{pid}/ns/{}", kind.as_str())),
            Lender::Shim(pid, pod) => {
                let pinned = pin::path(&self.engine.roots.namespaces(&pod), kind);
                seen_from(pid, &pinned)
            }
        })
    }

    fn lender_of(&self, name: &str, what: &str) -> Result<Lender> {
        let roots = &self.engine.roots;
        let lender = match roots.resolve(name)? {
            Some(Target::Container { pod, container }) => index::container(roots, &pod, &container)
                .as_ref()
                .and_then(index::Container::init)
                .map(|init| Lender::Process(init.pid)),
            Some(Target::Infra(pod)) => {
                let state = index::pod(roots, &pod).and_then(|pod| pod.up().cloned());
                state.filter(|state| state.shim.is_alive()).map(|state| Lender::Shim(state.shim.pid, pod))
            }
            _ => return Err(Refusal::no_such_container(name)),
        };
        lender.ok_or_else(|| {
            let words = format!(
                "cannot join the {what} namespace of container {name}: it is not running, start it first: container state \
                 improper"
            );
            Refusal::new(Kind::WrongState, words).about(name)
        })
    }

    /// The run directory of the pod whose network `name` is in, where its files are.
    pub(super) fn lender(&self, name: &str) -> Option<PathBuf> {
        let roots = &self.engine.roots;
        Some(roots.run_pod(roots.resolve(name).ok()??.pod()))
    }

    /// The directory for /dev/shm of a member whose IPC namespace is not its own: it belongs together.
    ///
    /// # Errors
    /// When it is another container's that does not run, or has none.
    pub(super) fn shm(&self, record: &ContainerRecord, pod: &PodRecord, run: &Path) -> Result<Option<PathBuf>> {
        let own = self.engine.roots.run_pod(&pod.id).join("shm");
        let name = match Sharing::of(&record.config, &pod.config).ipc {
            Place::Pod => return Ok(Some(own)),
            Place::Container(name) => name,
            Place::Own | Place::Host | Place::Path(_) => return Ok(None),
        };
        let tree = match self.lender_of(&name, "ipc")? {
            Lender::Process(pid) => tree::clone_from(pid, Path::new("/dev/shm")),
            Lender::Shim(pid, pod) => tree::clone_from(pid, &self.engine.roots.run_pod(&pod).join("shm")),
        };
        tree.and_then(|tree| sources::attach(&tree, &run.join(BINDS), "shm"))
            .map(Some)
            .map_err(|error| Refusal::internal(format!("--ipc container:{name}: its /dev/shm"), error))
    }

    /// The host name a member sees.
    pub(super) fn hostname_of(&self, record: &ContainerRecord, pod: &PodRecord, namespaces: &Namespaces) -> String {
        if namespaces.uts == Namespace::Host {
            return nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        }
        if let Place::Container(name) = Sharing::of(&record.config, &pod.config).uts {
            return self.hostname_lent(&name).unwrap_or_default();
        }
        spec::hostname(Some((&record.id, &record.config)), &pod.name, &pod.config)
    }

    fn hostname_lent(&self, name: &str) -> Option<String> {
        let roots = &self.engine.roots;
        let target = roots.resolve(name).ok()??;
        let pod = index::pod(roots, target.pod())?.record.ok()?;
        match target {
            Target::Container { pod: of, container } => {
                let record = index::container(roots, &of, &container)?.record.ok()?;
                Some(spec::hostname(Some((&record.id, &record.config)), &pod.name, &pod.config))
            }
            Target::Pod(_) | Target::Infra(_) => Some(spec::hostname(None, &pod.name, &pod.config)),
        }
    }
}

/// `path` of the mount namespace of the process `pid`.
fn seen_from(pid: u32, path: &Path) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path))
}
