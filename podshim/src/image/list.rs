//! All images, and the rows of `images`.

use proto::{refusal::Result, time};
use serde_json::{Value, json};

use super::{Image, Store, filter::Filter, resolve::repository};

impl Store {
    /// All, newest first. One that cannot be read is left out and hides no other; where the names cannot be read, none has
    /// one.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn list(&self) -> Result<Vec<Image>> {
        let ids = self.ids("").map_err(|error| self.broken(&error))?;
        let names = self.names().unwrap_or_default();
        let mut images: Vec<Image> =
            ids.iter().filter_map(|hex| self.load_image(&names, hex, "", hex, false).ok()).collect();
        images.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(images)
    }

    /// The rows of `images --format json`: an array with one object for each image, newest first.
    ///
    /// `names` are patterns as of the filter `reference`; an image that fits one of them is shown.
    ///
    /// # Errors
    /// For a filter that cannot be.
    pub fn rows(&self, names: &[String], filters: &[String]) -> Result<Value> {
        let images = self.list()?;
        let used = self.users();
        let filter = Filter::parse(self, filters, names)?;
        let rows = images.iter().filter(|image| filter.fits(image, &used)).map(|image| {
            let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
            json!({
                "Id": image.id,
                "ParentId": "",
                "RepoTags": tags(image),
                "RepoDigests": digests(image),
                "Size": image.size,
                "SharedSize": 0,
                "VirtualSize": image.size,
                "Labels": labels,
                "Containers": used.get(&image.id).map_or(0, Vec::len),
                "Names": image.names,
                "Digest": image.digest,
                "History": image.names,
                "Created": image.created.div_euclid(1_000_000_000),
                "CreatedAt": time::rfc3339(image.created),
                "Dangling": image.names.is_empty(),
                "ReadOnly": false,
                "Arch": image.config.architecture().to_string(),
                "Os": image.config.os().to_string(),
            })
        });
        Ok(Value::Array(rows.collect()))
    }
}

/// Names with a tag.
pub(super) fn tags(image: &Image) -> Vec<&String> {
    image.names.iter().filter(|name| !name.contains('@')).collect()
}

/// The image by digest in each repository it has a name in.
pub(super) fn digests(image: &Image) -> Vec<String> {
    let mut digests: Vec<String> =
        image.names.iter().map(|name| format!("{}@{}", repository(name), image.digest)).collect();
    digests.dedup();
    digests
}
