//! `POST /api/v1/streams/{name}/split`, `merge`, `reshape`, `retention`, `mode`: changes of a stream. Each answers with the
//! stream as it is then, like `GET /api/v1/streams/{name}`.
//!
//! What may be asked from where is decided before any of these runs: see [`crate::guard`].

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use base::{ErrorKind, ShardId};
use http::HeaderMap;
use serde::Deserialize;
use stream::plan::Plan;
use stream::{OpenError, ReshardError, ShardMode, Stream};

use crate::api::asked;
use crate::api::streams::{aside, drawn};
use crate::error::ApiError;
use crate::rooms::Console;
use crate::streams::find;
use crate::streams::picture::Picture;

type Answer = Result<Json<Picture>, ApiError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    shard: u32,
    /// The first hash of the upper child, decimal; the middle if it is missing.
    at: Option<String>,
}

/// Splits a shard into two.
pub(crate) async fn split(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Split { shard, at } = asked::body(&headers, &body)?;
    let at = at.as_deref().map(hash).transpose()?;
    let shard = ShardId(shard);
    change(&console, &name, move |stream| {
        let at = match at {
            Some(at) => at,
            None => middle(stream, shard)?,
        };
        stream.split(shard, at).map(drop).map_err(|error| reshard(&error))
    })
    .await
}

fn hash(text: &str) -> Result<u128, ApiError> {
    text.parse().map_err(|_| {
        let what = format!(
            "expected a hash from 0 to 2^128 - 1 in decimal, found {:?}",
            text.chars().take(60).collect::<String>()
        );
        ApiError::new(ErrorKind::Invalid, what, "Leave it out to split in the middle")
    })
}

fn middle(stream: &Stream, shard: ShardId) -> Result<u128, ApiError> {
    let info = stream.shard_infos().into_iter().find(|info| info.id == shard);
    let info = info.ok_or_else(|| reshard(&ReshardError::NoShard { shard }))?;
    info.range.middle().ok_or_else(|| {
        let what = format!("shard {shard} has only one hash");
        ApiError::new(ErrorKind::Invalid, what, "It cannot be split further")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    shard: u32,
    with: u32,
}

/// Merges two shards that lie side by side.
pub(crate) async fn merge(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Merge { shard, with } = asked::body(&headers, &body)?;
    change(&console, &name, move |stream| {
        stream.merge(ShardId(shard), ShardId(with)).map(drop).map_err(|error| reshard(&error))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reshape {
    shards: u32,
}

/// Brings a stream to another number of open shards, of equal ranges.
pub(crate) async fn reshape(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Reshape { shards } = asked::body(&headers, &body)?;
    let most = Plan::shards_max();
    if !(1..=most).contains(&shards) {
        let what = format!("expected 1 to {most} shards, found {shards}");
        return Err(ApiError::new(ErrorKind::Invalid, what, "Spread a larger load over several streams"));
    }
    change(&console, &name, move |stream| stream.reshape(shards).map_err(|error| reshard(&error))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    retention_ms: u64,
}

/// Changes how long records are kept.
pub(crate) async fn retention(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Retention { retention_ms } = asked::body(&headers, &body)?;
    let set = move |stream: &Stream| stream.set_retention(Duration::from_millis(retention_ms));
    change(&console, &name, move |stream| set(stream).map_err(|error| setting(&error))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    mode: String,
}

/// Changes who decides how many shards there are.
pub(crate) async fn mode(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Mode { mode } = asked::body(&headers, &body)?;
    let mode = match mode.as_str() {
        "provisioned" => ShardMode::Provisioned,
        "on-demand" => ShardMode::OnDemand,
        other => {
            let what = format!("expected provisioned or on-demand, found {other:?}");
            return Err(ApiError::new(ErrorKind::Invalid, what, "Write one of the two"));
        }
    };
    change(&console, &name, move |stream| stream.set_mode(mode).map_err(|error| setting(&error))).await
}

/// Changes the stream where it may block for its syncs, and answers with what it is then. The change is done even if the
/// client does not wait for it.
async fn change<F>(console: &Arc<Console>, name: &str, change: F) -> Answer
where
    F: FnOnce(&Stream) -> Result<(), ApiError> + Send + 'static,
{
    let stream = find(console, name)?;
    let changing = stream.clone();
    aside(move || change(&changing)).await??;
    console.changes.inc();
    drawn(console, &stream).await.map(Json)
}

fn reshard(error: &ReshardError) -> ApiError {
    let remedy = match error {
        ReshardError::NoShard { .. } | ReshardError::ShardClosed { .. } | ReshardError::Apart { .. } => {
            "GET /api/v1/streams/{name} lists the open shards and their ranges"
        }
        ReshardError::Point { .. } => "Leave `at` out to split in the middle",
        ReshardError::TooMany { .. } => "Merge some first, or spread the load over several streams",
        ReshardError::Gone => "GET /api/v1/streams lists the streams",
        _ => "See the server's log",
    };
    ApiError::new(error.kind(), error.to_string(), remedy)
}

fn setting(error: &OpenError) -> ApiError {
    let remedy = match error.kind() {
        ErrorKind::Invalid => "docs/http-api.md lists what may be set",
        _ => "See the server's log",
    };
    ApiError::new(error.kind(), error.to_string(), remedy)
}
