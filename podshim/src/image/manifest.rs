//! Manifests, indexes and configs: parsing what strangers wrote.
//!
//! Only what is needed is read, into types that cannot hold what is wrong. A key that counts and comes twice, trailing
//! text and deep nesting are errors of the parser; a document that could be read in two ways is refused
//! (CVE-2021-41190).

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::{digest::Digest, platform::Platform};

/// Largest manifest or index.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest config.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Most layers: more than that overlayfs does not stack.
pub const MAX_LAYERS: usize = 500;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The type of OCI's manifests (image-spec, media-types.md).
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a registry is asked for.
pub const ACCEPT: [&str; 4] = [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST];

/// What a blob is and how to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In the index of an archive: its names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its type.
    pub media_type: String,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// In whose words a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Docker's, schema 2.
    Docker,
    /// Those of the OCI image specification.
    Oci,
}

/// A document at a tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses `text`, which came as `content_type` (empty = unknown).
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn parse(text: &[u8], content_type: &str) -> Result<Document, String> {
        if text.len() as u64 > MAX_MANIFEST {
            return Err(format!("manifest is larger than {MAX_MANIFEST} bytes"));
        }
        let raw: Raw = serde_json::from_slice(text).map_err(|error| format!("parsing manifest: {error}"))?;
        let sent = content_type.split(';').next().unwrap_or_default().trim();
        // Registries without the right header say text/plain or application/json: nothing follows from that.
        let sent = Some(sent).filter(|sent| sent.contains("manifest") || sent.contains("index"));
        if let (Some(sent), Some(said)) = (sent, raw.media_type.as_deref())
            && sent != said
        {
            return Err(format!("manifest says it is {said:?} and was sent as {sent:?}"));
        }
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err("manifest has schema version 1, which is not supported: push the image anew".to_owned());
        }
        if raw.schema_version.is_some_and(|version| version != 2) {
            return Err("manifest has an unknown schema version".to_owned());
        }
        let media_type = raw.media_type.as_deref().or(sent).map(str::to_owned);
        match (raw.config, raw.layers, raw.manifests) {
            (None, None, Some(manifests)) => {
                if media_type.as_deref().is_some_and(|kind| kind != OCI_INDEX && kind != DOCKER_LIST) {
                    return Err(format!("index has the unknown type {:?}", media_type.unwrap_or_default()));
                }
                Ok(Document::Index(manifests))
            }
            (Some(config), layers, None) => {
                let media_type = media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned());
                Manifest { media_type, config, layers: layers.unwrap_or_default() }.checked().map(Document::Manifest)
            }
            (_, _, Some(_)) => Err("manifest is both an image and an index".to_owned()),
            _ => Err("manifest is neither an image nor an index".to_owned()),
        }
    }
}

impl Manifest {
    fn checked(self) -> Result<Manifest, String> {
        if self.media_type != OCI_MANIFEST && self.media_type != DOCKER_MANIFEST {
            return Err(format!("manifest has the unknown type {:?}", self.media_type));
        }
        if self.config.media_type != OCI_CONFIG && self.config.media_type != DOCKER_CONFIG {
            return Err(format!("it is no container image: its config has the type {:?}", self.config.media_type));
        }
        if self.config.size > MAX_CONFIG {
            return Err(format!("config is larger than {MAX_CONFIG} bytes"));
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(format!("{} layers are more than the {MAX_LAYERS} that can be stacked", self.layers.len()));
        }
        for layer in &self.layers {
            let kind = &layer.media_type;
            let known = kind.contains(".image.layer.") || kind.contains(".image.rootfs.");
            if !known || kind.contains("encrypted") {
                return Err(format!("layer {} has the unknown type {kind:?}", layer.digest));
            }
            if layer.size > i64::MAX as u64 {
                return Err(format!("layer {} has an impossible size", layer.digest));
            }
        }
        Ok(self)
    }

    /// The manifest of an image that has none, in the words of `flavour`, and its text. How a layer is packed is what its
    /// type ends with: `.gzip` for Docker, `+gzip` for OCI, nothing for plain tar.
    pub fn compose(
        flavour: Flavour,
        config: (Digest, u64),
        layers: impl IntoIterator<Item = ((Digest, u64), &'static str)>,
    ) -> (Manifest, Vec<u8>) {
        let (manifest, of_config, of_layer) = match flavour {
            Flavour::Docker => (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
            Flavour::Oci => (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER),
        };
        let descriptor = |media_type: String, (digest, size): (Digest, u64)| Descriptor {
            media_type,
            digest,
            size,
            platform: None,
            annotations: None,
        };
        let layers = layers.into_iter().map(|(layer, packed)| descriptor(format!("{of_layer}{packed}"), layer));
        let manifest = Manifest {
            media_type: manifest.to_owned(),
            config: descriptor(of_config.to_owned(), config),
            layers: layers.collect(),
        };
        let text = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "config": manifest.config,
            "layers": manifest.layers,
        });
        (manifest, text.to_string().into_bytes())
    }
}

