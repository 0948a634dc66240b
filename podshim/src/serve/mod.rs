//! serve: stub.
pub mod volumes;
