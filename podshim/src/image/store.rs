//! The store on disk: what is where, who may write, and what is rubbish.
//!
//! ```text
//! $STATE/images/                       0700
//!   lock                               short flock: index and temporary directories
//!   using                              shared flock: somebody adds layers; exclusive: somebody collects rubbish
//!   names.json                         full name → id, replaced whole: tags move in one rename
//!   records/ID.json                    one image
//!   blobs/sha256/HEX                   manifests, configs and layers exactly as they came
//!   layers/DIFFID/{layer.json, diff/}  an unpacked layer, shared by all images that have it; appears by rename
//!   locks/DIFFID                       flock of whoever fetches that layer, gone with it
//!   tmp/RANDOM/{lock, …}               work of one pull or load; rubbish as soon as nobody holds the lock
//! ```
//! Order of a new image: layers (not synced), config and manifest, syncfs(2), record, name. So what a record names is on
//! disk. A layer without a record counts only in the boot that unpacked it, for it may be empty after a power loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Instant,
};

use proto::{
    Id,
    alive::{self, Lock},
    failpoint::{self, Point},
    record::{self, Durability},
};
use serde::{Deserialize, Serialize};

use super::{Store, digest::Digest, remove_tree::remove_tree};

/// `names.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Schema of its writer.
    pub schema: u32,
    /// Full name → hex digits of the id.
    pub names: BTreeMap<String, String>,
}

/// `records/ID.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Schema of its writer.
    pub schema: u32,
    /// Digest of the config: the id.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// All digests it can be asked for by: of the manifest and of the index it was found in.
    pub digests: Vec<Digest>,
    /// The manifest's media type.
    pub media_type: String,
    /// Unpacked layers, bottom first.
    pub layers: Vec<Digest>,
    /// Bytes of the layers as plain tar, of config and manifest.
    pub size: u64,
    /// When it was built.
    pub created: i64,
    /// When it came here.
    pub added: i64,
}

/// `layers/DIFFID/layer.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Schema of its writer.
    pub schema: u32,
    /// The blob it was unpacked from.
    pub blob: Digest,
    /// Length of that blob.
    pub blob_size: u64,
    /// Length as plain tar.
    pub size: u64,
    /// The boot that unpacked it.
    pub boot_id: String,
}

impl Store {
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// `blobs/sha256/HEX`
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// `layers/DIFFID`
    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    /// `records/ID.json`
    pub(super) fn record_path(&self, hex: &str) -> PathBuf {
        self.root.join("records").join(hex).with_extension("json")
    }

    fn names_path(&self) -> PathBuf {
        self.root.join("names.json")
    }

