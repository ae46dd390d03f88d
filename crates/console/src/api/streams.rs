//! `GET /api/v1/streams` and `GET /api/v1/streams/{name}`: which streams there are, and how one is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base::ErrorKind;
use serde::Serialize;
use stream::Stream;

use crate::error::ApiError;
use crate::rooms::Console;
use crate::streams::find;
use crate::streams::picture::{Picture, Summary, draw, summarise};

/// All streams, by name.
#[derive(Serialize)]
pub(crate) struct Listed {
    at_ms: i64,
    streams: Vec<Summary>,
}

/// All streams as they are now.
pub(crate) async fn streams(State(console): State<Arc<Console>>) -> Result<Json<Listed>, ApiError> {
    listed(&console).await.map(Json)
}

/// One stream as it is now.
pub(crate) async fn stream(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
) -> Result<Json<Picture>, ApiError> {
    let stream = find(&console, &name)?;
    drawn(&console, &stream).await.map(Json)
}

/// All streams, measured where it may block.
pub(crate) async fn listed(console: &Arc<Console>) -> Result<Listed, ApiError> {
    let console = console.clone();
    aside(move || {
        let at_ms = console.rooms.clock.now().0;
        let summary = |stream: Arc<Stream>| {
            let readers = console.readers.of(&stream, &console.rooms.measured);
            summarise(&stream, readers, at_ms)
        };
        Listed { at_ms, streams: console.rooms.log.streams().into_iter().map(summary).collect() }
    })
    .await
}

/// One stream, measured where it may block.
pub(crate) async fn drawn(console: &Arc<Console>, stream: &Arc<Stream>) -> Result<Picture, ApiError> {
    let (console, stream) = (console.clone(), stream.clone());
    aside(move || {
        let readers = console.readers.of(&stream, &console.rooms.measured);
        draw(&stream, readers, console.rooms.clock.now().0)
    })
    .await
}

/// Runs what blocks for a moment on a thread for such work.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ApiError::new(ErrorKind::Internal, format!("the work broke off: {error}"), "See the server's log")
    })
}
