//! Commands about the engine and this program.

pub mod completion;
pub mod events;
pub mod failpoints;
pub mod help;
pub mod info;
pub mod manpages;
pub mod version;
