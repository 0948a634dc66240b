//! serve: stub.
pub mod networks;
