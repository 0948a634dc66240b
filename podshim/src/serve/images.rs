//! The service Images, for `podshim host`.

use std::{
    fmt,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use proto::{
    Kind, Refusal, Roots,
    event::{self, Event},
    failpoint::{self, Point},
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
    roots: Roots,
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
        Images { roots: roots.clone(), store: Store::open(roots), deposits }
    }

    /// The one descriptor under `token`.
    fn file(&self, token: &str, what: &str) -> Result<File> {
        let mut fds = self.deposits.lock().unwrap_or_else(PoisonError::into_inner).take(token);
        match (fds.pop(), fds.is_empty()) {
            (Some(fd), true) => Ok(File::from(fd)),
            _ => Err(Refusal::invalid(format!("{what}: no descriptor came with the request"))),
        }
    }

    /// Notes `action` on an image by its id.
    fn note(&self, action: &str, id: &str, name: &str) {
        event::note(&self.roots, &Event::new("image", action, id, name));
    }

    /// Notes `action` on the image called `name`.
    fn note_named(&self, action: &str, name: &str) {
        let id = self.store.resolve(name).map_or_else(|_| String::new(), |image| image.id);
        self.note(action, &id, name);
    }

    /// Notes what was removed.
    fn note_removed(&self, removed: &ImagesRemoved) {
        removed.untagged.iter().for_each(|name| self.note("untag", "", name));
        removed.deleted.iter().for_each(|id| self.note("remove", id, ""));
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
        let name = request.image.clone();
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
        self.note("pull", &image.id, &name);
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
        names.iter().for_each(|name| self.note_named("loadfromarchive", name));
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
        let removed = work.await?;
        self.note_removed(&removed);
        Ok(removed)
    }

    async fn tag(&self, _: &TtrpcContext, request: TagImage) -> ttrpc::Result<Empty> {
        let targets = request.targets.clone();
        self.blocking(move |store| store.tag(&request.source, &request.targets)).await?;
        failpoint::pass(Point::ImageTagged);
        targets.iter().for_each(|name| self.note_named("tag", name));
        Ok(Empty {})
    }

    async fn untag(&self, _: &TtrpcContext, request: TagImage) -> ttrpc::Result<Empty> {
        let image = self.store.resolve(&request.source).map_or_else(|_| String::new(), |image| image.id);
        let name = request.source.clone();
        self.blocking(move |store| store.untag(&request.source, &request.targets)).await?;
        self.note("untag", &image, &name);
        Ok(Empty {})
    }

    async fn save(&self, _: &TtrpcContext, request: SaveImages) -> ttrpc::Result<Empty> {
        let target = self.file(&request.token, "save")?;
        self.blocking(move |store| store.save(&request.names, &request.format, request.compress, target)).await?;
        Ok(Empty {})
    }

    async fn history(&self, _: &TtrpcContext, request: ImageName) -> ttrpc::Result<Document> {
        Ok(document(&self.blocking(move |store| store.history(&request.name)).await?))
    }

    async fn prune(&self, _: &TtrpcContext, request: PruneImages) -> ttrpc::Result<ImagesRemoved> {
        let removed = self.blocking(move |store| store.prune(request.all, &request.filters)).await?;
        self.note_removed(&removed);
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Seek, os::unix::net::UnixStream, time::Duration};

    use proto::{
        serve::{self, Connections},
        wire::{ImagesClient, create_images},
    };

    use super::*;

    /// A docker-archive of an image without layers, called `names`.
    fn archive(names: &str) -> File {
        let config =
            br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["x"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let manifest = format!(r#"[{{"Config":"c.json","RepoTags":[{names}],"Layers":[]}}]"#);
        let mut tar = tar::Builder::new(tempfile::tempfile().expect("file"));
        for (name, text) in [("c.json", &config[..]), ("manifest.json", manifest.as_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text).expect("append");
        }
        let mut file = tar.into_inner().expect("tar");
        file.rewind().expect("rewind");
        file
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_life_of_an_image() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().into(), run: dir.path().into() };
        let deposits = Arc::new(Mutex::new(Deposits::default()));
        let service = create_images(Arc::new(Images::new(&roots, deposits.clone())));
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let listener = serve::listener(None, Some(theirs), &Connections::default()).expect("listener");
        let mut server = ttrpc::r#async::Server::new().add_listener(listener).register_service(service);
        server.start().await.expect("start");
        let client = ImagesClient::new(serve::client(ours).expect("client"));
        let context = || serve::deadline(Duration::from_secs(10));
        let refusal = |error: ttrpc::Error| Refusal::from(error);

        // Nothing there.
        let mut pull =
            client.pull(context(), &PullImage { image: "A".into(), ..Default::default() }).await.expect("stream");
        let error = refusal(pull.recv().await.expect_err("refused"));
        assert_eq!((error.kind, error.subject.as_str()), (Kind::Invalid, "A"));
        let missing = ImageName { name: "x".into() };
        let error = refusal(client.resolve(context(), &missing).await.expect_err("missing"));
        assert_eq!((error.kind, error.message.as_str()), (Kind::NoSuchImage, "x: image not known"));
        let error = client.load(context(), &LoadImage { token: "t".into(), path: String::new() }).await;
        assert_eq!(refusal(error.expect_err("no descriptor")).kind, Kind::Invalid);

        // Loaded, named, shown, removed.
        let load = async |names: &str| {
            deposits.lock().expect("lock").add("t", vec![archive(names).into()]).expect("room");
            client.load(context(), &LoadImage { token: "t".into(), path: "a.tar".into() }).await
        };
        let error = refusal(load(r#""Bad Name""#).await.expect_err("bad name"));
        assert!(error.message.starts_with("a.tar: ") && error.message.contains("invalid reference format"), "{error}");
        assert_eq!(load(r#""x:1""#).await.expect("loaded").names, ["docker.io/library/x:1"]);
        let tag = TagImage { source: "x:1".into(), targets: vec!["y".into()] };
        client.tag(context(), &tag).await.expect("tagged");
        let found = client.resolve(context(), &ImageName { name: "y".into() }).await.expect("found");
        assert_eq!(found.names, ["docker.io/library/x:1", "localhost/y:latest"]);
        let rows = client.list(context(), &ListImages::default()).await.expect("list");
        let rows: Value = serde_json::from_slice(&rows.json).expect("json");
        assert_eq!(
            (rows[0]["Id"].as_str(), rows[0]["Names"][1].as_str()),
            (Some(found.id.as_str()), Some("localhost/y:latest"))
        );
        let names = ImageNames { names: vec!["x:1".into()] };
        let shown = client.inspect(context(), &names).await.expect("inspect");
        let shown: Value = serde_json::from_slice(&shown.json).expect("json");
        assert_eq!(shown[0]["Config"]["Cmd"][0], "x");
        let remove = |name: &str| RemoveImages { names: vec![name.to_owned()], ..Default::default() };
        let done = client.remove(context(), &remove(&found.id)).await.expect("answer");
        assert!(done.errors[0].contains("by ID with more than one tag"), "{:?}", done.errors);
        let done = client.remove(context(), &remove("y")).await.expect("answer");
        assert_eq!((done.untagged, done.deleted.len()), (vec!["localhost/y:latest".to_owned()], 0));
        let done = client.remove(context(), &remove("x:1")).await.expect("answer");
        assert_eq!((done.untagged.len(), done.deleted), (1, vec![found.id]));
        let done = client.remove(context(), &remove("x:1")).await.expect("answer");
        assert_eq!((done.missing, done.errors), (true, vec!["x:1: image not known".to_owned()]));
    }
}
