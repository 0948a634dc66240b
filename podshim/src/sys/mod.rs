//! Every unsafe block of podshim, each with the invariant it relies on.

pub mod beneath;
pub mod child;
pub mod fd;
pub mod limit;
pub mod memory;
pub mod mount;
pub mod signal;
pub mod spawn;
pub mod xattr;
