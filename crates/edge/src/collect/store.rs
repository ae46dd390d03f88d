//! Appending the records of a body: in chunks one after the other, so that after a failure there is one number from
//! which to send again.

use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Header, Millis, ShardId};
use futures::future::join_all;
use stream::{AppendError, Batch, BatchBuilder, BatchError, ByShard, RecordRef, Stream};

use super::split::{Shape, Split};

/// Records and bytes of one chunk: large enough to be worth a sync, small enough to be built in a few milliseconds.
const CHUNK_RECORDS_MAX: usize = 20_000;
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a chunk is tried while the stream is busy, before the client is asked to come back: most bursts pass.
const BUSY_TIME: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What is the same for all records of a body.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) shape: Shape,
    /// For CDN lines: the numbers of their fields.
    pub(crate) fields: Option<String>,
}

/// How far storing came.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Records on disk.
    pub(crate) records: u64,
    /// Why it went no further, and the index from which to send again.
    pub(crate) failed: Option<(Failure, u32)>,
}

/// Why a chunk was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl Failure {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Append(error) => error.kind(),
            Self::Batch(error) => error.kind(),
        }
    }
}

/// Stores all pieces of `split`; returns when they are on disk.
pub(crate) async fn store(stream: &Arc<Stream>, body: &[u8], split: &Split, kind: &Kind, now: Millis) -> Stored {
    let mut stored = Stored { records: 0, failed: None };
    let mut from = 0;
    while from < split.pieces.len() {
        let to = chunk_end(split, body, from);
        let appended = match batches(stream, body, split, from..to, kind, now) {
            Ok(batches) => append(stream, batches).await,
            Err(error) => Err((0, error.into())),
        };
        match appended {
            Ok(()) => stored.records += (to - from) as u64,
            Err((records, failure)) => {
                stored.records += records;
                stored.failed = Some((failure, split.pieces[from].index));
                break;
            }
        }
        from = to;
    }
    stored
}

/// Bytes that storing a body holds beside the body: the batches of one chunk.
pub(crate) fn weight(body: &[u8]) -> usize {
    body.len().min(CHUNK_BYTES_MAX)
}

fn chunk_end(split: &Split, body: &[u8], from: usize) -> usize {
    let mut bytes = 0;
    let within = split.pieces[from..].iter().take(CHUNK_RECORDS_MAX).take_while(|piece| {
        bytes += piece.of(body).len();
        bytes <= CHUNK_BYTES_MAX
    });
    from + within.count().max(1)
}

/// One batch for each shard that gets a record. Without keys a chunk goes to one shard, and chunks take turns.
fn batches(
    stream: &Stream,
    body: &[u8],
    split: &Split,
    chunk: std::ops::Range<usize>,
    kind: &Kind,
    now: Millis,
) -> Result<Vec<(ShardId, Batch)>, BatchError> {
    let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
    if let Shape::Lines(format) = kind.shape {
        headers.push((Header::FORMAT.as_bytes(), format.name().as_bytes()));
        if let Some(fields) = &kind.fields {
            headers.push((Header::FIELDS.as_bytes(), fields.as_bytes()));
        }
    }
    let mapping = stream.mapping();
    let turn = mapping.shard_for(None);
    let mut builders = ByShard::<BatchBuilder>::default();
    for index in chunk {
        let key = split.keys.get(index).and_then(Option::as_deref);
        let shard = key.map_or(turn, |key| mapping.shard_for(Some(key)));
        let record = RecordRef { timestamp: now, key, value: split.pieces[index].of(body), headers: &headers };
        builders.of(shard).push(record)?;
    }
    Ok(builders.into_iter().map(|(shard, builder)| (shard, builder.finish())).collect())
}

/// Appends the batches of one chunk side by side; on failure says how many records are on disk all the same.
async fn append(stream: &Stream, batches: Vec<(ShardId, Batch)>) -> Result<(), (u64, Failure)> {
    let appended = join_all(batches.into_iter().map(|(shard, batch)| append_one(stream, shard, batch))).await;
    let mut records = 0;
    let mut failure = None;
    for (count, error) in appended {
        records += count;
        failure = failure.or(error);
    }
    failure.map_or(Ok(()), |error| Err((records, error.into())))
}

/// Appends one batch, to other shards where its own was closed meanwhile: how many records are on disk, and why no more.
async fn append_one(stream: &Stream, shard: ShardId, batch: Batch) -> (u64, Option<AppendError>) {
    let deadline = tokio::time::Instant::now() + BUSY_TIME;
    let mut waiting = vec![(shard, batch)];
    let mut records = 0;
    while let Some((shard, batch)) = waiting.pop() {
        match stream.append(shard, batch.clone()).await {
            Ok(_) => records += batch.len() as u64,
            Err(error) if error.kind() == ErrorKind::Throttled && tokio::time::Instant::now() < deadline => {
                waiting.push((shard, batch));
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(closed @ AppendError::ShardClosed { .. }) => match stream.remap(&batch) {
                Ok(spread) => waiting.extend(spread.into_iter().rev()), // the first of them is the next
                Err(_) => return (records, Some(closed)),
            },
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}
