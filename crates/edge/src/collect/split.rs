//! Cutting a body into records without copying or re-serialising it: a record is the bytes between two places. JSON is
//! checked by a parser that keeps nothing, so that a wrong record is known by its number before any is stored.

use std::fmt;
use std::ops::Range;

use base::Format;
use base::limits::{KEY_BYTES_MAX, RECORD_BYTES_MAX};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Rejected records that the answer names; the rest are only counted.
const REJECTED_TOLD_MAX: usize = 100;

/// Records of one body: each costs a few bytes beside its own, and a body of the shortest records would be mostly those.
pub(crate) const RECORDS_MAX: u32 = 250_000;

/// How a body is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One JSON object, an array of them, or several with white space between.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// One record per line, whatever it is.
    Lines(Format),
}

/// A record of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u32,
    end: u32,
    /// Its number in the body, from 0.
    pub(crate) index: u32,
}

impl Piece {
    /// Its bytes.
    pub(crate) fn of<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        &body[self.start as usize..self.end as usize]
    }
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Rejected {
    pub(crate) index: u32,
    pub(crate) reason: String,
}

/// A body, cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) pieces: Vec<Piece>,
    /// The partition key of each piece, if keys were asked for.
    pub(crate) keys: Vec<Option<Box<[u8]>>>,
    /// The first ones.
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) rejected_count: u64,
    /// Records seen.
    pub(crate) seen: u32,
}

impl Split {
    /// Bytes of memory beside the body.
    pub(crate) fn weight(&self) -> usize {
        let keys: usize = self.keys.iter().flatten().map(|key| key.len()).sum();
        self.pieces.capacity() * size_of::<Piece>() + self.keys.capacity() * size_of::<Option<Box<[u8]>>>() + keys
    }
}

/// Why a body cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SplitError {
    /// It is no JSON.
    Broken(Broken),
    /// It has more than [`RECORDS_MAX`] records.
    TooMany,
}

impl From<Broken> for SplitError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// A body that is no JSON at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

/// Cuts `body`. With `key`, the top-level field of that name gives each record its partition key.
pub(crate) fn split(body: &[u8], shape: Shape, key: Option<&str>) -> Result<Split, SplitError> {
    let mut cutter = Cutter { body, key, split: Split::default() };
    match shape {
        Shape::Lines(_) => cutter.lines(false),
        Shape::Ndjson => cutter.lines(true),
        Shape::Json => match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => cutter.array()?,
            Some(_) => cutter.values()?,
            None => {}
        },
    }
    if cutter.split.seen > RECORDS_MAX {
        return Err(SplitError::TooMany);
    }
    Ok(cutter.split)
}

struct Cutter<'b> {
    body: &'b [u8],
    key: Option<&'b str>,
    split: Split,
}

impl<'b> Cutter<'b> {
    fn lines(&mut self, json: bool) {
        let mut start = 0;
        while start < self.body.len() {
            let end = memchr::memchr(b'\n', &self.body[start..]).map_or(self.body.len(), |at| start + at);
            let trimmed = trim(self.body, start..end);
            if !trimmed.is_empty() {
                match json.then(|| check_object(&self.body[trimmed.clone()])).flatten() {
                    None => self.take(trimmed),
                    Some(reason) => self.reject(reason),
                }
            }
            start = end + 1;
        }
    }

    /// The objects of an array. A break in its syntax leaves no way to tell where the next one begins, so that the whole
    /// body is refused; an element that is no object is rejected alone.
    fn array(&mut self) -> Result<(), Broken> {
        let text = utf8(self.body)?;
        let base = text.as_ptr() as usize;
        let mut parser = serde_json::Deserializer::from_str(text);
        let mut each = |element: &'b RawValue| {
            let raw = element.get();
            let start = raw.as_ptr() as usize - base;
            if raw.starts_with('{') {
                self.take(start..start + raw.len());
            } else {
                self.reject(not_an_object(raw.as_bytes()));
            }
        };
        parser
            .deserialize_seq(Elements { each: &mut each })
            .and_then(|()| parser.end())
            .map_err(|error| broken(&error, 0))
    }

    /// Objects one after the other: usually one, in any layout.
    fn values(&mut self) -> Result<(), Broken> {
        let text = utf8(self.body)?;
        let base = text.as_ptr() as usize;
        for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            let raw = value.map_err(|error| broken(&error, 0))?.get();
            let start = raw.as_ptr() as usize - base;
            if raw.starts_with('{') {
                self.take(start..start + raw.len());
            } else {
                self.reject(not_an_object(raw.as_bytes()));
            }
        }
        Ok(())
    }

    fn take(&mut self, range: Range<usize>) {
        if self.split.seen >= RECORDS_MAX {
            // Only counted: the body is refused in the end.
            self.split.seen = RECORDS_MAX + 1;
            return;
        }
        if range.len() > RECORD_BYTES_MAX {
            return self.reject(format!("{} bytes, at most {RECORD_BYTES_MAX} are allowed", range.len()));
        }
        if let Some(name) = self.key {
            let key = key_of(&self.body[range.clone()], name);
            if let Some(long) = key.as_ref().filter(|key| key.len() > KEY_BYTES_MAX) {
                let found = long.len();
                return self.reject(format!("the key {name:?} has {found} bytes, at most {KEY_BYTES_MAX} are allowed"));
            }
            self.split.keys.push(key);
        }
        // Bodies are far below 4 GiB.
        let piece = Piece { start: range.start as u32, end: range.end as u32, index: self.split.seen };
        self.split.pieces.push(piece);
        self.split.seen += 1;
    }

    fn reject(&mut self, reason: String) {
        if self.split.rejected.len() < REJECTED_TOLD_MAX {
            self.split.rejected.push(Rejected { index: self.split.seen, reason });
        }
        self.split.rejected_count += 1;
        self.split.seen = (self.split.seen + 1).min(RECORDS_MAX + 1);
    }
}

