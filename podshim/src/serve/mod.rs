//! serve: stub.
