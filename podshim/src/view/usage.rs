//! What images, containers and volumes take on disk (podman-system-df(1)).

use proto::{Roots, record::VolumeRecord, refusal::Result, state::ContainerState, wire::mount};
use serde_json::{Value, json};

use super::{Shown, View, containers, disk, json::time};
use crate::{
    image,
    volume::{Volumes, users::Users},
};

/// `{Images Containers Volumes}`, each `{Items Size Reclaimable Active}`; sizes in bytes. Reclaimable is what pruning
/// everything that is not in use would give back.
///
/// # Errors
/// When a store cannot be read.
pub fn document(view: &View<'_>) -> Result<Value> {
    let pods = view.pods()?;
    Ok(json!({
        "Images": images(view.roots())?,
        "Containers": of_containers(view, &pods),
        "Volumes": volumes(view.roots(), &Users::of(&pods))?,
    }))
}

fn images(roots: &Roots) -> Result<Value> {
    let usage = image::Store::open(roots).usage()?;
    let active = usage.images.iter().filter(|image| image.containers > 0).count();
    let items = usage.images.iter().map(|one| {
        json!({
            "Id": one.image.id,
            "Names": one.image.names,
            "Created": time(one.image.created),
            "Size": one.image.size,
            "SharedSize": one.shared,
            "UniqueSize": one.image.size.saturating_sub(one.shared),
            "Containers": one.containers,
        })
    });
    Ok(kind(items.collect(), usage.size, usage.reclaimable, active))
}

fn of_containers(view: &View<'_>, pods: &[crate::index::Pod]) -> Value {
    let (mut size, mut reclaimable, mut active) = (0u64, 0u64, 0);
    let mut items = Vec::new();
    for container in pods.iter().flat_map(Shown::of).filter(|container| !container.is_infra()) {
        let written = containers::size(view, container)["rwSize"].as_u64().unwrap_or(0);
        size = size.saturating_add(written);
        if matches!(container.state(), ContainerState::Running | ContainerState::Paused) {
            active += 1;
        } else {
            reclaimable = reclaimable.saturating_add(written);
        }
        let record = container.record();
        let mounts = record.map_or(&[][..], |record| &record.mounts);
        items.push(json!({
            "Id": container.id(),
            "Image": record.and_then(|record| record.image.as_ref()).map_or("", |image| &image.id),
            "Command": record.map_or(&[][..], |record| &record.args),
            "LocalVolumes": mounts.iter().filter(|mount| mount.kind() == mount::Kind::Volume).count(),
            "Size": written,
            "Created": time(container.created()),
            "Status": container.state().as_str(),
            "Names": container.name(),
        }));
    }
    kind(items, size, reclaimable, active)
}

fn volumes(roots: &Roots, users: &Users) -> Result<Value> {
    let store = Volumes::open(roots);
    let (mut size, mut reclaimable, mut active) = (0u64, 0u64, 0);
    let mut items = Vec::new();
    for VolumeRecord { name, .. } in store.list()? {
        let (held, links) = (disk::size(&store.data(&name)), users.count(&name));
        size = size.saturating_add(held);
        if links > 0 {
            active += 1;
        } else {
            reclaimable = reclaimable.saturating_add(held);
        }
        items.push(json!({ "Name": name, "Links": links, "Size": held }));
    }
    Ok(kind(items, size, reclaimable, active))
}

fn kind(items: Vec<Value>, size: u64, reclaimable: u64, active: usize) -> Value {
    json!({ "Items": items, "Size": size, "Reclaimable": reclaimable, "Active": active })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;

    #[test]
    fn what_is_written_counts_and_what_does_not_run_is_reclaimable() {
        let fixture = Fixture::new();
        let web = fixture.web();
        for (member, bytes) in [(&web.front, 10), (&web.back, 32)] {
            let upper = fixture.engine.roots.container(&web.pod, member).join("upper");
            std::fs::create_dir_all(&upper).expect("upper");
            std::fs::write(upper.join("file"), vec![0; bytes]).expect("file");
        }
        let usage = super::document(&fixture.view()).expect("usage");
        let containers = &usage["Containers"];
        let sums = ["Size", "Reclaimable", "Active"].map(|key| containers[key].as_u64());
        assert_eq!(sums, [Some(42), Some(32), Some(1)]);
        assert_eq!(containers["Items"].as_array().map(Vec::len), Some(2), "the infra is none: {containers}");
        assert_eq!(usage["Images"]["Size"], 0);
    }
}
