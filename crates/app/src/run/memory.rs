//! How long the allocator keeps what is freed, by how much the process holds.
//!
//! A page that was given back and is needed again is faulted in and zeroed: a fifth of the processor time of ten queries
//! over ten million rows went there, for each frees what the next one needs. A page that is kept counts as the process',
//! and under full load what is freed within seconds is as much as what is in use. So a small process keeps its pages for
//! a while, and one that has grown gives them back.

use std::ffi::c_long;
use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_get, mi_option_set, mi_option_t};

/// Above this the process has grown, and below this it is small again. Between them nothing changes.
const GROWN_BYTES: u64 = 512 << 20;
const SMALL_BYTES: u64 = 384 << 20;

/// How long a small process keeps freed pages: longer than the pause between two refreshes of a page of the console.
const KEEP_MS: c_long = 10_000;

/// How long one that has grown does.
const GROWN_KEEP_MS: c_long = 50;

/// How often it is looked at. Under full load the process grows by some 30 MB meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// At every how many looks a process that has grown gives back all that is free.
const GIVE_BACK_LOOKS: u64 = 5;

/// `mi_option_purge_delay` of the allocator's header, which its Rust names leave out. In milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// What the allocator does by itself. If that option reads otherwise, the environment says so (`MIMALLOC_PURGE_DELAY`), or
/// it is another option by now: then it is left alone.
const PURGE_DELAY_MS: c_long = 1000;

/// Watches from now on, on a thread of its own that ends with the process.
pub(super) fn watch() {
    if option() != PURGE_DELAY_MS || resident().is_none() {
        return;
    }
    let watching = std::thread::Builder::new().name("memory".to_owned()).spawn(|| {
        let (mut grown, mut looks) = (false, 0u64);
        set_option(KEEP_MS);
        loop {
            std::thread::sleep(LOOK_EVERY);
            let Some(bytes) = resident() else { continue };
            if bytes > GROWN_BYTES {
                if !grown {
                    grown = true;
                    set_option(GROWN_KEEP_MS);
                }
                // More than once: what was freed before keeps its longer time, and a thread that is giving back already
                // lets others pass.
                if looks.is_multiple_of(GIVE_BACK_LOOKS) {
                    give_back();
                }
                looks += 1;
            } else if bytes < SMALL_BYTES && grown {
                (grown, looks) = (false, 0);
                set_option(KEEP_MS);
            }
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "nobody watches how much memory is kept");
    }
}

/// Bytes of the process in memory; `None` where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[allow(unsafe_code)]
fn option() -> c_long {
    // SAFETY: reads one number of the allocator's table of options; the number of the option is within it.
    unsafe { mi_option_get(PURGE_DELAY) }
}

#[allow(unsafe_code)]
fn set_option(milliseconds: c_long) {
    // SAFETY: as above; the allocator reads the number anew whenever it frees pages, from any thread.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) }
}

/// What is kept from before goes back at once.
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: may be called by any thread at any time.
    unsafe { mi_collect(true) }
}
