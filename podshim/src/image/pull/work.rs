//! One image from one registry: its documents, its layers, its place in the store.

use proto::failpoint::{self, Point};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    Fetch, Policy, Wish, gone,
    layer::{Layer, Slots, wait_for},
};
use crate::image::{
    Store,
    commit::{Adding, NewImage},
    digest::Digest,
    download::Progress,
    manifest::{Config, Descriptor, Document, Manifest},
    printable,
    reference::{Full, Which},
    registries::Source,
    registry::{Failure, Fetched, Registry},
    store::LayerLock,
};

const POLL: Duration = Duration::from_millis(50);
/// How long threads may take to notice that their work is not wanted.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// One image from one registry.
pub(super) struct Work<'a> {
    pub(super) store: &'a Store,
    pub(super) registry: Arc<Registry>,
    pub(super) wish: &'a Wish,
    pub(super) name: &'a Full,
    pub(super) source: &'a Source,
    pub(super) progress: &'a Progress,
}

/// The documents of an image.
struct Documents {
    index: Option<Fetched>,
    manifest: Manifest,
    text: Vec<u8>,
    config: Config,
    config_text: Vec<u8>,
    /// Held until the image is in the store.
    _lock: LayerLock,
}

impl Work<'_> {
    /// Pulls it; its id. When that fails, nothing of it is left.
    pub(super) async fn pull(&self) -> Fetch<Digest> {
        let which = &self.name.which;
        let top = tokio::select! {
            top = self.registry.manifest(which) => top,
            () = self.progress.0.closed() => return Err(gone()),
        };
        let top = top.map_err(|failure| failure.after(format_args!("initializing source docker://{}", self.name)))?;
        if self.wish.policy == Policy::Newer
            && let Ok(image) = self.store.resolve(&self.name.to_string())
            && self.store.record(&image.id).is_ok_and(|record| record.digests.contains(&top.digest))
            && let Some(id) = Digest::from_hex(&image.id)
        {
            return Ok(id);
        }
        self.progress.line("Getting image source signatures").await?;
        let adding = Arc::new(Adding::begin(self.store).map_err(|error| self.store_failed(&error))?);
        // Also when this future is dropped in the middle, with the process' loop.
        let _end = adding.cancel.on_drop();
        failpoint::pass(Point::PullBegun);
        let work = async {
            let documents = self.documents(top).await;
            let documents = documents
                .map_err(|failure| failure.after(format_args!("initializing source docker://{}", self.name)))?;
            let layers = self.layers(&adding, &documents).await;
            layers.map_err(|failure| failure.after(format_args!("copying image docker://{}", self.name)))?;
            self.commit(&adding, documents).await
        };
        let result = tokio::select! {
            result = work => result,
            () = self.progress.0.closed() => Err(gone()),
        };
        if result.is_err() {
            // Threads of layers may still be at work on what nobody wants now; they hold on to the directory.
            adding.cancel.cancel();
            let begun = Instant::now();
            while Arc::strong_count(&adding) > 1 && begun.elapsed() < WIND_DOWN {
                sleep(POLL).await;
            }
            drop(adding);
            // A layer that was finished before is not left either; should this fail, the next does it.
            let _ = self.store.collect();
        }
        result
    }

    fn store_failed(&self, error: &io::Error) -> Failure {
        Failure::last(self.store.broken(error).message)
    }

    /// Manifest and config for the platform that was wished for.
    async fn documents(&self, top: Fetched) -> Fetch<Documents> {
        let parse = |fetched: &Fetched| {
            Document::parse(&fetched.text, &fetched.content_type).map_err(|words| {
                Failure::last(format!(
                    "reading manifest {} in {}: {}",
                    self.name.which,
                    self.source.name.repository(),
                    printable(&words)
                ))
            })
        };
        let (index, text, manifest) = match parse(&top)? {
            Document::Manifest(manifest) => (None, top.text, manifest),
            Document::Index(list) => {
                let chosen = self.choose(&list)?;
                let fetched = self.registry.manifest(&Which::Digest(chosen.digest.clone())).await?;
                match parse(&fetched)? {
                    Document::Manifest(manifest) => (Some(top), fetched.text, manifest),
                    Document::Index(_) => {
                        return Err(Failure::last(format!("index {} names another index", top.digest)));
                    }
                }
            }
        };
        // Of several pulls of one image at once one does the work: the others wait here, and find all of it. What is
        // here and is what it says it is need not be fetched again.
        let lock = wait_for(self.store, &manifest.config.digest).await?;
        let config_text = match std::fs::read(self.store.blob(&manifest.config.digest)) {
            Ok(text) if Digest::of(&text) == manifest.config.digest => text,
            _ => self.registry.small_blob(&manifest.config.digest, manifest.config.size).await?,
        };
        let config =
            Config::parse(&config_text, manifest.layers.len()).map_err(|words| Failure::last(printable(&words)))?;
        let architecture = config.image.architecture().to_string();
        if index.is_none() && !self.wish.any_platform && !self.wish.platform.is_of(&architecture) {
            self.progress
                .line(format!(
                    "WARNING: image platform (linux/{}) does not match the expected platform ({})",
                    printable(&architecture),
                    self.wish.platform
                ))
                .await?;
        }
        Ok(Documents { index, manifest, text, config, config_text, _lock: lock })
    }

    fn choose<'a>(&self, list: &'a [Descriptor]) -> Fetch<&'a Descriptor> {
        let offers = list.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
        let wish = &self.wish.platform;
        wish.choose(offers).ok_or_else(|| {
            Failure::last(format!(
                "choosing an image from manifest list: no image found in manifest list for architecture {}, variant \"{}\", OS {}",
                wish.architecture, wish.variant, wish.os
            ))
        })
    }

    async fn layers(&self, adding: &Arc<Adding>, documents: &Documents) -> Fetch<()> {
        self.check_room(documents)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = Arc::new(Slots::new(cores));
        // Dropped on any way out: it ends the downloads.
        let mut tasks = JoinSet::new();
        for (number, (blob, diff_id)) in documents.manifest.layers.iter().zip(&documents.config.diff_ids).enumerate() {
            if documents.config.diff_ids[..number].contains(diff_id) {
                continue;
            }
            let layer = Layer { blob: blob.clone(), diff_id: diff_id.clone(), registry: self.registry.clone() };
            tasks.spawn(layer.fetch(adding.clone(), slots.clone(), self.progress.clone()));
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(|error| Failure::last(format!("a layer's task failed: {error}")))??;
        }
        Ok(())
    }

    /// Better to say now than after ten minutes that the disk is too small.
    fn check_room(&self, documents: &Documents) -> Fetch<()> {
        let root = self.store.root();
        let layers = documents.manifest.layers.iter().zip(&documents.config.diff_ids);
        let need = layers
            .filter(|(_, diff_id)| !self.store.layer(diff_id).exists())
            .fold(0_u64, |sum, (blob, _)| sum.saturating_add(blob.size));
        let room = rustix::fs::statvfs(root).map_err(io::Error::from)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if need > free {
            let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
            return Err(Failure::last(format!(
                "need {} MB, {} MB free in {}",
                megabytes(need),
                megabytes(free),
                root.display()
            )));
        }
        Ok(())
    }

    async fn commit(&self, adding: &Arc<Adding>, documents: Documents) -> Fetch<Digest> {
        let config = &documents.manifest.config;
        failpoint::pass(Point::PullLayers);
        self.progress.done(&config.digest, config.size, false).await?;
        self.progress.line("Writing manifest to image destination").await?;
        let (adding, names) = (adding.clone(), vec![self.name.to_string()]);
        let written = spawn_blocking(move || {
            adding.image(&NewImage {
                config_text: &documents.config_text,
                config: &documents.config,
                manifest_text: &documents.text,
                media_type: &documents.manifest.media_type,
                index_text: documents.index.as_ref().map(|index| index.text.as_slice()),
                names: &names,
            })
        });
        let written = written.await.map_err(|error| Failure::last(error.to_string()))?;
        written.map_err(|error| self.store_failed(&error))
    }
}
