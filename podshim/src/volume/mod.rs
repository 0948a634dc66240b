//! Volumes: stub.
use std::path::{Path, PathBuf};

use proto::{Roots, record::VolumeRecord, refusal::Result};

/// The store of volumes.
#[derive(Clone, Debug)]
pub struct Volumes {
    _roots: Roots,
}

impl Volumes {
    /// Opens it; makes nothing.
    pub fn open(roots: &Roots) -> Volumes {
        Volumes { _roots: roots.clone() }
    }
    /// The volume `name`, made if it is not there. True when it was made now.
    pub fn ensure(&self, _name: &str, _anonymous: bool) -> Result<(VolumeRecord, bool)> {
        unimplemented!()
    }
    /// The volume `name`.
    pub fn get(&self, _name: &str) -> Result<VolumeRecord> {
        unimplemented!()
    }
    /// All, by name.
    pub fn list(&self) -> Result<Vec<VolumeRecord>> {
        unimplemented!()
    }
    /// Removes it with its data; the caller has checked that no container uses it.
    pub fn remove(&self, _name: &str) -> Result<()> {
        unimplemented!()
    }
    /// Its data directory.
    pub fn data(&self, _name: &str) -> PathBuf {
        unimplemented!()
    }
    /// Copies what the image has at `destination` (a path inside `rootfs`, resolved inside it) into the volume, once and
    /// only while it is empty, with owner, mode, xattrs, links.
    pub fn copy_up(&self, _name: &str, _rootfs: &Path, _destination: &str) -> Result<()> {
        unimplemented!()
    }
}
