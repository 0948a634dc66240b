//! The engine's configuration: read once at the start of a role, then plain values.

use std::path::PathBuf;

use proto::Roots;

/// Extended attribute on the root of an unpacked layer that says nothing of it: whoever stacks layers looks further down
/// for owner and mode. Set by `image`, read by `rootfs`, which do not know each other.
pub const IMPLIED_ROOT: &str = "trusted.podctl.implied-root";

/// Configuration of this engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where everything is.
    pub roots: Roots,
    /// `--runtime`, or `[engine] runtime` of containers.conf: a name found on PATH or an absolute path; default `crun`.
    pub runtime: String,
}

impl Engine {
    /// Absolute path of the OCI runtime `name` ("" = the engine's).
    ///
    /// # Errors
    /// When there is no such program, naming `--runtime`.
    pub fn runtime_path(&self, name: &str) -> proto::refusal::Result<PathBuf> {
        let name = if name.is_empty() { &self.runtime } else { name };
        let found = if name.contains('/') {
            Some(PathBuf::from(name)).filter(|path| path.is_absolute() && path.is_file())
        } else {
            std::env::var_os("PATH")
                .iter()
                .flat_map(std::env::split_paths)
                .map(|dir| dir.join(name))
                .find(|path| path.is_absolute() && path.is_file())
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
