//! What a resident program keeps of memory while it sleeps.
#![allow(unsafe_code)]

/// An entry of the environment with which a resident program is started: no cache of freed blocks for each thread, and none
/// of the stacks of threads that have ended (`glibc.malloc.tcache_count` and `glibc.pthread.stack_cache_size` of glibc's
/// tunables). Such a program allocates little and seldom, and the caches would be half of what it holds. There is no other
/// way to set them.
pub const NO_CACHES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.pthread.stack_cache_size=0");

/// Gives memory back to the kernel: what the heap does not use (malloc_trim(3)), and what a deep call once needed of the
/// stack of this thread, which is the first one of its process.
pub fn trim() {
    /// Far more than these programs ever need, and less than the gap that the kernel keeps below a stack.
    const DEEPEST: usize = 512 * 1024;
    /// What calls from here, and the C library's own, may be using below `here`.
    const IN_USE: usize = 4 * 1024;
    const PAGE: usize = 4096;
    let here = 0u8;
    let end = (std::ptr::from_ref(&here).addr() - IN_USE) & !(PAGE - 1);
    let start = end.saturating_sub(DEEPEST);
    // SAFETY: below the stack pointer nothing is alive, so that these pages read as zero afterwards hurts nobody; where the
    // stack has never reached, nothing else is mapped (stack_guard_gap is 1 MiB), and madvise passes over it.
    unsafe {
        libc::madvise(std::ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED);
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only touches memory that the allocator knows to be free (attributes(7): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
