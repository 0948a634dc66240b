//! An image made by a test: layers, a config, and the forms it travels in.
//!
//! Written from the OCI image specification and the docker image specification v1.2, not with the engine's own code:
//! what the engine reads is somebody else's writing.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a layer adds: a tar archive under construction.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
    owner: (u64, u64),
}

impl Layer {
    /// An empty one.
    pub fn new() -> Layer {
        Layer { tar: tar::Builder::new(Vec::new()), owner: (0, 0) }
    }

    /// The owner of everything added from here on.
    #[must_use]
    pub fn owned_by(mut self, uid: u64, gid: u64) -> Layer {
        self.owner = (uid, gid);
        self
    }

    /// A directory of mode 0755.
    #[must_use]
    pub fn directory(self, path: &str) -> Layer {
        self.entry(path, tar::EntryType::Directory, 0o755, None, b"")
    }

    /// A file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Layer {
        self.entry(path, tar::EntryType::Regular, mode, None, content.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Layer {
        self.entry(path, tar::EntryType::Symlink, 0o777, Some(target), b"")
    }

    /// A hard link to an earlier entry.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Layer {
        self.entry(path, tar::EntryType::Link, 0o644, Some(target), b"")
    }

    /// The mark by which a layer removes what a lower one has.
    #[must_use]
    pub fn without(self, directory: &str, name: &str) -> Layer {
        self.file(&format!("{directory}/.wh.{name}"), 0o644, "")
    }

    /// Any entry, however hostile its names: they are written as they are.
    #[must_use]
    pub fn entry(mut self, path: &str, kind: tar::EntryType, mode: u32, target: Option<&str>, content: &[u8]) -> Layer {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_size(content.len() as u64);
        // The crate's own setters refuse `..` and absolute names, which is what some tests are about.
        let raw = header.as_gnu_mut().expect("a gnu header");
        assert!(path.len() < raw.name.len(), "a name this long needs an extension header");
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            raw.linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        self.tar.append(&header, content).expect("writing to memory");
        self
    }

    /// Everything of another archive that `wanted` says yes to.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn archive(mut self, from: impl io::Read, wanted: impl Fn(&str) -> bool) -> io::Result<Layer> {
        let mut archive = tar::Archive::new(io::BufReader::new(from));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            if !wanted(name.strip_prefix("./").unwrap_or(&name)) {
                continue;
            }
            let mut header = entry.header().clone();
            match entry.link_name()?.map(std::borrow::Cow::into_owned) {
                Some(target) => self.tar.append_link(&mut header, &name, target)?,
                None => self.tar.append_data(&mut header, &name, &mut entry)?,
            }
        }
        Ok(self)
    }

    fn finish(self) -> Vec<u8> {
        self.tar.into_inner().expect("writing to memory")
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("bytes", &self.tar.get_ref().len()).finish_non_exhaustive()
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer::new()
    }
}

/// An image under construction.
#[derive(Clone, Debug)]
pub struct Image {
    config: Value,
    layers: Vec<Vec<u8>>,
    architecture: &'static str,
    history: Option<Value>,
}

/// Bytes and their name.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    media_type: &'static str,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Blob {
        Blob { digest: digest(&bytes), bytes, media_type }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// A manifest and what it refers to, the manifest last.
#[derive(Clone, Debug)]
pub struct Published {
    blobs: Vec<Blob>,
    manifests: Vec<Blob>,
}

/// Which of the two families of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/vnd.oci.…`
    Oci,
    /// `application/vnd.docker.…`, version 2 schema 2
    Docker,
}

