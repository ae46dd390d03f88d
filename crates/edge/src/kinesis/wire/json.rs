//! JSON 1.1 bodies.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::ser::Formatter;

use super::Unreadable;
use super::member::Typed;
use super::text::write_base64;

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(Typed::whole(&mut reader));
    read.and_then(|value| reader.end().map(|()| value)).map_err(|error| match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let text = text.strip_suffix(&place).unwrap_or(&text);
            if text == super::member::NO_MAP { Unreadable::Broken } else { Unreadable::Mistyped(text.to_owned()) }
        }
        Category::Io | Category::Syntax | Category::Eof => Unreadable::Broken,
    })
}

pub(super) fn encode<T: Serialize + ?Sized>(output: &T, room: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(room);
    let mut writer = serde_json::Serializer::with_formatter(&mut body, WithBase64);
    output.serialize(&mut writer).expect("writing to memory cannot fail, and no output has keys other than text");
    body
}

/// Writes byte strings as base64; otherwise compact JSON.
struct WithBase64;

impl Formatter for WithBase64 {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, bytes: &[u8]) -> io::Result<()> {
        writer.write_all(b"\"")?;
        write_base64(writer, bytes)?;
        writer.write_all(b"\"")
    }
}
