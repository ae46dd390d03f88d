//! The ledger: what came in and where it went, the same row for SQL, the pipeline map and the tests.

use serde::Serialize;

/// What became of the records of one table's stream since the table began to read it:
/// received = delivered + filtered + rejected + expired + in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerRow {
    /// The table.
    pub table: String,
    /// The stream it is fed from.
    pub stream: String,
    /// Records that the stream got.
    pub received: u64,
    /// Rows that are in the table, lake and tail together.
    pub delivered: u64,
    /// Records that the table's `where` left out.
    pub filtered: u64,
    /// Records in `system.rejected`.
    pub rejected: u64,
    /// Records that retention removed before the table had read them.
    pub expired: u64,
    /// Records that the table has not read yet.
    pub in_flight: u64,
    /// What the sum leaves open: 0, or something is wrong. (Deleting rows of the table by hand makes it positive.)
    pub unaccounted: i64,
}
