//! `GET /api/v1/live/tail/{stream}`: records as they arrive.
//!
//! Every round reads what came since the last one, from each shard, at most so much: what a person can look at and one
//! connection may cost. What is not shown is counted and said in a `skipped` event, never silently left out. Shards come
//! and go while somebody looks: a new one is read once its parents are read to their ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use base::{ErrorKind, Offset, ShardId};
use futures::future::select_all;
use futures::stream::unfold;
use serde::{Deserialize, Serialize};
use stream::{FetchError, ShardInfo, Stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::live::{answer, event};
use crate::record::{Filter, show};
use crate::rooms::Console;
use crate::streams::find;

/// Tails open at once; each reads the log for itself.
pub(crate) const TAILS_MAX: usize = 64;
/// Records shown of one round: with [`ROUND`], at most two hundred a second.
const SHOWN_PER_ROUND_MAX: usize = 50;
/// Time between rounds at least.
const ROUND: Duration = Duration::from_millis(250);
/// Bytes read of one shard in one round: filtering a busy stream reads no more than 16 MiB/s per tail and shard.
const READ_PER_ROUND: usize = 4 << 20;
/// Records searched of one shard in one round. A filter slower than the stream looks at the newest, and says so.
const SEARCHED_PER_ROUND_MAX: u64 = 50_000;
/// When all known shards have ended, their successors are waited for this long: a change of shards takes a few syncs.
const SUCCESSORS: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// Only records that contain this text, whatever its case.
    filter: Option<String>,
    /// How many records from before to begin with, at most.
    last: Option<u64>,
}

/// Told when records were left out.
#[derive(Serialize, Default)]
struct Skipped {
    shown: u64,
    of: u64,
}

