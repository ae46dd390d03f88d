//! Reading CBOR. Nothing is allocated by a length that a body claims: byte and text strings are borrowed from the
//! body, and lists grow by what really comes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Lists, maps and tags within each other. The deepest input of the API has five.
const DEPTH_MAX: u8 = 32;

/// The "break" that ends a string, list or map of unknown length.
const BREAK: u8 = 0xff;

/// Why reading ended.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The bytes are no CBOR.
    Broken(&'static str),
    /// A shape wanted something else.
    Shape(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(text) => f.write_str(text),
            Self::Shape(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ReadError {}

impl Error for ReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Shape(text.to_string())
    }
}

/// A place in a body.
pub(super) struct Reader<'de> {
    rest: &'de [u8],
    depth: u8,
}

/// Bytes of a string, which may come in pieces.
enum Run<'de> {
    Whole(&'de [u8]),
    Pieces(Vec<u8>),
}

impl<'de> Reader<'de> {
    pub(super) fn new(body: &'de [u8]) -> Self {
        Self { rest: body, depth: 0 }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadError::Broken("bytes after the end")) }
    }

    fn peek(&self) -> Result<u8, ReadError> {
        self.rest.first().copied().ok_or(ReadError::Broken("the body ends within a value"))
    }

    fn take(&mut self, length: usize) -> Result<&'de [u8], ReadError> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(ReadError::Broken("a length goes beyond the end of the body"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(ReadError::Broken("the body ends within a number"))?;
        self.rest = rest;
        Ok(*number)
    }

    /// The argument of a head; `None` is "unknown length".
    fn argument(&mut self, head: u8) -> Result<Option<u64>, ReadError> {
        Ok(Some(match head & 0x1f {
            small @ 0..24 => u64::from(small),
            24 => u64::from(u8::from_be_bytes(self.number()?)),
            25 => u64::from(u16::from_be_bytes(self.number()?)),
            26 => u64::from(u32::from_be_bytes(self.number()?)),
            27 => u64::from_be_bytes(self.number()?),
            31 => return Ok(None),
            _ => return Err(ReadError::Broken("a reserved head")),
        }))
    }

    fn definite(&mut self, head: u8) -> Result<u64, ReadError> {
        self.argument(head)?.ok_or(ReadError::Broken("a number without a length"))
    }

    fn run(&mut self, head: u8) -> Result<Run<'de>, ReadError> {
        let too_long = |_| ReadError::Broken("a length goes beyond the end of the body");
        if let Some(length) = self.argument(head)? {
            return Ok(Run::Whole(self.take(usize::try_from(length).map_err(too_long)?)?));
        }
        let mut pieces = Vec::new();
        loop {
            let [piece] = self.number()?;
            if piece == BREAK {
                return Ok(Run::Pieces(pieces));
            }
            if piece >> 5 != head >> 5 {
                return Err(ReadError::Broken("a piece of another kind"));
            }
            let length = self.definite(piece)?;
            pieces.extend_from_slice(self.take(usize::try_from(length).map_err(too_long)?)?);
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ReadError>) -> Result<T, ReadError> {
        if self.depth == DEPTH_MAX {
            return Err(ReadError::Broken("too many lists and maps within each other"));
        }
        self.depth += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// Skips tags: what they would say is known from the shape.
    fn untagged(&mut self) -> Result<u8, ReadError> {
        for _ in 0..=DEPTH_MAX {
            let [head] = self.number()?;
            if head >> 5 != 6 {
                return Ok(head);
            }
            self.definite(head)?;
        }
        Err(ReadError::Broken("too many tags"))
    }

    fn simple<V: Visitor<'de>>(&mut self, head: u8, visitor: V) -> Result<V::Value, ReadError> {
        match head & 0x1f {
            20 => visitor.visit_bool(false),
            21 => visitor.visit_bool(true),
            22 | 23 => visitor.visit_unit(),
            25 => visitor.visit_f64(half(u16::from_be_bytes(self.number()?))),
            26 => visitor.visit_f64(f64::from(f32::from_be_bytes(self.number()?))),
            27 => visitor.visit_f64(f64::from_be_bytes(self.number()?)),
            _ => Err(ReadError::Broken("a simple value without a meaning")),
        }
    }
}

/// A half-precision number (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ReadError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let head = self.untagged()?;
        match head >> 5 {
            0 => visitor.visit_u64(self.definite(head)?),
            1 => {
                let below = self.definite(head)?;
                visitor.visit_i64(i64::try_from(below).map_or(i64::MIN, |below| -1 - below))
            }
            2 => match self.run(head)? {
                Run::Whole(bytes) => visitor.visit_borrowed_bytes(bytes),
                Run::Pieces(bytes) => visitor.visit_byte_buf(bytes),
            },
            3 => {
                let no_text = |_| ReadError::Broken("a text that is no UTF-8");
                match self.run(head)? {
                    Run::Whole(bytes) => visitor.visit_borrowed_str(std::str::from_utf8(bytes).map_err(no_text)?),
                    Run::Pieces(bytes) => {
                        visitor.visit_string(String::from_utf8(bytes).map_err(|error| no_text(error.utf8_error()))?)
                    }
                }
            }
            4 => {
                let left = self.argument(head)?;
                self.deeper(|reader| {
                    let mut members = Members { reader, left };
                    let value = visitor.visit_seq(&mut members)?;
                    members.finish(value)
                })
            }
            5 => {
                let left = self.argument(head)?;
                self.deeper(|reader| {
                    let mut members = Members { reader, left };
                    let value = visitor.visit_map(&mut members)?;
                    members.finish(value)
                })
            }
            _ => self.simple(head, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if matches!(self.peek()?, 0xf6 | 0xf7) {
            self.take(1)?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The members of a list or map that are still to come; `None`: until the break.
struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: Option<u64>,
}

impl Members<'_, '_> {
    fn more(&mut self) -> Result<bool, ReadError> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.reader.peek()? == BREAK => {
                self.reader.take(1)?;
                self.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A visitor that left members behind has not understood what it read.
    fn finish<T>(mut self, value: T) -> Result<T, ReadError> {
        if self.more()? { Err(ReadError::Broken("more members than the shape has")) } else { Ok(value) }
    }
}

impl<'de> SeqAccess<'de> for &mut Members<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if self.more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        if self.more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        seed.deserialize(&mut *self.reader)
    }
}
