//! Adding to the store: a verified blob becomes a layer, layers become an image, an image gets its names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use proto::{
    alive::{self, Lock},
    failpoint::{self, Point},
    record::{self, Durability},
    time,
};

use super::{
    Store,
    digest::{Digest, Digesting},
    manifest::Config,
    plain::{Cancel, Plain},
    store::{ImageRecord, LayerRecord, Temporary},
    tape::Tape,
    unpack::unpack,
};

/// The work of one pull or load: what it makes is in a directory that goes with it, until it is moved to its place.
#[derive(Debug)]
pub(super) struct Adding {
    pub(super) store: Store,
    /// Ends the work of threads that a dropped future has left behind.
    pub(super) cancel: Cancel,
    temporary: Temporary,
    _using: Lock,
}

/// An image whose layers are in the store.
#[derive(Debug)]
pub(super) struct NewImage<'a> {
    /// The config as it came.
    pub(super) config_text: &'a [u8],
    /// And read.
    pub(super) config: &'a Config,
    /// The manifest as it came.
    pub(super) manifest_text: &'a [u8],
    /// Its type.
    pub(super) media_type: &'a str,
    /// The index it was found in, as it came.
    pub(super) index_text: Option<&'a [u8]>,
    /// The names it is to have.
    pub(super) names: &'a [String],
}

impl Adding {
    /// Begins.
    pub(super) fn begin(store: &Store) -> io::Result<Adding> {
        let using = store.use_layers()?;
        let temporary = store.temporary()?;
        Ok(Adding { store: store.clone(), cancel: Cancel::default(), temporary, _using: using })
    }

    /// A new file for a blob, not in its place yet.
    pub(super) fn file(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let path = self.temporary.path().join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }

    /// Makes a layer of the verified blob at `path`: unpacks it, checks what came out against `diff_id`, moves both to
    /// their places. The caller holds the layer's lock.
    pub(super) fn layer(&self, path: &Path, blob: &Digest, diff_id: &Digest) -> io::Result<()> {
        let unpacked = self.temporary.path().join(format!("layer-{}", diff_id.hex()));
        let trash = self.temporary.path().join(format!("trash-{}", diff_id.hex()));
        for dir in [&unpacked, &trash] {
            fs::DirBuilder::new().mode(0o700).create(dir)?;
        }
        failpoint::check(Point::ImageLayerDir)?;
        let diff = unpacked.join("diff");
        fs::create_dir(&diff)?;
        fs::set_permissions(&diff, PermissionsExt::from_mode(0o755))?;

        let file = File::open(path)?;
        let blob_size = file.metadata()?.len();
        let mut tape = Tape::new(Digesting::new(Plain::new(file, &self.cancel)?));
        unpack(&mut tape, File::open(&diff)?.as_fd(), File::open(&trash)?.as_fd())?;
        failpoint::check(Point::ImageUnpacked)?;
        // Padding after the last entry counts too.
        let mut content = tape.into_source();
        io::copy(&mut content, &mut io::sink())?;
        let (digest, size, _) = content.finish();
        if digest != *diff_id {
            return Err(io::Error::other(format!("its content has the digest {digest} and the image says {diff_id}")));
        }

        let record = LayerRecord {
            schema: record::SCHEMA,
            blob: blob.clone(),
            blob_size,
            size,
            boot_id: alive::boot_id().to_owned(),
        };
        record::write(&unpacked.join("layer.json"), &record, Durability::Volatile)?;
        self.cancel.check()?;
        failpoint::check(Point::ImageLayerRecorded)?;
        let place = self.store.layer(diff_id);
        if place.exists() {
            // Nobody vouches for it, or we would not be here.
            fs::rename(&place, self.temporary.path().join(format!("old-{}", diff_id.hex())))?;
        }
        fs::rename(path, self.store.blob(blob))?;
        failpoint::check(Point::ImageBlob)?;
        fs::rename(&unpacked, &place)?;
        failpoint::check(Point::ImageLayer)
    }

    /// Puts a manifest or config in its place.
    fn text(&self, text: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(text);
        let (path, mut file) = self.file(&format!("text-{}", digest.hex()))?;
        file.write_all(text)?;
        fs::rename(path, self.store.blob(&digest))?;
        Ok(digest)
    }

    /// Makes the image of layers that are all here, and gives it its names, which any other image loses.
    ///
    /// Its id is the answer.
    pub(super) fn image(&self, new: &NewImage<'_>) -> io::Result<Digest> {
        let id = self.text(new.config_text)?;
        failpoint::check(Point::ImageConfig)?;
        let manifest = self.text(new.manifest_text)?;
        let mut digests = vec![manifest.clone()];
        if let Some(index) = new.index_text {
            digests.push(self.text(index)?);
        }
        let mut size = (new.config_text.len() + new.manifest_text.len()) as u64;
        for diff_id in &new.config.diff_ids {
            let layer: LayerRecord = record::read(&self.store.layer(diff_id).join("layer.json"))?;
            size += layer.size;
        }
        if let Ok(old) = self.store.record(id.hex()) {
            digests.extend(
                old.digests.into_iter().filter(|digest| *digest == manifest || self.store.blob(digest).exists()),
            );
            digests.dedup();
        }
        let created = new.config.image.created().as_deref().and_then(time::parse_rfc3339).unwrap_or(0);
        let image = ImageRecord {
            schema: record::SCHEMA,
            id: id.clone(),
            manifest,
            digests,
            media_type: new.media_type.to_owned(),
            layers: new.config.diff_ids.clone(),
            size,
            created,
            added: time::now(),
        };
        failpoint::check(Point::ImageTexts)?;
        // Before anything names them, the layers are on disk: one sync for all files of all of them.
        rustix::fs::syncfs(File::open(self.store.root())?)?;
        failpoint::check(Point::ImageSynced)?;
        self.store.change_names(|names| {
            record::write(&self.store.record_path(id.hex()), &image, Durability::Durable)?;
            failpoint::check(Point::ImageRecorded)?;
            names.names.extend(new.names.iter().map(|name| (name.clone(), id.hex().to_owned())));
            Ok(())
        })?;
        Ok(id)
    }

    /// Copies `from`, which must have `length` bytes, to a new blob file; its path and digest.
    pub(super) fn copy(&self, name: &str, from: &mut dyn Read, length: u64) -> io::Result<(PathBuf, Digest)> {
        let (path, file) = self.file(name)?;
        let mut file = Digesting::new(file);
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.cancel.check()?;
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => file.write_all(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (digest, bytes, _) = file.finish();
        if bytes == length { Ok((path, digest)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
