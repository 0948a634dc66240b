//! Images: stub.
use std::{fs::File, path::PathBuf};

use oci_spec::image::ImageConfiguration;
use proto::{Roots, refusal::Result, wire};
use tokio::sync::mpsc;

/// The store of images.
#[derive(Clone, Debug)]
pub struct Store {
    _roots: Roots,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the config, 64 hex digits.
    pub id: String,
    /// Full names (`docker.io/library/alpine:latest`).
    pub names: Vec<String>,
    /// The full name it was found by; empty when found by id.
    pub name: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// The config.
    pub config: ImageConfiguration,
    /// Unpacked layers, bottom first.
    pub layers: Vec<PathBuf>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// When it was built, ns since the epoch.
    pub created: i64,
}

impl Store {
    /// Opens it; makes nothing.
    pub fn open(roots: &Roots) -> Store {
        Store { _roots: roots.clone() }
    }
    /// The image `name` stands for as users type it: short name, full name, name@digest, id or its beginning.
    /// Kind::ImageMissing when it is not in the store.
    pub fn resolve(&self, _name: &str) -> Result<Image> {
        unimplemented!()
    }
    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        unimplemented!()
    }
    /// Pulls from a registry, telling the progress.
    pub async fn pull(&self, _request: &wire::PullImage, _progress: mpsc::Sender<wire::PullProgress>) -> Result<Image> {
        unimplemented!()
    }
    /// Loads an archive; the names it now has.
    pub fn load(&self, _archive: File) -> Result<Vec<String>> {
        unimplemented!()
    }
}
