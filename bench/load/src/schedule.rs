//! When an open loop sends: evenly, and where several of these programs run side by side, each between the records of the others.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::Asked;

/// For so long the programs keep their places between one another; then each moves on by one, so that none keeps the place that
/// something else on this machine, which ticks in milliseconds too, happens to disturb. Records are compared by as much.
const SLICE: Duration = Duration::from_millis(500);

/// When a record is due, counted from the beginning of the loop.
pub(crate) fn due(asked: &Asked, number: u64) -> Duration {
    let evenly = Duration::from_nanos(number * 1_000_000_000 / asked.rate);
    let period = Duration::from_nanos(1_000_000_000 / asked.rate);
    let place = (u64::from(asked.place) + slice_of(evenly)) % u64::from(asked.beside);
    evenly + period * place as u32 / asked.beside
}

pub(crate) fn slice_of(due: Duration) -> u64 {
    (due.as_nanos() / SLICE.as_nanos()) as u64
}

/// The beginning of the loop: soon, or the moment on which those side by side agreed, for which everybody must be ready.
pub(crate) fn begin(asked: &Asked) -> Result<Instant> {
    let now = Instant::now();
    let Some(at) = asked.begin else { return Ok(now + Duration::from_millis(300)) };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let left = Duration::from_millis(at).checked_sub(clock).context("not ready at the moment to begin")?;
    Ok(now + left)
}
