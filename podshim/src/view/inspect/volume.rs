//! The document of a volume (libpod/define/volume_inspect.go, InspectVolumeData).

use proto::{record::VolumeRecord, refusal::Result};
use serde_json::Value;

use crate::{
    view::{
        Shown, View,
        json::{add, map, object, time},
    },
    volume::Volumes,
};

/// The document of `volume`.
///
/// # Errors
/// When the records of the containers that mount it cannot be listed.
pub(super) fn document(view: &View<'_>, volume: &VolumeRecord) -> Result<Value> {
    let mountpoint = view.roots().volumes().join(&volume.name).join("_data");
    let mut document = object([
        ("Name", volume.name.as_str().into()),
        ("Driver", "local".into()),
        ("Mountpoint", mountpoint.to_string_lossy().into()),
        ("CreatedAt", time(volume.created)),
        ("Labels", map(&volume.labels)),
        ("Scope", "local".into()),
        ("Options", map(&volume.options)),
    ]);
    if let Some((uid, gid)) = volume.owner {
        add(&mut document, "UID", uid);
        add(&mut document, "GID", gid);
    }
    add(&mut document, "Anonymous", volume.anonymous);
    let pods = view.pods()?;
    let mounted = pods
        .iter()
        .flat_map(Shown::of)
        .filter(|shown| shown.state().is_alive())
        .filter_map(Shown::record)
        .filter(|record| record.mounts.iter().any(|mount| mount.source == volume.name))
        .count();
    let on_host = Volumes::open(view.roots()).mounts_of(volume);
    super::container::extend(&mut document, [("MountCount", (mounted + on_host).into())]);
    add(&mut document, "NeedsCopyUp", !volume.copied_up);
    Ok(document)
}
