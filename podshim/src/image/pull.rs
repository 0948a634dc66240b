//! Pulling: from a name to an image in the store.
//!
//! ```text
//! name ─▶ candidates (short names) ─▶ sources (mirrors) ─▶ manifest ─▶ config ─▶ layers ─▶ image, name
//!                                                              three downloads at once, as many unpack as there are cores
//! ```
//! A layer is downloaded whole and verified before anything reads it. Another pull that wants the same layer waits for
//! its lock and finds it there. Whatever fails, or when the client goes, nothing is left.

use std::{
    fs::File,
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{PullImage, PullProgress},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    Image, Store,
    auth::Credentials,
    commit::{Adding, NewImage},
    digest::{Digest, Digesting},
    download::{Progress, download},
    manifest::{Config, Descriptor, Document, Manifest},
    not_known,
    platform::Platform,
    reference::{Full, Reference, Which},
    registries::{Registries, Source},
    registry::{Failure, FailureKind, Fetched, Registry},
    store::LayerLock,
};

/// Layers that are downloaded at once.
const DOWNLOADS: usize = 3;
/// How long another pull may take for a layer that both want.
const LOCK: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(50);
/// How long threads may take to notice that their work is not wanted.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// When a registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    Missing,
    Never,
    Newer,
}

/// What was asked for, checked.
struct Wish {
    name: Reference,
    platform: Platform,
    any_platform: bool,
    policy: Policy,
    all_tags: bool,
    insecure: Option<bool>,
    credentials: Option<Credentials>,
}

impl Wish {
    fn parse(request: &PullImage) -> Result<Wish> {
        let policy = match request.policy.as_str() {
            "" | "always" => Policy::Always,
            "missing" => Policy::Missing,
            "never" => Policy::Never,
            "newer" => Policy::Newer,
            other => {
                return Err(Refusal::invalid(format!(
                    "--policy {}: use always, missing, never or newer",
                    super::printable(other)
                )));
            }
        };
        if !request.authfile.is_empty() {
            return Err(Refusal::new(
                Kind::NotSupported,
                "--authfile is not supported yet: give --creds USER:PASSWORD",
            ));
        }
        let name = Reference::parse(&request.image).map_err(|error| error.refusal(&request.image))?;
        if request.all_tags && (name.tag.is_some() || name.digest.is_some()) {
            return Err(Refusal::invalid("--all-tags: give the name without a tag or digest").about(&request.image));
        }
        Ok(Wish {
            name,
            platform: Platform::parse(&request.platform)?,
            any_platform: request.platform.is_empty(),
            policy,
            all_tags: request.all_tags,
            insecure: request.tls_verify.map(|verify| !verify),
            credentials: Credentials::parse(&request.creds)?,
        })
    }
}