    /// Makes the directories.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in ["records", "blobs/sha256", "layers", "locks", "tmp"] {
            builder.create(self.root.join(dir))?;
        }
        Ok(())
    }

    /// All names.
    pub(super) fn names(&self) -> io::Result<Names> {
        record::read(&self.names_path()).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Names::default()),
            kind => Err(io::Error::new(kind, format!("{error}: podctl system check --repair --force removes it"))),
        })
    }

    /// Changes names, and the records they stand for, as their only writer.
    pub(super) fn change_names<T>(&self, change: impl FnOnce(&mut Names) -> io::Result<T>) -> io::Result<T> {
        self.make()?;
        let _lock = Lock::take(&self.root.join("lock"))?;
        let before = self.names()?;
        let mut names = before.clone();
        let answer = change(&mut names);
        // Whoever was cut off between a record and its names left names of nothing.
        names.names.retain(|_, hex| self.record_path(hex).exists());
        if names != before {
            names.schema = record::SCHEMA;
            failpoint::check(Point::ImageNames)?;
            record::write(&self.names_path(), &names, Durability::Durable)?;
        }
        answer
    }

    /// The record of the image whose id has the hex digits `hex`.
    pub(super) fn record(&self, hex: &str) -> io::Result<ImageRecord> {
        record::read(&self.record_path(hex))
    }

    /// Ids of all images that begin with `prefix`.
    pub(super) fn ids(&self, prefix: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join("records")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let hex = name.to_str()?.strip_suffix(".json")?;
                (hex.starts_with(prefix) && Digest::from_hex(hex).is_some()).then(|| hex.to_owned())
            })
            .collect())
    }

    /// All records that can be read.
    pub(super) fn records(&self) -> io::Result<Vec<ImageRecord>> {
        Ok(self.ids("")?.iter().filter_map(|hex| self.record(hex).ok()).collect())
    }

    /// What is known of the layer `diff_id`, when it is here and can be relied on.
    pub(super) fn layer_record(&self, diff_id: &Digest) -> Option<LayerRecord> {
        let record: LayerRecord = record::read(&self.layer(diff_id).join("layer.json")).ok()?;
        let sure = record.boot_id == alive::boot_id()
            || self.records().ok()?.iter().any(|image| image.layers.contains(diff_id));
        sure.then_some(record)
    }

    /// While it is held, nothing that was added is collected as rubbish.
    pub(super) fn use_layers(&self) -> io::Result<Lock> {
        self.make()?;
        Lock::share(&self.root.join("using"))
    }

    /// While it is held, nobody adds anything; `None` when somebody does now.
    pub(super) fn alone(&self) -> io::Result<Option<Lock>> {
        self.make()?;
        Lock::try_take(&self.root.join("using"))
    }

    /// A directory for the work of one pull or load. What dead ones have left goes first.
    pub(super) fn temporary(&self) -> io::Result<Temporary> {
        self.make()?;
        let _lock = Lock::take(&self.root.join("lock"))?;
        // Records are written under that lock, too.
        record::sweep(&self.root);
        record::sweep(&self.root.join("records"));
        for entry in fs::read_dir(self.root.join("locks"))?.flatten() {
            // Of whoever was killed while it fetched a layer. One that is free is taken, and goes.
            let lock = Lock::try_take(&entry.path()).ok().flatten();
            drop(lock.map(|lock| LayerLock { path: entry.path(), _lock: lock }));
        }
        let mut rubbish = Vec::new();
        for entry in fs::read_dir(self.root.join("tmp"))?.flatten() {
            // Its lock is taken under the store's lock, together with making it: an unlocked one is dead.
            if !Lock::is_held(&entry.path().join("lock")) {
                rubbish.push(entry.path());
            }
        }
        for path in rubbish {
            // Whoever cannot remove it now leaves it to the next.
            let _ = remove_tree(&path);
        }
        let path = self.root.join("tmp").join(Id::random()?.short());
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        failpoint::check(Point::ImageTemporary)?;
        let lock = Lock::take(&path.join("lock"))?;
        Ok(Temporary { path, _lock: lock })
    }

    /// Removes what no record names, unless somebody is adding something.
    pub(super) fn collect(&self) -> io::Result<()> {
        // Busy: the next one collects.
        let Some(alone) = self.alone()? else { return Ok(()) };
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for hex in self.ids("")? {
            // What an unreadable record needs is not known: then nothing is rubbish.
            let image = self.record(&hex)?;
            wanted.extend(image.digests.iter().chain([&image.id, &image.manifest]).map(|d| d.hex().to_owned()));
            for layer in &image.layers {
                wanted.insert(layer.hex().to_owned());
                if let Ok(layer) = record::read::<LayerRecord>(&self.layer(layer).join("layer.json")) {
                    wanted.insert(layer.blob.hex().to_owned());
                }
            }
        }
        let rubbish = self.temporary()?;
        for (number, dir) in ["blobs/sha256", "layers"].iter().enumerate() {
            for entry in fs::read_dir(self.root.join(dir))?.flatten() {
                let name = entry.file_name();
                if !name.to_str().is_some_and(|name| wanted.contains(name)) {
                    fs::rename(entry.path(), rubbish.path().join(format!("{number}-{}", name.to_string_lossy())))?;
                }
            }
        }
        failpoint::check(Point::ImageCollected)?;
        // Out of the store: deleting it takes its time and needs no lock.
        drop(alone);
        drop(rubbish);
        Ok(())
    }
}

/// A directory of `tmp/`, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    _lock: Lock,
}

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is found unlocked by the next.
        let _ = remove_tree(&self.path);
    }
}

