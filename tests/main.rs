//! All tests.
fn main() {}
