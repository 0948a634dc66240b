//! The document of an image (containers/common libimage, ImageData).

use serde_json::Value;

use crate::{
    image::Image,
    view::{
        View,
        json::{add, object, strings, time},
    },
};

/// The document of `image`.
pub(super) fn document(_view: &View<'_>, image: &Image) -> Value {
    let config = serde_json::to_value(&image.config).unwrap_or_default();
    let of = |key: &str| config.get(key).cloned().unwrap_or(Value::Null);
    let text = |value: Value| if value.is_null() { "".into() } else { value };
    let digests = image.names.iter().filter_map(|name| {
        let repository =
            name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name.as_str(), |(name, _)| name);
        (!image.digest.is_empty()).then(|| format!("{repository}@{}", image.digest))
    });
    let mut digests: Vec<String> = digests.collect();
    digests.sort();
    digests.dedup();
    let inner = of("config");
    let of_inner = |key: &str| inner.get(key).cloned().unwrap_or(Value::Null);
    let layers: Vec<String> = image.layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let mut data = object([]);
    add(&mut data, "UpperDir", layers.first().cloned().unwrap_or_default());
    add(&mut data, "LowerDir", layers.get(1..).unwrap_or_default().join(":"));
    object([
        ("Id", image.id.as_str().into()),
        ("Digest", image.digest.as_str().into()),
        ("RepoTags", strings(image.names.iter().filter(|name| !name.contains('@')))),
        ("RepoDigests", strings(digests)),
        ("Parent", "".into()),
        ("Comment", "".into()),
        ("Created", time(image.created)),
        ("Config", if inner.is_null() { object([]) } else { inner.clone() }),
        ("Version", "".into()),
        ("Author", text(of("author"))),
        ("Architecture", of("architecture")),
        ("Os", of("os")),
        ("Size", image.size.into()),
        ("VirtualSize", image.size.into()),
        ("GraphDriver", object([("Name", "overlay".into()), ("Data", data)])),
        ("RootFS", root_fs(&of("rootfs"))),
        ("Labels", of_inner("Labels")),
        ("Annotations", object([])),
        ("ManifestType", "application/vnd.oci.image.manifest.v1+json".into()),
        ("User", text(of_inner("User"))),
        ("History", of("history")),
        ("NamesHistory", strings(&image.names)),
    ])
}

/// `{Type Layers}` for `{type diff_ids}`.
fn root_fs(root: &Value) -> Value {
    let of = |key: &str| root.get(key).cloned().unwrap_or(Value::Null);
    object([("Type", of("type")), ("Layers", of("diff_ids"))])
}
