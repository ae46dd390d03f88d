//! `GET /api/v1/dashboards`: what the file declares.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::dashboards::Dashboards;
use crate::rooms::Console;

/// The dashboards as they are now.
pub(crate) async fn dashboards(State(console): State<Arc<Console>>) -> Json<Arc<Dashboards>> {
    Json(console.rooms.dashboards.borrow().clone())
}
