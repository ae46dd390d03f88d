//! The service's rules for members: what may stand where, what is converted, and the text when it may not. A layer
//! between what a codec reads and what a shape wants, the same for JSON and CBOR.
//!
//! The texts are the service's own, as recorded in kinesalite's `test/helpers.js` (`assertType`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::text::append_base64;
use super::value::TIMESTAMP;

/// The text for a body that is something, but no map.
pub(super) const NO_MAP: &str = "the body is no map";

/// Members of one list or map: twenty times the longest that an operation takes. A body of a few bytes for each would
/// otherwise be held as many times its size.
const MEMBERS_MAX: u32 = 10_000;

const LIST: &str = "Start of list found where not expected";
const STRUCTURE: &str = "Start of structure or map found where not expected.";
const NUMBER: &str = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber";

/// Seconds until the year 5138; a larger whole number in CBOR is milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A value of which it is known what a shape wants.
pub(super) struct Typed<D> {
    inner: D,
    whole: bool,
}

impl<D> Typed<D> {
    /// The body as a whole.
    pub(super) fn whole(inner: D) -> Self {
        Self { inner, whole: true }
    }

    fn member(inner: D) -> Self {
        Self { inner, whole: false }
    }
}

/// What a shape wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Boolean,
    Short,
    Integer,
    Long,
    Double,
    String,
    Blob,
    /// In JSON; a whole number is seconds.
    Seconds,
    /// In CBOR; a whole number is milliseconds.
    Milliseconds,
    Enumeration,
    List,
    Map,
    Structure,
    /// The input itself.
    Whole,
    /// Whatever comes.
    Anything,
}

impl Want {
    /// The text for something that is neither list nor map, named as the service does.
    fn refuses<E: Error>(self, what: &str) -> E {
        match self {
            Self::Boolean => E::custom(format_args!("{what} can not be converted to an Boolean")),
            Self::Short => E::custom(format_args!("{what} can not be converted to an Short")),
            Self::Integer => E::custom(format_args!("{what} can not be converted to an Integer")),
            Self::Long => E::custom(format_args!("{what} can not be converted to an Long")),
            Self::Double => E::custom(format_args!("{what} can not be converted to an Double")),
            Self::String | Self::Enumeration | Self::Anything => {
                E::custom(format_args!("{what} can not be converted to an String"))
            }
            Self::Blob => E::custom(format_args!("{what} can not be converted to a Blob")),
            Self::Seconds | Self::Milliseconds => {
                E::custom(format_args!("{what} can not be converted to milliseconds since epoch"))
            }
            Self::List => E::custom("Expected list or null"),
            Self::Map => E::custom("Expected map or null"),
            Self::Structure => E::custom("Expected null"),
            Self::Whole => E::custom(NO_MAP),
        }
    }
}

