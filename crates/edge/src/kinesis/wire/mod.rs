//! What goes over the wire of the Kinesis and Firehose doors: JSON 1.1 and CBOR 1.1 bodies, errors, event streams.
//!
//! How a door uses it:
//!
//! ```text
//! let protocol = Protocol::of(&parts.headers)           // None: answer error.answer(Form::Plain, …)
//! let input: PutRecordsInput = decode(protocol, &body)?  // Err: a ServiceError, SerializationException
//! answer(protocol, Some(encode(protocol, &output)))      // or None: 200 with an empty body
//! error.answer(protocol.into())
//! ```
//!
//! * Inputs derive `Deserialize` with `#[serde(rename_all = "PascalCase", default)]`. **Every member is an `Option`**: a
//!   `null` member is an absent one, and what is required is judged by the operation with the service's own text.
//!   Numbers are `i32` ("Integer") or `i64` ("Long"): a fraction is cut off and what is too large becomes the largest,
//!   as the service does. Blobs are [`Blob`], timestamps [`Timestamp`]. Enumerations stay `String`s, because the
//!   service tells a wrong one as a validation error. Unknown members are ignored.
//! * Outputs derive `Serialize` with `skip_serializing_if = "Option::is_none"`.
//! * A member of the wrong type is a `SerializationException` whose text names both types and stands under `Message`; a
//!   body that is no JSON or CBOR map at all is one without text. Both as measured on the service by the tests of
//!   kinesalite (`test/helpers.js`, `test/connection.js`).
//!
//! The order of judgements, from the same source: the method (other than `POST`: `AccessDeniedException` 403, plain), no
//! body (`UnknownOperationException` or `SerializationException`, in CBOR unless JSON was asked), the content type
//! (plain errors if it is unknown), the body parses, the target is known, the signature.

mod cbor;
mod error;
pub(crate) mod event_stream;
mod json;
mod member;
#[cfg(test)]
mod tests;
mod text;
mod value;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use error::{Form, ServiceError, identify};
pub(crate) use text::append_base64;
pub(crate) use value::{Blob, Timestamp};

/// How the bodies of a request and of its answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`: Java clients.
    Cbor,
}

impl Protocol {
    /// What `Content-Type` names; `None` for anything else.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next().unwrap_or_default().trim() {
            "application/x-amz-json-1.1" => Some(Self::Json),
            "application/x-amz-cbor-1.1" => Some(Self::Cbor),
            _ => None,
        }
    }

    /// Its content type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }
}

/// Reads the input of an operation.
///
/// # Errors
/// `SerializationException`, see the module.
pub(crate) fn decode<T: DeserializeOwned>(protocol: Protocol, body: &[u8]) -> Result<T, ServiceError> {
    match protocol {
        Protocol::Json => json::decode(body),
        Protocol::Cbor => cbor::decode(body),
    }
    .map_err(ServiceError::serialization)
}

/// Room for most outputs: a few names and numbers.
const ROOM: usize = 256;

/// Writes the output of an operation.
pub(crate) fn encode<T: Serialize + ?Sized>(protocol: Protocol, output: &T) -> Bytes {
    encode_within(protocol, output, ROOM)
}

/// Likewise of one that is known to have about `room` bytes, which saves copying it while it grows.
pub(crate) fn encode_within<T: Serialize + ?Sized>(protocol: Protocol, output: &T, room: usize) -> Bytes {
    let mut body = match protocol {
        Protocol::Json => json::encode(output, room),
        Protocol::Cbor => cbor::encode(output, room),
    };
    // What is counted is what is there, and answers may wait for their clients.
    if body.capacity() > body.len() + body.len() / 4 + ROOM {
        body.shrink_to_fit();
    }
    body.into()
}

/// The answer of an operation that went well; `None` is the empty body of operations without output.
pub(crate) fn answer(protocol: Protocol, output: Option<Bytes>) -> Response<Body> {
    let mut answer = Response::new(output.map_or_else(Body::empty, Body::from));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
    identify(headers);
    answer
}

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unreadable {
    /// It is not JSON, not CBOR, or no map.
    Broken,
    /// A member has the wrong type; the service's text.
    Mistyped(String),
}
