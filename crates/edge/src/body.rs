//! Reading the body of a request within its limits: bytes, time, and a share of the memory of its door.
//!
//! What is held is counted before it is held: a body that finds no room is refused, however much of it has come.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;

use crate::collect::budget::Share;

/// How much of a body that was promised is held ahead of what came, at most: the rest may never come.
const AHEAD: usize = 8;

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes on the wire.
    pub(crate) bytes_max: usize,
    /// From the first frame to the last.
    pub(crate) time: Duration,
    /// Up to so many bytes are taken without asking for memory.
    pub(crate) free_bytes: usize,
    /// Whether the share holds it twice: as it came, and as the records in it.
    pub(crate) held_twice: bool,
}

/// Why a body was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It has, or says that it has, more bytes than the limit.
    TooLarge,
    /// The door holds as much as it may.
    NoRoom,
    /// It took longer than the limit.
    TooSlow,
    /// The client broke off.
    Aborted(String),
}

/// Reads the whole body.
pub(crate) async fn read(
    body: &mut Body,
    headers: &HeaderMap,
    limits: &Limits,
    share: &mut Share,
) -> Result<Bytes, Unread> {
    let promised = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if promised.is_some_and(|bytes| bytes > limits.bytes_max) {
        return Err(Unread::TooLarge);
    }
    let reading = async {
        let mut first: Option<Bytes> = None;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Unread::Aborted(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let bytes = first.as_ref().map_or(whole.len(), Bytes::len) + data.len();
            if bytes > limits.bytes_max {
                return Err(Unread::TooLarge);
            }
            // Most bodies come in one piece, which is then used as it is.
            let alone = first.is_none() && whole.is_empty();
            let room = if alone { bytes } else { room_for(bytes, whole.capacity(), promised, limits.bytes_max) };
            let held = room + if limits.held_twice { bytes } else { 0 };
            if bytes > limits.free_bytes && !share.grow_to(held) {
                return Err(Unread::NoRoom);
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
    tokio::time::timeout(limits.time, reading).await.unwrap_or(Err(Unread::TooSlow))
}

/// How large the buffer of a body is made of which `bytes` came and which has `capacity` now.
fn room_for(bytes: usize, capacity: usize, promised: Option<usize>, most: usize) -> usize {
    if bytes <= capacity {
        return capacity;
    }
    // What is promised is not yet there. Without a promise that holds: twice as much, so that little is copied.
    let promised = promised.filter(|promised| *promised >= bytes);
    let wanted = promised.map_or(2 * bytes, |promised| promised.min(AHEAD * bytes));
    wanted.clamp(bytes, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_never_held_far_ahead_of_what_came() {
        const MOST: usize = 16 << 20;
        for promised in [None, Some(0), Some(100), Some(5_000_000), Some(MOST)] {
            let (mut bytes, mut capacity, mut grown) = (0, 0, 0);
            while bytes < MOST {
                bytes = (bytes + 16_384).min(MOST);
                let room = room_for(bytes, capacity, promised, MOST);
                assert!((bytes..=MOST).contains(&room) && room >= capacity);
                assert!(room == capacity || room <= AHEAD * bytes);
                grown += usize::from(room > capacity);
                capacity = room;
            }
            assert!(grown < 12, "{grown} times");
        }
    }
}
