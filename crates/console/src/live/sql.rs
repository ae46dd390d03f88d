//! `GET /api/v1/live/sql`: many live queries over one connection.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use base::ErrorKind;
use futures::stream::{SelectAll, Stream, StreamExt, unfold};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::live::hub::{Latest, Rows, Subscription};
use crate::live::{answer, event};
use crate::rooms::Console;

/// Queries of one connection: a large dashboard.
const QUERIES_PER_CONNECTION_MAX: usize = 64;

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// A JSON array of SQL texts.
    q: Option<String>,
    /// One SQL text.
    sql: Option<String>,
}

impl Asked {
    fn queries(self) -> Result<Vec<String>, ApiError> {
        let invalid = |message: String| {
            ApiError::new(
                ErrorKind::Invalid,
                message,
                "Ask with ?sql=SELECT… for one, or ?q=[\"SELECT…\", \"SELECT…\"] for many",
            )
        };
        let queries = match (self.q, self.sql) {
            (Some(list), None) => serde_json::from_str::<Vec<String>>(&list)
                .map_err(|error| invalid(format!("q is no JSON array of SQL texts: {error}")))?,
            (None, Some(sql)) => vec![sql],
            _ => return Err(invalid("expected either q or sql".to_owned())),
        };
        match queries.len() {
            1..=QUERIES_PER_CONNECTION_MAX => Ok(queries),
            n => Err(invalid(format!("expected 1 to {QUERIES_PER_CONNECTION_MAX} queries, found {n}"))),
        }
    }
}

/// Subscribes to every query and sends `rows` and `error` events until the client goes.
pub(crate) async fn live_sql(State(console): State<Arc<Console>>, Query(asked): Query<Asked>) -> Response {
    let looks = asked.queries().and_then(|queries| {
        let looks = queries.iter().map(|sql| console.hub.subscribe(sql));
        looks.collect::<Result<Vec<_>, _>>()
    });
    match looks {
        Ok(looks) => answer(&console, all(looks)).into_response(),
        Err(error) => error.into_response(),
    }
}

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

fn all(looks: Vec<Subscription>) -> SelectAll<Events> {
    looks.into_iter().enumerate().map(|(query, look)| Box::pin(one(query, look)) as Events).collect()
}

/// The events of one query. The first comes as soon as there is a result, which may be at once.
fn one(query: usize, look: Subscription) -> impl Stream<Item = Event> + Send {
    unfold((look, false), move |(mut look, begun)| async move {
        let seen = !begun && look.latest.borrow().is_some();
        if !seen && look.latest.changed().await.is_err() {
            return None;
        }
        let latest = look.latest.borrow_and_update().clone()?;
        Some((show(query, &latest), (look, true)))
    })
    .fuse()
}

#[derive(Serialize)]
struct Failed<'a> {
    query: usize,
    version: u64,
    at_ms: i64,
    #[serde(flatten)]
    error: &'a ApiError,
}

fn show(query: usize, latest: &Latest) -> Event {
    let Latest { version, at_ms, outcome } = latest;
    match outcome {
        Ok(Rows { json, truncated }) => {
            let json = String::from_utf8_lossy(json);
            let head =
                format!("{{\"query\":{query},\"version\":{version},\"at_ms\":{at_ms},\"truncated\":{truncated},");
            Event::default().event("rows").data(format!("{head}{json}}}"))
        }
        Err(error) => event("error", &Failed { query, version: *version, at_ms: *at_ms, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(q: Option<&str>, sql: Option<&str>) -> Result<Vec<String>, String> {
        let asked = Asked { q: q.map(str::to_owned), sql: sql.map(str::to_owned) };
        asked.queries().map_err(|error| error.message)
    }

    #[test]
    fn one_query_or_a_list_of_them_is_read() {
        assert_eq!(queries(None, Some("select 1")), Ok(vec!["select 1".to_owned()]));
        assert_eq!(queries(Some(r#"["a", "b"]"#), None), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(queries(Some("[]"), None), Err("expected 1 to 64 queries, found 0".to_owned()));
        assert!(queries(Some("select 1"), None).is_err_and(|message| message.starts_with("q is no JSON array")));
        assert_eq!(queries(None, None), Err("expected either q or sql".to_owned()));
    }
}
