//! `GET /api/v1/live/streams` and `GET /api/v1/live/streams/{name}`: streams as they are, second by second.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use base::ErrorKind;
use futures::stream::unfold;
use serde_json::json;
use stream::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::api::streams::{drawn, listed};
use crate::error::ApiError;
use crate::live::{answer, event};
use crate::rooms::Console;
use crate::streams::find;

/// Those who watch at once; each has its own picture drawn.
pub(crate) const WATCHERS_MAX: usize = 64;
/// Rates are averages over a minute: more often would show nothing new.
const EVERY: Duration = Duration::from_secs(1);
/// A picture of this many shards is some hundred kilobytes, and is sent less often.
const MANY_SHARDS: usize = 300;
const EVERY_MANY: Duration = Duration::from_secs(5);

/// Sends a `streams` event at once and every second.
pub(crate) async fn live_streams(State(console): State<Arc<Console>>) -> Response {
    let watch = match Watch::new(&console, EVERY) {
        Ok(watch) => watch,
        Err(error) => return error.into_response(),
    };
    let events = unfold(watch, |mut watch| async move {
        watch.ticks.tick().await;
        let event = match listed(&watch.console).await {
            Ok(listed) => event("streams", &listed),
            Err(error) => event("error", &error),
        };
        Some((event, watch))
    });
    answer(&console, events).into_response()
}

/// Sends a `stream` event at once and every second, and `gone` if the stream is deleted.
pub(crate) async fn live_stream(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    let begun = find(&console, &name).and_then(|stream| {
        let every = if stream.shard_infos().len() > MANY_SHARDS { EVERY_MANY } else { EVERY };
        Ok((Watch::new(&console, every)?, stream))
    });
    let (watch, stream) = match begun {
        Ok(begun) => begun,
        Err(error) => return error.into_response(),
    };
    let events = unfold(Some((watch, stream)), |watched| async move {
        let (mut watch, stream) = watched?;
        let mut topology = stream.topology();
        tokio::select! {
            _ = watch.ticks.tick() => {}
            // A change of shards is shown at once.
            Ok(()) = topology.changed() => {}
        }
        let (event, over) = picture(&watch.console, &stream).await;
        Some((event, (!over).then_some((watch, stream))))
    });
    answer(&console, events).into_response()
}

/// The next event, and whether it is the last.
async fn picture(console: &Arc<Console>, stream: &Arc<Stream>) -> (Event, bool) {
    if stream.is_deleted() {
        return (event("gone", &json!({ "name": stream.name() })), true);
    }
    match drawn(console, stream).await {
        Ok(picture) => (event("stream", &picture), false),
        Err(error) => (event("error", &error), true),
    }
}

/// One who watches.
struct Watch {
    console: Arc<Console>,
    ticks: Interval,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    fn new(console: &Arc<Console>, every: Duration) -> Result<Self, ApiError> {
        let place = console.watchers.clone().try_acquire_owned().map_err(|_| {
            let what = format!("{WATCHERS_MAX} pages watch streams");
            ApiError::new(ErrorKind::Throttled, what, "Close one that nobody looks at, or ask again later")
        })?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { console: console.clone(), ticks, _place: place })
    }
}
