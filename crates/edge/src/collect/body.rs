//! What the collector makes of a body: how it is packed, what it becomes inflated, and which limit it broke.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;

use super::budget::Share;
use super::refusal::Refusal;
use crate::body::{Limits, Unread};

/// Bytes inflated between two looks at the limits.
const INFLATE_STEP: usize = 256 * 1024;

/// Bytes of a refused body that are read to the end for the sake of the answer: some times what is taken, so that
/// whoever sends a little too much is told, and whoever sends without end is not served for it.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a refused body is read.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) inflated_bytes_max: usize,
    pub(crate) time: Duration,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
}

/// What `Content-Encoding` says.
pub(crate) fn packing(headers: &HeaderMap) -> Result<Packing, Refusal> {
    match headers
        .get(CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase())
        .as_deref()
    {
        None | Some("" | "identity") => Ok(Packing::None),
        Some("gzip" | "x-gzip") => Ok(Packing::Gzip),
        Some(other) => Err(Refusal::Encoding { found: other.to_owned() }),
    }
}

/// Reads the whole body as it lies on the wire.
pub(crate) async fn read(
    body: &mut Body,
    headers: &HeaderMap,
    limits: &BodyLimits,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let BodyLimits { bytes_max, time, .. } = *limits;
    let wire = Limits { bytes_max, time, free_bytes: 0, held_twice: false };
    crate::body::read(body, headers, &wire, share).await.map_err(|unread| match unread {
        Unread::TooLarge => Refusal::TooLarge { bytes_max },
        Unread::NoRoom => Refusal::NoRoom,
        Unread::TooSlow => Refusal::TooSlow { time },
        Unread::Aborted(why) => Refusal::Aborted { why },
    })
}

/// Lets `buffer` hold `wanted` bytes without growing by itself: what it takes is in the share before it is taken, beside
/// the `held` bytes of something else.
fn make_room(buffer: &mut Vec<u8>, wanted: usize, most: usize, held: usize, share: &mut Share) -> Result<(), Refusal> {
    if wanted > buffer.capacity() {
        let capacity = wanted.max((2 * buffer.capacity()).min(most));
        if !share.grow_to(held + capacity) {
            return Err(Refusal::NoRoom);
        }
        buffer.reserve_exact(capacity - buffer.len());
    }
    Ok(())
}

/// Reads on and keeps nothing, within bounds. A client that is still sending when its connection closes sees a broken
/// pipe instead of the answer that says what was wrong.
pub(crate) async fn discard(body: &mut Body) {
    let reading = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whoever is slower than that gets its answer in the middle of sending.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, reading).await;
}

/// Inflates a gzip body, members one after the other. Never holds more than the limit and one step.
pub(crate) fn inflate(packed: &[u8], limits: &BodyLimits, share: &mut Share) -> Result<Bytes, Refusal> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut plain = Vec::new();
    loop {
        let step = INFLATE_STEP.min(limits.inflated_bytes_max + 1 - plain.len());
        let wanted = plain.len() + step;
        make_room(&mut plain, wanted, limits.inflated_bytes_max + 1, packed.len(), share)?;
        let read = (&mut decoder).take(step as u64).read_to_end(&mut plain);
        match read {
            Ok(0) => return Ok(plain.into()),
            Ok(_) if plain.len() > limits.inflated_bytes_max => {
                return Err(Refusal::InflatesTooLarge { bytes_max: limits.inflated_bytes_max });
            }
            Ok(_) => {}
            Err(error) => {
                return Err(Refusal::BrokenGzip { why: error.to_string(), inflated: plain.len() });
            }
        }
    }
}
