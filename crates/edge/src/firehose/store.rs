//! Appending records under a random partition key.

use std::time::Duration;

use base::{ErrorKind, Millis, Offset, ShardId};
use stream::{AppendError, Batch, BatchError, RecordRef, Stream};
use uuid::Uuid;

/// How long a batch is tried while the stream is busy, before the client is asked to come back: most bursts pass.
const BUSY_TIME: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How often a batch is given to another shard because its own was closed meanwhile.
const CLOSED_TIMES_MAX: u32 = 16;

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
}

/// Stores records in one shard under one random key, so that they keep their order and cost one sync; the next ones go
/// wherever theirs leads. Returns the shard and the offset of the first once all are on disk.
pub(super) async fn store<'r>(
    stream: &Stream,
    records: impl Iterator<Item = &'r [u8]> + Clone,
    headers: &[(&[u8], &[u8])],
    now: Millis,
) -> Result<(ShardId, Offset), StoreError> {
    let key = Uuid::new_v4().simple().to_string();
    let key = key.as_bytes();
    let mut batch = Batch::builder();
    for value in records {
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
