//! States of containers, and a pod's status as one pure function of them.
//!
//! Nothing stores a status: a container's state is read from its records and the kernel, a pod's follows from its
//! containers (libpod/pod_status.go has the same table).

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a container, in the words users see in `.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Defined; no process and no runtime state.
    Created,
    /// The runtime has created it; its command has not begun.
    Initialized,
    /// Its command runs.
    Running,
    /// Frozen.
    Paused,
    /// Being stopped.
    Stopping,
    /// Ended, and its exit has been recorded in this boot or an earlier one.
    Exited,
    /// Being removed, or its removal was cut off.
    Removing,
    /// Its record cannot be read.
    Unknown,
}

impl ContainerState {
    /// Whether a process of it exists.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Initialized | Self::Running | Self::Paused | Self::Stopping)
    }

    /// The word in `--format {{.State}}` and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Status of a pod, in the words users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodStatus {
    /// No container has run yet.
    Created,
    /// All run.
    Running,
    /// Some run.
    Degraded,
    /// All are paused.
    Paused,
    /// All have ended.
    Exited,
    /// Some have ended, none runs.
    Stopped,
    /// Some are in a state nobody can act on.
    Error,
}

impl PodStatus {
    /// The word in `pod ps`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Running => "Running",
            Self::Degraded => "Degraded",
            Self::Paused => "Paused",
            Self::Exited => "Exited",
            Self::Stopped => "Stopped",
            Self::Error => "Error",
        }
    }
}

impl fmt::Display for PodStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status of a pod whose containers, the infra included and init containers left out, are in `states`.
pub fn pod_status(states: &[ContainerState]) -> PodStatus {
    let all = states.len();
    let count = |wanted: &[ContainerState]| states.iter().filter(|state| wanted.contains(state)).count();
    let running = count(&[ContainerState::Running]);
    let paused = count(&[ContainerState::Paused]);
    let exited = count(&[ContainerState::Exited]);
    let broken = count(&[ContainerState::Unknown, ContainerState::Removing, ContainerState::Stopping]);
    match () {
        () if all == 0 => PodStatus::Created,
        () if running == all => PodStatus::Running,
        () if running > 0 => PodStatus::Degraded,
        () if paused == all => PodStatus::Paused,
        () if exited == all => PodStatus::Exited,
        () if exited > 0 => PodStatus::Stopped,
        () if broken > 0 => PodStatus::Error,
        () => PodStatus::Created,
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerState::*, PodStatus, pod_status};

    #[test]
    fn the_table_of_pod_status() {
        let cases: &[(&[super::ContainerState], PodStatus)] = &[
            (&[], PodStatus::Created),
            (&[Created], PodStatus::Created),
            (&[Created, Initialized], PodStatus::Created),
            (&[Running, Running], PodStatus::Running),
            (&[Running, Exited], PodStatus::Degraded),
            (&[Running, Created], PodStatus::Degraded),
            (&[Running, Paused], PodStatus::Degraded),
            (&[Paused, Paused], PodStatus::Paused),
            (&[Paused, Created], PodStatus::Created),
            (&[Exited, Exited], PodStatus::Exited),
            (&[Exited, Created], PodStatus::Stopped),
            (&[Exited, Paused], PodStatus::Stopped),
            (&[Created, Unknown], PodStatus::Error),
            (&[Stopping], PodStatus::Error),
        ];
        for (states, status) in cases {
            assert_eq!(pod_status(states), *status, "{states:?}");
        }
    }
}
