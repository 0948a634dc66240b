//! What a pod and a container are, and what they may not be.
//!
//! Everything here is pure: it reads no file and asks nobody, so a request is refused before anything of it exists, and
//! every refusal has a row in one table (`refusals`, a test). What only the machine can tell (whether a limit can
//! be set, a port is free, a host path is there) is checked by the module that uses it.
//!
//! | file | what it decides |
//! |---|---|
//! | `pod` | a pod as a whole: what goes with `--infra=false`, sharing, policies |
//! | `container` | a container as a whole, and what a member of a pod leaves to its pod |
//! | `merge` | image + pod + options → the record of a container |
//! | `modes` | where each namespace of a member comes from; its host name |
//! | `network`, `ports` | addresses, names, DNS; published ports |
//! | `mounts` | destinations, options, volumes |
//! | `limits`, `security` | resources, ulimits; capabilities, sysctls, devices |
//! | `health` | health checks, with the image's |
//! | `image` | what an image's config may say: all of it is hostile |
//! | `update` | what becomes of a record when some of it is changed |
//! | `requires` | what must be up or done before a container is started |
//! | `secrets` | which secrets, and where |
//! | `volume` | options of a volume: whose it is, what it mounts |
//! | `log`, `process` | where output goes; umask, time zone, keys |
//! | `policy`, `signal`, `user`, `text` | restart and exit policies, signals, users, names and lines |

mod container;
mod health;
mod image;
mod limits;
mod log;
mod merge;
mod modes;
mod mounts;
mod network;
mod pod;
mod policy;
mod ports;
mod process;
mod requires;
mod secrets;
mod security;
pub mod signal;
mod text;
mod update;
mod user;
mod volume;

#[cfg(test)]
mod refusals;

pub use container::{check_container, warnings};
pub use health::merge_health;
pub use image::publish_all;
pub use log::IN_TAG;
pub use merge::merge;
pub use modes::{Place, Sharing, hostname, makes, not_a_member};
pub use mounts::is_anonymous;
pub use network::check_attached as check_network;
pub use pod::check_pod;
pub use requires::{Condition, Dependency, dependencies};
pub use secrets::{Secret, SecretPlace, secret};
pub use text::{check_labels, shown as quotable};
pub use update::{change_variables, update};
pub use volume::volume;
