//! The namespaces of a pod: the engine's mount namespace, and the shared ones pinned inside it.
//!
//! A pod has its own engine mount namespace. Overlays, volume mounts and the pinned namespaces (`ns/net` …, bind mounts)
//! exist only there, so the host's mount table neither grows nor leaks, and when the last process of the pod is gone the
//! kernel has unmounted everything. A mount namespace cannot be pinned inside itself: its handle is `/proc/PID/ns/mnt`
//! of podshim or of any podmon.

pub mod engine;
pub mod infra;
pub mod pin;
pub mod sysctl;
pub mod tree;
