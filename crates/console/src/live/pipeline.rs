//! `GET /api/v1/live/pipeline`: the map of rooms, once a second.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;

use crate::live::{answer, event};
use crate::rooms::Console;

/// Sends a `pipeline` event at once and whenever it was measured anew.
pub(crate) async fn live_pipeline(State(console): State<Arc<Console>>) -> Response {
    let measured = console.rooms.pipeline.clone();
    let events = unfold((measured, false), |(mut measured, begun)| async move {
        if begun && measured.changed().await.is_err() {
            return None;
        }
        let pipeline = measured.borrow_and_update().clone();
        Some((event("pipeline", &*pipeline), (measured, true)))
    });
    answer(&console, events).into_response()
}
