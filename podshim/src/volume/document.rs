//! A volume as `volume inspect` and `volume ls --format json` show it.

use std::path::Path;

use proto::{record::VolumeRecord, time};
use serde_json::{Value, json};

/// The document, with podman's keys. `mount_count` is how many running containers have it mounted.
pub fn document(record: &VolumeRecord, data: &Path, mount_count: usize) -> Value {
    let mut document = json!({
        "Name": record.name,
        "Driver": "local",
        "Mountpoint": data,
        "CreatedAt": time::rfc3339(record.created),
        "Labels": record.labels,
        "Scope": "local",
        "Options": record.options,
        "MountCount": mount_count,
        "NeedsCopyUp": !record.copied_up,
    });
    if let Some((uid, gid)) = record.owner {
        document["UID"] = json!(uid);
        document["GID"] = json!(gid);
    }
    if record.anonymous {
        document["Anonymous"] = json!(true);
    }
    document
}
