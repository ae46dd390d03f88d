//! `GET /api/v1/health`: whether this process does its work. Open to all who reach the console, so it tells little.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::rooms::Console;

#[derive(Serialize)]
pub(crate) struct Health {
    /// `ok`, as soon as the console answers: it is the last room to open and the first to close.
    status: &'static str,
    version: &'static str,
    uptime_ms: i64,
}

/// Says that all rooms are open.
pub(crate) async fn health(State(console): State<Arc<Console>>) -> Json<Health> {
    let uptime_ms = console.rooms.clock.now().since(console.started).max(0);
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), uptime_ms })
}