fn trim(body: &[u8], mut range: Range<usize>) -> Range<usize> {
    while range.start < range.end && body[range.start].is_ascii_whitespace() {
        range.start += 1;
    }
    while range.end > range.start && body[range.end - 1].is_ascii_whitespace() {
        range.end -= 1;
    }
    range
}

/// What is wrong with a line that should be one JSON object.
fn check_object(line: &[u8]) -> Option<String> {
    if line.first() != Some(&b'{') {
        return Some(not_an_object(line));
    }
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Some(format!("not UTF-8 at byte {}", error.valid_up_to())),
    };
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => None,
        Err(error) => Some(format!("column {}: {}", error.column(), what(&error))),
    }
}

fn not_an_object(found: &[u8]) -> String {
    let kind = match found.first() {
        _ if serde_json::from_slice::<IgnoredAny>(found).is_err() => "text that is no JSON",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "something else",
    };
    format!("expected a JSON object, found {kind}")
}

fn utf8(body: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let line = memchr::memchr_iter(b'\n', before).count();
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        Broken { line: line + 1, column: column + 1, what: "not UTF-8".to_owned() }
    })
}

fn broken(error: &serde_json::Error, lines_before: usize) -> Broken {
    Broken { line: error.line() + lines_before, column: error.column(), what: what(error) }
}

/// The message without the place, which is told apart.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Gives each element of an array to a function.
struct Elements<'f, F> {
    each: &'f mut F,
}

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            (self.each)(element);
        }
        Ok(())
    }
}

/// The value of the top-level field `name` as a partition key: the text of a string, the digits of a number; none for
/// anything else, or if there is no such field.
pub(crate) fn key_of(record: &[u8], name: &str) -> Option<Box<[u8]>> {
    let mut parser = serde_json::Deserializer::from_slice(record);
    parser.deserialize_map(KeyField { name }).ok().flatten()
}

struct KeyField<'n> {
    name: &'n str,
}

impl<'de> Visitor<'de> for KeyField<'_> {
    type Value = Option<Box<[u8]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = fields.next_key_seed(Is(self.name))? {
            if wanted {
                found = key_text(fields.next_value::<&RawValue>()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

fn key_text(value: &RawValue) -> Option<Box<[u8]>> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(raw).ok().map(|text| text.into_bytes().into()),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.as_bytes().into()),
    }
}

/// Whether a field's name is this one, without keeping the name.
struct Is<'n>(&'n str);

