//! jemalloc, and how long it keeps what is freed.
//!
//! A page that was given back and is needed again is faulted in and zeroed: without keeping them, a fifth of the processor
//! time of ten queries over ten million rows went there. So freed pages are kept for ten seconds, longer than the pause
//! between two refreshes of a page of the console, and then given back by a thread of jemalloc's own, also while nothing
//! is asked. What was kept is used again first, so a process under load holds little more than the most that it needed in
//! ten seconds (docs/decisions/0016).

/// Read by jemalloc before `main` begins: a pointer to text that ends with a zero. `_RJEM_MALLOC_CONF` in the
/// environment is read after it and overrules it.
///
/// [Its manual](https://jemalloc.net/jemalloc.3.html#tuning) names this place for what a program says at compile time.
// SAFETY: the name is jemalloc's own for this very variable, declared weak there so that a program may define it, as a
// pointer to constant text; a reference to an array is such a pointer.
#[allow(unsafe_code)]
#[cfg(target_os = "linux")]
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 61] = b"background_thread:true,dirty_decay_ms:10000,muzzy_decay_ms:0\0";

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
