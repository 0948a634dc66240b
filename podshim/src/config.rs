//! The engine's configuration: each file read once, when something of it is first asked for.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use proto::{Id, Roots, record::Heir};

use crate::etc;

/// Extended attribute on the root of an unpacked layer that says nothing of it: whoever stacks layers looks further down
/// for owner and mode. Set by `image`, read by `rootfs`, which do not know each other.
pub const IMPLIED_ROOT: &str = "trusted.podctl.implied-root";

/// Configuration of this engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where everything is.
    pub roots: Roots,
    runtime: Arc<OnceLock<String>>,
}

/// Variables that reach our own children; everything else of the caller's environment stays with the caller.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "PODCTL_BOOT_ID",
    "PODCTL_CGROUP_PREFIX",
    "PODCTL_CLOCK",
    "PODCTL_GREETING",
    proto::failpoint::VARIABLE,
    proto::patience::VARIABLE,
];

impl Engine {
    /// An engine at `roots`; `runtime` is `--runtime`.
    pub fn new(roots: Roots, runtime: Option<String>) -> Engine {
        Engine { roots, runtime: Arc::new(runtime.map(OnceLock::from).unwrap_or_default()) }
    }

    /// `--runtime`, or `[engine] runtime` of containers.conf: a name found on PATH or an absolute path; default `crun`.
    pub fn runtime(&self) -> &str {
        // What only shows something does without: distributions ship a long containers.conf.
        self.runtime.get_or_init(|| etc::runtime().unwrap_or_else(|| "crun".to_owned()))
    }

    /// Path of the sibling program `name`: beside this executable, in `../libexec/podctl`, or on PATH.
    ///
    /// # Errors
    /// When it is nowhere.
    pub fn program(&self, name: &str) -> io::Result<PathBuf> {
        let own = std::env::current_exe()?;
        let dir = own.parent().unwrap_or(Path::new("/"));
        [dir.join(name), dir.join("../libexec/podctl").join(name)]
            .into_iter()
            .chain(std::env::var_os("PATH").iter().flat_map(std::env::split_paths).map(|dir| dir.join(name)))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("{name} is not installed beside {}", own.display()))
            })
    }

    /// How the monitors of `pod` bring it another shim when this one dies.
    ///
    /// # Errors
    /// When podshim cannot be found any more.
    pub fn heir(&self, pod: &Id) -> io::Result<Heir> {
        let program = self.program("podshim")?;
        let words = ["pod", pod.as_str(), "--root"].map(PathBuf::from);
        let args = std::iter::once(program)
            .chain(words)
            .chain([self.roots.state.clone(), "--runroot".into(), self.roots.run.clone()])
            .chain(["--runtime".into(), self.runtime().into()])
            .collect();
        Ok(Heir { lock: self.roots.pod_lock(pod), args })
    }

    /// The environment of our own children.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, std::ffi::OsString)> + use<> {
        ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)))
    }

    /// Absolute path of the OCI runtime `name` ("" = the engine's).
    ///
    /// # Errors
    /// When there is no such program, naming `--runtime`.
    pub fn runtime_path(&self, name: &str) -> proto::refusal::Result<PathBuf> {
        let name = if name.is_empty() { self.runtime() } else { name };
        let found = if name.contains('/') {
            Some(PathBuf::from(name)).filter(|path| path.is_absolute() && path.is_file())
        } else {
            on_path(name)
        };
        found.ok_or_else(|| {
            proto::Refusal::new(
                proto::Kind::Invalid,
                format!(
                    "--runtime {name}: no such OCI runtime on PATH: install crun, or name one by its absolute path"
                ),
            )
        })
    }
}

/// The program of the machine that is called `name`: the first in an absolute directory of PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_absolute() && file.is_file())
}
