//! How far subscribers are: measured for whoever looks at the stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{Offset, Sample, ShardId};
use parking_lot::Mutex;
use stream::Stream;

/// The place of one subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    stream: Arc<Stream>,
    consumer: String,
    shard: ShardId,
    next: AtomicU64,
    behind_ms: AtomicU64,
}

impl Follower {
    /// Everything before `next` was pushed; the last event said that it came so late.
    pub(crate) fn reached(&self, next: Offset, behind_ms: i64) {
        self.next.store(next.0, Ordering::Relaxed);
        self.behind_ms.store(u64::try_from(behind_ms).unwrap_or(0), Ordering::Relaxed);
    }

    fn measure(&self, samples: &mut Vec<Sample>) {
        let shard = self.shard.to_string();
        let labels = [("stream", self.stream.name()), ("consumer", self.consumer.as_str()), ("shard", shard.as_str())];
        let end = self.stream.bounds(self.shard).end;
        let behind = end.since(Offset(self.next.load(Ordering::Relaxed)));
        let behind_ms = if behind == 0 { 0 } else { self.behind_ms.load(Ordering::Relaxed) };
        samples.push(Sample::new("riverrun_kinesis_behind_records", &labels, behind));
        samples.push(Sample::new("riverrun_kinesis_behind_ms", &labels, behind_ms));
    }
}

/// All open subscriptions. As many as there are connections and HTTP/2 streams.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<Vec<Weak<Follower>>>);

impl Followers {
    /// Measures a subscription that begins at `next`, until the follower is dropped.
    pub(crate) fn follow(&self, stream: &Arc<Stream>, consumer: &str, shard: ShardId, next: Offset) -> Arc<Follower> {
        let follower = Arc::new(Follower {
            stream: stream.clone(),
            consumer: consumer.to_owned(),
            shard,
            next: AtomicU64::new(next.0),
            behind_ms: AtomicU64::new(0),
        });
        let mut all = self.0.lock();
        all.retain(|follower| follower.strong_count() > 0);
        all.push(Arc::downgrade(&follower));
        follower
    }

    pub(crate) fn measure(&self, samples: &mut Vec<Sample>) {
        let all: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|follower| follower.measure(samples));
    }
}
