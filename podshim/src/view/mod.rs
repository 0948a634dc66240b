//! Answers that only read: stub.
