//! When the tail goes into the lake, and what happens if it does not.

use std::sync::Arc;
use std::time::Duration;

use base::ErrorKind;
use lake::LakeError;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::counts::DeliveryState;
use crate::reader::Feed;

/// Memory of the tail below which reading never waits, however small the flush size: a flush of small batches must not
/// stop the reading meanwhile.
const ROOM_MIN: u64 = 128 << 20;
/// Reading waits when the tail has this many times the flush size: one part being flushed, two coming in meanwhile.
const ROOM_FLUSHES: u64 = 3;

/// Attempts to flush at the end of a process. What cannot be flushed is read again from the stream at the next start.
const LAST_ATTEMPTS: u32 = 4;

/// Flushes one table, and `system.rejected` with it.
#[derive(Debug)]
pub(crate) struct Flusher {
    feed: Arc<Feed>,
    /// Bytes in the tail at which to flush.
    size: u64,
    /// Bytes in a tail at which reading waits.
    room: u64,
    /// Something was pushed, or the tail is full.
    pub(crate) pushed: Notify,
    /// A flush has ended.
    pub(crate) flushed: Notify,
}

impl Flusher {
    /// `tail_max` is where the lake itself refuses more.
    pub(crate) fn new(feed: Arc<Feed>, tail_max: usize) -> Self {
        let (size, room) = limits(feed.settings.flush.size, tail_max as u64);
        Self { feed, size, room, pushed: Notify::new(), flushed: Notify::new() }
    }

    /// Whether the tails have room for one more batch.
    pub(crate) fn has_room(&self) -> bool {
        let is_full = |bytes: usize| bytes as u64 > self.room;
        !is_full(self.feed.table.tail_bytes()) && !is_full(self.feed.rejected.tail_bytes())
    }

    /// Flushes by age and size until `end`, or until a failure that will not pass: then `halt` stops the readers too.
    pub(crate) async fn run(&self, end: CancellationToken, halt: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut last = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.due(last) => {}
            }
            match self.flush().await {
                Ok(()) => {
                    backoff.reset();
                    last = Instant::now();
                }
                Err(error) if is_final(error.kind()) => {
                    tracing::error!(table = self.feed.table.name(), %error, "delivery to this table has stopped");
                    *self.feed.counts.state.lock() = DeliveryState::Stopped(error.to_string());
                    halt.cancel();
                    return;
                }
                Err(error) => {
                    let wait = backoff.next();
                    tracing::warn!(table = self.feed.table.name(), %error, ?wait, "a flush failed and is tried again");
                    *self.feed.counts.state.lock() = DeliveryState::Retrying(error.to_string());
                    self.feed.counts.retries.inc();
                    tokio::select! {
                        () = end.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Flushes everything, at the end of a process.
    pub(crate) async fn drain(&self) {
        let mut backoff = Backoff::default();
        for attempt in 1..=LAST_ATTEMPTS {
            let drained = match self.feed.rejected.drain().await {
                Ok(_) => self.feed.table.drain().await,
                Err(error) => Err(error),
            };
            let Err(error) = drained else { return self.note_committed() };
            if is_final(error.kind()) || attempt == LAST_ATTEMPTS {
                let table = self.feed.table.name();
                tracing::error!(table, %error, "the last flush failed: the rows will be read again from the stream");
                return;
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Waits until a flush is due: a tail is large, or its oldest row is old and the last flush, too.
    async fn due(&self, last: Instant) {
        let every = self.feed.settings.flush.every;
        loop {
            let (table, rejected) = (&self.feed.table, &self.feed.rejected);
            if table.tail_bytes() as u64 >= self.size || rejected.tail_bytes() as u64 >= self.size {
                return;
            }
            match table.tail_age().into_iter().chain(rejected.tail_age()).max() {
                None => self.pushed.notified().await,
                Some(age) => {
                    let wait = every.saturating_sub(age).max(every.saturating_sub(last.elapsed()));
                    if wait == Duration::ZERO {
                        return;
                    }
                    tokio::select! {
                        () = self.pushed.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Rejections first: then a crash in between leaves nothing to read again.
    async fn flush(&self) -> Result<(), LakeError> {
        self.feed.rejected.flush().await?;
        self.feed.table.flush().await?;
        self.note_committed();
        self.flushed.notify_waiters();
        let mut state = self.feed.counts.state.lock();
        if matches!(*state, DeliveryState::Retrying(_)) {
            *state = DeliveryState::Running;
        }
        Ok(())
    }

    /// Counts how long the batches took that are in the lake now.
    fn note_committed(&self) {
        let counts = &self.feed.counts;
        counts.flushes.inc();
        let now = counts.clock.now();
        for shard in counts.books.lock().shards.values_mut() {
            let Some(committed) = self.feed.table.progress(shard.account.app_id()) else { continue };
            let committed = u64::try_from(committed).unwrap_or(0);
            while let Some((_, arrival)) = shard.in_tail.pop_front_if(|(end, _)| *end <= committed) {
                counts.to_lake.record_us(u64::try_from(now.since(arrival)).unwrap_or(0) * 1000);
            }
        }
    }
}

/// The bytes at which to flush, and those at which reading waits, below the lake's own limit in any case.
fn limits(flush_size: u64, tail_max: u64) -> (u64, u64) {
    let room = flush_size.saturating_mul(ROOM_FLUSHES).max(ROOM_MIN).min(tail_max / 4 * 3);
    (flush_size.min(room / 2), room)
}

/// Whether an error will not pass by itself.
pub(crate) fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Fenced | ErrorKind::Corrupt | ErrorKind::Poisoned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn reading_waits_above_three_flushes_but_always_below_what_the_lake_takes() {
        assert_eq!(limits(64 * MIB, 256 * MIB), (64 * MIB, 192 * MIB));
        assert_eq!(limits(MIB, 256 * MIB), (MIB, 128 * MIB));
        assert_eq!(limits(1024 * MIB, 256 * MIB), (96 * MIB, 192 * MIB));
        assert_eq!(limits(64 * MIB, 16 * MIB), (6 * MIB, 12 * MIB));
    }
}
