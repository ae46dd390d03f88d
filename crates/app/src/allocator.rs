//! The allocator of the process.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

/// Measured against the system's allocator (docs/performance.md): fewer page faults under many short-lived batches.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed pages are kept before the system gets them back. With the allocator's one second, every query on a
/// dashboard faulted its memory in anew, page by page and zeroed: a quarter of the processor time of ten queries over ten
/// million rows went there. Ten seconds outlast the pause between two refreshes of a page, and an idle process is small.
const KEEP_MS: c_long = 10_000;

/// `mi_option_purge_delay` of the allocator's header, which its Rust names leave out. In milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// What the allocator does by itself: if that option no longer reads so, it is another one, and is left alone.
const PURGE_DELAY_MS: c_long = 1000;

/// Sets how long freed pages are kept, unless `MIMALLOC_PURGE_DELAY` in the environment says otherwise.
pub(crate) fn keep_freed_pages() {
    // SAFETY: both read or write one number of the allocator's table of options, before any other thread is there.
    #[allow(unsafe_code)]
    unsafe {
        if mi_option_get(PURGE_DELAY) == PURGE_DELAY_MS {
            mi_option_set(PURGE_DELAY, KEEP_MS);
        }
    }
}
