//! What the answers look up beyond the records of pods and containers.

use proto::{
    Kind, Roots,
    record::{NetworkRecord, VolumeRecord},
    refusal::Result,
};

use crate::{
    image::{self, Image},
    network::Networks,
    volume::Volumes,
};

/// Look-ups in the stores. What is not there, or cannot be read, is `None`: an answer about a container does not fail
/// because its image or network has been removed.
pub trait Stores: Sync {
    /// The image of a name or id.
    fn image(&self, name: &str) -> Option<Image>;
    /// How many images there are.
    fn images(&self) -> usize;
    /// The volume of a name.
    fn volume(&self, name: &str) -> Option<VolumeRecord>;
    /// The volume of a name, or of the beginning of one.
    ///
    /// # Errors
    /// When several begin so.
    fn find_volume(&self, name: &str) -> Result<Option<VolumeRecord>> {
        Ok(self.volume(name))
    }
    /// The network of a name or a unique beginning of its id.
    fn network(&self, name: &str) -> Option<NetworkRecord>;
    /// The same.
    ///
    /// # Errors
    /// When several ids begin so.
    fn find_network(&self, name: &str) -> Result<Option<NetworkRecord>> {
        Ok(self.network(name))
    }
}

/// The stores of an engine.
#[derive(Clone, Debug)]
pub struct EngineStores {
    images: image::Store,
    volumes: Volumes,
    networks: Networks,
}

impl EngineStores {
    /// Opens them; makes nothing.
    pub fn open(roots: &Roots) -> EngineStores {
        EngineStores {
            images: image::Store::open(roots),
            volumes: Volumes::open(roots),
            networks: Networks::open(roots),
        }
    }
}

impl Stores for EngineStores {
    fn image(&self, name: &str) -> Option<Image> {
        self.images.resolve(name).ok()
    }
    fn images(&self) -> usize {
        self.images.list().map_or(0, |images| images.len())
    }
    fn volume(&self, name: &str) -> Option<VolumeRecord> {
        self.volumes.get(name).ok()
    }
    fn find_volume(&self, name: &str) -> Result<Option<VolumeRecord>> {
        match self.volumes.find(name) {
            Err(refusal) if refusal.kind == Kind::Invalid => Err(refusal),
            found => Ok(found.ok()),
        }
    }
    fn network(&self, name: &str) -> Option<NetworkRecord> {
        self.networks.get(name).ok()
    }
    fn find_network(&self, name: &str) -> Result<Option<NetworkRecord>> {
        match self.networks.get(name) {
            Err(refusal) if refusal.kind == Kind::Invalid => Err(refusal),
            found => Ok(found.ok()),
        }
    }
}
