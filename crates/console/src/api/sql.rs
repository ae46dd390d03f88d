//! `POST /api/v1/sql`: one query, its rows in the format that the client accepts.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base::ErrorKind;
use http::{HeaderMap, HeaderValue, header};
use query::QueryOptions;
use query::encode::{self, Encoding};
use serde::Deserialize;

use crate::error::ApiError;
use crate::rooms::Console;

/// A request with a query. The engine has its own limit on the SQL in it; this leaves room for JSON's escapes.
pub(crate) const SQL_BYTES_MAX: usize = 1 << 20;
/// Rows of an answer whose format cannot say that it was cut off, unless the request asks for fewer: all of them, as far
/// as one answer can sensibly carry.
const ROWS_EXPORTED_MAX: usize = 100_000_000;

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    /// Rows of the answer at most.
    #[serde(default)]
    rows_max: Option<usize>,
    /// How long it may take, milliseconds.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// Runs the query. The client going away ends it.
pub(crate) async fn sql(State(console): State<Arc<Console>>, headers: HeaderMap, body: Bytes) -> Response {
    console.queries.inc();
    match run(&console, &headers, &body).await {
        Ok(response) => response,
        Err(error) => {
            console.queries_failed.inc();
            error.into_response()
        }
    }
}

async fn run(console: &Console, headers: &HeaderMap, body: &[u8]) -> Result<Response, ApiError> {
    let asked = read(headers.get(header::CONTENT_TYPE), body)?;
    let encoding = wanted(headers.get(header::ACCEPT))?;
    let rows_max = asked.rows_max.or((!encoding.tells_truncation()).then_some(ROWS_EXPORTED_MAX));
    let options = QueryOptions { timeout: asked.timeout_ms.map(Duration::from_millis), rows_max };
    let answer = console.rooms.engine.query(&asked.sql, options).await.map_err(|error| ApiError::from_query(&error))?;
    let content_type = match encoding {
        Encoding::Csv => "text/csv; charset=utf-8; header=present",
        other => other.media_type(),
    };
    let body = Body::from_stream(encode::encode(answer, encoding));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response())
}

/// The query in a body: JSON, or the SQL itself as `text/plain` or `application/sql`.
fn read(content_type: Option<&HeaderValue>, body: &[u8]) -> Result<Asked, ApiError> {
    let invalid = |message: String| {
        ApiError::new(
            ErrorKind::Invalid,
            message,
            r#"Send {"sql": "select …"} as application/json, or the SQL as text/plain"#,
        )
    };
    let media = content_type.and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    match media.split(';').next().map(str::trim).unwrap_or_default() {
        "text/plain" | "application/sql" => {
            let sql = std::str::from_utf8(body).map_err(|error| invalid(format!("the SQL is not UTF-8: {error}")))?;
            Ok(Asked { sql: sql.to_owned(), rows_max: None, timeout_ms: None })
        }
        "application/json" | "application/x-www-form-urlencoded" => {
            serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not what was expected: {error}")))
        }
        other => Err(invalid(format!("expected JSON or plain text, found {other}"))),
    }
}

/// The first format in `Accept` that we can write, by weight; JSON where anything will do.
fn wanted(accept: Option<&HeaderValue>) -> Result<Encoding, ApiError> {
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let mut best: Option<(f32, Encoding)> = None;
    for part in accept.split(',') {
        let mut part = part.split(';').map(str::trim);
        let media = part.next().unwrap_or_default().to_ascii_lowercase();
        let weight = part.find_map(|p| p.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        let found = Encoding::ALL.into_iter().find(|encoding| match media.as_str() {
            "*/*" | "" | "application/*" => *encoding == Encoding::Json,
            "text/*" => *encoding == Encoding::Csv,
            media => encoding.media_type() == media,
        });
        if let Some(encoding) = found.filter(|_| weight > 0.0 && best.is_none_or(|(most, _)| weight > most)) {
            best = Some((weight, encoding));
        }
    }
    best.map(|(_, encoding)| encoding).ok_or_else(|| {
        let known = Encoding::ALL.map(Encoding::media_type).join(", ");
        ApiError::new(
            ErrorKind::Invalid,
            format!("no answer can be written as {accept}"),
            format!("Accept one of {known}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &'static str) -> Option<Encoding> {
        wanted(Some(&HeaderValue::from_static(accept))).ok()
    }

    #[test]
    fn the_format_is_the_heaviest_that_we_can_write() {
        assert_eq!(wanted(None).ok(), Some(Encoding::Json));
        assert_eq!(accepts("text/csv"), Some(Encoding::Csv));
        assert_eq!(accepts("text/html, application/x-ndjson;q=0.9, */*;q=0.8"), Some(Encoding::Ndjson));
        assert_eq!(accepts("application/json;q=0.5, application/vnd.apache.arrow.stream"), Some(Encoding::Arrow));
        assert_eq!(accepts("image/png"), None);
        assert_eq!(accepts("text/csv;q=0"), None);
    }

    #[test]
    fn a_query_comes_as_json_or_as_text() {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let asked = read(Some(&json), br#"{"sql": "select 1", "rows_max": 5}"#).expect("it is right");
        assert_eq!(asked, Asked { sql: "select 1".into(), rows_max: Some(5), timeout_ms: None });
        let text = HeaderValue::from_static("text/plain");
        assert_eq!(read(Some(&text), b"select 1").expect("it is right").sql, "select 1");
        assert!(read(Some(&json), br#"{"sqll": "select 1"}"#).is_err_and(|error| error.message.contains("sqll")));
        assert!(read(Some(&text), b"\xff").is_err());
        assert!(read(Some(&HeaderValue::from_static("image/png")), b"").is_err());
    }
}
