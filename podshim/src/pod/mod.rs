//! pod: stub.
pub mod names;
