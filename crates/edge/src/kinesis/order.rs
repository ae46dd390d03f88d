//! What is judged before the signature, in the order of the service: who sends nonsense is told about the nonsense.
//! Recorded in kinesalite's `test/connection.js`.
//!
//! Of a stranger only a small body is judged: before the head of a request is in order, nothing large is held.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, HeaderMap, HeaderValue, ORIGIN,
};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::door::{Call, Refusal, Wanted, unknown_service};
use super::fault::Fault;
use super::wire::{Form, Protocol, ServiceError, decode, identify};

/// A stranger's body of at most this size is judged: more than any input without records has.
const SMALL_BYTES: usize = 16 * 1024;

/// How long a stranger may take to send it.
const SMALL_TIME: Duration = Duration::from_secs(5);

/// How long a browser may remember that it may ask, seconds; as the service says it.
const MAX_AGE: HeaderValue = HeaderValue::from_static("172800");

/// The headers that a page may read, as the service names them.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date");

/// Any input: its members are not looked at.
#[derive(Deserialize)]
struct Anything {}

fn is_input(protocol: Protocol, body: &[u8]) -> bool {
    decode::<Anything>(protocol, body).is_ok()
}

/// The body of a stranger, if it says that it is small and then is.
pub(super) async fn small(head: &Parts, body: &mut Body) -> Option<Bytes> {
    if body.is_end_stream() {
        return Some(Bytes::new());
    }
    let promised: usize = head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    if promised > SMALL_BYTES {
        return None;
    }
    // The server reads no more than was promised.
    let read = tokio::time::timeout(SMALL_TIME, body.collect()).await.ok()?.ok()?;
    Some(read.to_bytes())
}

/// Judges what a request asks and the form of its body; the protocol in which to go on. With `strange`, also whether
/// the body is an input at all: otherwise that is found when it is read.
pub(super) fn judge(call: &Call, head: &Parts, body: &[u8], strange: bool) -> Result<Protocol, Refusal> {
    let unknown = || ServiceError::silent("UnknownOperationException");
    let broken = || ServiceError::silent("SerializationException");
    let known = !matches!(call.wanted, Wanted::Unknown);
    if body.is_empty() {
        let protocol = call.protocol.unwrap_or(Protocol::Cbor);
        return Err((if known { broken() } else { unknown() }, protocol.into()));
    }
    let Some(protocol) = call.protocol else {
        let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let named = target.split_once('.').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
        let fault: Fault = match call.form {
            Form::Legacy if !is_input(Protocol::Json, body) => broken(),
            Form::Plain if !named => unknown_service(),
            _ => unknown(),
        };
        return Err((fault, call.form));
    };
    if (strange || !known) && !is_input(protocol, body) {
        return Err((broken(), call.form));
    }
    if known { Ok(protocol) } else { Err((unknown(), call.form)) }
}

/// What a page is told that asks an open door: it would be open to every page that is looked at on this machine.
pub(super) fn no_pages() -> Fault {
    let text = "Pages may ask this door once access keys are configured: name them in [kinesis] of the server's file";
    Fault::new("AccessDeniedException", text)
}

/// The answer to a browser that asks whether its page may ask.
pub(super) fn preflight(head: &Parts) -> Option<Response<Body>> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    identify(headers);
    headers.remove("x-amz-id-2");
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    for (asked, allowed) in [
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
    ] {
        if let Some(value) = head.headers.get(asked) {
            headers.insert(allowed, value.clone());
        }
    }
    Some(answer)
}

/// Lets the page read the answer.
pub(super) fn expose(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