/// Applies the rules for `want` to what comes, and gives the rest to the shape's own visitor.
struct Rule<V> {
    want: Want,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Rule<V> {
    fn whole_number<E: Error>(self, number: i64) -> Result<V::Value, E> {
        match self.want {
            Want::Short => self.visitor.visit_i64(number.clamp(i64::from(i16::MIN), i64::from(i16::MAX))),
            Want::Integer => self.visitor.visit_i64(number.clamp(i64::from(i32::MIN), i64::from(i32::MAX))),
            Want::Long | Want::Anything => self.visitor.visit_i64(number),
            #[expect(clippy::cast_precision_loss, reason = "that is what a Double is")]
            Want::Double => self.visitor.visit_f64(number as f64),
            Want::Milliseconds if number.unsigned_abs() >= SECONDS_MAX.unsigned_abs() => self.visitor.visit_i64(number),
            Want::Seconds | Want::Milliseconds => self.visitor.visit_i64(number.saturating_mul(1000)),
            want => Err(want.refuses(NUMBER)),
        }
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Rule<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        match self.want {
            Want::Boolean | Want::Anything => self.visitor.visit_bool(value),
            want => Err(want.refuses("class java.lang.Boolean")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.whole_number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.whole_number(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        match self.want {
            // The service takes these, though it takes no whole number there.
            Want::Boolean => self.visitor.visit_bool(value != 0.0),
            Want::Double | Want::Anything => self.visitor.visit_f64(value),
            #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and 285,000 years are enough")]
            Want::Seconds | Want::Milliseconds => self.visitor.visit_i64((value * 1000.0).round() as i64),
            #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, as the service does")]
            Want::Short | Want::Integer | Want::Long => self.whole_number(value.floor() as i64),
            want => Err(want.refuses(NUMBER)),
        }
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.visit_str(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        match self.want {
            Want::String | Want::Anything => self.visitor.visit_str(value),
            Want::Blob => self.visitor.visit_byte_buf(blob(value)?),
            Want::Boolean => match value.to_ascii_uppercase().as_str() {
                "TRUE" | "YES" | "1" => self.visitor.visit_bool(true),
                "FALSE" | "NO" | "0" => self.visitor.visit_bool(false),
                other => Err(Want::Boolean.refuses(&format!("'{other}'"))),
            },
            Want::Enumeration => {
                let named: StrDeserializer<'_, E> = value.into_deserializer();
                self.visitor.visit_enum(named)
            }
            want => Err(want.refuses("class java.lang.String")),
        }
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        if self.want == Want::String { self.visitor.visit_string(value) } else { self.visit_str(&value) }
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<V::Value, E> {
        match self.want {
            Want::Blob | Want::Anything => self.visitor.visit_bytes(value),
            want => Err(want.refuses("class java.nio.HeapByteBuffer")),
        }
    }

    fn visit_byte_buf<E: Error>(self, value: Vec<u8>) -> Result<V::Value, E> {
        if self.want == Want::Blob { self.visitor.visit_byte_buf(value) } else { self.visit_bytes(&value) }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        match self.want {
            // A null structure has no members.
            Want::Structure | Want::Map => self.visitor.visit_map(Nothing(PhantomData)),
            Want::List => self.visitor.visit_seq(Nothing(PhantomData)),
            Want::Whole => Err(E::custom(NO_MAP)),
            _ => self.visitor.visit_unit(),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        match self.want {
            Want::List | Want::Anything => self.visitor.visit_seq(Members::of(list)),
            Want::Whole => Err(A::Error::custom(NO_MAP)),
            _ => Err(A::Error::custom(LIST)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        match self.want {
            Want::Map | Want::Structure | Want::Whole | Want::Anything => self.visitor.visit_map(Members::of(map)),
            _ => Err(A::Error::custom(STRUCTURE)),
        }
    }
}

/// Decodes base64, with the service's texts for what is none.
fn blob<E: Error>(text: &str) -> Result<Vec<u8>, E> {
    let mut bytes = Vec::new();
    append_base64(text, &mut bytes).map_err(E::custom)?;
    Ok(bytes)
}

/// An empty list or map.
struct Nothing<E>(PhantomData<E>);

impl<'de, E: Error> MapAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _seed: K) -> Result<Option<K::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _seed: V) -> Result<V::Value, E> {
        Err(E::custom("a value without a key"))
    }
}

impl<'de, E: Error> SeqAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _seed: T) -> Result<Option<T::Value>, E> {
        Ok(None)
    }
}

/// The members of a list or map, each under the rules again.
struct Members<A> {
    inner: A,
    taken: u32,
}

impl<A> Members<A> {
    fn of(inner: A) -> Self {
        Self { inner, taken: 0 }
    }

    fn count<E: Error>(&mut self) -> Result<(), E> {
        self.taken += 1;
        if self.taken <= MEMBERS_MAX {
            return Ok(());
        }
        Err(E::custom(format_args!("Expected a list or map of at most {MEMBERS_MAX} members")))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let next = self.inner.next_element_seed(Member(seed))?;
        if next.is_some() {
            self.count()?;
        }
        Ok(next)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let next = self.inner.next_key_seed(seed)?;
        if next.is_some() {
            self.count()?;
        }
        Ok(next)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.inner.next_value_seed(Member(seed))
    }
}

struct Member<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Member<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Typed::member(deserializer))
    }
}

/// Null or something.
struct Maybe<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Maybe<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Typed::member(deserializer))
    }
}

/// One method that asks the codec for whatever comes, under the rule for what is wanted.
macro_rules! want {
    ($($method:ident $want:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.deserialize_any(Rule { want: Want::$want, visitor })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Typed<D> {
    type Error = D::Error;

    want! {
        deserialize_bool Boolean
        deserialize_i8 Short
        deserialize_i16 Short
        deserialize_i32 Integer
        deserialize_i64 Long
        deserialize_u8 Short
        deserialize_u16 Integer
        deserialize_u32 Long
        deserialize_u64 Long
        deserialize_f32 Double
        deserialize_f64 Double
        deserialize_char String
        deserialize_str String
        deserialize_string String
        deserialize_identifier String
        deserialize_bytes Blob
        deserialize_byte_buf Blob
        deserialize_seq List
        deserialize_any Anything
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Maybe(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let want = if self.whole { Want::Whole } else { Want::Map };
        self.inner.deserialize_any(Rule { want, visitor })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let want = if self.whole { Want::Whole } else { Want::Structure };
        self.inner.deserialize_any(Rule { want, visitor })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        if name != TIMESTAMP {
            return visitor.visit_newtype_struct(self);
        }
        let want = if self.inner.is_human_readable() { Want::Seconds } else { Want::Milliseconds };
        self.inner.deserialize_any(Rule { want, visitor })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Rule { want: Want::Enumeration, visitor })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Rule { want: Want::List, visitor })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Rule { want: Want::List, visitor })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }
}
