//! The allocator of a resident shim.
#![allow(unsafe_code)]

/// Keeps the allocations of helper threads in the main arena: an arena of their own costs a shim 40 kB for ever
/// (mallopt(3), M_ARENA_MAX).
pub fn one_arena() {
    // SAFETY: mallopt takes two integers; it is called before this process has threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
