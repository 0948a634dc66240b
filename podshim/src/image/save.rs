//! Saving images in the forms that docker, podman and skopeo load: docker-archive and oci-archive into any descriptor,
//! oci-dir and docker-dir into a directory.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

use flate2::write::GzEncoder;
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
};
use proto::{Kind, Refusal, record, refusal::Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::{
    Image, Store,
    digest::{Digest, Digesting},
    list::tags,
    manifest::{Flavour, Manifest, OCI_MANIFEST},
    plain::{Cancel, Compression, Plain},
    store::LayerRecord,
};
use crate::sys::beneath;

/// What the file `version` of a docker-dir says (containers-transports(5), `dir:`).
const DIRECTORY_VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// The forms of what is saved, by the names of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    DockerArchive,
    OciArchive,
    OciDirectory,
    DockerDirectory,
}

/// Where the files of what is saved go.
enum Target {
    Tape(Box<Builder<BufWriter<File>>>),
    /// A directory of the caller's. Nothing that is there is written over.
    Directory(OwnedFd),
}

/// One image to be saved, with the names it is saved under.
struct Chosen {
    image: Image,
    names: Vec<String>,
}

impl Store {
    /// Writes the images `names` to `target` as `format`: `docker-archive` (also ""), `oci-archive`, or `oci-dir` and
    /// `docker-dir`, where `target` is a directory. `compress` packs the layers of a docker-dir.
    ///
    /// # Errors
    /// `NoSuchImage`, `NotSupported` for another format, else what writing says.
    pub fn save(&self, names: &[String], format: &str, compress: bool, target: File) -> Result<()> {
        let form = match format {
            "" | "docker-archive" => Form::DockerArchive,
            "oci-archive" => Form::OciArchive,
            "oci-dir" => Form::OciDirectory,
            "docker-dir" => Form::DockerDirectory,
            other => {
                return Err(Refusal::new(
                    Kind::NotSupported,
                    format!(
                        "--format {}: use docker-archive, oci-archive, oci-dir or docker-dir",
                        super::printable(other)
                    ),
                ));
            }
        };
        // Nothing is collected while it is read.
        let _using = self.use_layers().map_err(|error| self.broken(&error))?;
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in names {
            let image = self.resolve(name).map_err(|mut refusal| {
                if refusal.kind == Kind::ImageMissing {
                    refusal.kind = Kind::NoSuchImage;
                }
                refusal
            })?;
            let tag = tags(&image).contains(&&image.name).then(|| image.name.clone());
            match chosen.iter_mut().find(|other| other.image.id == image.id) {
                Some(other) => other.names.extend(tag),
                None => chosen.push(Chosen { image, names: tag.into_iter().collect() }),
            }
        }
        let saving = |error| Refusal::new(Kind::Internal, format!("saving the image: {}", super::cause(&error)));
        let mut target = match form {
            Form::DockerArchive | Form::OciArchive => {
                Target::Tape(Box::new(Builder::new(BufWriter::with_capacity(256 << 10, target))))
            }
            Form::OciDirectory | Form::DockerDirectory => Target::Directory(target.into()),
        };
        match form {
            Form::DockerArchive => self.save_docker(&mut target, &chosen),
            Form::OciArchive | Form::OciDirectory => self.save_oci(&mut target, &chosen),
            Form::DockerDirectory => match chosen.as_slice() {
                [one] => self.save_docker_directory(&mut target, &one.image, compress),
                _ => return Err(Refusal::invalid("--format docker-dir holds one image: name one, or use oci-dir")),
            },
        }
        .and_then(|()| target.finish())
        .map_err(saving)
    }

    fn save_docker(&self, target: &mut Target, chosen: &[Chosen]) -> io::Result<()> {
        let mut images = Vec::new();
        let mut written = Vec::new();
        for Chosen { image, names } in chosen {
            let record = self.record(&image.id)?;
            let mut paths = Vec::new();
            for diff_id in &record.layers {
                let path = format!("{}.tar", diff_id.hex());
                if !written.contains(diff_id) {
                    let layer = self.saved_layer(diff_id)?;
                    let plain = Plain::new(File::open(self.blob(&layer.blob))?, &Cancel::default())?;
                    target.append(&path, layer.size, plain)?;
                    written.push(diff_id.clone());
                }
                paths.push(path);
            }
            let config = format!("{}.json", image.id);
            target.bytes(&config, &std::fs::read(self.blob(&record.id))?)?;
            let tags = if names.is_empty() { Value::Null } else { json!(names) };
            images.push(json!({ "Config": config, "RepoTags": tags, "Layers": paths }));
        }
        target.bytes("manifest.json", Value::Array(images).to_string().as_bytes())
    }

