//! Saving images as an archive that docker, podman and skopeo load: docker-archive or oci-archive, into any descriptor.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Write},
};

use proto::{Kind, Refusal, record, refusal::Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::{
    Image, Store,
    digest::Digest,
    list::tags,
    plain::{Cancel, Compression, Plain},
    store::LayerRecord,
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

type Archive = Builder<BufWriter<File>>;

/// One image to be saved, with the names it is saved under.
struct Chosen {
    image: Image,
    names: Vec<String>,
}

impl Store {
    /// Writes the images `names` to `target` as `format`: `docker-archive` (also "") or `oci-archive`.
    ///
    /// # Errors
    /// `NoSuchImage`, `NotSupported` for another format, else what writing says.
    pub fn save(&self, names: &[String], format: &str, target: File) -> Result<()> {
        let oci = match format {
            "" | "docker-archive" => false,
            "oci-archive" => true,
            other => {
                return Err(Refusal::new(
                    Kind::NotSupported,
                    format!("--format {}: use docker-archive or oci-archive", super::printable(other)),
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
        let mut archive = Builder::new(BufWriter::with_capacity(256 << 10, target));
        let written = if oci { self.save_oci(&mut archive, &chosen) } else { self.save_docker(&mut archive, &chosen) };
        written
            .and_then(|()| archive.into_inner())
            .and_then(|mut writer| writer.flush())
            .map_err(|error| Refusal::new(Kind::Internal, format!("saving the archive: {}", super::cause(&error))))
    }

    fn save_docker(&self, archive: &mut Archive, chosen: &[Chosen]) -> io::Result<()> {
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
                    append(archive, &path, layer.size, plain)?;
                    written.push(diff_id.clone());
                }
                paths.push(path);
            }
            let config = format!("{}.json", image.id);
            append_bytes(archive, &config, &std::fs::read(self.blob(&record.id))?)?;
            let tags = if names.is_empty() { Value::Null } else { json!(names) };
            images.push(json!({ "Config": config, "RepoTags": tags, "Layers": paths }));
        }
        append_bytes(archive, "manifest.json", Value::Array(images).to_string().as_bytes())
    }

    fn save_oci(&self, archive: &mut Archive, chosen: &[Chosen]) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut blobs = BTreeMap::new();
        append_bytes(archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for Chosen { image, names } in chosen {
            let (manifest, layers) = self.oci_manifest(image)?;
            let digest = Digest::of(&manifest);
            let descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() });
            append_blob(archive, &mut blobs, &digest, manifest.len() as u64, manifest.as_slice())?;
            let config = std::fs::read(self.blob(&self.record(&image.id)?.id))?;
            append_blob(archive, &mut blobs, &Digest::of(&config), config.len() as u64, config.as_slice())?;
            for layer in layers {
                append_blob(archive, &mut blobs, &layer.blob, layer.blob_size, File::open(self.blob(&layer.blob))?)?;
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
        append_bytes(archive, "index.json", index.to_string().as_bytes())
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
        let mut descriptors = Vec::new();
        for layer in &layers {
            let mut first = Vec::new();
            File::open(self.blob(&layer.blob))?.take(6).read_to_end(&mut first)?;
            let suffix = match Compression::of(&first)? {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            descriptors.push(json!({
                "mediaType": format!("{OCI_LAYER}{suffix}"),
                "digest": layer.blob,
                "size": layer.blob_size,
            }));
        }
        let config_size = std::fs::metadata(self.blob(&record.id))?.len();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_CONFIG, "digest": record.id, "size": config_size },
            "layers": descriptors,
        });
        Ok((manifest.to_string().into_bytes(), layers))
    }

    fn saved_layer(&self, diff_id: &Digest) -> io::Result<LayerRecord> {
        record::read(&self.layer(diff_id).join("layer.json"))
    }
}

fn append_blob(
    archive: &mut Archive,
    written: &mut BTreeMap<Digest, ()>,
    digest: &Digest,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    if written.insert(digest.clone(), ()).is_some() {
        return Ok(());
    }
    append(archive, &format!("blobs/sha256/{}", digest.hex()), size, content)
}

fn append_bytes(archive: &mut Archive, path: &str, bytes: &[u8]) -> io::Result<()> {
    append(archive, path, bytes.len() as u64, bytes)
}

fn append(archive: &mut Archive, path: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    // One byte more or less would make rubbish of everything after it.
    let mut content = content.take(size + 1);
    let mut exact = Exact { inner: &mut content, left: size };
    archive.append_data(&mut header, path, &mut exact)?;
    if exact.left == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
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
