//! Volumes: directories that outlive containers.
//!
//! ```text
//! $STATE/volumes                 0700
//!   .lock                        flock: names come and go under it
//!   NAME/                        0700: what is in a volume is nobody's but its containers'
//!     volume.json
//!     lock                       flock: copy-up, and mounting what it mounts ([`mounting`])
//!     _data/                     0755 or as the image's directory; what containers see where it mounts nothing
//!     _copy.part, _copy          an image's content on its way into _data
//!   .new-…, .gone-…              on their way in and out
//! ```
//! A volume appears and vanishes by one rename, so none is ever half there. Who uses one is read from the records of pods
//! and containers ([`users`]); a container's record names its volumes *before* they are ensured, and a removal looks at the
//! records under the store's lock: so either the removal sees the record, or the volume is made again.

pub mod check;
mod copy_up;
mod document;
mod filter;
mod mounting;
mod store;
mod tree;
pub mod users;

pub use document::document;
pub use filter::{Filter, parse as parse_filters};
pub use mounting::Mounting;
pub use store::Volumes;
