//! `GET /api/v1/pipeline`: the map of rooms as it was last measured.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::pipeline::Pipeline;
use crate::rooms::Console;

/// The latest measurement, at most a second old.
pub(crate) async fn pipeline(State(console): State<Arc<Console>>) -> Json<Arc<Pipeline>> {
    Json(console.rooms.pipeline.borrow().clone())
}
