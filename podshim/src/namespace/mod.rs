//! namespace: stub.
