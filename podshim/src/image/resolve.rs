//! Finding an image by what a user typed.
//!
//! Every `run` comes through here, so it reads as little as it can: the names, one record and one config. registries.conf
//! is asked only when a short name could mean several images that are here.

use std::io;

use oci_spec::image::ImageConfiguration;
use proto::{Kind, Refusal, refusal::Result};

use super::{
    Image, Store,
    digest::Digest,
    not_known,
    platform::Platform,
    reference::{Reference, Which},
    registries::Registries,
    store::Names,
};

impl Store {
    /// The image `name` stands for as users type it: short name, full name, name@digest, id or its beginning.
    ///
    /// Names win over ids. A short name is looked for where registries.conf(5) says, in `localhost/`, and at last in any
    /// registry.
    ///
    /// # Errors
    /// `ImageMissing` when it is not in the store, `Invalid` when it can be no image or an id is not unique.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        self.find(name, true)
    }

    /// The same, where it is one for `platform` (as typed; empty = any).
    ///
    /// # Errors
    /// `ImageMissing` also when the image of that name is for another platform.
    pub fn resolve_for(&self, name: &str, platform: &str) -> Result<Image> {
        let image = self.resolve(name)?;
        let own = image.config.architecture().to_string();
        if platform.is_empty() || Platform::parse(platform)?.is_of(&own) {
            return Ok(image);
        }
        let (name, own) = (super::printable(name), super::printable(&own));
        let words =
            format!("{name}: the image that is here is for linux/{own}, not for {platform}: pull it for that one");
        Err(Refusal::new(Kind::ImageMissing, words).about(name))
    }

    /// The same, even when it is damaged: for whoever wants to remove it.
    pub(super) fn damaged_or_not(&self, name: &str) -> Result<Image> {
        self.find(name, false)
    }

    fn find(&self, name: &str, whole: bool) -> Result<Image> {
        // Where the names cannot be read, an id still finds its image.
        let (names, lost) = match self.names() {
            Ok(names) => (names, None),
            Err(error) => (Names::default(), Some(error)),
        };
        let id_text = name.strip_prefix("sha256:").unwrap_or(name);
        let may_be_id = !id_text.is_empty()
            && id_text.len() <= 64
            && id_text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some((full, hex)) = self.find_name(&names, reference)?
        {
            return self.load_image(&names, &hex, &full, name, whole);
        }
        if may_be_id {
            if id_text.len() == 64 {
                return self.load_image(&names, id_text, "", name, whole);
            }
            let ids = self.ids(id_text).map_err(|error| self.broken(&error))?;
            match ids.as_slice() {
                [] => {}
                [hex] => return self.load_image(&names, hex, "", name, whole),
                _ => {
                    return Err(Refusal::invalid(format!(
                        "{name}: several images have an id that begins so: use more of it"
                    ))
                    .about(name));
                }
            }
        }
        match (reference, lost) {
            (Err(error), _) if !may_be_id => Err(error.refusal(name)),
            // It may well be here: it is not to be pulled.
            (_, Some(error)) => Err(self.broken(&error)),
            _ => Err(not_known(Kind::ImageMissing, name)),
        }
    }

    /// The image with the id `hex`, as found by `name`.
    ///
    /// # Errors
    /// As of [`Store::resolve`].
    pub(super) fn image(&self, hex: &str, name: &str) -> Result<Image> {
        let names = self.names().unwrap_or_default();
        self.load_image(&names, hex, name, if name.is_empty() { hex } else { name }, true)
    }

    /// The full name and the id that `reference` means.
    fn find_name(&self, names: &Names, reference: &Reference) -> Result<Option<(String, String)>> {
        let found = |full: String| names.names.get(&full).map(|hex| (full.clone(), hex.clone()));
        if !reference.is_short() {
            let full = reference.docker();
            if let Some(found) = found(full.to_string()) {
                return Ok(Some(found));
            }
            return match &full.which {
                Which::Digest(digest) => {
                    let repository = full.repository();
                    self.find_digest(names, digest, |name| name == repository)
                        .map(|hex| hex.map(|hex| (full.to_string(), hex)))
                }
                Which::Tag(_) => Ok(None),
            };
        }
        let suffix = match reference.which() {
            Which::Tag(tag) => format!("/{}:{tag}", reference.path),
            Which::Digest(digest) => {
                let exact = format!("/{}@{digest}", reference.path);
                if let Some((name, hex)) = names.names.iter().find(|(name, _)| name.ends_with(&exact)) {
                    return Ok(Some((name.clone(), hex.clone())));
                }
                let (path, part) = (&reference.path, format!("/{}", reference.path));
                let hex = self.find_digest(names, &digest, |name| name == path || name.ends_with(&part))?;
                return Ok(hex.map(|hex| (format!("{path}@{digest}"), hex)));
            }
        };
        let mut matches = names.names.iter().filter(|(name, _)| name.ends_with(&suffix));
        let Some((first, hex)) = matches.next() else { return Ok(None) };
        if matches.next().is_none() {
            return Ok(Some((first.clone(), hex.clone())));
        }
        let candidates = Registries::read()?.local_candidates(reference);
        let chosen = candidates.into_iter().find_map(|candidate| found(candidate.to_string()));
        Ok(Some(chosen.unwrap_or_else(|| (first.clone(), hex.clone()))))
    }

    /// The image that has `digest` and a name in a repository that fits.
    fn find_digest(&self, names: &Names, digest: &Digest, fits: impl Fn(&str) -> bool) -> Result<Option<String>> {
        for (name, hex) in &names.names {
            if fits(repository(name))
                && self.record(hex).is_ok_and(|record| record.digests.contains(digest) || record.manifest == *digest)
            {
                return Ok(Some(hex.clone()));
            }
        }
        Ok(None)
    }

    /// Reads an image; `whole` = config and layers must be sound.
    pub(super) fn load_image(&self, names: &Names, hex: &str, name: &str, typed: &str, whole: bool) -> Result<Image> {
        let record = match self.record(hex) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_known(Kind::ImageMissing, typed)),
            other => other.map_err(|error| self.broken(&error))?,
        };
        let damaged = |what: String| {
            Refusal::new(Kind::Internal, format!("image {}: {what}: pull it again", super::printable(typed)))
                .about(typed)
        };
        let (config, healthcheck) = match self.read_config(&record.id) {
            Ok(read) => read,
            Err(_) if !whole => (ImageConfiguration::default(), None),
            Err(words) => return Err(damaged(format!("config: {words}"))),
        };
        let layers: Vec<_> = record.layers.iter().map(|layer| self.layer(layer).join("diff")).collect();
        if whole && let Some(missing) = layers.iter().position(|layer| !layer.is_dir()) {
            return Err(damaged(format!("layer {} is missing", record.layers[missing])));
        }
        Ok(Image {
            id: hex.to_owned(),
            names: names.names.iter().filter(|(_, id)| *id == hex).map(|(name, _)| name.clone()).collect(),
            name: name.to_owned(),
            digest: record.manifest.to_string(),
            config,
            healthcheck,
            layers,
            size: record.size,
            created: record.created,
        })
    }
}

impl Store {
    /// The config, and what is docker's of it.
    fn read_config(&self, id: &Digest) -> std::result::Result<(ImageConfiguration, Option<serde_json::Value>), String> {
        #[derive(serde::Deserialize, Default)]
        struct Dockers {
            config: Option<Inner>,
        }
        #[derive(serde::Deserialize)]
        struct Inner {
            #[serde(rename = "Healthcheck")]
            healthcheck: Option<serde_json::Value>,
        }
        let text = std::fs::read(self.blob(id)).map_err(|error| super::cause(&error))?;
        if Digest::of(&text) != *id {
            return Err("it is not what was pulled".to_owned());
        }
        let config = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        // What oci-spec can read has a config or none.
        let dockers: Dockers = serde_json::from_slice(&text).unwrap_or_default();
        Ok((config, dockers.config.and_then(|config| config.healthcheck)))
    }
}

/// The repository of a full name: without tag and digest.
pub(super) fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}
