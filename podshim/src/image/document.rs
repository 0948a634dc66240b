//! What `image inspect` shows.

use proto::{refusal::Result, time};
use serde_json::{Map, Value, json};

use super::{
    Image, Store,
    list::{digests, tags},
};

/// Keys of a config that are OCI's; docker's builder leaves more there.
const CONFIG: [&str; 9] =
    ["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"];

impl Store {
    /// The document of the image `name`.
    ///
    /// # Errors
    /// `NoSuchImage`, or when it cannot be read.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let image = self.resolve(name).map_err(super::missing_is_no_such)?;
        self.document(&image)
    }

    /// The document of `image`.
    ///
    /// # Errors
    /// When its record or config cannot be read.
    pub fn document(&self, image: &Image) -> Result<Value> {
        let record = self.record(&image.id).map_err(|error| self.broken(&error))?;
        let text = std::fs::read(self.blob(&record.id)).map_err(|error| self.broken(&error))?;
        let raw: Value = serde_json::from_slice(&text).unwrap_or_default();
        let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default();
        let config = config(&raw);
        let label = config.get("Labels").cloned().unwrap_or_default();
        let user = config.get("User").cloned().unwrap_or_else(|| "".into());
        let lower: Vec<String> = image.layers.iter().rev().skip(1).map(|layer| layer.display().to_string()).collect();
        let mut data = Map::new();
        if !lower.is_empty() {
            data.insert("LowerDir".to_owned(), lower.join(":").into());
        }
        data.insert(
            "UpperDir".to_owned(),
            image.layers.last().map_or(String::new(), |top| top.display().to_string()).into(),
        );
        let mut document = json!({
            "Id": image.id,
            "Digest": image.digest,
            "RepoTags": tags(image),
            "RepoDigests": digests(image),
            "Parent": "",
            "Comment": text("comment"),
            "Created": time::rfc3339(image.created),
            "Config": config,
            "Version": text("docker_version"),
            "Author": text("author"),
            "Architecture": text("architecture"),
            "Os": text("os"),
            "Size": image.size,
            "VirtualSize": image.size,
            "GraphDriver": { "Name": "overlay", "Data": data },
            "RootFS": { "Type": "layers", "Layers": record.layers },
            "Labels": label,
            "Annotations": self.annotations(&record.manifest),
            "ManifestType": record.media_type,
            "User": user,
            "History": raw.get("history").cloned().unwrap_or_default(),
            "NamesHistory": image.names,
        });
        if let Some(check) = raw.pointer("/config/Healthcheck").filter(|check| check.is_object()) {
            document["HealthCheck"] = check.clone();
        }
        Ok(document)
    }

    fn annotations(&self, manifest: &super::digest::Digest) -> Value {
        let text = std::fs::read(self.blob(manifest)).unwrap_or_default();
        let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
        manifest.get("annotations").filter(|map| map.is_object()).cloned().unwrap_or_else(|| json!({}))
    }
}

/// The config's own part, without what is empty.
fn config(raw: &Value) -> Map<String, Value> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let Some(Value::Object(config)) = raw.get("config") else { return Map::new() };
    config
        .iter()
        .filter(|(key, value)| CONFIG.contains(&key.as_str()) && !empty(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
