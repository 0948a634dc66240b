//! Root file systems: stub.
use std::path::{Path, PathBuf};

use proto::refusal::Result;

/// Mounts an overlay of `layers` (bottom first) with `upper` and `work` at `target`, all of which are made, in the mount
/// namespace of this process.
pub fn mount(_layers: &[PathBuf], _upper: &Path, _work: &Path, _target: &Path) -> Result<()> {
    unimplemented!()
}

/// Unmounts `target` (detached) and removes the directory; not mounted or not there is fine.
pub fn unmount(_target: &Path) -> Result<()> {
    unimplemented!()
}
