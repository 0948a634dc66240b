//! Starts podmon and speaks to it: stub.
