//! What this shim tells `events` of its pod and members.

use proto::{
    Id,
    event::{self, Event},
    record::{self, ContainerRecord, PodRecord},
};

use super::Pod;

impl Pod {
    /// Notes `action` on a member. That it cannot be noted hinders nothing.
    pub(super) fn note(&self, action: &str, record: &ContainerRecord) {
        event::note(&self.engine.roots, &Event::of_container(action, record, self.shown_id()));
    }

    /// Notes that a member was restarted.
    pub fn restarted(&self, id: &Id) {
        if let Ok((record, _)) = self.container(id) {
            self.note("restart", &record);
        }
    }

    /// Notes `action` on the pod, unless it is a hidden one.
    pub(super) fn note_pod(&self, action: &str, pod: &PodRecord) {
        if !pod.config.hidden {
            event::note(&self.engine.roots, &of_pod(action, pod));
        }
    }

    /// The pod's id; empty for a hidden one, which nobody knows of.
    pub(super) fn shown_id(&self) -> &str {
        let record = record::read::<PodRecord>(&self.engine.roots.pod_record(&self.id));
        if record.is_ok_and(|record| record.config.hidden) { "" } else { self.id.as_str() }
    }
}

/// `action` on a pod.
pub(super) fn of_pod(action: &str, pod: &PodRecord) -> Event {
    Event {
        attributes: pod.config.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        ..Event::new("pod", action, pod.id.as_str(), &pod.name)
    }
}
