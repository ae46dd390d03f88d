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

use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base::{Offset, ShardId};
use stream::{AppendError, Batch, Faults, Log, Stream};

/// A number that `make soak` makes larger: `SIM_SEEDS=1000000`.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const ACKNOWLEDGE_EARLY: fn() -> Faults = || Faults { acknowledge_before_sync: true, ..Faults::default() };
const RETRY_SYNC: fn() -> Faults = || Faults { retry_failed_sync: true, ..Faults::default() };
const FORGET_PRODUCERS: fn() -> Faults = || Faults { forget_producers: true, ..Faults::default() };
const REPEAT_EARLY: fn() -> Faults = || Faults { acknowledge_repeat_early: true, ..Faults::default() };

/// Appends a batch, and commits until it is answered.
fn append(log: &Log, stream: &Stream, shard: ShardId, batch: Batch) -> Result<Range<Offset>, AppendError> {
    let mut appending = pin!(stream.append(shard, batch));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match appending.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => assert!(log.step(), "there is something to commit"),
        }
    }
}
