//! podshim: the pod, and the host it stands on.
//!
//! | role | started by | lives |
//! |---|---|---|
//! | `podshim host` | podctl, over a socketpair | one client connection |
//! | `podshim pod ID` | whoever finds nobody at the pod's socket | while anything of the pod is up |
//! | `podshim infra` | `podshim pod`, as PID 1 of a shared PID namespace | as long as that namespace |
//!
//! Modules, in order of dependency: a line may use the lines below it, never those above. Modules of one line are
//! siblings and do not know each other; `pod` passes values between them. `tests/architecture.rs` holds this order.
//!
//! ```text
//! host  roles            what a process is
//! serve                  the edge: one file per service; a handler parses, calls, translates
//! check                  what a person or a crash has broken, and mending it
//! pod                    what happens to one pod: one driver task, members' steps beside each other, undo
//! view                   answers that only read
//! monitor                starts podmon and speaks to it; keeps its descriptors
//! bundle | spec          the OCI bundle of a member | what a pod and a container are, and what they may not be
//! namespace | network | image | rootfs | volume | secret | cgroup | transfer
//! index | finding | programs  walking the records | something that is broken | what runs
//! config                 the engine's configuration
//! etc                    host configuration
//! sys                    every unsafe block
//! ```

pub mod bundle;
pub mod cgroup;
pub mod check;
pub mod config;
pub mod etc;
pub mod finding;
pub mod host;
pub mod image;
pub mod index;
pub mod monitor;
pub mod namespace;
pub mod network;
pub mod pod;
pub mod programs;
pub mod rootfs;
pub mod secret;
pub mod serve;
pub mod spec;
pub mod sys;
pub mod transfer;
pub mod view;
pub mod volume;
