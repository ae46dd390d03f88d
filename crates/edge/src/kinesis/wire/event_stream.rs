//! Frames of `application/vnd.amazon.eventstream`: total length, length of the headers, CRC-32 of both, headers,
//! payload, CRC-32 of everything before. Numbers are big-endian. Followed: facts.md §1 and the published
//! specification of the event stream encoding.

use bytes::Bytes;

use super::{Protocol, ServiceError};

/// The content type of an answer that is a stream of frames.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Length of a frame without headers and payload: prelude of 8 bytes and two CRCs.
const AROUND: usize = 16;

/// A header whose value is text.
const TEXT: u8 = 7;

/// The first frame; clients wait for it, and one does not read on without it.
pub(crate) fn initial_response(protocol: Protocol) -> Bytes {
    let nothing: &[u8] = match protocol {
        Protocol::Json => b"{}",
        Protocol::Cbor => &[0xa0],
    };
    event("initial-response", protocol, nothing)
}

/// An event of that type.
pub(crate) fn event(kind: &str, protocol: Protocol, payload: &[u8]) -> Bytes {
    frame([(":message-type", "event"), (":event-type", kind), (":content-type", protocol.content_type())], payload)
}

/// The last frame of a stream that ends with an error.
pub(crate) fn exception(error: &ServiceError, protocol: Protocol) -> Bytes {
    let headers =
        [(":message-type", "exception"), (":exception-type", error.code), (":content-type", protocol.content_type())];
    frame(headers, &error.body(protocol))
}

fn frame(headers: [(&str, &str); 3], payload: &[u8]) -> Bytes {
    let header_bytes: usize = headers.iter().map(|(name, value)| 1 + name.len() + 1 + 2 + value.len()).sum();
    let total = AROUND + header_bytes + payload.len();
    let mut frame = Vec::with_capacity(total);
    // An event is at most as large as an answer may be, far below 4 GiB.
    frame.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&u32::try_from(header_bytes).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    for (name, value) in headers {
        frame.push(u8::try_from(name.len()).expect("our header names are short"));
        frame.extend_from_slice(name.as_bytes());
        frame.push(TEXT);
        frame.extend_from_slice(&u16::try_from(value.len()).expect("our header values are short").to_be_bytes());
        frame.extend_from_slice(value.as_bytes());
    }
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.into()
}
