//! Which layers images share, and what they take.

use std::collections::BTreeMap;

use proto::refusal::Result;

use super::{Image, Store, digest::Digest, remove::Users};

/// What images take, in bytes of their layers as plain tar.
#[derive(Debug, Default)]
pub struct Usage {
    /// Every image.
    pub images: Vec<ImageUsage>,
    /// All layers, each once, with configs and manifests.
    pub size: u64,
    /// What would go with all images that no container uses.
    pub reclaimable: u64,
}

/// What one image takes.
#[derive(Debug)]
pub struct ImageUsage {
    /// It.
    pub image: Image,
    /// Of its bytes those that another image has, too.
    pub shared: u64,
    /// How many containers use it.
    pub containers: usize,
}

impl Store {
    /// What all images take.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn usage(&self) -> Result<Usage> {
        let users = self.users();
        let images = self.list()?;
        let layers: Vec<Vec<Digest>> =
            images.iter().map(|image| self.record(&image.id).map(|record| record.layers).unwrap_or_default()).collect();
        let mut sizes = BTreeMap::new();
        for layer in layers.iter().flatten() {
            sizes.entry(layer.clone()).or_insert_with(|| self.layer_size(layer));
        }
        Ok(sum(images, &layers, &sizes, &users))
    }

    /// Bytes of a layer as plain tar; 0 where it is not known.
    pub(super) fn layer_size(&self, diff_id: &Digest) -> u64 {
        self.layer_record(diff_id).map_or(0, |record| record.size)
    }

    /// Bytes of all layers that are here.
    pub(super) fn layers_size(&self) -> u64 {
        let entries = std::fs::read_dir(self.root().join("layers")).into_iter().flatten().flatten();
        let records = entries.filter_map(|entry| {
            proto::record::read::<super::store::LayerRecord>(&entry.path().join("layer.json")).ok()
        });
        records.map(|record| record.size).sum()
    }
}

fn sum(images: Vec<Image>, layers: &[Vec<Digest>], sizes: &BTreeMap<Digest, u64>, users: &Users) -> Usage {
    let size_of = |layer: &Digest| sizes.get(layer).copied().unwrap_or(0);
    // How many images have it, and whether a container uses one of them.
    let mut had: BTreeMap<&Digest, (usize, bool)> = BTreeMap::new();
    for (image, layers) in images.iter().zip(layers) {
        let used = users.contains_key(&image.id);
        // An image may have one layer twice.
        let mut once: Vec<&Digest> = layers.iter().collect();
        once.sort();
        once.dedup();
        for layer in once {
            let entry = had.entry(layer).or_default();
            *entry = (entry.0 + 1, entry.1 || used);
        }
    }
    let mut usage = Usage {
        size: had.keys().map(|layer| size_of(layer)).sum(),
        reclaimable: had.iter().filter(|(_, (_, used))| !used).map(|(layer, _)| size_of(layer)).sum(),
        images: Vec::new(),
    };
    for (image, layers) in images.into_iter().zip(layers) {
        let all: u64 = layers.iter().map(size_of).sum();
        let is_shared = |layer: &&Digest| had.get(layer).is_some_and(|(images, _)| *images > 1);
        let shared = layers.iter().filter(is_shared).map(size_of).sum();
        let containers = users.get(&image.id).map_or(0, Vec::len);
        // Config and manifest.
        let rest = image.size.saturating_sub(all);
        usage.size = usage.size.saturating_add(rest);
        if containers == 0 {
            usage.reclaimable = usage.reclaimable.saturating_add(rest);
        }
        usage.images.push(ImageUsage { image, shared, containers });
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_layers_count_once_and_stay_while_one_image_is_used() {
        let image = |digit: &str, size: u64| Image {
            id: digit.repeat(64),
            names: Vec::new(),
            name: String::new(),
            digest: String::new(),
            config: Default::default(),
            healthcheck: None,
            layers: Vec::new(),
            size,
            created: 0,
        };
        let layer = |digit: &str| Digest::from_hex(&digit.repeat(64)).expect("a digest");
        let (base, mine, theirs) = (layer("1"), layer("2"), layer("3"));
        let sizes = BTreeMap::from([(base.clone(), 100), (mine.clone(), 10), (theirs.clone(), 5)]);
        let users = Users::from([("a".repeat(64), vec!["c".to_owned()])]);
        let layers = [vec![base.clone(), mine], vec![base, theirs.clone(), theirs]];
        let usage = sum(vec![image("a", 111), image("b", 112)], &layers, &sizes, &users);
        assert_eq!((usage.size, usage.reclaimable), (115 + 1 + 2, 5 + 2));
        let each: Vec<_> = usage.images.iter().map(|image| (image.shared, image.containers)).collect();
        assert_eq!(each, [(100, 1), (100, 0)]);
    }
}
