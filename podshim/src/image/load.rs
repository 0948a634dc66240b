//! Loading archives: docker-archive (`manifest.json`) and oci-archive (`index.json`), as files or from a pipe, and the
//! directories oci-dir and docker-dir (`version`).
//!
//! What an archive calls its images is as strangers wrote it: names are parsed, digests checked over bytes, and no path of
//! an archive becomes one of ours.

use std::{
    fs::File,
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use proto::{Kind, Refusal, patience, refusal::Result};
use serde::Deserialize;

use super::{
    Store,
    archive::Archive,
    commit::{Adding, NewImage},
    digest::Digest,
    manifest::{Config, Descriptor, Document, Flavour, MAX_CONFIG, MAX_MANIFEST, Manifest},
    platform::Platform,
    reference::Reference,
    store::{LayerLock, LayerRecord},
};

const MAX_IMAGES: usize = 1000;
const MAX_NAMES: usize = 1000;
const LOCK: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(50);
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Words for what is wrong with an archive.
type Loaded<T> = std::result::Result<T, String>;

/// One image of a docker-archive's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Store {
    /// Loads an archive; the names it now has, `sha256:…` for an image without one.
    ///
    /// # Errors
    /// `Invalid` when it is no archive of images. Nothing is left of an image that failed.
    pub fn load(&self, archive: File) -> Result<Vec<String>> {
        let adding = Adding::begin(self).map_err(|error| self.broken(&error))?;
        let result = load(&adding, archive);
        drop(adding);
        result.map_err(|words| {
            // Layers of the failed one; should this fail, the next does it.
            let _ = self.collect();
            Refusal::new(Kind::Invalid, format!("loading the archive: {}", super::printable(&words)))
        })
    }
}

fn words(error: &io::Error) -> String {
    super::cause(error)
}

fn load(adding: &Adding, archive: File) -> Loaded<Vec<String>> {
    let spool = || adding.file("spool").map(|(_, file)| file);
    let archive = Archive::open(archive, &adding.cancel, spool).map_err(|error| words(&error))?;
    if archive.file("manifest.json").is_some() {
        return if archive.file("version").is_some() {
            load_docker_directory(adding, &archive)
        } else {
            load_docker(adding, &archive)
        };
    }
    if archive.file("index.json").is_some() && archive.file("oci-layout").is_some() {
        return load_oci(adding, &archive);
    }
    let known = "docker-archive, oci-archive, oci-dir, docker-dir";
    Err(format!("payload does not match any of the supported image formats: {known}"))
}

fn load_docker(adding: &Adding, archive: &Archive) -> Loaded<Vec<String>> {
    let text = archive.read("manifest.json", MAX_MANIFEST).map_err(|error| words(&error))?;
    let images: Vec<DockerImage> =
        serde_json::from_slice(&text).map_err(|error| format!("parsing manifest.json: {error}"))?;
    check_count(images.len())?;
    let mut loaded = Vec::new();
    for image in &images {
        let mut names = Vec::new();
        for tag in image.repo_tags.iter().flatten() {
            names.push(Reference::parse(tag).map_err(|error| format!("{tag}: {error}"))?.docker().to_string());
        }
        let config_text = archive.read(&image.config, MAX_CONFIG).map_err(|error| words(&error))?;
        let layers = image.layers.as_deref().unwrap_or_default();
        let config = Config::parse(&config_text, layers.len())?;
        let mut blobs = Vec::new();
        for (path, diff_id) in layers.iter().zip(&config.diff_ids) {
            let record = layer(adding, archive, path, None, diff_id)?;
            // As it is in the archive.
            blobs.push(((record.blob, record.blob_size), ""));
        }
        let (manifest, manifest_text) =
            Manifest::compose(Flavour::Docker, (Digest::of(&config_text), config_text.len() as u64), blobs);
        let new = NewImage {
            config_text: &config_text,
            config: &config,
            manifest_text: &manifest_text,
            media_type: &manifest.media_type,
            index_text: None,
            names: &names,
        };
        finish(adding, &new, &mut loaded)?;
    }
    Ok(loaded)
}

fn load_oci(adding: &Adding, archive: &Archive) -> Loaded<Vec<String>> {
    let text = archive.read("index.json", MAX_MANIFEST).map_err(|error| words(&error))?;
    let Document::Index(list) = Document::parse(&text, "")? else { return Err("index.json is no index".to_owned()) };
    check_count(list.len())?;
    let mut loaded = Vec::new();
    let blobs = Blobs { archive, directory: "blobs/sha256/" };
    for entry in &list {
        let names = oci_names(entry)?;
        let document = |entry: &Descriptor| -> Loaded<(Vec<u8>, Document)> {
            let text = blobs.read(&entry.digest, MAX_MANIFEST)?;
            let document = Document::parse(&text, &entry.media_type)?;
            Ok((text, document))
        };
        let (index_text, (text, manifest)) = match document(entry)? {
            (text, Document::Manifest(manifest)) => (None, (text, manifest)),
            (index_text, Document::Index(list)) => {
                let offers = list.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
                let here = Platform::here();
                let chosen =
                    here.choose(offers).ok_or_else(|| format!("no image for {here} in index {}", entry.digest))?;
                match document(chosen)? {
                    (text, Document::Manifest(manifest)) => (Some(index_text), (text, manifest)),
                    _ => return Err(format!("index {} names another index", entry.digest)),
                }
            }
        };
        blobs.image(adding, &manifest, (&text, index_text.as_deref()), &names, &mut loaded)?;
    }
    Ok(loaded)
}

