//! `GET /api/v1/live/tail/{stream}`: records as they arrive.
//!
//! Every round reads what came since the last one, from each shard, at most so much: what a person can look at and one
//! connection may cost. What is not shown is counted and said in a `skipped` event, never silently left out.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use base::{ErrorKind, Header, Offset, ShardId};
use futures::future::select_all;
use futures::stream::unfold;
use serde::{Deserialize, Serialize};
use stream::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::live::{answer, event};
use crate::rooms::Console;

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
/// Characters of a payload that are shown; the whole record is in the table or in `system.rejected`.
const PAYLOAD_CHARS_MAX: usize = 16 * 1024;
/// Characters of a filter.
const FILTER_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// Only records that contain this text, whatever its case.
    filter: Option<String>,
    /// How many records from before to begin with, at most.
    last: Option<u64>,
}

/// A record as the tail shows it.
#[derive(Serialize)]
struct Shown {
    shard: u32,
    offset: u64,
    arrival_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    id: Option<String>,
    format: String,
    /// Numbers of the fields of a CDN log line, so that the pages can name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<String>,
    simulated: bool,
    payload: String,
    bytes: usize,
}

/// Told when records were left out.
#[derive(Serialize, Default)]
struct Skipped {
    shown: u64,
    of: u64,
}

/// Sends `record` and `skipped` events until the client goes or the stream is closed.
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
    let stream = console.rooms.log.stream(name).ok_or_else(|| {
        let known: Vec<String> = console.rooms.log.streams().iter().map(|stream| stream.name().to_owned()).collect();
        let remedy = format!("Streams here: {}", known.join(", "));
        ApiError::new(ErrorKind::NotFound, format!("there is no stream {name:?}"), remedy)
    })?;
    let place = console.tails.clone().try_acquire_owned().map_err(|_| {
        let what = format!("{TAILS_MAX} tails are open");
        ApiError::new(ErrorKind::Throttled, what, "Close one that nobody looks at, or ask again later")
    })?;
    let filter = asked.filter.unwrap_or_default().to_lowercase();
    if filter.chars().count() > FILTER_CHARS_MAX {
        let what = format!("the filter has more than {FILTER_CHARS_MAX} characters");
        return Err(ApiError::new(ErrorKind::Invalid, what, "Filter by a word of it"));
    }
    let back = asked.last.unwrap_or(0).min(SHOWN_PER_ROUND_MAX as u64);
    let next = (0..stream.shards()).map(|shard| {
        let bounds = stream.bounds(ShardId(shard));
        Offset(bounds.end.0.saturating_sub(back).max(bounds.start.0))
    });
    Ok(Tail {
        next: next.collect(),
        stream,
        filter,
        ended: HashSet::new(),
        ready: VecDeque::new(),
        not_before: Instant::now(),
        failed: false,
        _place: place,
    })
}

/// One open tail.
struct Tail {
    stream: Arc<Stream>,
    filter: String,
    /// Per shard, the first offset not yet looked at.
    next: Vec<Offset>,
    /// Shards that will have no more records: damaged, or the log is closed.
    ended: HashSet<usize>,
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
        loop {
            let open = (0..self.next.len()).filter(|shard| !self.ended.contains(shard));
            let beyond = open.map(|shard| {
                let beyond = self.stream.wait_beyond(shard_id(shard), self.next[shard]);
                Box::pin(async move { (shard, beyond.await) })
            });
            let beyond: Vec<_> = beyond.collect();
            if beyond.is_empty() {
                return false;
            }
            let ((shard, has_more), _, _) = select_all(beyond).await;
            if has_more {
                tokio::time::sleep_until(self.not_before).await;
                return true;
            }
            self.ended.insert(shard);
        }
    }

    /// Reads what came since the last round.
    fn read_round(&mut self) {
        self.not_before = Instant::now() + ROUND;
        let mut skipped = Skipped::default();
        for shard in 0..self.next.len() {
            if let Err(error) = self.read_shard(shard, &mut skipped) {
                self.ready.push_back(event("error", &error));
                self.failed = true;
            }
        }
        if skipped.of > skipped.shown {
            self.ready.push_back(event("skipped", &skipped));
        }
    }

    fn read_shard(&mut self, index: usize, skipped: &mut Skipped) -> Result<(), ApiError> {
        let shard = shard_id(index);
        let bounds = self.stream.bounds(shard);
        let asked = self.next[index];
        let mut from = Offset(asked.0.max(bounds.start.0));
        // Without a filter there is no need to read what will not be shown; with one, no more than can be kept up with.
        let shown_max = (SHOWN_PER_ROUND_MAX / self.next.len()).max(1) as u64;
        let read_max = if self.filter.is_empty() { shown_max } else { SEARCHED_PER_ROUND_MAX };
        from = Offset(from.0.max(bounds.end.0.saturating_sub(read_max)));
        skipped.of += from.since(asked);
        if from >= bounds.end {
            self.next[index] = from;
            return Ok(());
        }
        let fetched = self
            .stream
            .fetch(shard, from, READ_PER_ROUND)
            .map_err(|error| ApiError::new(error.kind(), error.to_string(), "See the server's log"))?;
        for record in fetched.records() {
            let record =
                record.map_err(|error| ApiError::new(ErrorKind::Corrupt, error.to_string(), "See the server's log"))?;
            if record.offset < from || !self.wanted(&record) {
                continue;
            }
            skipped.of += 1;
            if self.ready.len() < SHOWN_PER_ROUND_MAX {
                skipped.shown += 1;
                self.ready.push_back(event("record", &show(shard, &record)));
            }
        }
        self.next[index] = fetched.next();
        Ok(())
    }

    fn wanted(&self, record: &stream::RecordView<'_>) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase().contains(&self.filter);
        holds(record.value) || record.header(Header::ID).is_some_and(holds)
    }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u32::try_from(index).expect("a stream has at most 1000 shards"))
}

fn show(shard: ShardId, record: &stream::RecordView<'_>) -> Shown {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut payload = text(record.value);
    if let Some((cut, _)) = payload.char_indices().nth(PAYLOAD_CHARS_MAX) {
        payload.truncate(cut);
        payload.push('…');
    }
    Shown {
        shard: shard.0,
        offset: record.offset.0,
        arrival_ms: record.timestamp.0,
        key: record.key.map(text),
        id: record.header(Header::ID).map(text),
        format: record.header(Header::FORMAT).map_or_else(|| "json".to_owned(), text),
        fields: record.header(Header::FIELDS).map(text),
        simulated: record.header(Header::SIMULATED).is_some(),
        payload,
        bytes: record.value.len(),
    }
}
