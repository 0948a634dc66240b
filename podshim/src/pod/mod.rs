//! pod: stub.
