//! Pulls from a registry that is as honest or hostile as each repository's name says.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use proto::Roots;

use tokio::time::sleep;

use super::*;
use crate::image::fake_registry::FakeRegistry;

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
    let ranges: Vec<Option<u64>> =
        engine.registry.asked().into_iter().filter(|asked| asked.range.is_some()).map(|asked| asked.range).collect();
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
    // All of them one config and one layer.
    assert_eq!(layers, 1 + 1);
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
