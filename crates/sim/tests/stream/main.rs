//! What the stream promises, on a simulated machine. Every test here is one row of a table in `docs/testing.md`.

#![allow(clippy::print_stderr, reason = "the long runs tell what they did")]

mod clock;
mod day;
mod failing;
mod flip;
mod full;
mod interrupted;
mod producers;
mod reshard;
mod room;
mod seeds;
mod sweep;

use stream::Faults;

/// A number that `make soak` makes larger: `SIM_SEEDS=1000000`.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const ACKNOWLEDGE_EARLY: fn() -> Faults = || Faults { acknowledge_before_sync: true, ..Faults::default() };
const RETRY_SYNC: fn() -> Faults = || Faults { retry_failed_sync: true, ..Faults::default() };
const FORGET_PRODUCERS: fn() -> Faults = || Faults { forget_producers: true, ..Faults::default() };
const REPEAT_EARLY: fn() -> Faults = || Faults { acknowledge_repeat_early: true, ..Faults::default() };
