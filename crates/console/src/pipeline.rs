//! The map of rooms as the pages draw it, measured once a second by whoever composes the rooms.

use std::collections::BTreeMap;

use base::LedgerRow;
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
