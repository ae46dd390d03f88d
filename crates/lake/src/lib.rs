//! The lake: open tables (Delta Lake, Parquet) and the rows that are not yet in them.
//!
//! **In:** Arrow batches with the stream offsets they stand for, pushed into a table's tail. **Out:** snapshots
//! (version *V* of the table and the tail after the offsets of *V*, taken under one lock), the offset to resume from,
//! reports of maintenance runs. **Holds:** per table the tail, the list of data files of the newest version, the
//! committed progress; on disk `lake/TABLE/_delta_log` and `lake/TABLE/year=…/month=…/day=…/hour=…/*.parquet`.
//! **Never:** knows the stream, runs SQL, writes a commit again without having looked whether it is already there.
//!
//! A row's way: [`Table::push`] puts it in the tail, where every [`Snapshot`] sees it at once. [`Table::flush`] writes
//! the tail as Parquet files and commits them together with the progress they stand for; in the instant in which the
//! new version becomes the snapshot's, the rows leave the tail. [`Lake::maintain`] merges small files, writes
//! checkpoints and removes what no version needs any more.
//!
//! The format, to the byte where it is ours: `docs/formats/lake.md`.

mod actions;
mod checkpoint;
mod commit;
mod compact;
mod error;
mod file;
mod flush;
mod lake;
mod log;
mod maintain;
mod measure;
mod parquet;
mod partition;
mod report;
mod schema;
mod settings;
mod state;
mod stats;
mod store;
mod table;
mod tail;
mod vacuum;

#[cfg(test)]
mod tests;

pub use error::LakeError;
pub use file::DataFile;
pub use lake::{Faults, Lake};
pub use measure::TableCounts;
pub use report::{RunKind, RunReport};
pub use schema::{PARTITION_COLUMNS, TableSpec};
pub use settings::LakeSettings;
pub use stats::{Bound, ColumnBounds};
pub use table::{Flushed, Progress, Snapshot, Table, TailBatch};