impl Store {
    /// Pulls from a registry, telling the progress. Dropping the receiver ends it.
    ///
    /// # Errors
    /// `Invalid` for a name or option that cannot be, else the words of the registry that failed last. Nothing is left.
    pub async fn pull(&self, request: &PullImage, progress: mpsc::Sender<PullProgress>) -> Result<Image> {
        let wish = Wish::parse(request)?;
        let local = || match self.resolve(&request.image) {
            Err(refusal) if refusal.kind == Kind::ImageMissing => Ok(None),
            other => other.map(Some),
        };
        match wish.policy {
            Policy::Never => return local()?.ok_or_else(|| not_known(Kind::NoSuchImage, &request.image)),
            Policy::Missing => {
                if let Some(image) = local()? {
                    return Ok(image);
                }
            }
            Policy::Always | Policy::Newer => {}
        }
        let registries = Registries::read()?;
        let progress = Progress(progress);
        let mut failures = Vec::new();
        for candidate in registries.candidates(&wish.name) {
            match self.pull_candidate(&registries, &wish, &candidate, &progress).await {
                Ok((id, name)) => return self.image(id.hex(), &name.to_string()),
                Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure.refusal(&request.image)),
                Err(failure) => failures.push(failure),
            }
        }
        if wish.policy == Policy::Newer
            && let Some(image) = local()?
        {
            return Ok(image);
        }
        let words: Vec<String> = failures.into_iter().map(|failure| failure.words).collect();
        let words = match words.as_slice() {
            [one] => one.clone(),
            many => format!("{} errors occurred while pulling: {}", many.len(), many.join("; ")),
        };
        Err(Refusal::new(Kind::Internal, words).about(&request.image))
    }

    /// Tries all sources of one full name.
    async fn pull_candidate(
        &self,
        registries: &Registries,
        wish: &Wish,
        name: &Full,
        progress: &Progress,
    ) -> std::result::Result<(Digest, Full), Failure> {
        let mut sources = registries.sources(name).map_err(|refusal| {
            Failure::last(refusal.message).after(format_args!("initializing source docker://{name}"))
        })?;
        for source in &mut sources {
            source.insecure = wish.insecure.unwrap_or(source.insecure);
        }
        let initializing = format!("initializing source docker://{name}: ");
        let mut failures = Vec::new();
        for source in &sources {
            match self.pull_source(source, wish, name, progress).await {
                Ok(pulled) => return Ok(pulled),
                Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                Err(failure) => failures.push((source.name.to_string(), failure.words)),
            }
        }
        let Some((_, mut words)) = failures.pop() else {
            return Err(Failure::last(format!("{initializing}it has no location")));
        };
        if !failures.is_empty() {
            let mirrors: Vec<String> = failures
                .iter()
                .map(|(mirror, words)| format!("{mirror}: {}", words.strip_prefix(&initializing).unwrap_or(words)))
                .collect();
            words = format!("{words} (mirrors also failed: [{}])", mirrors.join("], ["));
        }
        Err(Failure::last(words))
    }

    async fn pull_source(
        &self,
        source: &Source,
        wish: &Wish,
        name: &Full,
        progress: &Progress,
    ) -> std::result::Result<(Digest, Full), Failure> {
        let context =
            |failure: Failure, name: &Full| failure.after(format_args!("initializing source docker://{name}"));
        let mut names = vec![name.clone()];
        if !wish.all_tags {
            progress.line(format!("Trying to pull {name}...")).await?;
        }
        let connect = Registry::connect(source, wish.credentials.clone());
        let registry = tokio::select! {
            registry = connect => registry.map_err(|failure| context(failure, name))?,
            () = progress.0.closed() => return Err(gone()),
        };
        let registry = Arc::new(registry);
        if wish.all_tags {
            let tags = registry.tags().await.map_err(|failure| context(failure, name))?;
            names = tags
                .iter()
                .filter_map(|tag| Reference::parse(&format!("{}:{tag}", name.repository())).ok())
                .map(|name| name.docker())
                .collect();
        }
        let mut pulled = Err(Failure::last(format!("{}: it has no tags", name.repository())));
        for name in names {
            if wish.all_tags {
                progress.line(format!("Trying to pull {name}...")).await?;
            }
            let work = Work { store: self, registry: registry.clone(), wish, name: &name, source, progress };
            let id = work.pull().await?;
            pulled = Ok((id, name));
        }
        pulled
    }
}

fn gone() -> Failure {
    Failure { kind: FailureKind::Cancelled, words: "the client has gone".to_owned() }
}

/// One image from one registry.
struct Work<'a> {
    store: &'a Store,
    registry: Arc<Registry>,
    wish: &'a Wish,
    name: &'a Full,
    source: &'a Source,
    progress: &'a Progress,
}

/// The documents of an image.
struct Documents {
    index: Option<Fetched>,
    manifest: Manifest,
    text: Vec<u8>,
    config: Config,
    config_text: Vec<u8>,
}

