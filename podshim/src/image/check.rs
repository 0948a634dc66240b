//! What of the store of images is missing, damaged or rubbish.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use proto::{
    Refusal,
    alive::Lock,
    record::{self, SCHEMA},
};

use super::{
    Store,
    digest::Digest,
    remove_tree::remove_tree,
    store::{ImageRecord, LayerRecord},
};
use crate::finding::{Finding, Mend, shown};

/// Kind of a finding that only reading every byte can make.
pub const CONTENT: &str = "content";

/// What is wrong. `users` are the containers of each image; what nobody names is rubbish after `max`. `quick` = the
/// bytes are not read.
pub fn scan(store: &Store, users: &HashMap<String, Vec<String>>, quick: bool, max: Duration) -> Vec<Finding> {
    let mut found = remains(store);
    let names = store.names();
    if names.is_err() {
        let (path, store) = (store.root().join("names.json"), store.clone());
        let problem = "cannot be read: images have lost their names";
        found.push(Finding::force("images", shown(&path), problem, "removes it: pull them again", move || match store
            .names()
        {
            Ok(_) => Ok(()),
            Err(_) => fs::remove_file(&path).map_err(|error| store.broken(&error)),
        }));
    }
    for (name, hex) in names.map(|names| names.names).unwrap_or_default() {
        if !store.record_path(&hex).exists() {
            let own = store.clone();
            let problem = "names an image that is not there";
            // Whoever changes names drops those of nothing.
            found.push(Finding::repair("image", super::printable(&name), problem, "takes the name away", move || {
                own.change_names(|_| Ok(())).map_err(|error| own.broken(&error))
            }));
        }
    }
    let mut wanted = BTreeSet::new();
    let mut all_known = true;
    for hex in store.ids("").unwrap_or_default() {
        let image = store.record(&hex);
        let problem = match &image {
            Ok(image) if image.schema > SCHEMA => {
                let way = "install that version again, or remove it with rmi -f".to_owned();
                found.push(Finding::new("image", short(&hex), "was written by a newer podctl", Mend::User(way)));
                all_known = false;
                continue;
            }
            Ok(image) => damage(store, image, quick, &mut wanted),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => {
                all_known = false;
                Some(("image", "has a record that cannot be read".to_owned()))
            }
        };
        if let Some((kind, problem)) = problem {
            found.push(damaged(store, kind, hex.clone(), problem, users.contains_key(&hex)));
        }
    }
    if all_known {
        found.extend(unwanted(store, &wanted, max));
    }
    found
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// What is missing or wrong of an image; what it needs is added to `wanted`.
fn damage(
    store: &Store,
    image: &ImageRecord,
    quick: bool,
    wanted: &mut BTreeSet<String>,
) -> Option<(&'static str, String)> {
    wanted.extend(image.digests.iter().chain([&image.id, &image.manifest]).map(|digest| digest.hex().to_owned()));
    let mut blobs: Vec<Digest> = vec![image.id.clone(), image.manifest.clone()];
    let mut missing = None;
    for layer in &image.layers {
        wanted.insert(layer.hex().to_owned());
        match record::read::<LayerRecord>(&store.layer(layer).join("layer.json")) {
            Ok(record) if store.layer(layer).join("diff").is_dir() => {
                wanted.insert(record.blob.hex().to_owned());
                blobs.push(record.blob);
            }
            Ok(record) => {
                wanted.insert(record.blob.hex().to_owned());
                missing.get_or_insert(format!("lacks the layer {}", short(layer.hex())));
            }
            Err(_) => {
                missing.get_or_insert(format!("lacks the layer {}", short(layer.hex())));
            }
        }
    }
    missing = missing.or_else(|| {
        let absent = blobs.iter().find(|blob| !store.blob(blob).exists())?;
        Some(format!("lacks the blob {}", short(absent.hex())))
    });
    if let Some(problem) = missing {
        return Some(("image", problem));
    }
    let wrong = if quick { None } else { blobs.iter().find(|blob| !is_whole(&store.blob(blob), blob)) };
    wrong.map(|blob| {
        (
            CONTENT,
            format!("of an image is damaged: the bytes of blob {} are not those it is named by", short(blob.hex())),
        )
    })
}

/// Whether the bytes at `path` are those of `digest`; what cannot be read is not.
fn is_whole(path: &Path, digest: &Digest) -> bool {
    use sha2::{Digest as _, Sha256};
    let hash = || -> io::Result<String> {
        let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(proto::id::hex(&hasher.finalize())),
                length => hasher.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    };
    hash().is_ok_and(|hex| hex == digest.hex())
}

/// An image that cannot be used: it goes, so that whoever asks for it next has it pulled.
fn damaged(store: &Store, kind: &'static str, hex: String, problem: String, is_used: bool) -> Finding {
    let own = store.clone();
    let object = short(&hex).to_owned();
    let act = move || own.drop_image(&hex);
    if is_used {
        let verb = "removes it: its containers can be started when it is pulled again";
        Finding::force(kind, object, problem, verb, act)
    } else {
        Finding::repair(kind, object, problem, "removes it: pull it again", act)
    }
}

/// The work of pulls and loads that were killed.
fn remains(store: &Store) -> Vec<Finding> {
    let mut found = Vec::new();
    for path in paths(&store.root().join("tmp")) {
        if !Lock::is_held(&path.join("lock")) {
            let own = store.clone();
            let problem = "is what a pull or load that was killed has left";
            found.push(Finding::repair("download", shown(&path), problem, "removes it", move || {
                // Making a directory of our own removes those of the dead.
                own.temporary().map(drop).map_err(|error| own.broken(&error))
            }));
        }
    }
    for path in paths(&store.root().join("locks")) {
        if !Lock::is_held(&path) {
            let problem = "is the lock of a pull that was killed";
            found.push(Finding::repair("download", shown(&path), problem, "removes it", move || {
                let failed = |error: io::Error| Refusal::internal(path.display(), error);
                // Removed while it is held: nobody else can have it then.
                let Some(_lock) = Lock::try_take(&path).map_err(failed)? else { return Ok(()) };
                fs::remove_file(&path).map_err(failed)
            }));
        }
    }
    found
}

/// Blobs and layers that no image names and that have been here for longer than `max`.
fn unwanted(store: &Store, wanted: &BTreeSet<String>, max: Duration) -> Vec<Finding> {
    let is_old = |path: &Path| {
        let changed = fs::symlink_metadata(path).and_then(|meta| meta.modified());
        changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > max))
    };
    let is_wanted =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| wanted.contains(name));
    let mut found = Vec::new();
    for (kind, dir) in [("layer", "layers"), ("blob", "blobs/sha256")] {
        for path in paths(&store.root().join(dir)) {
            let is_half = kind == "layer" && !path.join("layer.json").exists();
            if is_wanted(&path) || !(is_half || is_old(&path)) {
                continue;
            }
            let own = store.clone();
            let problem = if is_half { "is half unpacked" } else { "is of no image" };
            found.push(Finding::repair(kind, shown(&path), problem, "removes it", move || own.remove_unwanted(&path)));
        }
    }
    found
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

impl Store {
    /// Takes an image, which need not be readable, out of the store with all its names.
    fn drop_image(&self, hex: &str) -> proto::refusal::Result<()> {
        self.change_names(|names| {
            names.names.retain(|_, of| of != hex);
            match fs::remove_file(self.record_path(hex)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .and_then(|()| self.drop_halves())
        .and_then(|()| match self.collect() {
            // Another image cannot be read: what that one needs is not known, and its turn comes.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(()),
            other => other,
        })
        .map_err(|error| self.broken(&error))
    }

    /// Removes layers without their content, that the next pull does not take them for whole.
    fn drop_halves(&self) -> io::Result<()> {
        let Some(_alone) = self.alone()? else { return Ok(()) };
        for path in paths(&self.root().join("layers")) {
            if !path.join("diff").is_dir() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// Removes one blob or layer that no image names, unless somebody adds an image now.
    fn remove_unwanted(&self, path: &Path) -> proto::refusal::Result<()> {
        let remove = || {
            let Some(_alone) = self.alone()? else { return Ok(()) };
            if path.is_dir() { remove_tree(path) } else { fs::remove_file(path) }
        };
        remove().map_err(|error: io::Error| self.broken(&error))
    }
}
