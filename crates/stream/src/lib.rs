//! The stream: a durable, sharded, replayable log.
//!
//! **In:** [`Stream::append`] takes a [`Batch`] for a shard and answers once its bytes are on disk.
//! **Out:** [`Stream::fetch`] gives the records of a shard from any offset or time, in order, again and again.
//! **Holds:** `DIR/stream/NAME/SHARD/*.log` (Kafka record batches v2), their indexes, and per shard a bounded queue.
//! **Never:** looks inside a record, knows who reads it, or acknowledges what a crash could take back.
//!
//! How the pieces hang together:
//!
//! * [`batch`] encodes and decodes record batches; the caller's thread does the work, the log only patches two fields.
//! * `queue` holds what waits for a shard, `commit` is group commit: whoever commits takes all that waits for a shard, writes it with one call, syncs once, and
//!   wakes everyone. After a failed sync the shard is poisoned until it is opened anew. `committers` says who does so.
//! * `ahead` makes room for small groups while nobody waits, so that their syncs have only bytes to write.
//! * `producer` remembers the last batches of idempotent producers, so that one sent again is not stored again.
//! * `recovery` decides from facts what an opened segment is worth: keep it, cut its un-synced end, or stop.
//! * `fetch` finds the place through a sparse index and reads with one call; nothing is served whose CRC fails. `reach`
//!   finds where the last so many bytes of a shard begin.
//! * `retention` removes whole closed segments.
//! * `heat` measures shards, and `scale` decides what on-demand streams split and merge.
//! * `topology` is the list of shards and their descent; `reshard` changes it while records come in, `metadata` is the
//!   file that holds it, and `delete` ends a stream.
//! * [`disk`] is the seam below all of it, so that tests can crash, tear and fill a simulated disk.
//!
//! The bytes are described in `docs/formats/segment.md`.

mod ahead;
pub mod batch;
mod cache;
mod commit;
mod committers;
mod counts;
mod delete;
pub mod disk;
mod error;
mod fault;
mod fetch;
mod heat;
mod index;
mod limit;
mod log;
mod mapping;
mod metadata;
mod note;
mod partition;
pub mod plan;
mod producer;
mod queue;
mod range;
mod reach;
mod recovery;
mod remap;
mod reshard;
mod retention;
mod scale;
mod scan;
mod seal;
mod segment;
mod settings;
mod shard;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod topology;
mod varint;

pub use batch::{Batch, BatchBuilder, Compression, RecordRef, RecordView, Stamp};
pub use error::{AppendError, BatchError, Corrupt, FetchError, OpenError, ReshardError};
pub use fault::Faults;
pub use fetch::Fetched;
pub use heat::Heat;
pub use log::Log;
pub use mapping::{ByShard, Mapping};
pub use range::HashRange;
pub use retention::Swept;
pub use scale::Scaled;
pub use seal::{KeyId, Keyring};
pub use settings::StreamSettings;
pub use shard::{Bounds, ShardStatus};
pub use stream::Stream;
pub use topology::{Closing, ShardInfo, ShardMode};
