//! The allocator of a resident shim.
#![allow(unsafe_code)]

/// Keeps the allocations of helper threads in the main arena: an arena of their own costs a shim 40 kB for ever
/// (mallopt(3), M_ARENA_MAX).
pub fn one_arena() {
    // SAFETY: mallopt takes two integers; it is called before this process has threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back to the kernel what the allocator keeps for later: called when an act has ended, by a shim that may now
/// sleep for days (malloc_trim(3)).
pub fn give_back() {
    // SAFETY: malloc_trim takes an integer and is safe to call at any time (attributes(7): MT-Safe).
    unsafe { libc::malloc_trim(0) };
}