/// One image without a name: `manifest.json`, and the blobs beside it.
fn load_docker_directory(adding: &Adding, archive: &Archive) -> Loaded<Vec<String>> {
    let text = archive.read("manifest.json", MAX_MANIFEST).map_err(|error| words(&error))?;
    let Document::Manifest(manifest) = Document::parse(&text, "")? else {
        return Err("manifest.json is an index".to_owned());
    };
    let mut loaded = Vec::new();
    Blobs { archive, directory: "" }.image(adding, &manifest, (&text, None), &[], &mut loaded)?;
    Ok(loaded)
}

/// Files of an archive whose names are their digests.
struct Blobs<'a> {
    archive: &'a Archive,
    /// With a `/` at its end.
    directory: &'a str,
}

impl Blobs<'_> {
    fn path(&self, digest: &Digest) -> String {
        format!("{}{}", self.directory, digest.hex())
    }

    fn read(&self, digest: &Digest, max: u64) -> Loaded<Vec<u8>> {
        let bytes = self.archive.read(&self.path(digest), max).map_err(|error| words(&error))?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(format!("blob {digest} has another digest")) }
    }

    /// Adds the image that `manifest` describes; `texts` are it and the index it was found in, as they came.
    fn image(
        &self,
        adding: &Adding,
        manifest: &Manifest,
        texts: (&[u8], Option<&[u8]>),
        names: &[String],
        loaded: &mut Vec<String>,
    ) -> Loaded<()> {
        let config_text = self.read(&manifest.config.digest, MAX_CONFIG)?;
        let config = Config::parse(&config_text, manifest.layers.len())?;
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
            layer(adding, self.archive, &self.path(&descriptor.digest), Some(descriptor), diff_id)?;
        }
        let new = NewImage {
            config_text: &config_text,
            config: &config,
            manifest_text: texts.0,
            media_type: &manifest.media_type,
            index_text: texts.1,
            names,
        };
        finish(adding, &new, loaded)
    }
}

fn check_count(images: usize) -> Loaded<()> {
    match images {
        0 => Err("it has no images".to_owned()),
        images if images > MAX_IMAGES => Err(format!("it has more than {MAX_IMAGES} images")),
        _ => Ok(()),
    }
}

/// The names an entry of `index.json` gives itself; a short one is of this host.
fn oci_names(entry: &Descriptor) -> Loaded<Vec<String>> {
    let annotation = |key: &str| entry.annotations.as_ref()?.get(key).filter(|name| !name.is_empty());
    let Some(name) = annotation(CONTAINERD_NAME).or_else(|| annotation(REF_NAME)) else { return Ok(Vec::new()) };
    let reference = Reference::parse(name).map_err(|error| format!("{name}: {error}"))?;
    let full = if reference.is_short() { reference.at("localhost") } else { reference.docker() };
    Ok(vec![full.to_string()])
}

/// Makes a layer of the file `path`; what is already in the store is taken from there.
fn layer(
    adding: &Adding,
    archive: &Archive,
    path: &str,
    descriptor: Option<&Descriptor>,
    diff_id: &Digest,
) -> Loaded<LayerRecord> {
    let lock = wait_for(&adding.store, diff_id)?;
    if let Some(record) = adding.store.layer_record(diff_id) {
        return Ok(record);
    }
    let failed = |error: io::Error| format!("layer {}: {}", super::printable(path), words(&error));
    let mut section = archive.file(path).ok_or_else(|| format!("it has no file {path}"))?;
    let length = section.length();
    let (file, digest): (PathBuf, Digest) =
        adding.copy(&format!("blob-{}", diff_id.hex()), &mut section, length).map_err(failed)?;
    if descriptor.is_some_and(|descriptor| descriptor.digest != digest || descriptor.size != length) {
        return Err(format!("layer {path}: what is there has the digest {digest} and {length} bytes"));
    }
    adding.layer(&file, &digest, diff_id).map_err(failed)?;
    drop(lock);
    adding.store.layer_record(diff_id).ok_or_else(|| format!("layer {path}: it vanished"))
}

fn wait_for(store: &Store, diff_id: &Digest) -> Loaded<LayerLock> {
    let begun = Instant::now();
    loop {
        if let Some(lock) = LayerLock::try_take(store, diff_id).map_err(|error| words(&error))? {
            return Ok(lock);
        }
        if begun.elapsed() > patience::at_most(LOCK) {
            return Err(format!("layer {}", LayerLock::kept(store, diff_id, begun)));
        }
        thread::sleep(POLL);
    }
}

fn finish(adding: &Adding, new: &NewImage<'_>, loaded: &mut Vec<String>) -> Loaded<()> {
    if loaded.len() + new.names.len() > MAX_NAMES {
        return Err(format!("it has more than {MAX_NAMES} names"));
    }
    let id = adding.image(new).map_err(|error| words(&error))?;
    if new.names.is_empty() {
        loaded.push(id.to_string());
    }
    loaded.extend(new.names.iter().cloned());
    Ok(())
}
