//! Answers that only read.
//!
//! Every answer is made of the records ([`crate::index`]), of what the kernel says of the processes, and of what
//! [`Stores`] look up. No lock is taken and no monitor is asked, so an answer never waits behind a stop. What vanishes
//! while it is read is left out; a record that cannot be read is shown as `unknown` and never hides the others.
//!
//! | module | answers |
//! |---|---|
//! | [`pods`], [`containers`] | rows of `pod ps` and `ps` |
//! | [`filter`] | which rows `--filter` leaves |
//! | [`inspect`] | documents of containers, pods, images, volumes and networks |
//! | [`logs`] | the log of one or several containers, followed or not |
//! | [`top`] | the processes of a container or pod |
//! | [`stats`] | what containers use |
//! | [`events`] | what has happened, and what happens |
//! | [`info`] | the engine and the machine |
//! | [`usage`], [`disk`] | what is taken on disk |
//!
//! Documents are JSON with podman's keys in podman's order.

pub mod containers;
pub mod disk;
pub mod events;
pub mod filter;
pub mod info;
pub mod inspect;
mod json;
pub mod logs;
pub mod pods;
pub mod programs;
mod shown;
pub mod stats;
mod stores;
pub mod top;
pub mod usage;

#[cfg(test)]
mod fixture;

use proto::{Refusal, Roots};

pub use shown::Shown;
pub use stores::{EngineStores, Stores};

use crate::config::Engine;

/// What the answers are made from.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Its stores.
    pub stores: &'a dyn Stores,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl View<'_> {
    fn roots(&self) -> &Roots {
        &self.engine.roots
    }

    /// All pods, hidden ones too, oldest first.
    fn pods(&self) -> proto::refusal::Result<Vec<crate::index::Pod>> {
        crate::index::pods(self.roots())
            .map_err(|error| Refusal::internal(format_args!("reading {}", self.roots().pods().display()), error))
    }
}
