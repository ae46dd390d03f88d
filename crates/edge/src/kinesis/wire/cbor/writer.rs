//! Writing CBOR: heads in their shortest form, known lengths, numbers of eight bytes for fractions.

use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::kinesis::wire::value::TIMESTAMP;

/// What an output cannot be.
#[derive(Debug)]
pub(super) struct WriteError(String);

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

impl Error for WriteError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// A body being written.
pub(super) struct Writer {
    body: Vec<u8>,
}

impl Writer {
    /// With room for so many bytes.
    pub(super) fn with_capacity(room: usize) -> Self {
        Self { body: Vec::with_capacity(room) }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.body
    }

    fn head(&mut self, kind: u8, argument: u64) {
        let kind = kind << 5;
        match argument {
            0..24 => self.body.push(kind | u8::try_from(argument).expect("less than 24")),
            _ => {
                if let Ok(byte) = u8::try_from(argument) {
                    self.body.extend_from_slice(&[kind | 24, byte]);
                } else if let Ok(short) = u16::try_from(argument) {
                    self.body.push(kind | 25);
                    self.body.extend_from_slice(&short.to_be_bytes());
                } else if let Ok(word) = u32::try_from(argument) {
                    self.body.push(kind | 26);
                    self.body.extend_from_slice(&word.to_be_bytes());
                } else {
                    self.body.push(kind | 27);
                    self.body.extend_from_slice(&argument.to_be_bytes());
                }
            }
        }
    }

    fn run(&mut self, kind: u8, bytes: &[u8]) {
        self.head(kind, bytes.len() as u64);
        self.body.extend_from_slice(bytes);
    }

    /// Begins a list (4) or map (5).
    fn open(&mut self, kind: u8, length: Option<usize>) -> Open<'_> {
        match length {
            Some(length) => self.head(kind, length as u64),
            None => self.body.push(kind << 5 | 31),
        }
        Open { writer: self, unknown: length.is_none() }
    }
}

/// A list or map being written.
pub(super) struct Open<'a> {
    writer: &'a mut Writer,
    unknown: bool,
}

impl Open<'_> {
    fn close(self) {
        if self.unknown {
            self.writer.body.push(0xff);
        }
    }

    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        value.serialize(&mut *self.writer)
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeTupleStruct = Open<'a>;
    type SerializeTupleVariant = Open<'a>;
    type SerializeMap = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeStructVariant = Open<'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), WriteError> {
        self.body.push(if value { 0xf5 } else { 0xf4 });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), WriteError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), WriteError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), WriteError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), WriteError> {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            // -1 - value, without a step that overflows.
            Err(_) => self.head(1, !value.cast_unsigned()),
        }
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), WriteError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), WriteError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), WriteError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), WriteError> {
        self.head(0, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), WriteError> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), WriteError> {
        self.body.push(0xfb);
        self.body.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), WriteError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), WriteError> {
        self.run(3, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), WriteError> {
        self.run(2, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), WriteError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        self.body.push(0xf6);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), WriteError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), WriteError> {
        if name == TIMESTAMP {
            self.head(6, 1);
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), WriteError> {
        let mut open = self.open(5, Some(1));
        open.add(variant)?;
        open.add(value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Open<'a>, WriteError> {
        Ok(self.open(4, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Open<'a>, WriteError> {
        Ok(self.open(4, Some(length)))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<Open<'a>, WriteError> {
        Ok(self.open(4, Some(length)))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Open<'a>, WriteError> {
        self.head(5, 1);
        self.run(3, variant.as_bytes());
        Ok(self.open(4, Some(length)))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Open<'a>, WriteError> {
        Ok(self.open(5, length))
    }

    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Open<'a>, WriteError> {
        Ok(self.open(5, Some(length)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Open<'a>, WriteError> {
        self.head(5, 1);
        self.run(3, variant.as_bytes());
        Ok(self.open(5, Some(length)))
    }
}

/// Everything that is a list in CBOR.
macro_rules! lists {
    ($($kind:ident $add:ident)*) => {$(
        impl $kind for Open<'_> {
            type Ok = ();
            type Error = WriteError;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
                self.add(value)
            }

            fn end(self) -> Result<(), WriteError> {
                self.close();
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

/// Everything that is a map with known keys.
macro_rules! structures {
    ($($kind:ident)*) => {$(
        impl $kind for Open<'_> {
            type Ok = ();
            type Error = WriteError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), WriteError> {
                self.add(key)?;
                self.add(value)
            }

            fn end(self) -> Result<(), WriteError> {
                self.close();
                Ok(())
            }
        }
    )*};
}

structures! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Open<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), WriteError> {
        self.add(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        self.add(value)
    }

    fn end(self) -> Result<(), WriteError> {
        self.close();
        Ok(())
    }
}
