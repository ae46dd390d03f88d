//! The service's own limits (`limits = "aws"`): what a shard takes and gives in a second, and how often an account may
//! ask. Off by default: one machine has its own limits, and they are not these.

use std::collections::HashMap;
use std::time::Duration;

use base::ShardId;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::operation::Operation;

/// What a shard takes in a second.
const IN_RECORDS: f64 = 1000.0;
const IN_BYTES: f64 = 1024.0 * 1024.0;

/// What a shard gives in a second to all who poll it, and to each subscription.
pub(crate) const OUT_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// Calls of `GetRecords`, and of `GetShardIterator`, in a second for each shard.
const OUT_CALLS: f64 = 5.0;

/// Calls of `ListShards` in a second for each stream.
const LIST_SHARDS_CALLS: f64 = 1000.0;

/// Shards whose buckets are kept. Beyond it those that have been full longest are dropped: a full bucket says nothing.
const BUCKETS_MAX: usize = 20_000;

/// A token bucket that holds one second's worth. What is taken may leave a debt, so that something larger than the
/// bucket passes when it is full, and whoever comes next waits longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, tokens: per_second, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second);
        self.filled = now;
    }

    /// Whether `cost` may be taken now.
    fn admits(&mut self, cost: f64, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= cost.min(self.per_second)
    }

    /// Takes `cost`, be there so much or not.
    pub(crate) fn take(&mut self, cost: f64, now: Instant) {
        self.fill(now);
        self.tokens -= cost;
    }

    /// How long until there is something again.
    pub(crate) fn debt(&mut self, now: Instant) -> Duration {
        self.fill(now);
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.per_second)
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.per_second
    }
}

#[derive(Debug)]
struct ShardBuckets {
    in_records: Bucket,
    in_bytes: Bucket,
    out_calls: Bucket,
    out_bytes: Bucket,
    iterators: Bucket,
}

impl ShardBuckets {
    fn new(now: Instant) -> Self {
        Self {
            in_records: Bucket::new(IN_RECORDS, now),
            in_bytes: Bucket::new(IN_BYTES, now),
            out_calls: Bucket::new(OUT_CALLS, now),
            out_bytes: Bucket::new(OUT_BYTES, now),
            iterators: Bucket::new(OUT_CALLS, now),
        }
    }

    fn is_full(&mut self, now: Instant) -> bool {
        [&mut self.in_records, &mut self.in_bytes, &mut self.out_calls, &mut self.out_bytes, &mut self.iterators]
            .into_iter()
            .all(|bucket| bucket.is_full(now))
    }
}

/// All buckets of the door.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    shards: Mutex<HashMap<(Uuid, ShardId), ShardBuckets>>,
    streams: Mutex<HashMap<Uuid, Bucket>>,
    operations: Mutex<HashMap<Operation, Bucket>>,
}

impl Limits {
    fn with<T>(&self, now: Instant, stream: Uuid, shard: ShardId, judge: impl FnOnce(&mut ShardBuckets) -> T) -> T {
        let mut shards = self.shards.lock();
        if shards.len() >= BUCKETS_MAX {
            shards.retain(|_, buckets| !buckets.is_full(now));
        }
        judge(shards.entry((stream, shard)).or_insert_with(|| ShardBuckets::new(now)))
    }

    /// Takes a record of `bytes` (key and payload) into the shard, if it may come.
    pub(crate) fn put(&self, now: Instant, stream: Uuid, shard: ShardId, bytes: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a record has at most 10 MiB")]
        let bytes = bytes as f64;
        self.with(now, stream, shard, |buckets| {
            let admitted = buckets.in_records.admits(1.0, now) && buckets.in_bytes.admits(bytes, now);
            if admitted {
                buckets.in_records.take(1.0, now);
                buckets.in_bytes.take(bytes, now);
            }
            admitted
        })
    }

    /// Whether the shard may be read now.
    pub(crate) fn get(&self, now: Instant, stream: Uuid, shard: ShardId) -> bool {
        self.with(now, stream, shard, |buckets| {
            let admitted = buckets.out_calls.admits(1.0, now) && buckets.out_bytes.debt(now).is_zero();
            if admitted {
                buckets.out_calls.take(1.0, now);
            }
            admitted
        })
    }

    /// Notes that the shard gave `bytes`.
    pub(crate) fn got(&self, now: Instant, stream: Uuid, shard: ShardId, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "an answer has at most 10 MiB")]
        self.with(now, stream, shard, |buckets| buckets.out_bytes.take(bytes as f64, now));
    }

    /// Whether another iterator of the shard may be given out.
    pub(crate) fn iterator(&self, now: Instant, stream: Uuid, shard: ShardId) -> bool {
        self.with(now, stream, shard, |buckets| {
            let admitted = buckets.iterators.admits(1.0, now);
            if admitted {
                buckets.iterators.take(1.0, now);
            }
            admitted
        })
    }

    /// Whether the shards of the stream may be listed now.
    pub(crate) fn list_shards(&self, now: Instant, stream: Uuid) -> bool {
        let mut streams = self.streams.lock();
        if streams.len() >= BUCKETS_MAX {
            streams.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = streams.entry(stream).or_insert_with(|| Bucket::new(LIST_SHARDS_CALLS, now));
        let admitted = bucket.admits(1.0, now);
        if admitted {
            bucket.take(1.0, now);
        }
        admitted
    }

    /// Whether the account may ask for this operation now.
    pub(crate) fn operation(&self, now: Instant, operation: Operation) -> bool {
        let Some(rate) = operation.rate() else { return true };
        let mut operations = self.operations.lock();
        let bucket = operations.entry(operation).or_insert_with(|| Bucket::new(f64::from(rate), now));
        let admitted = bucket.admits(1.0, now);
        if admitted {
            bucket.take(1.0, now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_a_thousand_records_and_a_mebibyte_in_a_second() {
        let limits = Limits::default();
        let (stream, shard, now) = (Uuid::nil(), ShardId(0), Instant::now());
        assert_eq!((0..2000).filter(|_| limits.put(now, stream, shard, 10)).count(), 1000);
        assert!(limits.put(now, stream, ShardId(1), 1024 * 1024), "another shard has its own");
        assert!(!limits.put(now, stream, ShardId(1), 1));
        let later = now + Duration::from_millis(500);
        assert_eq!((0..2000).filter(|_| limits.put(later, stream, shard, 10)).count(), 500);
    }

    #[test]
    fn ten_mebibytes_at_once_are_paid_with_a_wait() {
        let limits = Limits::default();
        let (stream, shard, now) = (Uuid::nil(), ShardId(0), Instant::now());
        assert!(limits.get(now, stream, shard));
        limits.got(now, stream, shard, 10 * 1024 * 1024);
        assert!(!limits.get(now + Duration::from_millis(3900), stream, shard));
        let later = now + Duration::from_millis(4100);
        assert_eq!((0..20).filter(|_| limits.get(later, stream, shard)).count(), 5, "five calls in a second");
    }

    #[test]
    fn an_account_asks_no_more_often_than_published() {
        let limits = Limits::default();
        let now = Instant::now();
        let asked = |now, operation| (0..100).filter(|_| limits.operation(now, operation)).count();
        assert_eq!((asked(now, Operation::CreateStream), asked(now, Operation::DescribeLimits)), (5, 1));
        assert_eq!(asked(now, Operation::PutRecords), 100, "limited by shard");
        assert_eq!(asked(now + Duration::from_secs(1), Operation::CreateStream), 5);
    }
}