/// Sends `record` and `skipped` events until the client goes or the stream ends.
pub(crate) async fn live_tail(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match begin(&console, &name, asked) {
        Ok(tail) => answer(&console, unfold(tail, next)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn begin(console: &Arc<Console>, name: &str, asked: Asked) -> Result<Tail, ApiError> {
    let stream = find(console, name)?;
    let place = console.tails.clone().try_acquire_owned().map_err(|_| {
        let what = format!("{TAILS_MAX} tails are open");
        ApiError::new(ErrorKind::Throttled, what, "Close one that nobody looks at, or ask again later")
    })?;
    let filter = Filter::new(asked.filter)?;
    let back = asked.last.unwrap_or(0).min(SHOWN_PER_ROUND_MAX as u64);
    // Before the shards are looked at, so that no change of them is missed.
    let topology = stream.topology();
    let lanes = stream.shard_infos().into_iter().map(|info| {
        let bounds = stream.bounds(info.id);
        (info.id, Lane::new(info, Offset(bounds.end.0.saturating_sub(back).max(bounds.start.0))))
    });
    Ok(Tail {
        lanes: lanes.collect(),
        stream,
        topology,
        filter,
        ready: VecDeque::new(),
        not_before: Instant::now(),
        failed: false,
        _place: place,
    })
}

/// One shard as the tail reads it.
#[derive(Clone, Copy, Debug)]
struct Lane {
    info: ShardInfo,
    /// The first offset not yet looked at.
    next: Offset,
    /// There will be no more records: it is closed and read, damaged, or the log is closed.
    ended: bool,
}

impl Lane {
    fn new(info: ShardInfo, next: Offset) -> Self {
        Self { info, next, ended: false }
    }

    /// Whether its children may be read.
    fn is_read(&self) -> bool {
        self.ended || self.info.closed.is_some_and(|closing| self.next >= closing.end)
    }
}

/// What a tail waits for.
enum Woken {
    /// A shard has records that were not looked at.
    Records,
    /// A shard will have no more.
    Ended(ShardId),
    /// The stream has other shards.
    Shards,
    /// There will be nothing more to wait for.
    Over,
}

/// One open tail.
struct Tail {
    stream: Arc<Stream>,
    topology: watch::Receiver<u64>,
    filter: Filter,
    /// By number: parents come before their children.
    lanes: BTreeMap<ShardId, Lane>,
    ready: VecDeque<Event>,
    /// When the next round may begin.
    not_before: Instant,
    /// The log could not be read: what is ready is still sent, then the connection ends.
    failed: bool,
    _place: OwnedSemaphorePermit,
}

async fn next(mut tail: Tail) -> Option<(Event, Tail)> {
    loop {
        if let Some(event) = tail.ready.pop_front() {
            return Some((event, tail));
        }
        if tail.failed {
            return None;
        }
        if !tail.wait().await {
            return None;
        }
        tail = tokio::task::spawn_blocking(move || {
            tail.read_round();
            tail
        })
        .await
        .ok()?;
    }
}

impl Tail {
    /// Until some shard has a record that was not looked at, and a round's time has passed since the last; false once
    /// no shard can have one any more.
    async fn wait(&mut self) -> bool {
        while !self.stream.is_deleted() {
            match self.woken().await {
                Woken::Records => {
                    tokio::time::sleep_until(self.not_before).await;
                    return true;
                }
                Woken::Ended(shard) => {
                    if let Some(lane) = self.lanes.get_mut(&shard) {
                        lane.ended = true;
                    }
                }
                Woken::Shards => self.follow(),
                Woken::Over => return false,
            }
        }
        false
    }

    /// Waits for the next thing to happen.
    async fn woken(&mut self) -> Woken {
        let beyond: Vec<_> = self
            .readable()
            .map(|lane| {
                let (shard, beyond) = (lane.info.id, self.stream.wait_beyond(lane.info.id, lane.next));
                Box::pin(async move { (shard, beyond.await) })
            })
            .collect();
        if beyond.is_empty() {
            // Between the end of the last shard and the beginning of its successors.
            return match tokio::time::timeout(SUCCESSORS, self.topology.changed()).await {
                Ok(Ok(())) => Woken::Shards,
                _ => Woken::Over,
            };
        }
        tokio::select! {
            ((shard, has_more), _, _) = select_all(beyond) => if has_more { Woken::Records } else { Woken::Ended(shard) },
            changed = self.topology.changed() => if changed.is_ok() { Woken::Shards } else { Woken::Over },
        }
    }

    /// The shards that can have records and whose parents are read.
    fn readable(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter(|lane| !lane.ended && !self.waits(lane))
    }

    /// Whether a parent has records that were not looked at. One that is no longer kept has none.
    fn waits(&self, lane: &Lane) -> bool {
        let parents = [lane.info.parent, lane.info.adjacent_parent];
        parents.into_iter().flatten().any(|parent| self.lanes.get(&parent).is_some_and(|parent| !parent.is_read()))
    }

    /// Takes over a change of shards: new ones are read from their first record, those that are gone are forgotten.
    fn follow(&mut self) {
        let lanes = self.stream.shard_infos().into_iter().map(|info| {
            let known = self.lanes.get(&info.id).map(|lane| Lane { info, ..*lane });
            (info.id, known.unwrap_or_else(|| Lane::new(info, self.stream.bounds(info.id).start)))
        });
        self.lanes = lanes.collect();
    }

    /// Reads what came since the last round.
    fn read_round(&mut self) {
        self.not_before = Instant::now() + ROUND;
        let mut skipped = Skipped::default();
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        // A round's records are shared among the shards that have some.
        let has_some = |lane: &&Lane| !lane.ended && self.stream.bounds(lane.info.id).end > lane.next;
        let busy = self.lanes.values().filter(has_some).count();
        for shard in shards {
            let Some(lane) = self.lanes.get(&shard).filter(|lane| !lane.ended && !self.waits(lane)) else { continue };
            match self.read_shard(*lane, busy, &mut skipped) {
                Ok(next) => {
                    if let Some(lane) = self.lanes.get_mut(&shard) {
                        lane.next = next;
                    }
                }
                Err(error) => {
                    self.ready.push_back(event("error", &error));
                    self.failed = true;
                }
            }
        }
        if skipped.of > skipped.shown {
            self.ready.push_back(event("skipped", &skipped));
        }
    }

    /// Reads on in one shard; gives the first offset not yet looked at.
    fn read_shard(&mut self, lane: Lane, busy: usize, skipped: &mut Skipped) -> Result<Offset, ApiError> {
        let shard = lane.info.id;
        let bounds = self.stream.bounds(shard);
        // Without a filter there is no need to read what will not be shown; with one, no more than can be kept up with.
        let shown_max = (SHOWN_PER_ROUND_MAX / busy.max(1)).max(1) as u64;
        let read_max = if self.filter.is_empty() { shown_max } else { SEARCHED_PER_ROUND_MAX };
        let from = lane.next.max(bounds.start).max(Offset(bounds.end.0.saturating_sub(read_max)));
        skipped.of += from.since(lane.next);
        if from >= bounds.end {
            return Ok(from);
        }
        let fetched = match self.stream.fetch(shard, from, READ_PER_ROUND) {
            Ok(fetched) => fetched,
            // Retention was faster: the next round goes on behind it.
            Err(FetchError::Removed { start, .. }) => {
                skipped.of += start.since(from);
                return Ok(start);
            }
            Err(FetchError::NoShard { .. }) => return Ok(from),
            Err(error) => return Err(ApiError::new(error.kind(), error.to_string(), "See the server's log")),
        };
        for record in fetched.records() {
            let record =
                record.map_err(|error| ApiError::new(ErrorKind::Corrupt, error.to_string(), "See the server's log"))?;
            if record.offset < from || !self.filter.wants(&record) {
                continue;
            }
            skipped.of += 1;
            if self.ready.len() < SHOWN_PER_ROUND_MAX {
                skipped.shown += 1;
                self.ready.push_back(event("record", &show(shard, &record)));
            }
        }
        Ok(fetched.next())
    }
}
