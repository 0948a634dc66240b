//! One layer: fetched by whoever gets its lock first, verified, unpacked beside other layers.

use std::{
    fs::File,
    io,
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use proto::patience;
use tokio::{sync::Semaphore, task::spawn_blocking, time::sleep};

use super::{Fetch, gone};
use crate::image::{
    Store, cause,
    commit::Adding,
    digest::{Digest, Digesting},
    download::{Progress, download},
    manifest::Descriptor,
    registry::{Failure, Registry},
    store::LayerLock,
};

/// Layers that are downloaded at once.
const DOWNLOADS: usize = 3;
/// How long another pull may take for a layer that both want.
const LOCK: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(50);

/// How much is done at once.
pub(super) struct Slots {
    download: Semaphore,
    unpack: Semaphore,
}

impl Slots {
    /// As many layers are unpacked as there are `cores`.
    pub(super) fn new(cores: usize) -> Slots {
        Slots { download: Semaphore::new(DOWNLOADS), unpack: Semaphore::new(cores) }
    }
}

/// A layer of an image.
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) registry: Arc<Registry>,
}

impl Layer {
    /// Makes it a layer of the store, if it is not one already.
    pub(super) async fn fetch(self, adding: Arc<Adding>, slots: Arc<Slots>, progress: Progress) -> Fetch<()> {
        let closed = |_| gone();
        let slot = slots.download.acquire().await.map_err(closed)?;
        let lock = wait_for(&adding.store, &self.diff_id).await?;
        if adding.store.layer_record(&self.diff_id).is_some() {
            return progress.done(&self.blob.digest, self.blob.size, true).await;
        }
        let path = if adding.store.blob(&self.blob.digest).exists() && self.is_good(&adding).await? {
            adding.store.blob(&self.blob.digest)
        } else {
            let (path, mut file) = adding.file(&format!("blob-{}", self.diff_id.hex()))?;
            let result = download(&self.registry, &self.blob, &mut file, &progress).await;
            result.map_err(|failure| failure.after(format_args!("reading blob {}", self.blob.digest)))?;
            path
        };
        drop(slot);
        let slot = slots.unpack.acquire().await.map_err(closed)?;
        let (blob, diff_id, adder) = (self.blob.digest.clone(), self.diff_id.clone(), adding.clone());
        let unpacked = spawn_blocking(move || {
            // Even when nobody waits for this thread any more, the layer stays locked until it ends.
            let _lock = lock;
            adder.layer(&path, &blob, &diff_id)
        });
        let unpacked = unpacked.await.map_err(|error| Failure::last(error.to_string()))?;
        drop(slot);
        unpacked.map_err(|error| Failure::last(format!("unpacking layer {}: {}", self.blob.digest, cause(&error))))?;
        progress.done(&self.blob.digest, self.blob.size, false).await
    }

    /// Whether the blob that is in the store already is what it should be.
    async fn is_good(&self, adding: &Adding) -> Fetch<bool> {
        let (path, blob, cancel) = (adding.store.blob(&self.blob.digest), self.blob.clone(), adding.cancel.clone());
        let checked = spawn_blocking(move || -> io::Result<bool> {
            let mut file = Digesting::new(File::open(path)?);
            let mut buffer = vec![0; 256 << 10];
            while file.read(&mut buffer)? > 0 {
                cancel.check()?;
            }
            Ok(file.finish().0 == blob.digest)
        });
        Ok(checked.await.map_err(|error| Failure::last(error.to_string()))??)
    }
}

/// The lock of a layer or config, as soon as no other pull has it.
pub(super) async fn wait_for(store: &Store, diff_id: &Digest) -> Fetch<LayerLock> {
    let begun = Instant::now();
    loop {
        if let Some(lock) = LayerLock::try_take(store, diff_id)? {
            return Ok(lock);
        }
        if begun.elapsed() > patience::at_most(LOCK) {
            return Err(Failure::last(LayerLock::kept(store, diff_id, begun)));
        }
        sleep(POLL).await;
    }
}