/// A config, and the digests its layers must have when they are unpacked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it says.
    pub image: ImageConfiguration,
    /// Digest of each layer as plain tar, bottom first.
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Parses `text`, the config of an image with `layers` layers.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn parse(text: &[u8], layers: usize) -> Result<Config, String> {
        let image: ImageConfiguration =
            serde_json::from_slice(text).map_err(|error| format!("parsing image configuration: {error}"))?;
        if *image.os() != oci_spec::image::Os::Linux {
            return Err(format!("image is for {}, not for linux", image.os()));
        }
        let diff_ids = image
            .rootfs()
            .diff_ids()
            .iter()
            .map(|id| id.parse())
            .collect::<Result<Vec<Digest>, _>>()
            .map_err(|error| format!("image configuration: diff_ids: {error}"))?;
        if diff_ids.len() != layers {
            return Err(format!("image configuration names {} layers and the manifest {layers}", diff_ids.len()));
        }
        Ok(Config { image, diff_ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{D}","size":2}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{D}","size":9}}]{extra}}}"#
        )
    }

    #[test]
    fn an_image_and_an_index() {
        let Ok(Document::Manifest(parsed)) = Document::parse(manifest("").as_bytes(), OCI_MANIFEST) else { panic!() };
        assert_eq!((parsed.layers.len(), parsed.config.size), (1, 2));
        assert!(Document::parse(manifest("").as_bytes(), "text/plain; charset=utf-8").is_ok());
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{D}","size":2,
            "platform":{{"architecture":"arm64","os":"linux","variant":"v8","features":["x"]}}}}]}}"#
        );
        assert!(matches!(Document::parse(index.as_bytes(), ""), Ok(Document::Index(list)) if list.len() == 1));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let whole = manifest("");
        for (text, sent, word) in [
            (manifest(r#","manifests":[]"#), "", "both"),
            (manifest(r#","layers":[]"#), "", "duplicate"),
            (manifest(r#","mediaType":"x""#), "", "duplicate"),
            (whole.clone(), OCI_INDEX, "sent as"),
            (whole.clone() + "x", "", "trailing"),
            (whole.replace(":9}", ":-9}"), "", "invalid value"),
            (whole.replace(":9}", ":18446744073709551615}"), "", "impossible"),
            (whole.replace("sha256:e3", "sha256:../../../../x"), "", "invalid digest"),
            (whole.replace("sha256:", "SHA256:"), "", "invalid digest"),
            (whole.replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json"), "", "no container image"),
            (whole.replace(":2,", ":1,"), "", "schema version 1"),
            (whole.replace("layer.v1.tar+gzip", "layer.v1.tar+gzip+encrypted"), "", "unknown type"),
            (format!(r#"{{"schemaVersion":2,"x":{deep}}}"#), "", "neither"),
            (format!(r#"{{"schemaVersion":2,"layers":{deep}}}"#), "", "parsing"),
            ("{}".to_owned(), "", "neither"),
            ("null".to_owned(), "", "parsing"),
            ("<html>".to_owned(), "", "parsing"),
            (String::new(), "", "parsing"),
        ] {
            let error = Document::parse(text.as_bytes(), sent).expect_err(word);
            assert!(error.contains(word), "{error:.200} of {text:.200}");
        }
    }

    #[test]
    fn configs() {
        let good = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{D}"]}},
            "config":{{"Volumes":null,"ExposedPorts":null,"Labels":null,"Env":null,"Cmd":null,"Entrypoint":null,"OnBuild":null,"User":""}},
            "history":null,"created":null,"container_config":{{"Cmd":null}},"docker_version":"1"}}"#
        );
        assert_eq!(Config::parse(good.as_bytes(), 1).map(|config| config.diff_ids.len()), Ok(1));
        for (text, layers) in [
            (good.clone(), 2),
            (good.replace("sha256:", "sha512:"), 1),
            (good.replace("\"linux\"", "\"windows\""), 1),
            ("{}".to_owned(), 0),
            ("null".to_owned(), 0),
        ] {
            assert!(Config::parse(text.as_bytes(), layers).is_err(), "{text}");
        }
    }
}
