//! How the allocator treats memory that has been freed.

/// Tells the allocator to keep freed memory for the next tensors instead of giving it back to the system. For programs that
/// train: call it once, before there are threads.
///
/// Every training step frees what it allocated and allocates it again. Given back in between, each page has to be cleared by
/// the system at its first use, which took a tenth of a step. All threads share one pool, so that it is as large as the
/// largest step and no larger.
///
/// Has an effect with the GNU C library only.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // As large as the settings get: 2 GiB.
        const NEVER: libc::c_int = libc::c_int::MAX;
        // SAFETY: `mallopt` only sets numbers of the allocator. A setting that it refuses changes nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, NEVER);
            libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER);
        }
    }
}

/// Gives freed memory back to the system, whatever [`keep_freed_memory`] has said: for the moment after something large is gone
/// that no step needs again.
///
/// Has an effect with the GNU C library only.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `malloc_trim` takes the allocator's own lock and touches pages that hold nothing alone.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
