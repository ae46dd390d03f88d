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

/// Between two calls of `SubscribeToShard` of a consumer for a shard: one may come in a second.
const SUBSCRIBE_PAUSE: Duration = Duration::from_secs(1);

/// Shards whose buckets are kept. Beyond it all full ones are dropped: a full bucket says nothing.
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

    /// Takes one if there is one.
    fn takes_one(&mut self, now: Instant) -> bool {
        let admitted = self.admits(1.0, now);
        if admitted {
            self.take(1.0, now);
        }
        admitted
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
    /// When each consumer subscribed last.
    subscribers: Mutex<HashMap<(Uuid, ShardId), HashMap<String, Instant>>>,
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
        self.with(now, stream, shard, |buckets| buckets.iterators.takes_one(now))
    }

    /// Whether the consumer may subscribe to the shard now, be it that it is subscribed already or not.
    pub(crate) fn subscribe(&self, now: Instant, stream: Uuid, shard: ShardId, consumer: &str) -> bool {
        // Who may ask again says nothing, so what is kept are those that asked within the last second.
        let recent = |asked: &Instant| now.saturating_duration_since(*asked) < SUBSCRIBE_PAUSE;
        let mut subscribers = self.subscribers.lock();
        if subscribers.len() >= BUCKETS_MAX {
            subscribers.retain(|_, consumers| consumers.values().any(recent));
        }
        let consumers = subscribers.entry((stream, shard)).or_default();
        consumers.retain(|_, asked| recent(asked));
        let admitted = !consumers.contains_key(consumer);
        if admitted {
            consumers.insert(consumer.to_owned(), now);
        }
        admitted
    }

    /// Whether the shards of the stream may be listed now.
    pub(crate) fn list_shards(&self, now: Instant, stream: Uuid) -> bool {
        let mut streams = self.streams.lock();
        if streams.len() >= BUCKETS_MAX {
            streams.retain(|_, bucket| !bucket.is_full(now));
        }
        streams.entry(stream).or_insert_with(|| Bucket::new(LIST_SHARDS_CALLS, now)).takes_one(now)
    }

    /// Whether the account may ask for this operation now.
    pub(crate) fn operation(&self, now: Instant, operation: Operation) -> bool {
        let Some(rate) = operation.rate() else { return true };
        let mut operations = self.operations.lock();
        operations.entry(operation).or_insert_with(|| Bucket::new(f64::from(rate), now)).takes_one(now)
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
    fn a_consumer_subscribes_to_a_shard_once_in_a_second() {
        let limits = Limits::default();
        let (stream, now) = (Uuid::nil(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        assert!(limits.subscribe(now, stream, ShardId(0), "app"));
        assert!(limits.subscribe(now, stream, ShardId(1), "app") && limits.subscribe(now, stream, ShardId(0), "other"));
        assert!(
            (0..10).all(|call| !limits.subscribe(at(call * 99), stream, ShardId(0), "app")),
            "being refused costs none"
        );
        assert!(limits.subscribe(at(1000), stream, ShardId(0), "app"));
        assert!(!limits.subscribe(at(1999), stream, ShardId(0), "app"));
        assert!(limits.subscribe(at(9000), stream, ShardId(0), "app"));
        assert!(!limits.subscribe(at(9000), stream, ShardId(0), "app"), "nothing is saved up");
    }

    #[test]
    fn who_may_ask_again_is_forgotten() {
        let limits = Limits::default();
        let now = Instant::now();
        for shard in 0..u32::try_from(BUCKETS_MAX).expect("small") {
            assert!(limits.subscribe(now, Uuid::nil(), ShardId(shard), "app"));
        }
        assert!(limits.subscribe(now + Duration::from_secs(2), Uuid::max(), ShardId(0), "app"));
        assert_eq!(limits.subscribers.lock().len(), 1);
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
