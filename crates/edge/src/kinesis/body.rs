//! The body of a request, and what its door says of one that it does not take.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::fault::Fault;
use crate::body::{self, Limits, Unread};
use crate::collect::budget::Share;

/// Bodies up to this size are taken without asking: all but those with records.
pub(super) const FREE_BYTES: usize = 16 * 1024;

const LIMITS: Limits = Limits {
    // Ten mebibytes of records in base64, their keys, and the JSON around 500 of them.
    bytes_max: 16 * 1024 * 1024,
    time: Duration::from_secs(60),
    free_bytes: FREE_BYTES,
    held_twice: true,
};

/// Reads a whole body within its limits of bytes, time and memory.
pub(super) async fn read(parts: &Parts, body: &mut Body, share: &mut Share) -> Result<Bytes, Fault> {
    body::read(body, &parts.headers, &LIMITS, share).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            let text = format!("The body has more than {} bytes. Send fewer records at once.", LIMITS.bytes_max);
            Fault::new("RequestEntityTooLargeException", text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Unread::NoRoom => Fault::busy(),
        Unread::TooSlow => {
            let text = format!("The body did not arrive within {} seconds.", LIMITS.time.as_secs());
            Fault::new("RequestTimeoutException", text).with_status(StatusCode::REQUEST_TIMEOUT)
        }
        Unread::Aborted(_) => Fault::silent("SerializationException"),
    })
}
