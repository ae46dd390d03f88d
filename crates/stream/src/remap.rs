//! Spreading a batch anew after its shard was closed.

use base::ShardId;

use crate::batch::{Batch, BatchBuilder, HEADER_BYTES, Header, RecordRef, Records, inflate};
use crate::error::BatchError;
use crate::mapping::ByShard;
use crate::stream::Stream;

impl Stream {
    /// The records of a batch in batches for the shards that their keys have now, in the order they had; those without a
    /// key go to one shard. For whoever met [`crate::AppendError::ShardClosed`] and mapped by key alone: who mapped by a
    /// hash of its own must do so again.
    ///
    /// # Errors
    /// [`BatchError::Stamped`]: an idempotent producer numbers its records for each shard, and must send them anew. Otherwise
    /// only if the batch does not hold what was put in it.
    pub fn remap(&self, batch: &Batch) -> Result<Vec<(ShardId, Batch)>, BatchError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(stamp) = batch.stamp() {
            return Err(BatchError::Stamped { producer: stamp.producer() });
        }
        let bytes = batch.as_slice();
        let header = Header::parse(bytes).map_err(BatchError::Malformed)?;
        let inflated = inflate(header.codec(), &bytes[HEADER_BYTES..]).map_err(BatchError::Malformed)?;
        let mapping = self.mapping();
        let turn = mapping.shard_for(None);
        let mut builders = ByShard::<BatchBuilder>::default();
        let mut full = Vec::new();
        for record in Records::new(&header, inflated.as_deref().unwrap_or(&bytes[HEADER_BYTES..])) {
            let record = record.map_err(BatchError::Malformed)?;
            let shard = record.key.map_or(turn, |key| mapping.shard_for(Some(key)));
            let headers: Vec<(&[u8], &[u8])> = record.headers().collect();
            let (timestamp, key, value) = (record.timestamp, record.key, record.value);
            let record = RecordRef { timestamp, key, value, headers: &headers };
            let builder = builders.of(shard);
            if let Err(BatchError::Full { .. }) = builder.push(record) {
                full.push((shard, std::mem::take(builder).finish())); // it was compressed
                builder.push(record)?;
            }
        }
        full.extend(builders.into_iter().map(|(shard, builder)| (shard, builder.finish())));
        Ok(full)
    }
}
