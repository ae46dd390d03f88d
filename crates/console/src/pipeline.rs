//! The map of rooms as the pages draw it, measured once a second by whoever composes the rooms.

use std::collections::BTreeMap;

use serde::Serialize;

/// All rooms and the ledger at one instant: the answer of `GET /api/v1/pipeline`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pipeline {
    /// When it was measured, milliseconds since 1970.
    pub at_ms: i64,
    /// The rooms, in the direction of the data.
    pub rooms: Vec<RoomState>,
    /// One row per table.
    pub ledger: Vec<LedgerRow>,
}

/// One room of the map.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoomState {
    /// `edge`, `collector`, `stream`, `deliver`, `lake`, `query` or `console`.
    pub id: &'static str,
    /// What was counted since the start.
    pub counts: BTreeMap<&'static str, f64>,
    /// The same counts per second, over the last second. Only those that grow.
    pub rates: BTreeMap<&'static str, f64>,
    /// How far behind its input the room is, milliseconds; `None` where that has no meaning.
    pub lag_ms: Option<f64>,
}

/// What became of the records of one table: received =
/// delivered + filtered + rejected + expired + in flight, since the table began to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerRow {
    /// The table.
    pub table: String,
    /// The stream it is fed from.
    pub stream: String,
    /// Records that the stream got.
    pub received: u64,
    /// Rows that are in the table (lake and tail).
    pub delivered: u64,
    /// Records that the table's `where` left out.
    pub filtered: u64,
    /// Records in `system.rejected`.
    pub rejected: u64,
    /// Records that retention removed before delivery had read them.
    pub expired: u64,
    /// Records that delivery has not read yet.
    pub in_flight: u64,
    /// What the sum leaves open. Zero, or something is wrong.
    pub unaccounted: i64,
}
