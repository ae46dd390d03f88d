//! CBOR 1.1 bodies (RFC 8949), as Java clients write them: maps and lists of either length form, blobs as byte
//! strings, timestamps as tag 1 around whole milliseconds.
//!
//! Our own small codec: the published ones hide the tag or cannot write it from a serde shape, and here a length is
//! believed only as far as bytes are there.

mod reader;
mod writer;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Unreadable;
use super::member::{NO_MAP, Typed};
use reader::{ReadError, Reader};
use writer::Writer;

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let mut reader = Reader::new(body);
    let read = T::deserialize(Typed::whole(&mut reader));
    read.and_then(|value| reader.end().map(|()| value)).map_err(|error| match error {
        ReadError::Shape(text) if text != NO_MAP => Unreadable::Mistyped(text),
        _ => Unreadable::Broken,
    })
}

pub(super) fn encode<T: Serialize + ?Sized>(output: &T, room: usize) -> Vec<u8> {
    let mut writer = Writer::with_capacity(room);
    output.serialize(&mut writer).expect("writing to memory cannot fail");
    writer.finish()
}
