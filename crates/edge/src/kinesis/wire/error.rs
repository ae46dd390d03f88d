//! Errors as the service tells them, and the headers of every answer.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::{Protocol, ROOM, Unreadable, cbor, json};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// In what form an error is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the protocol of the request.
    In(Protocol),
    /// To who asked with `application/json`, which the service knows and does not serve.
    Legacy,
    /// To who asked in no protocol that we know: a few tags of XML.
    Plain,
}

impl From<Protocol> for Form {
    fn from(protocol: Protocol) -> Self {
        Self::In(protocol)
    }
}

/// A request that was not, or not wholly, carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceError {
    /// The exception's published name: what clients decide by.
    pub(crate) code: &'static str,
    /// The status in JSON and CBOR: 400 for what the caller can mend, 500 for the rest.
    pub(crate) status: StatusCode,
    /// What happened; some of the service's errors say nothing.
    pub(crate) message: Option<String>,
    /// When to try again, if that can help.
    pub(crate) retry_after: Option<Duration>,
}

impl ServiceError {
    /// An error of the caller, status 400.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: Some(message.into()), retry_after: None }
    }

    /// Likewise, without a word.
    pub(crate) const fn silent(code: &'static str) -> Self {
        Self { code, status: StatusCode::BAD_REQUEST, message: None, retry_after: None }
    }

    /// An error of ours: `InternalFailure`, status 500.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..Self::new("InternalFailure", message) }
    }

    /// With another status.
    #[must_use]
    pub(crate) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With a hint when to come back.
    #[must_use]
    pub(crate) const fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    pub(super) fn serialization(why: Unreadable) -> Self {
        match why {
            Unreadable::Broken => Self::silent("SerializationException"),
            Unreadable::Mistyped(text) => Self::new("SerializationException", text),
        }
    }

    /// The body of this error, also of an exception frame of an event stream.
    pub(crate) fn body(&self, protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::Json => json::encode(&self.told(), ROOM),
            Protocol::Cbor => cbor::encode(&self.told(), ROOM),
        }
    }

    fn told(&self) -> Told<'_> {
        let text = self.message.as_deref();
        let (message, capital) = if self.code == "SerializationException" { (None, text) } else { (text, None) };
        Told { code: self.code, message, capital }
    }

    /// The whole answer.
    pub(crate) fn answer(&self, form: Form) -> Response<Body> {
        let (status, content_type, body) = match form {
            Form::In(protocol) => (self.status, Some(protocol.content_type()), self.body(protocol)),
            Form::Legacy => {
                let code = format!("com.amazon.coral.service#{}", self.code);
                let output = Told { code: &code, message: self.message.as_deref(), capital: None };
                let status = if self.code == "UnknownOperationException" { StatusCode::NOT_FOUND } else { self.status };
                (status, Some("application/json"), json::encode(&Legacy { output, version: "1.0" }, ROOM))
            }
            Form::Plain => (self.plain_status(), None, self.plain().into_bytes()),
        };
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.code));
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        identify(headers);
        answer
    }

    fn plain(&self) -> String {
        let code = self.code;
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        match &self.message {
            None => format!("<{code}/>\n"),
            Some(text) => format!("<{code}>\n  <Message>{}</Message>\n</{code}>\n", escaped(text)),
        }
    }

    fn plain_status(&self) -> StatusCode {
        match self.code {
            "UnknownOperationException" => StatusCode::NOT_FOUND,
            _ if self.status.is_server_error() => self.status,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

impl std::fmt::Display for ServiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for ServiceError {}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "__type")]
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
    capital: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Legacy<'a> {
    output: Told<'a>,
    version: &'static str,
}

/// Gives an answer its request id, its second id and its date.
pub(crate) fn identify(headers: &mut HeaderMap) {
    let id = Uuid::new_v4();
    let text = HeaderValue::from_str(&id.to_string()).expect("letters, digits and hyphens");
    headers.insert(REQUEST_ID, text);
    // 72 bytes that mean nothing to a client: the id again and again.
    let second = id.as_bytes().iter().copied().cycle().take(72).collect::<Vec<u8>>();
    headers.insert(ID_2, HeaderValue::from_str(&BASE64_STANDARD.encode(second)).expect("base64"));
    let date = httpdate::fmt_http_date(SystemTime::now());
    headers.insert(DATE, HeaderValue::from_str(&date).expect("a date is ASCII"));
}
