//! The edge: one file per service; a handler parses, calls, translates.

pub mod system;
