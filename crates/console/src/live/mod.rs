//! What the pages see as it happens: server-sent events.

pub(crate) mod hub;
pub(crate) mod pipeline;
pub(crate) mod sql;
pub(crate) mod streams;
pub(crate) mod tail;

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use serde::Serialize;

use crate::rooms::Console;

/// A silent connection says something this often, so that proxies keep it and a dead one is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An event with a JSON body. Our bodies always serialise: no maps with keys that are no strings.
fn event(name: &'static str, body: &impl Serialize) -> Event {
    let data = serde_json::to_string(body).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
    Event::default().event(name).data(data)
}

/// An answer made of `events`, until the console stops.
fn answer<S>(console: &Console, events: S) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<S>>
where
    S: Stream<Item = Event> + Send + 'static,
{
    let events = events.take_until(console.rooms.stop.clone().cancelled_owned()).map(Ok);
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("here"))
}
