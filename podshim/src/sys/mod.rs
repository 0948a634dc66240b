//! Every unsafe block of podshim, each with the invariant it relies on; and paths that must not leave a directory.

pub mod beneath;
pub mod xattr;
