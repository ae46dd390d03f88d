//! The body of a request: read within its limits of bytes, time and memory, and counted while it is.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt as _;

use super::fault::Fault;
use crate::collect::budget::Share;

/// Bytes of one body: ten mebibytes of records in base64, their keys, and the JSON around 500 of them.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bodies up to this size are taken without asking: all but those with records.
pub(super) const FREE_BYTES: usize = 16 * 1024;

/// How much of a body that was promised is held ahead of what came, at most: the rest may never come.
const AHEAD: usize = 8;

/// Time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Reads a whole body within its limits of bytes, time and memory.
pub(super) async fn read(parts: &Parts, body: &mut Body, share: &mut Share) -> Result<Bytes, Fault> {
    let too_large = || {
        let text = format!("The body has more than {BODY_BYTES_MAX} bytes. Send fewer records at once.");
        Fault::new("RequestEntityTooLargeException", text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let promised = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if promised.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let reading = async {
        let mut first: Option<Bytes> = None;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fault::silent("SerializationException"))?;
            let Ok(data) = frame.into_data() else { continue };
            let bytes = first.as_ref().map_or(whole.len(), Bytes::len) + data.len();
            if bytes > BODY_BYTES_MAX {
                return Err(too_large());
            }
            // Most bodies come in one piece, which is then used as it is.
            let alone = first.is_none() && whole.is_empty();
            let room = if alone { bytes } else { room_for(bytes, whole.capacity(), promised) };
            // Held as it came, and once more: as what it was before it grew, or as the records in it.
            if bytes > FREE_BYTES && !share.grow_to(room + bytes) {
                return Err(Fault::busy());
            }
            if alone {
                first = Some(data);
                continue;
            }
            whole.reserve_exact(room - whole.len());
            if let Some(first) = first.take() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
        Ok(first.unwrap_or_else(|| whole.into()))
    };
    let late = |_| {
        let text = format!("The body did not arrive within {} seconds.", BODY_TIME.as_secs());
        Fault::new("RequestTimeoutException", text).with_status(StatusCode::REQUEST_TIMEOUT)
    };
    tokio::time::timeout(BODY_TIME, reading).await.map_err(late)?
}

/// How large the buffer of a body is made of which `bytes` came and which has `capacity` now.
fn room_for(bytes: usize, capacity: usize, promised: Option<usize>) -> usize {
    if bytes <= capacity {
        return capacity;
    }
    // What is promised is not yet there. Without a promise that holds: twice as much, so that little is copied.
    let promised = promised.filter(|promised| *promised >= bytes);
    let wanted = promised.map_or(2 * bytes, |promised| promised.min(AHEAD * bytes));
    wanted.clamp(bytes, BODY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_never_held_far_ahead_of_what_came() {
        for promised in [None, Some(0), Some(100), Some(5_000_000), Some(BODY_BYTES_MAX)] {
            let (mut bytes, mut capacity, mut grown) = (0, 0, 0);
            while bytes < BODY_BYTES_MAX {
                bytes = (bytes + 16_384).min(BODY_BYTES_MAX);
                let room = room_for(bytes, capacity, promised);
                assert!((bytes..=BODY_BYTES_MAX).contains(&room) && room >= capacity);
                assert!(room == capacity || room <= AHEAD * bytes);
                grown += usize::from(room > capacity);
                capacity = room;
            }
            assert!(grown < 12, "{grown} times");
        }
    }
}
