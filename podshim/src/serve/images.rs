//! The service Images, for `podshim host`.

use std::{
    fmt,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use proto::{
    Kind, Refusal, Roots,
    raw::Deposits,
    refusal::Result,
    wire::{
        Document, Empty, ImageName, ImageNames, ImageResolved, ImagesLoaded, ImagesRemoved, ListImages, LoadImage,
        PruneImages, PullImage, PullProgress, RemoveImages, SaveImages, TagImage,
    },
};
use serde_json::Value;
use tokio::{sync::mpsc, task::spawn_blocking};
use ttrpc::r#async::{ServerStreamSender, TtrpcContext};

use crate::image::Store;

/// Messages of a pull that may wait for a slow client; its lines wait, the rest is dropped.
const BACKLOG: usize = 64;

/// The service over the images of one engine.
pub struct Images {
    store: Store,
    deposits: Arc<Mutex<Deposits>>,
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Images {
    /// Makes nothing. Archives come and go as descriptors in `deposits`.
    pub fn new(roots: &Roots, deposits: Arc<Mutex<Deposits>>) -> Images {
        Images { store: Store::open(roots), deposits }
    }

    /// The one descriptor under `token`.
    fn file(&self, token: &str, what: &str) -> Result<File> {
        let mut fds = self.deposits.lock().unwrap_or_else(PoisonError::into_inner).take(token);
        match (fds.pop(), fds.is_empty()) {
            (Some(fd), true) => Ok(File::from(fd)),
            _ => Err(Refusal::invalid(format!("{what}: no descriptor came with the request"))),
        }
    }

    /// Runs `work`, which reads and writes files, beside the loop.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> Result<T> + Send + 'static) -> Result<T> {
        let store = self.store.clone();
        spawn_blocking(move || work(&store)).await.unwrap_or_else(|error| Err(Refusal::internal("images", error)))
    }
}

fn document(value: &Value) -> Document {
    Document { json: value.to_string().into_bytes() }
}

/// podctl pulls only where it asks for it: in an answer a missing image is missing.
fn missing_is_no_such(mut refusal: Refusal) -> Refusal {
    if refusal.kind == Kind::ImageMissing {
        refusal.kind = Kind::NoSuchImage;
    }
    refusal
}

#[async_trait]
impl proto::wire::Images for Images {
    async fn pull(
        &self,
        _: &TtrpcContext,
        request: PullImage,
        stream: ServerStreamSender<PullProgress>,
    ) -> ttrpc::Result<()> {
        let (sender, mut receiver) = mpsc::channel(BACKLOG);
        let store = self.store.clone();
        // A task of its own: it cleans up after itself even when nobody listens any more.
        let pull = tokio::spawn(async move { store.pull(&request, sender).await });
        while let Some(progress) = receiver.recv().await {
            if stream.send(&progress).await.is_err() {
                // The client has gone, and with the receiver the pull's reason.
                break;
            }
        }
        drop(receiver);
        let image = pull.await.unwrap_or_else(|error| Err(Refusal::internal("pull", error)))?;
        stream.send(&PullProgress { done: true, id: image.id, names: image.names, ..Default::default() }).await
    }

    async fn load(&self, _: &TtrpcContext, request: LoadImage) -> ttrpc::Result<ImagesLoaded> {
        let archive = self.file(&request.token, "load")?;
        let path = request.path;
        let names = self.blocking(move |store| store.load(archive)).await;
        let names = names.map_err(|refusal| match path.as_str() {
            "" => refusal,
            path => Refusal { message: format!("{path}: {}", refusal.message), ..refusal },
        })?;
        Ok(ImagesLoaded { names })
    }

    /// An array of podman's objects, one for each image, newest first.
    async fn list(&self, _: &TtrpcContext, request: ListImages) -> ttrpc::Result<Document> {
        Ok(document(&self.blocking(move |store| store.rows(&request.names, &request.filters)).await?))
    }

    /// An array of podman's objects in the order of the names.
    async fn inspect(&self, _: &TtrpcContext, request: ImageNames) -> ttrpc::Result<Document> {
        let all = self.blocking(move |store| {
            request.names.iter().map(|name| store.inspect(name)).collect::<Result<Vec<Value>>>()
        });
        Ok(document(&Value::Array(all.await?)))
    }

    async fn resolve(&self, _: &TtrpcContext, request: ImageName) -> ttrpc::Result<ImageResolved> {
        let image = self.store.resolve(&request.name).map_err(missing_is_no_such)?;
        Ok(ImageResolved { id: image.id, names: image.names, digest: image.digest })
    }

    async fn remove(&self, _: &TtrpcContext, request: RemoveImages) -> ttrpc::Result<ImagesRemoved> {
        let work = self.blocking(move |store| {
            let RemoveImages { names, force, all, ignore } = &request;
            store.remove(names, *force, *all, *ignore)
        });
        Ok(work.await?)
    }

    async fn tag(&self, _: &TtrpcContext, request: TagImage) -> ttrpc::Result<Empty> {
        self.blocking(move |store| store.tag(&request.source, &request.targets)).await?;
        Ok(Empty {})
    }

    async fn untag(&self, _: &TtrpcContext, request: TagImage) -> ttrpc::Result<Empty> {
        self.blocking(move |store| store.untag(&request.source, &request.targets)).await?;
        Ok(Empty {})
    }

    async fn save(&self, _: &TtrpcContext, request: SaveImages) -> ttrpc::Result<Empty> {
        let target = self.file(&request.token, "save")?;
        self.blocking(move |store| store.save(&request.names, &request.format, target)).await?;
        Ok(Empty {})
    }

    async fn prune(&self, _: &TtrpcContext, request: PruneImages) -> ttrpc::Result<ImagesRemoved> {
        Ok(self.blocking(move |store| store.prune(request.all, &request.filters)).await?)
    }
}