/// The lock of one layer: held while it is fetched and unpacked.
#[derive(Debug)]
pub(super) struct LayerLock {
    path: PathBuf,
    _lock: Lock,
}

impl LayerLock {
    /// Takes it, or answers `None` when another pull fetches that layer now.
    pub(super) fn try_take(store: &Store, diff_id: &Digest) -> io::Result<Option<LayerLock>> {
        let path = store.root.join("locks").join(diff_id.hex());
        Ok(Lock::try_take(&path)?.map(|lock| LayerLock { path, _lock: lock }))
    }

    /// The words for one who has had it for too long.
    pub(super) fn kept(store: &Store, diff_id: &Digest, begun: Instant) -> String {
        let who = Lock::holder(&store.root.join("locks").join(diff_id.hex()));
        format!("{diff_id} has been fetched for {} s by {who}", begun.elapsed().as_secs())
    }
}

impl Drop for LayerLock {
    fn drop(&mut self) {
        // Still locked: whoever waits for this file finds that it has gone and takes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(&proto::Roots { state: dir.path().into(), run: dir.path().into() });
        (dir, store)
    }

    #[test]
    fn nothing_is_made_by_looking() {
        let (dir, store) = store();
        assert_eq!(store.names().expect("names"), Names::default());
        assert!(store.records().expect("records").is_empty());
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
    }

    #[test]
    fn the_work_of_the_dead_is_removed_and_of_the_living_kept() {
        let (_dir, store) = store();
        let living = store.temporary().expect("temporary");
        let dead = store.root().join("tmp/dead");
        fs::create_dir(&dead).expect("dir");
        fs::write(dead.join("blob"), "x").expect("write");
        let second = store.temporary().expect("temporary");
        assert!(living.path().exists() && second.path().exists() && !dead.exists());
        drop((living, second));
        assert_eq!(fs::read_dir(store.root().join("tmp")).expect("dir").count(), 0);
    }

    #[test]
    fn rubbish_is_what_no_record_names_and_only_when_nobody_adds() {
        let (_dir, store) = store();
        store.make().expect("make");
        let [id, manifest, blob, diff, other] =
            ["id", "manifest", "blob", "diff", "other"].map(|t| Digest::of(t.as_bytes()));
        for digest in [&id, &manifest, &blob, &other] {
            fs::write(store.blob(digest), "x").expect("write");
        }
        for digest in [&diff, &other] {
            fs::create_dir_all(store.layer(digest).join("diff")).expect("dir");
            let layer = LayerRecord {
                schema: 1,
                blob: blob.clone(),
                blob_size: 1,
                size: 1,
                boot_id: "an earlier one".to_owned(),
            };
            record::write(&store.layer(digest).join("layer.json"), &layer, Durability::Volatile).expect("write");
        }
        let image = ImageRecord {
            schema: 1,
            id: id.clone(),
            manifest: manifest.clone(),
            digests: vec![manifest.clone()],
            media_type: String::new(),
            layers: vec![diff.clone()],
            size: 0,
            created: 0,
            added: 0,
        };
        record::write(&store.record_path(id.hex()), &image, Durability::Volatile).expect("write");
        assert!(store.layer_record(&diff).is_some());
        assert!(store.layer_record(&other).is_none(), "no record vouches for it and it is of another boot");
        let using = store.use_layers().expect("lock");
        store.collect().expect("collect");
        assert!(store.blob(&other).exists());
        drop(using);
        store.collect().expect("collect");
        assert!(!store.blob(&other).exists() && !store.layer(&other).exists());
        assert!(
            [&id, &manifest, &blob].iter().all(|digest| store.blob(digest).exists()) && store.layer(&diff).exists()
        );
    }

    #[test]
    fn one_layer_is_fetched_by_one() {
        let (_dir, store) = store();
        store.make().expect("make");
        let digest = Digest::of(b"x");
        let first = LayerLock::try_take(&store, &digest).expect("lock").expect("free");
        assert!(LayerLock::try_take(&store, &digest).expect("lock").is_none());
        drop(first);
        assert!(LayerLock::try_take(&store, &digest).expect("lock").is_some());
        assert_eq!(fs::read_dir(store.root().join("locks")).expect("dir").count(), 0);
    }
}