impl<'de> de::DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<bool, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(body: &str, shape: Shape) -> (Vec<(u32, String)>, Vec<String>) {
        let split = split(body.as_bytes(), shape, None).expect("can be cut");
        let text = |piece: &Piece| (piece.index, String::from_utf8_lossy(piece.of(body.as_bytes())).into_owned());
        let rejected = split.rejected.iter().map(|rejected| format!("{}: {}", rejected.index, rejected.reason));
        (split.pieces.iter().map(text).collect(), rejected.collect())
    }

    fn pieces(body: &str, shape: Shape) -> Vec<(u32, String)> {
        cut(body, shape).0
    }

    fn owned(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
        expected.iter().map(|(index, text)| (*index, (*text).to_owned())).collect()
    }

    #[test]
    fn a_record_is_its_own_bytes() {
        assert_eq!(pieces(" {\n \"a\" : 1e3 }\n", Shape::Json), owned(&[(0, "{\n \"a\" : 1e3 }")]));
        assert_eq!(
            pieces("[ {\"a\":1} , {\"b\":\"\\u00e9\"}]", Shape::Json),
            owned(&[(0, "{\"a\":1}"), (1, "{\"b\":\"\\u00e9\"}")])
        );
        assert_eq!(pieces("{\"a\":1}\n{\"a\":2}", Shape::Json), owned(&[(0, "{\"a\":1}"), (1, "{\"a\":2}")]));
        assert_eq!(
            pieces("{\"a\":1}\r\n\n  {\"a\":2}  \n", Shape::Ndjson),
            owned(&[(0, "{\"a\":1}"), (1, "{\"a\":2}")])
        );
        assert_eq!(
            pieces("one two\r\n\nthree\n", Shape::Lines(Format::Combined)),
            owned(&[(0, "one two"), (1, "three")])
        );
        assert_eq!(pieces("[]", Shape::Json), owned(&[]));
        assert_eq!(pieces("", Shape::Ndjson), owned(&[]));
    }

    #[test]
    fn a_wrong_line_is_rejected_alone_with_its_place() {
        let body = "{\"a\":1}\n{\"a\":}\n[1]\nnope\n{\"a\":2} x\n{\"a\":3}\nnull";
        let (taken, rejected) = cut(body, Shape::Ndjson);
        assert_eq!(taken, owned(&[(0, "{\"a\":1}"), (5, "{\"a\":3}")]));
        assert_eq!(
            rejected,
            [
                "1: column 6: expected value",
                "2: expected a JSON object, found an array",
                "3: expected a JSON object, found text that is no JSON",
                "4: column 9: trailing characters",
                "6: expected a JSON object, found null",
            ]
        );
        let (taken, rejected) = cut("[{\"a\":1}, 7, \"x\", {\"a\":2}]", Shape::Json);
        assert_eq!(taken, owned(&[(0, "{\"a\":1}"), (3, "{\"a\":2}")]));
        assert_eq!(rejected.len(), 2);
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_with_its_place() {
        for (body, place) in [
            ("[{\"a\":1},\n{\"a\":]", (2, 6)),
            ("[{\"a\":1}", (1, 8)),
            ("[{\"a\":1}] x", (1, 11)),
            ("{\"a\":1", (1, 6)),
            ("hello", (1, 1)),
        ] {
            let broken = place_of(split(body.as_bytes(), Shape::Json, None));
            assert_eq!((broken.line, broken.column), place, "{body}: {broken}");
        }
        let broken = place_of(split(b"{\"a\":1}\n{\"b\":\"\xff\"}", Shape::Json, None));
        assert_eq!((broken.line, broken.column), (2, 7));
        let (taken, rejected) = {
            let split = split(b"{\"a\":1}\n{\"b\":\"\xff\"}", Shape::Ndjson, None).expect("lines can be told apart");
            (split.pieces.len(), split.rejected)
        };
        assert_eq!((taken, rejected[0].index), (1, 1));
    }

    fn place_of(refused: Result<Split, SplitError>) -> Broken {
        match refused {
            Err(SplitError::Broken(broken)) => broken,
            other => panic!("expected a broken body, found {other:?}"),
        }
    }

    #[test]
    fn a_body_of_too_many_records_is_refused() {
        let most = RECORDS_MAX as usize;
        assert_eq!(
            split("{}\n".repeat(most).as_bytes(), Shape::Ndjson, None).map(|split| split.pieces.len()),
            Ok(most)
        );
        for record in ["{}\n", "1\n"] {
            let refused = split(record.repeat(most + 1).as_bytes(), Shape::Ndjson, None);
            assert!(matches!(refused, Err(SplitError::TooMany)), "{record:?}");
        }
    }

    #[test]
    fn too_large_a_record_is_rejected_and_only_the_first_hundred_are_told() {
        let body = format!("{{\"a\":\"{}\"}}\n{{\"a\":1}}", "x".repeat(RECORD_BYTES_MAX));
        let (taken, rejected) = cut(&body, Shape::Ndjson);
        assert_eq!((taken.len(), rejected.len()), (1, 1));
        let split = split("x\n".repeat(250).as_bytes(), Shape::Ndjson, None).expect("lines");
        assert_eq!((split.rejected.len(), split.rejected_count, split.seen), (100, 250, 250));
    }

    #[test]
    fn keys_come_from_a_top_level_field() {
        let key =
            |record: &str| key_of(record.as_bytes(), "user").map(|key| String::from_utf8_lossy(&key).into_owned());
        assert_eq!(key("{\"x\":{\"user\":1},\"user\":\"caf\\u00e9\"}").as_deref(), Some("caf\u{e9}"));
        assert_eq!(key("{\"user\":42}").as_deref(), Some("42"));
        assert_eq!(key("{\"\\u0075ser\":true}").as_deref(), Some("true"));
        assert_eq!(key("{\"user\":null}"), None);
        assert_eq!(key("{\"user\":[1]}"), None);
        assert_eq!(key("{}"), None);
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(pieces(&deep, Shape::Ndjson).len(), 1);
        assert_eq!(pieces(&deep, Shape::Json).len(), 1);
        assert_eq!(key_of(deep.as_bytes(), "b"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics_and_every_record_is_counted(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for shape in [Shape::Json, Shape::Ndjson, Shape::Lines(Format::Cdn)] {
                if let Ok(split) = split(&body, shape, Some("a")) {
                    prop_assert_eq!(u64::from(split.seen), split.pieces.len() as u64 + split.rejected_count);
                    prop_assert_eq!(split.keys.len(), split.pieces.len());
                }
            }
        }

        #[test]
        fn lines_and_arrays_of_the_same_objects_give_the_same_records(values in proptest::collection::vec(any::<i64>(), 1..50)) {
            let objects: Vec<String> = values.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
            let lines = pieces(&objects.join("\n"), Shape::Ndjson);
            prop_assert_eq!(&lines, &pieces(&format!("[{}]", objects.join(",")), Shape::Json));
            prop_assert_eq!(lines.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), objects);
        }
    }
}