impl Work<'_> {
    async fn pull(&self) -> std::result::Result<Digest, Failure> {
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

    fn store_failed(&self, error: &std::io::Error) -> Failure {
        Failure::last(self.store.broken(error).message)
    }

    /// Manifest and config for the platform that was wished for.
    async fn documents(&self, top: Fetched) -> std::result::Result<Documents, Failure> {
        let parse = |fetched: &Fetched| {
            Document::parse(&fetched.text, &fetched.content_type).map_err(|words| {
                Failure::last(format!(
                    "reading manifest {} in {}: {}",
                    self.name.which,
                    self.source.name.repository(),
                    super::printable(&words)
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
        let config_text = self.registry.small_blob(&manifest.config.digest, manifest.config.size).await?;
        let config = Config::parse(&config_text, manifest.layers.len())
            .map_err(|words| Failure::last(super::printable(&words)))?;
        let architecture = config.image.architecture().to_string();
        if index.is_none() && !self.wish.any_platform && !self.wish.platform.is_of(&architecture) {
            self.progress
                .line(format!(
                    "WARNING: image platform (linux/{}) does not match the expected platform ({})",
                    super::printable(&architecture),
                    self.wish.platform
                ))
                .await?;
        }
        Ok(Documents { index, manifest, text, config, config_text })
    }

    fn choose<'a>(&self, list: &'a [Descriptor]) -> std::result::Result<&'a Descriptor, Failure> {
        let offers = list.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
        let wish = &self.wish.platform;
        wish.choose(offers).ok_or_else(|| {
            Failure::last(format!(
                "choosing an image from manifest list: no image found in manifest list for architecture {}, variant \"{}\", OS {}",
                wish.architecture, wish.variant, wish.os
            ))
        })
    }

    async fn layers(&self, adding: &Arc<Adding>, documents: &Documents) -> std::result::Result<(), Failure> {
        self.check_room(documents)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = Arc::new(Slots { download: Semaphore::new(DOWNLOADS), unpack: Semaphore::new(cores) });
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
    fn check_room(&self, documents: &Documents) -> std::result::Result<(), Failure> {
        let root = self.store.root();
        let layers = documents.manifest.layers.iter().zip(&documents.config.diff_ids);
        let need = layers
            .filter(|(_, diff_id)| !self.store.layer(diff_id).exists())
            .fold(0_u64, |sum, (blob, _)| sum.saturating_add(blob.size));
        let room = rustix::fs::statvfs(root).map_err(std::io::Error::from)?;
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

    async fn commit(&self, adding: &Arc<Adding>, documents: Documents) -> std::result::Result<Digest, Failure> {
        let config = &documents.manifest.config;
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

/// How much is done at once.
struct Slots {
    download: Semaphore,
    unpack: Semaphore,
}

struct Layer {
    blob: Descriptor,
    diff_id: Digest,
    registry: Arc<Registry>,
}

impl Layer {
    async fn fetch(
        self,
        adding: Arc<Adding>,
        slots: Arc<Slots>,
        progress: Progress,
    ) -> std::result::Result<(), Failure> {
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
        unpacked.map_err(|error| {
            Failure::last(format!("unpacking layer {}: {}", self.blob.digest, super::cause(&error)))
        })?;
        progress.done(&self.blob.digest, self.blob.size, false).await
    }

    /// Whether the blob that is in the store already is what it should be.
    async fn is_good(&self, adding: &Adding) -> std::result::Result<bool, Failure> {
        let (path, blob, cancel) = (adding.store.blob(&self.blob.digest), self.blob.clone(), adding.cancel.clone());
        let checked = spawn_blocking(move || -> std::io::Result<bool> {
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

/// The lock of a layer, as soon as no other pull has it.
async fn wait_for(store: &Store, diff_id: &Digest) -> std::result::Result<LayerLock, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(lock) = LayerLock::try_take(store, diff_id)? {
            return Ok(lock);
        }
        if begun.elapsed() > LOCK {
            return Err(Failure::last(format!("layer {diff_id} has been fetched by another pull for an hour")));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use proto::Roots;

    use super::{super::fake_registry::FakeRegistry, *};

    struct Engine {
        dir: tempfile::TempDir,
        store: Store,
        registry: FakeRegistry,
    }

    impl Engine {
        fn new() -> Engine {
            let dir = tempfile::tempdir().expect("tempdir");
            let store = Store::open(&Roots { state: dir.path().into(), run: dir.path().into() });
            Engine { dir, store, registry: FakeRegistry::start() }
        }

        fn request(&self, repository: &str) -> PullImage {
            PullImage {
                image: format!("{}/{repository}", self.registry.host),
                tls_verify: Some(false),
                ..Default::default()
            }
        }

        async fn pull(&self, repository: &str) -> (Result<Image>, Vec<PullProgress>) {
            let (sender, mut receiver) = mpsc::channel::<PullProgress>(1000);
            let request = self.request(repository);
            let watch = async {
                let mut all = Vec::new();
                while let Some(progress) = receiver.recv().await {
                    all.push(progress);
                }
                all
            };
            tokio::join!(self.store.pull(&request, sender), watch)
        }

        /// What a pull left in the store.
        fn files(&self) -> BTreeSet<String> {
            fn walk(dir: &Path, all: &mut BTreeSet<String>) {
                for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        walk(&path, all);
                    }
                    all.insert(path.display().to_string());
                }
            }
            let mut all = BTreeSet::new();
            for dir in ["records", "blobs/sha256", "layers", "tmp", "locks"] {
                walk(&self.dir.path().join("images").join(dir), &mut all);
            }
            all
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_image_comes_with_its_progress() {
        let engine = Engine::new();
        let (image, progress) = engine.pull("index").await;
        let image = image.expect("pulled");
        assert_eq!(image.names, [format!("{}/index:latest", engine.registry.host)]);
        assert_eq!(std::fs::metadata(image.layers[0].join("bin/true")).expect("file").len(), 300_000);
        let lines: Vec<&str> = progress.iter().map(|p| p.line.as_str()).filter(|line| !line.is_empty()).collect();
        let trying = format!("Trying to pull {}/index:latest...", engine.registry.host);
        assert_eq!(lines, [&trying, "Getting image source signatures", "Writing manifest to image destination"]);
        assert_eq!(progress.iter().filter(|p| p.blob_done).count(), 2, "layer and config");
        // By tag, by the index' digest, by the image's, by id.
        let by = |name: &str| engine.store.resolve(name).map(|found| found.id);
        let record = engine.store.record(&image.id).expect("record");
        for digest in &record.digests {
            assert_eq!(by(&format!("index@{digest}")), Ok(image.id.clone()));
        }
        assert_eq!(record.digests.len(), 2);
        assert_eq!(by(&image.id[..1]), Ok(image.id.clone()));
        let (again, progress) = engine.pull("plain").await;
        assert_eq!(again.expect("pulled").names.len(), 2);
        assert!(progress.iter().any(|p| p.blob_skipped), "the layer was here");
        let done = engine.store.remove(&[image.id], true, false, false).expect("remove");
        assert_eq!((done.untagged.len(), done.deleted.len()), (2, 1));
        assert_eq!(engine.files(), BTreeSet::new());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_not_as_it_should_be_leaves_nothing() {
        let engine = Engine::new();
        for (repository, words) in [
            ("wrong", "what came has the digest"),
            ("short", "and the image says"),
            ("long", "more bytes come"),
            ("html", "parsing manifest"),
            ("huge", "longer than"),
            ("both", "both an image and an index"),
            ("count", "names 1 layers and the manifest 0"),
            ("path", "invalid digest"),
            ("diff", "blob unknown"),
            ("loop", "redirects"),
            ("file", "not secure"),
            ("denied", "denied: no \u{fffd}[2Jaccess\u{fffd}for you"),
            ("missing:tag", "manifest unknown"),
        ] {
            let (result, _) = engine.pull(repository).await;
            let refusal = result.expect_err(repository);
            assert!(refusal.message.contains(words), "{repository}: {}", refusal.message);
            assert!(!refusal.message.contains('\n'), "{repository}");
            assert_eq!(engine.files(), BTreeSet::new(), "{repository}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_broken_connection_goes_on_where_it_was() {
        let engine = Engine::new();
        engine.pull("drop").await.0.expect("pulled");
        let ranges: Vec<Option<u64>> = engine
            .registry
            .asked()
            .into_iter()
            .filter(|asked| asked.range.is_some())
            .map(|asked| asked.range)
            .collect();
        assert_eq!(ranges, [Some(100_000), Some(200_000)]);
        engine.pull("busy").await.0.expect("pulled");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_token_goes_to_its_registry_alone() {
        let engine = Engine::new();
        engine.pull("bearer").await.0.expect("pulled");
        let asked = engine.registry.asked();
        assert!(asked.iter().any(|asked| asked.authorization.as_deref() == Some("Bearer TOKEN")));
        let elsewhere: Vec<_> = asked.iter().filter(|asked| asked.host == engine.registry.elsewhere).collect();
        assert!(!elsewhere.is_empty() && elsewhere.iter().all(|asked| asked.authorization.is_none()), "{elsewhere:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pull_ends_with_its_client() {
        let engine = Engine::new();
        let (sender, mut receiver) = mpsc::channel::<PullProgress>(1000);
        let request = engine.request("hang");
        let client = async {
            while let Some(progress) = receiver.recv().await {
                if progress.line.starts_with("Getting") {
                    break;
                }
            }
            sleep(Duration::from_millis(300)).await;
            drop(receiver);
        };
        let begun = Instant::now();
        let (result, ()) = tokio::join!(engine.store.pull(&request, sender), client);
        assert_eq!(result.expect_err("gone").kind, Kind::Gone);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(engine.files(), BTreeSet::new());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn pulls_at_once_share_one_download() {
        let engine = Engine::new();
        let pulls = futures::future::join_all((0..8).map(|_| engine.pull("plain"))).await;
        assert!(pulls.iter().all(|(result, _)| result.is_ok()));
        let layers = engine.registry.asked().into_iter().filter(|asked| asked.path.contains("/blobs/")).count();
        // Each its own config, all one layer.
        assert_eq!(layers, 8 + 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wishes_that_cannot_be() {
        let engine = Engine::new();
        let request = |change: fn(&mut PullImage)| {
            let mut request = engine.request("plain");
            change(&mut request);
            request
        };
        for (request, kind, words) in [
            (request(|r| r.image = "A B".into()), Kind::Invalid, "invalid reference format"),
            (request(|r| r.policy = "soon".into()), Kind::Invalid, "--policy soon"),
            (request(|r| r.platform = "windows/amd64".into()), Kind::Invalid, "--platform windows/amd64"),
            (request(|r| r.creds = ":x".into()), Kind::Invalid, "--creds"),
            (request(|r| r.authfile = "/x".into()), Kind::NotSupported, "--authfile"),
            (
                request(|r| {
                    r.all_tags = true;
                    r.image.push_str(":1");
                }),
                Kind::Invalid,
                "--all-tags",
            ),
            (request(|r| r.policy = "never".into()), Kind::NoSuchImage, "image not known"),
        ] {
            let refusal = engine.store.pull(&request, mpsc::channel(1).0).await.expect_err(words);
            assert_eq!(refusal.kind, kind, "{}", refusal.message);
            assert!(refusal.message.contains(words), "{}", refusal.message);
            assert!(!engine.dir.path().join("images").exists(), "nothing was made");
        }
    }
}
