//! After a restart: what the log tells about deliveries that were stored before. Read backward from where the log ended
//! when the door was made, before the first delivery to a stream is stored, so that one whose answer the restart took
//! away is known when it is sent again. All shards are read back to about the same moment, closed ones, too: whatever
//! ends the search, what was stored last is known.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Header, Millis, Offset, ShardId};
use stream::{FetchError, Log, Stream};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::mark::{Key, Mark};
use super::recent::{REMEMBERED_MAX, Recent};
use super::{Firehose, FirehoseCounts};
use crate::checks::{self, Work};

/// How far back the search goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Of arrival. Senders try for at most two hours, each time for at most three minutes.
    pub(super) age: Duration,
    /// Of the log of one stream: less than a second's work where it is in memory, and ten at 100 MB/s. Answers that a
    /// restart took away are of the last moments before it.
    pub(super) bytes: u64,
    /// Of searching in one stream: a third of the three minutes that a sender waits for its answer. Where others use the
    /// cores a second's work takes many, and a server that ends again before it is done leaves what came before it further back.
    pub(super) time: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self { age: Duration::from_secs(7_500), bytes: 1024 * 1024 * 1024, time: Duration::from_secs(60) }
    }
}

/// Bytes of the log of a shard that are looked at together, at most and at least.
const STEP_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=1024 * 1024;

/// What was there when the door was made.
#[derive(Debug, Default)]
pub(super) struct Before {
    streams: HashMap<Uuid, Ended>,
}

/// Where the shards of a stream ended, and whether what lies before was looked at.
#[derive(Debug)]
struct Ended {
    shards: Vec<(ShardId, Offset)>,
    recalled: OnceCell<()>,
}

impl Before {
    pub(super) fn of(log: &Log) -> Self {
        let ended = |stream: &Arc<Stream>| {
            let bounds = stream.shard_infos().into_iter().map(|info| (info.id, stream.bounds(info.id)));
            let shards: Vec<_> =
                bounds.filter(|(_, kept)| kept.end > kept.start).map(|(id, kept)| (id, kept.end)).collect();
            (stream.uuid(), Ended { shards, recalled: OnceCell::new() })
        };
        Self { streams: log.streams().iter().map(ended).collect() }
    }
}

impl Firehose {
    /// Makes sure that what the log tells about deliveries to the stream is known. Takes its time once for each stream.
    pub(super) async fn recall(&self, stream: &Arc<Stream>) {
        let Some(ended) = self.before.streams.get(&stream.uuid()) else { return };
        if self.settings.forget_deliveries {
            return;
        }
        let search = async || {
            let (stream, shards, reach) = (stream.clone(), ended.shards.clone(), self.reach);
            let now = self.clock.now();
            match checks::run(Work::Read, move || look_back(&stream, &shards, now, &reach)).await {
                Ok(found) => found.settle(&self.recent, &self.counts),
                Err(error) => {
                    tracing::error!(%error, "looking for deliveries in the log failed");
                    self.counts.recall_failures.inc();
                }
            }
        };
        ended.recalled.get_or_init(search).await;
    }
}

/// What a search found.
#[derive(Debug, Default)]
struct Found {
    stored: HashMap<Key, u32>,
    /// In the order in which they were met.
    order: Vec<Key>,
    bytes: u64,
    /// Whether a limit ended the search before everything of the right age was seen.
    cut: bool,
    /// Shards that could not be read.
    failures: u64,
}

impl Found {
    fn take(&mut self, mark: Mark) {
        let stored = self.stored.entry(mark.delivery).or_insert_with(|| {
            self.order.push(mark.delivery);
            0
        });
        *stored = mark.stored.max(*stored);
    }

    fn settle(self, recent: &Recent, counts: &FirehoseCounts) {
        counts.recalled_deliveries.add(self.order.len() as u64);
        counts.recall_bytes.add(self.bytes);
        counts.recall_failures.add(self.failures);
        if self.cut {
            counts.recalls_cut.inc();
        }
        // Those stored last were met first.
        recent.recall(self.order.iter().rev().map(|key| Mark { delivery: *key, stored: self.stored[key] }));
    }
}

/// How far back a shard was read; the one that is furthest behind in going back comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frontier {
    /// When the earliest record that was seen arrived.
    time: Millis,
    shard: ShardId,
    /// Where that record lies.
    offset: Offset,
}

fn look_back(stream: &Stream, ended: &[(ShardId, Offset)], now: Millis, reach: &Reach) -> Found {
    let began = Instant::now();
    let oldest = now.plus_ms(-i64::try_from(reach.age.as_millis()).unwrap_or(i64::MAX));
    // A quarter of the bytes for a look at all shards, the rest for those that were written last.
    let step = (reach.bytes / 4 / (ended.len() as u64).max(1)).clamp(*STEP_BYTES.start(), *STEP_BYTES.end());
    let latest = Millis(i64::MAX);
    let mut frontiers: BinaryHeap<Frontier> =
        ended.iter().map(|(shard, end)| Frontier { time: latest, shard: *shard, offset: *end }).collect();
    let mut found = Found::default();
    while let Some(frontier) = frontiers.pop() {
        if found.bytes >= reach.bytes || began.elapsed() >= reach.time || found.order.len() >= REMEMBERED_MAX {
            found.cut = true;
            break;
        }
        match step_back(stream, frontier, step, &mut found) {
            Ok(Some(reached)) if reached.time >= oldest => frontiers.push(reached),
            // What lies before is too old, or there is nothing, or retention took it.
            Ok(_) | Err(Stopped::Removed) => {}
            Err(Stopped::Unreadable(why)) => {
                let shard = frontier.shard.0;
                tracing::warn!(stream = stream.name(), shard, why, "deliveries in this shard cannot be known again");
                found.failures += 1;
            }
        }
    }
    let (stream, deliveries, bytes, took) = (stream.name(), found.order.len(), found.bytes, began.elapsed());
    if found.cut {
        tracing::warn!(
            stream,
            deliveries,
            bytes,
            ?took,
            "a limit ended the search for deliveries stored before: those before it are not known again"
        );
    } else if deliveries > 0 {
        tracing::info!(stream, deliveries, bytes, ?took, "deliveries stored before are known again");
    }
    found
}

/// Why a shard is not read further back.
enum Stopped {
    Removed,
    Unreadable(String),
}

impl From<FetchError> for Stopped {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Removed { .. } | FetchError::NoShard { .. } | FetchError::Deleted => Self::Removed,
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// Reads the step before the frontier; where it leads, unless to the beginning.
fn step_back(stream: &Stream, frontier: Frontier, step: u64, found: &mut Found) -> Result<Option<Frontier>, Stopped> {
    let Frontier { shard, offset: end, .. } = frontier;
    let from = stream.offset_back(shard, end, step)?;
    let mut next = from;
    let mut first = None;
    while next < end {
        let fetched = stream.fetch(shard, next, usize::try_from(step).unwrap_or(usize::MAX))?;
        if fetched.is_empty() {
            break;
        }
        found.bytes += fetched.bytes() as u64;
        // A part is one append, and the mark is in its first record.
        for record in fetched.first_records() {
            let record = record.map_err(|damage| Stopped::Unreadable(damage.to_string()))?;
            if record.offset >= end {
                break;
            }
            first.get_or_insert(record.timestamp);
            if let Some(mark) = record.header(Header::DELIVERY).and_then(Mark::read) {
                found.take(mark);
            }
        }
        next = fetched.next();
    }
    Ok(first.filter(|_| from < end).map(|time| Frontier { time, shard, offset: from }))
}