    fn save_oci(&self, target: &mut Target, chosen: &[Chosen]) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut blobs = BTreeSet::new();
        target.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for Chosen { image, names } in chosen {
            let (manifest, layers) = self.oci_manifest(image)?;
            let digest = Digest::of(&manifest);
            let descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() });
            target.blob(&mut blobs, &digest, manifest.len() as u64, manifest.as_slice())?;
            let config = std::fs::read(self.blob(&self.record(&image.id)?.id))?;
            target.blob(&mut blobs, &Digest::of(&config), config.len() as u64, config.as_slice())?;
            for layer in layers {
                target.blob(&mut blobs, &layer.blob, layer.blob_size, File::open(self.blob(&layer.blob))?)?;
            }
            for name in names {
                let mut entry = descriptor.clone();
                entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
                entries.push(entry);
            }
            if names.is_empty() {
                entries.push(descriptor);
            }
        }
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        target.bytes("index.json", index.to_string().as_bytes())
    }

    /// The files of `dir:`: blobs by the digits of their digests, and a manifest of docker's.
    fn save_docker_directory(&self, target: &mut Target, image: &Image, compress: bool) -> io::Result<()> {
        target.bytes("version", DIRECTORY_VERSION)?;
        let record = self.record(&image.id)?;
        let mut layers = Vec::new();
        let mut written = BTreeSet::new();
        for diff_id in &record.layers {
            let layer = self.saved_layer(diff_id)?;
            let file = File::open(self.blob(&layer.blob))?;
            let (file, digest, size, packed) = match packing(&file)? {
                Compression::Gzip => (file, layer.blob, layer.blob_size, ".gzip"),
                Compression::None if !compress => (file, layer.blob, layer.blob_size, ""),
                // Docker's manifests know no other.
                Compression::None | Compression::Zstd => {
                    let (file, digest, size) = self.gzipped(file)?;
                    (file, digest, size, ".gzip")
                }
            };
            if written.insert(digest.clone()) {
                target.append(digest.hex(), size, file)?;
            }
            layers.push(((digest, size), packed));
        }
        let config = std::fs::read(self.blob(&record.id))?;
        target.bytes(record.id.hex(), &config)?;
        let (_, manifest) = Manifest::compose(Flavour::Docker, (record.id, config.len() as u64), layers);
        target.bytes("manifest.json", &manifest)
    }

    /// A layer packed by gzip: the file, which has no name any more, its digest and its length.
    fn gzipped(&self, layer: File) -> io::Result<(File, Digest, u64)> {
        let temporary = self.temporary()?;
        let file = File::options().read(true).write(true).create_new(true).open(temporary.path().join("packed"))?;
        let mut packed = GzEncoder::new(Digesting::new(BufWriter::new(file)), flate2::Compression::default());
        io::copy(&mut Plain::new(layer, &Cancel::default())?, &mut packed)?;
        let (digest, size, file) = packed.finish()?.finish();
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok((file, digest, size))
    }

    /// The manifest as it came where it can stay, else one that says the same of the blobs that are here.
    fn oci_manifest(&self, image: &Image) -> io::Result<(Vec<u8>, Vec<LayerRecord>)> {
        let record = self.record(&image.id)?;
        let layers = record.layers.iter().map(|layer| self.saved_layer(layer)).collect::<io::Result<Vec<_>>>()?;
        let original = std::fs::read(self.blob(&record.manifest))?;
        let parsed: Value = serde_json::from_slice(&original).unwrap_or_default();
        let named: Vec<&str> =
            parsed["layers"].as_array().into_iter().flatten().filter_map(|l| l["digest"].as_str()).collect();
        if record.media_type == OCI_MANIFEST && named.iter().copied().eq(layers.iter().map(|layer| layer.blob.as_str()))
        {
            return Ok((original, layers));
        }
        let mut packed = Vec::new();
        for layer in &layers {
            let how = match packing(&File::open(self.blob(&layer.blob))?)? {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            packed.push(((layer.blob.clone(), layer.blob_size), how));
        }
        let config_size = std::fs::metadata(self.blob(&record.id))?.len();
        let (_, manifest) = Manifest::compose(Flavour::Oci, (record.id, config_size), packed);
        Ok((manifest, layers))
    }

    fn saved_layer(&self, diff_id: &Digest) -> io::Result<LayerRecord> {
        record::read(&self.layer(diff_id).join("layer.json"))
    }
}

impl Target {
    fn finish(self) -> io::Result<()> {
        match self {
            Target::Tape(tape) => tape.into_inner()?.flush(),
            Target::Directory(_) => Ok(()),
        }
    }

    fn blob(
        &mut self,
        written: &mut BTreeSet<Digest>,
        digest: &Digest,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        if !written.insert(digest.clone()) {
            return Ok(());
        }
        self.append(&format!("blobs/sha256/{}", digest.hex()), size, content)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.append(path, bytes.len() as u64, bytes)
    }

    fn append(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        // One byte more or less would make rubbish of everything after it.
        let mut content = content.take(size + 1);
        let mut exact = Exact { inner: &mut content, left: size };
        match self {
            Target::Tape(tape) => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Regular);
                header.set_mode(0o644);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_size(size);
                tape.append_data(&mut header, path, &mut exact)?;
            }
            Target::Directory(directory) => {
                io::copy(&mut exact, &mut new_file(directory, Path::new(path))?)?;
            }
        }
        if exact.left == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A new file below `directory`, which may be a stranger's: no link in it is followed.
fn new_file(directory: &OwnedFd, path: &Path) -> io::Result<File> {
    let mut parent = directory.try_clone()?;
    for name in path.parent().into_iter().flatten() {
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        parent = beneath::no_links(&parent, Path::new(name), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(&parent, name, flags, Mode::from_bits_truncate(0o644))?.into())
}

/// What a blob is packed with.
fn packing(blob: &File) -> io::Result<Compression> {
    let mut first = [0; 6];
    let length = blob.read_at(&mut first, 0)?;
    Compression::of(&first[..length])
}

/// Reads exactly so many bytes.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("a blob is longer than its record says"))?;
        Ok(read)
    }
}
