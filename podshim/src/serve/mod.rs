//! serve: stub.

pub mod images;
