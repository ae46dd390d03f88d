//! The one place where an error of any room becomes an HTTP answer.

use axum::Json;
use axum::response::{IntoResponse, Response};
use base::ErrorKind;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Seconds a throttled caller is asked to wait: longer than any queue of ours takes to drain, short enough to be tried.
const RETRY_AFTER_S: &str = "1";

/// An error as the HTTP API shows it: `{"error": {"kind", "message", "remedy", "line", "column"}}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApiError {
    #[serde(skip)]
    pub(crate) error_kind: ErrorKind,
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            error_kind: kind,
            kind: kind.to_string(),
            message: message.into(),
            remedy: remedy.into(),
            line: None,
            column: None,
        }
    }

    /// An error of the query room, with its place in the SQL.
    pub(crate) fn from_query(error: &query::QueryError) -> Self {
        let place = error.place();
        Self {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            ..Self::new(error.kind(), error.message(), error.remedy())
        }
    }

    /// The HTTP status of this error.
    pub(crate) fn status(&self) -> StatusCode {
        status_of(self.error_kind)
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).expect("the table has only statuses that HTTP knows")
}

#[derive(Serialize)]
struct Wrapped {
    error: ApiError,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(Wrapped { error: self })).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}
