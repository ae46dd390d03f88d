//! Delivery: from records in the stream to rows in a table.
//!
//! **In:** records of a stream (JSON objects, CDN log lines, access log lines), in order, from any offset.
//! **Out:** rows in a table's tail at once and in the lake at every flush; records that became no row in
//! `system.rejected`, with their bytes and the reason. **Holds:** per shard the account of what became of its records,
//! in memory; everything that must survive stands in the lake's commits. **Never:** loses or doubles a record, lets one
//! bad record hold up the others, or keeps an offset anywhere but in the lake.
//!
//! `roster` says which shard is read when (parents before the shards they were split or merged into), `shift` is the life
//! of one shard's reader, and `books` finds in the lake where each goes on.
//!
//! A record's way: `reader` fetches a few megabytes of one shard, `decode` reads them into columns (only those that the
//! table's SQL reads), `plan` makes rows of them, and under one lock the rows go into the tail and the `account` is
//! changed. `flusher` commits the tail in a task of its own. `counts` is the ledger, whose sum always closes.
//!
//! Formats, columns, what is rejected and why, and exactly-once in a page: `docs/deliver.md`.

mod account;
mod backoff;
mod books;
mod columns;
mod counts;
mod decode;
mod delivery;
mod flusher;
mod plan;
mod reader;
mod rejected;
mod roster;
mod settings;
mod shift;

#[cfg(test)]
mod tests;

pub use columns::ColumnType;
pub use counts::{DeliverCounts, DeliveryState};
pub use delivery::{Delivery, StartError};
pub use rejected::REJECTED;
pub use settings::{FlushSettings, StartAt, TableSettings};