impl Image {
    /// An image with nothing in it, for this machine's architecture.
    pub fn new() -> Image {
        Image {
            config: json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}),
            layers: vec![],
            architecture: architecture(),
            history: None,
        }
    }

    /// The steps it was made in; without them each layer is one.
    #[must_use]
    pub fn history(mut self, steps: &Value) -> Image {
        self.history = Some(steps.clone());
        self
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Image {
        self.layers.push(layer.finish());
        self
    }

    /// Sets a field of its config: `Cmd`, `Entrypoint`, `User`, `WorkingDir`, `Volumes`, `StopSignal`, …
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Image {
        self.config[field] = value;
        self
    }

    /// Makes it one for another machine.
    #[must_use]
    pub fn for_architecture(mut self, architecture: &'static str) -> Image {
        self.architecture = architecture;
        self
    }

    fn config(&self) -> Vec<u8> {
        let layers: Vec<String> = self.layers.iter().map(|layer| digest(layer)).collect();
        let each = || self.layers.iter().map(|_| json!({"created": "2024-04-04T18:00:00Z"})).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2024-04-04T18:00:00Z",
            "config": self.config, "rootfs": {"type": "layers", "diff_ids": layers},
            "history": self.history.clone().unwrap_or_else(each),
        });
        config.to_string().into_bytes()
    }

    /// Its id: the digest of its config, without `sha256:`.
    pub fn id(&self) -> String {
        digest(&self.config()).split_off("sha256:".len())
    }

    /// As a registry has it.
    pub fn published(&self, form: Form) -> Published {
        let (config, layer, manifest) = match form {
            Form::Oci => (
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.oci.image.manifest.v1+json",
            ),
            Form::Docker => (
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.docker.distribution.manifest.v2+json",
            ),
        };
        let config = Blob::new(config, self.config());
        let layers: Vec<Blob> = self.layers.iter().map(|bytes| Blob::new(layer, gzip(bytes))).collect();
        let text = json!({
            "schemaVersion": 2, "mediaType": manifest, "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(manifest, text.to_string().into_bytes());
        Published { blobs: layers.into_iter().chain([config]).collect(), manifests: vec![manifest] }
    }

    /// A list of images for several machines, as a registry has it.
    pub fn list(images: &[Image], form: Form) -> Published {
        let media_type = match form {
            Form::Oci => "application/vnd.oci.image.index.v1+json",
            Form::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let mut all = Published { blobs: vec![], manifests: vec![] };
        let mut entries = Vec::new();
        for image in images {
            let one = image.published(form);
            let mut entry = one.manifests[0].descriptor();
            entry["platform"] = json!({"architecture": image.architecture, "os": "linux"});
            entries.push(entry);
            all.blobs.extend(one.blobs);
            all.manifests.extend(one.manifests);
        }
        let text = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        all.manifests.push(Blob::new(media_type, text.to_string().into_bytes()));
        all
    }

    /// As `docker save` writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn docker_archive(&self, path: &Path, names: &[&str]) -> io::Result<()> {
        let mut archive = tar::Builder::new(io::BufWriter::new(File::create(path)?));
        let config = self.config();
        let config_name = format!("{}.json", self.id());
        append(&mut archive, &config_name, &config)?;
        let mut layers = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", &digest(layer)["sha256:".len()..]);
            append(&mut archive, &name, layer)?;
            layers.push(name);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": layers}]);
        append(&mut archive, "manifest.json", manifest.to_string().as_bytes())?;
        archive.into_inner()?.flush()
    }

    /// As `skopeo copy … oci-archive:` writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn oci_archive(&self, path: &Path, name: &str) -> io::Result<()> {
        let published = self.published(Form::Oci);
        let mut archive = tar::Builder::new(io::BufWriter::new(File::create(path)?));
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for blob in published.blobs.iter().chain(&published.manifests) {
            append(&mut archive, &format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes)?;
        }
        let mut entry = published.top().descriptor();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        append(&mut archive, "index.json", index.to_string().as_bytes())?;
        archive.into_inner()?.flush()
    }
}

impl Default for Image {
    fn default() -> Image {
        Image::new()
    }
}

impl Published {
    fn top(&self) -> &Blob {
        self.manifests.last().expect("a manifest")
    }

    /// The digest to pull it by.
    pub fn digest(&self) -> &str {
        &self.top().digest
    }

    /// The blobs, the config of each image after its layers.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// Lays it into the storage directory of docker-registry (its driver `filesystem`), as `repository:tag`.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn store(&self, storage: &Path, repository: &str, tag: &str) -> io::Result<()> {
        let home = storage.join("docker/registry/v2");
        let links = home.join("repositories").join(repository);
        let hash = |blob: &Blob| blob.digest["sha256:".len()..].to_owned();
        for blob in self.blobs.iter().chain(&self.manifests) {
            write(&blob_path(storage, &blob.digest), &blob.bytes)?;
        }
        for blob in &self.blobs {
            write(&links.join("_layers/sha256").join(hash(blob)).join("link"), blob.digest.as_bytes())?;
        }
        for manifest in &self.manifests {
            let link = manifest.digest.as_bytes();
            write(&links.join("_manifests/revisions/sha256").join(hash(manifest)).join("link"), link)?;
        }
        let tag = links.join("_manifests/tags").join(tag);
        let link = self.digest().as_bytes();
        write(&tag.join("index/sha256").join(hash(self.top())).join("link"), link)?;
        write(&tag.join("current/link"), link)
    }
}

/// Where docker-registry keeps a blob.
pub fn blob_path(storage: &Path, digest: &str) -> PathBuf {
    let hash = &digest["sha256:".len()..];
    storage.join("docker/registry/v2/blobs/sha256").join(&hash[..2]).join(hash).join("data")
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What image configs call this machine.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory")
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, bytes)
}
