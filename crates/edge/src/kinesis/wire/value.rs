//! The two kinds of values that JSON and CBOR write differently.

use std::fmt;
use std::ops::Deref;

use base::Millis;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// The name by which both codecs know a timestamp.
pub(super) const TIMESTAMP: &str = "$timestamp";

/// Bytes: base64 in JSON, a byte string in CBOR. The codecs do the base64, straight from and into the body.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taking;
        impl Visitor<'_> for Taking {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Taking)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// A moment: in JSON a number of seconds with a fraction, in CBOR tag 1 around whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) Millis);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taking;
        impl Visitor<'_> for Taking {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timestamp")
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<Timestamp, E> {
                Ok(Timestamp(Millis(ms)))
            }
        }
        deserializer.deserialize_newtype_struct(TIMESTAMP, Taking)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            // Exact to the millisecond for the next 285,000 years.
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit the 53 bits")]
            return serializer.serialize_f64(self.0.0 as f64 / 1000.0);
        }
        serializer.serialize_newtype_struct(TIMESTAMP, &self.0.0)
    }
}
