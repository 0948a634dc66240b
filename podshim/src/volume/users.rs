//! Who uses a volume, by the records of pods and containers.

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{Mount, mount},
};

use crate::index::Pod;

/// Which volumes are used, by whom.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// Ids of containers (of a pod's infra where the pod mounts it), by volume.
    by_volume: BTreeMap<String, BTreeSet<String>>,
    /// How many running containers have it mounted, by volume.
    mounted: BTreeMap<String, usize>,
    /// Ids of containers and pods whose records cannot be read: what they use is not known.
    unreadable: Vec<String>,
}

impl Users {
    /// From all pods, hidden ones too.
    pub fn of(pods: &[Pod]) -> Users {
        let mut users = Users::default();
        for pod in pods {
            match &pod.record {
                Ok(record) => {
                    let infra = record.infra.as_ref().unwrap_or(&record.id);
                    users.add(&record.config.mounts, infra.as_str(), false);
                }
                Err(id) => users.unreadable.push(id.to_string()),
            }
            for container in &pod.containers {
                match &container.record {
                    Ok(record) => users.add(&record.mounts, record.id.as_str(), container.state.is_alive()),
                    Err((_, id)) => users.unreadable.push(id.to_string()),
                }
            }
        }
        users
    }

    fn add(&mut self, mounts: &[Mount], user: &str, running: bool) {
        let volumes: BTreeSet<&String> =
            mounts.iter().filter(|mount| mount.kind() == mount::Kind::Volume).map(|mount| &mount.source).collect();
        for volume in volumes.into_iter().filter(|name| !name.is_empty()) {
            self.by_volume.entry(volume.clone()).or_default().insert(user.to_owned());
            if running {
                *self.mounted.entry(volume.clone()).or_default() += 1;
            }
        }
    }

    /// Whether anybody has it in a record.
    pub fn uses(&self, volume: &str) -> bool {
        self.by_volume.contains_key(volume)
    }

    /// Ids of the containers that use it, of a pod's infra where the pod does.
    pub fn of_volume(&self, volume: &str) -> impl Iterator<Item = String> {
        self.by_volume.get(volume).into_iter().flatten().cloned()
    }

    /// How many containers and pods use it.
    pub fn count(&self, volume: &str) -> usize {
        self.by_volume.get(volume).map_or(0, |users| users.len())
    }

    /// How many running containers have it mounted.
    pub fn mount_count(&self, volume: &str) -> usize {
        self.mounted.get(volume).copied().unwrap_or(0)
    }

    /// Refuses while somebody uses it, in podman's words, or while a record cannot be read.
    ///
    /// # Errors
    /// `InUse` with the ids.
    pub fn none_of(&self, volume: &str) -> Result<()> {
        if let Some(users) = self.by_volume.get(volume) {
            let ids: Vec<&str> = users.iter().map(String::as_str).collect();
            return Err(Refusal::new(
                Kind::InUse,
                format!(
                    "volume {volume} is being used by the following container(s): {}: volume is being used",
                    ids.join(", ")
                ),
            )
            .about(volume));
        }
        if let Some(id) = self.unreadable.first() {
            return Err(Refusal::new(
                Kind::InUse,
                format!("volume {volume} may be used by {id}, whose record cannot be read: remove that first (rm -f)"),
            )
            .about(volume));
        }
        Ok(())
    }
}
