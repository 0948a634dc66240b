//! What `history` shows: the steps an image was made in.

use proto::{refusal::Result, time};
use serde_json::{Value, json};

use super::{Image, Store};

/// podman's word for a step that is no image of its own.
const MISSING: &str = "<missing>";

impl Store {
    /// The steps of the image `name` as an array with podman's keys, newest first. The newest one is the image itself.
    ///
    /// # Errors
    /// `NoSuchImage`, or when it cannot be read.
    pub fn history(&self, name: &str) -> Result<Value> {
        let image = self.resolve(name).map_err(super::missing_is_no_such)?;
        let sizes = self.layer_sizes(&image)?;
        Ok(steps(&image, &sizes))
    }

    /// Bytes of each layer as plain tar, bottom first.
    fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>> {
        let record = self.record(&image.id).map_err(|error| self.broken(&error))?;
        Ok(record.layers.iter().map(|layer| self.layer_size(layer)).collect())
    }
}

/// The config says which steps have made a layer: they have those of `sizes`, in this order.
fn steps(image: &Image, sizes: &[u64]) -> Value {
    let mut sizes = sizes.iter().copied();
    let mut steps: Vec<Value> = image
        .config
        .history()
        .iter()
        .flatten()
        .map(|step| {
            let size = if step.empty_layer().unwrap_or(false) { 0 } else { sizes.next().unwrap_or(0) };
            let created = step.created().clone().filter(|text| time::parse_rfc3339(text).is_some());
            let mut entry = json!({ "id": MISSING, "created": created.unwrap_or_else(|| time::rfc3339(0)) });
            // As podman: what is empty has no key.
            for (key, text) in [("createdBy", step.created_by()), ("comment", step.comment())] {
                if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                    entry[key] = text.as_str().into();
                }
            }
            entry["size"] = size.into();
            entry
        })
        .collect();
    steps.reverse();
    if let Some(newest) = steps.first_mut() {
        newest["id"] = image.id.as_str().into();
        if !image.names.is_empty() {
            newest["tags"] = json!(image.names);
        }
    }
    Value::Array(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_get_the_layers_they_have_made() {
        let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"history":[
            {"created":"2024-04-04T18:00:00Z","created_by":"ADD file"},
            {"created_by":"ENV x","empty_layer":true,"comment":"buildkit"},
            {"created_by":"COPY a"},
            {"created_by":"COPY more than there is"}]}"#;
        let image = Image {
            id: "a".repeat(64),
            names: vec!["localhost/x:1".into()],
            name: String::new(),
            digest: String::new(),
            config: serde_json::from_str(config).expect("config"),
            healthcheck: None,
            layers: Vec::new(),
            size: 0,
            created: 0,
        };
        let shown = steps(&image, &[10, 20]);
        let sizes: Vec<_> = shown.as_array().expect("array").iter().map(|step| step["size"].clone()).collect();
        assert_eq!(sizes, [0, 20, 0, 10]);
        assert_eq!((&shown[0]["id"], &shown[0]["tags"][0]), (&json!(image.id), &json!("localhost/x:1")));
        assert_eq!((&shown[2]["id"], &shown[2]["comment"]), (&json!(MISSING), &json!("buildkit")));
        assert_eq!(shown[3]["created"], "2024-04-04T18:00:00Z");
        assert!(shown[3].get("comment").is_none() && shown[3].get("tags").is_none());
    }
}
