//! Appending records under a random partition key.
//!
//! A shard that takes nothing any more, until the server is restarted, is gone around: any other will do.

use std::time::Duration;

use base::{ErrorKind, Millis, Offset, ShardId};
use stream::{AppendError, Batch, BatchError, RecordRef, ShardStatus, Stream};
use uuid::Uuid;

/// How long a batch is tried while the stream is busy, before the client is asked to come back: most bursts pass.
const BUSY_TIME: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How often a batch is given to another shard because its own was closed meanwhile.
const CLOSED_TIMES_MAX: u32 = 16;

/// Keys drawn until one leads to a shard that takes records: with half of the shards out of order, one batch in 60,000
/// finds none.
const DRAWS_MAX: u32 = 16;

/// Why records were not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl StoreError {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Append(error) => error.kind(),
            Self::Batch(error) => error.kind(),
        }
    }

    /// Whether the records may be on disk all the same. Any other error says that nothing of them is, and never will be.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self, Self::Append(AppendError::Poisoned { .. } | AppendError::Closed))
    }
}

/// Headers of a record, names and values.
pub(super) type Headers<'h> = &'h [(&'h [u8], &'h [u8])];

/// Stores records in one shard under one random key, so that they keep their order and cost one sync; the next ones go
/// wherever theirs leads. The first has headers of its own. All of them are one batch, which is in the log as a whole or
/// not at all. Returns the shard and the offset of the first once all are on disk.
pub(super) async fn store<'r>(
    stream: &Stream,
    records: impl Iterator<Item = &'r [u8]> + Clone,
    first: Headers<'_>,
    headers: Headers<'_>,
    now: Millis,
) -> Result<(ShardId, Offset), StoreError> {
    let key = draw(stream);
    let key = key.as_bytes();
    let mut batch = Batch::builder();
    for (value, headers) in records.zip(std::iter::once(first).chain(std::iter::repeat(headers))) {
        batch.push(RecordRef { timestamp: now, key: Some(key), value, headers })?;
    }
    let batch = batch.finish();
    let deadline = tokio::time::Instant::now() + BUSY_TIME;
    let mut closed = 0;
    loop {
        let shard = stream.shard_for(Some(key));
        match stream.append(shard, batch.clone()).await {
            Ok(offsets) => return Ok((shard, offsets.start)),
            Err(AppendError::ShardClosed { .. }) if closed < CLOSED_TIMES_MAX => closed += 1,
            Err(error) if error.kind() == ErrorKind::Throttled && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A random key whose shard takes records, if that can be.
fn draw(stream: &Stream) -> String {
    let draw = || Uuid::new_v4().simple().to_string();
    let mut key = draw();
    for _ in 1..DRAWS_MAX {
        if stream.status(stream.shard_for(Some(key.as_bytes()))) == Some(ShardStatus::Serving) {
            break;
        }
        key = draw();
    }
    key
}
