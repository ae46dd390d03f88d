//! Record batches: the *record batch v2* of the Kafka protocol (magic 2, CRC-32C), encoded, checked and decoded.

mod build;
mod compress;
mod header;
mod read;
mod stamp;
#[cfg(test)]
mod tests;

pub use build::{Batch, BatchBuilder, RecordRef};
pub use compress::Compression;
pub(crate) use compress::inflate;
pub use header::{Damage, checksum};
pub(crate) use header::{HEADER_BYTES, Header, verify_crc};
pub(crate) use read::Records;
pub use read::{HeaderViews, RecordView};
pub use stamp::Stamp;
