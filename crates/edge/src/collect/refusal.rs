//! Why the collector takes nothing of a request, and how HTTP says so. Every refusal says what to do.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use base::ErrorKind;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::split::{Broken, RECORDS_MAX, SplitError};

/// When a throttled client may come back, seconds: queues empty within moments.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A request of which nothing, or only a first part, was stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no stream {name:?} here")]
    UnknownStream { name: String },
    #[error("this door wants a token: Authorization: Bearer …")]
    Token,
    #[error("only POST is answered here")]
    Method,
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body inflates to more than {bytes_max} bytes")]
    InflatesTooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} s", time.as_secs())]
    TooSlow { time: Duration },
    #[error("the body broke off: {why}")]
    Aborted { why: String },
    #[error("the content encoding {found:?} is not known")]
    Encoding { found: String },
    #[error("the gzip body is broken after {inflated} inflated bytes: {why}")]
    BrokenGzip { why: String, inflated: usize },
    #[error("the body is no JSON: {0}")]
    BrokenJson(Broken),
    #[error("the body has more than {RECORDS_MAX} records")]
    TooMany,
    #[error("{what}")]
    Parameter { what: String, remedy: &'static str },
    #[error("no record of {seen} could be taken")]
    AllRejected { seen: u32 },
    #[error("too many bodies are being read")]
    NoRoom,
    #[error("{why}")]
    NotStored { kind: ErrorKind, why: String },
}

impl From<SplitError> for Refusal {
    fn from(error: SplitError) -> Self {
        match error {
            SplitError::Broken(broken) => Self::BrokenJson(broken),
            SplitError::TooMany => Self::TooMany,
        }
    }
}

impl Refusal {
    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownStream { .. } => ErrorKind::NotFound,
            Self::Token => ErrorKind::Denied,
            Self::TooSlow { .. } => ErrorKind::TimedOut,
            Self::NoRoom => ErrorKind::Throttled,
            Self::NotStored { kind, .. } => *kind,
            _ => ErrorKind::Invalid,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } | Self::InflatesTooLarge { .. } | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            other => status_of(other.kind()),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::UnknownStream { .. } => "Add it to the file as [stream.NAME], or check the name in the address",
            Self::Token => "Send the token that the file names in collect_token or collect_token_file",
            Self::Method => "Send records with POST",
            Self::TooLarge { .. } | Self::InflatesTooLarge { .. } | Self::TooMany => "Send fewer records at once",
            Self::TooSlow { .. } | Self::Aborted { .. } => "Send the request again",
            Self::Encoding { .. } => "Send the body plain or with Content-Encoding: gzip",
            Self::BrokenGzip { .. } => "Send a whole gzip stream, or leave out Content-Encoding",
            Self::BrokenJson(_) => {
                "Send one JSON object, an array of objects, or one object per line as application/x-ndjson"
            }
            Self::Parameter { remedy, .. } => remedy,
            Self::AllRejected { .. } => "The reasons stand in \"rejected\"",
            Self::NoRoom => "Send the request again after Retry-After",
            Self::NotStored { kind: ErrorKind::Throttled, .. } => {
                "Send the records from index \"next\" on again after Retry-After"
            }
            Self::NotStored { .. } => "Send the records from index \"next\" on again once the server is well",
        }
    }

    /// The answer; `more` stands beside the error.
    pub(crate) fn answer(&self, more: Map<String, Value>) -> Response {
        let status = self.status();
        let mut error =
            json!({ "kind": self.kind().to_string(), "message": self.to_string(), "remedy": self.remedy() });
        if let (Self::BrokenJson(broken), Value::Object(fields)) = (self, &mut error) {
            fields.insert("line".to_owned(), broken.line.into());
            fields.insert("column".to_owned(), broken.column.into());
        }
        let mut body = more;
        body.insert("error".to_owned(), error);
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Token => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Method => drop(headers.insert(header::ALLOW, HeaderValue::from_static("POST"))),
            // The rest of the body is not read: the connection cannot be used again.
            Self::TooLarge { .. } | Self::TooSlow { .. } => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        if matches!(self.kind(), ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Full) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        (status, headers, axum::Json(Value::Object(body))).into_response()
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).expect("the table has only statuses that HTTP knows")
}
