//! Shard iterators: a place in a shard with the time it was given out, as text. They hold no state here and outlive a
//! restart. A check sum keeps mistakes out; it is no secret, for who may read a stream may read all of it.

use std::sync::atomic::{AtomicU32, Ordering};

use base::{Clock, Millis, Offset, ShardId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stream::Stream;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;

/// How long an iterator may be used, as published.
pub(crate) const ITERATOR_TIME_MS: i64 = 300_000;

/// The first eight bytes, as clients have seen them.
const VERSION: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// Lengths are 152 bytes and any number of sixteens.
const BYTES_MIN: usize = 152;
const BYTES_STEP: usize = 16;

const CHECK_BYTES: usize = 8;

/// Bytes before the name: version, time, stream, shard, offset, length of the name.
const HEAD_BYTES: usize = 8 + 8 + 16 + 4 + 8 + 1;

/// Numbers the texts: as the service's, none is like another, also if they say the same of the same millisecond. Nobody reads it.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// A place in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// When it was given out.
    pub(crate) made: Millis,
    /// Which stream of that name.
    pub(crate) uuid: Uuid,
    /// The name of the stream.
    pub(crate) stream: String,
    /// The shard.
    pub(crate) shard: ShardId,
    /// The next record to read.
    pub(crate) offset: Offset,
}

impl ShardIterator {
    /// At `offset`, from now on.
    pub(crate) fn at(stream: &Stream, shard: ShardId, offset: Offset, clock: &dyn Clock) -> Self {
        Self { made: clock.now(), uuid: stream.uuid(), stream: stream.name().to_owned(), shard, offset }
    }

    /// As text.
    pub(crate) fn write(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES_MIN + 3 * BYTES_STEP);
        bytes.extend_from_slice(&VERSION);
        bytes.extend_from_slice(&self.made.0.to_be_bytes());
        bytes.extend_from_slice(self.uuid.as_bytes());
        bytes.extend_from_slice(&self.shard.0.to_be_bytes());
        bytes.extend_from_slice(&self.offset.0.to_be_bytes());
        bytes.push(u8::try_from(self.stream.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(self.stream.as_bytes());
        bytes.extend_from_slice(&WRITTEN.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let over = (bytes.len() + CHECK_BYTES).saturating_sub(BYTES_MIN).div_ceil(BYTES_STEP);
        bytes.resize(BYTES_MIN + over * BYTES_STEP - CHECK_BYTES, 0);
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// Reads what [`ShardIterator::write`] wrote.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        if bytes.len() < BYTES_MIN {
            return None;
        }
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if xxh3_64(body) != u64::from_be_bytes(*check) || !body.starts_with(&VERSION) {
            return None;
        }
        let eight = |at: usize| body.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>()).copied();
        let length = usize::from(*body.get(HEAD_BYTES - 1)?);
        Some(Self {
            made: Millis(i64::from_be_bytes(eight(8)?)),
            uuid: Uuid::from_slice(body.get(16..32)?).ok()?,
            shard: ShardId(u32::from_be_bytes(*body.get(32..36)?.first_chunk::<4>()?)),
            offset: Offset(u64::from_be_bytes(eight(36)?)),
            stream: String::from_utf8(body.get(HEAD_BYTES..HEAD_BYTES + length)?.to_vec()).ok()?,
        })
    }

    /// Reads what a client sent, unless it is too old. Quotes around it do not count, as the service has it (the tests of LocalStack
    /// that were run against it say so): a shell that takes an iterator out of JSON leaves them there.
    pub(crate) fn admit(text: &str, now: Millis) -> Result<Self, Fault> {
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let read = Self::read(bare).ok_or_else(|| Fault::invalid("Invalid ShardIterator."))?;
        if now.since(read.made) > ITERATOR_TIME_MS {
            return Err(Fault::expired_iterator(format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further in the \
                 future than the tolerated delay of {ITERATOR_TIME_MS} milliseconds.",
                service_time(read.made),
                service_time(now),
            )));
        }
        Ok(read)
    }
}

/// A time as the service's messages write it: `Thu Jan 22 01:22:02 UTC 2015`.
fn service_time(time: Millis) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(time.0).unwrap_or(0));
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + since);
    let parts: Vec<&str> = date.split([' ', ',']).filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [weekday, day, month, year, clock, _zone] => format!("{weekday} {month} {day} {clock} UTC {year}"),
        _ => date,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn iterator(stream: String) -> ShardIterator {
        ShardIterator {
            made: Millis(1_421_889_722_000),
            uuid: Uuid::nil(),
            stream,
            shard: ShardId(7),
            offset: Offset(12_345),
        }
    }

    proptest! {
        #[test]
        fn an_iterator_is_read_back_and_any_other_text_is_refused(name in "[a-zA-Z0-9_.-]{1,128}", at in 0usize..200, flip in 1u8..255) {
            let text = iterator(name.clone()).write();
            prop_assert!(text.len() <= 512, "as long as published: {}", text.len());
            prop_assert_eq!(ShardIterator::read(&text), Some(iterator(name.clone())));
            prop_assert_ne!(&text, &iterator(name).write(), "no two are alike");
            let mut bytes = STANDARD.decode(&text).expect("base64");
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_eq!(ShardIterator::read(&STANDARD.encode(bytes)), None);
        }
    }

    #[test]
    fn it_lives_five_minutes() {
        let text = iterator("clicks".to_owned()).write();
        let now = Millis(1_421_889_722_000 + ITERATOR_TIME_MS);
        assert!(ShardIterator::admit(&text, now).is_ok());
        let error = ShardIterator::admit(&text, now.plus_ms(1)).expect_err("too old");
        assert_eq!(
            error.to_string(),
            "ExpiredIteratorException: Iterator expired. The iterator was created at time Thu Jan 22 01:22:02 UTC 2015 \
             while right now it is Thu Jan 22 01:27:02 UTC 2015 which is further in the future than the tolerated delay \
             of 300000 milliseconds."
        );
        assert!(ShardIterator::admit("AAAAAAAAAAE", now).is_err());
        assert_eq!(ShardIterator::admit(&format!("\"{text}\""), now).ok(), ShardIterator::read(&text));
        assert!(ShardIterator::admit(&format!("\"{text}"), now).is_err());
    }
}
