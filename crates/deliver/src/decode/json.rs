//! One JSON object → the values of a row.
//!
//! The object is read once. Of every member that somebody wants, the text of the value is kept as a slice of the
//! record; what is not wanted is skipped over. Then each slice is read as its column's type. So a member costs a
//! comparison of its name and, if it is wanted, the reading of its value; nothing is built in between.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cell::{Cell, MOMENT, NUMBER, TRUE_OR_FALSE, WHOLE_NUMBER, WHOLE_NUMBER_32};
use super::{Found, moment};
use crate::columns::{Kind, RecordColumns};

/// Names remembered from the last object, to recognise the next one's members by their place. More would be remembered
/// for nothing: no table has so many columns.
const REMEMBERED_MAX: usize = 256;

/// Members read as the event time if the table declares no other, the first that is there and readable.
const EVENT_TIME: [&str; 2] = ["event_time", "timestamp"];
/// The member read as the record's id if the door gave it none.
const ID: &str = "id";

/// Reads JSON objects for one table.
#[derive(Debug)]
pub(crate) struct JsonReader {
    wanted: Vec<Wanted>,
    names: Names,
    event_time: EventTime,
    id: Option<usize>,
}

/// A member that somebody wants.
#[derive(Debug)]
struct Wanted {
    name: String,
    column: Option<(usize, Kind)>,
}

/// Where the event time comes from, as places in `wanted`.
#[derive(Debug)]
enum EventTime {
    /// The table says it: a value that cannot be read is a mistake.
    Declared(usize),
    /// Any of these, if it can be read.
    Usual([usize; 2]),
}

impl JsonReader {
    pub(crate) fn new(columns: &RecordColumns, event_time: Option<&str>) -> Self {
        let mut wanted: Vec<Wanted> = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.own.is_none())
            .map(|(index, column)| Wanted { name: column.name.clone(), column: Some((index, column.kind)) })
            .collect();
        let event_time = match event_time {
            Some(name) => EventTime::Declared(place(&mut wanted, name)),
            None => EventTime::Usual(EVENT_TIME.map(|name| place(&mut wanted, name))),
        };
        let id =
            columns.iter().any(|column| column.own == Some(crate::columns::Own::Id)).then(|| place(&mut wanted, ID));
        let names = Names::new(wanted.iter().map(|wanted| wanted.name.as_str()));
        Self { wanted, names, event_time, id }
    }

    /// Reads one object into `cells`; `texts` is room to work in. On a mistake the cells are worth nothing.
    pub(crate) fn read<'a>(
        &mut self,
        payload: &'a [u8],
        texts: &mut Vec<Option<&'a str>>,
        cells: &mut [Cell<'a>],
    ) -> Result<Found<'a>, String> {
        let text =
            std::str::from_utf8(payload).map_err(|error| format!("not valid UTF-8 at byte {}", error.valid_up_to()))?;
        texts.clear();
        texts.resize(self.wanted.len(), None);
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(Members { names: &mut self.names, texts })
            .and_then(|()| json.end())
            .map_err(|error| explain(text, &error))?;
        for (wanted, text) in self.wanted.iter().zip(texts.iter()) {
            if let (Some((column, kind)), Some(text)) = (wanted.column, text) {
                cells[column] = read_value(kind, text).map_err(|expected| mistake(&wanted.name, expected, text))?;
            }
        }
        Ok(Found { event_time: self.event_time(texts)?, id: self.id(texts) })
    }

    fn event_time(&self, texts: &[Option<&str>]) -> Result<Option<i64>, String> {
        match self.event_time {
            EventTime::Declared(place) => {
                let Some(text) = texts[place].filter(|text| *text != "null") else { return Ok(None) };
                read_moment(text).map(Some).ok_or_else(|| mistake(&self.wanted[place].name, MOMENT, text))
            }
            EventTime::Usual(places) => Ok(places.iter().find_map(|place| texts[*place].and_then(read_moment))),
        }
    }

    fn id<'a>(&self, texts: &[Option<&'a str>]) -> Option<Cow<'a, str>> {
        match read_value(Kind::Text, texts[self.id?]?) {
            Ok(Cell::Text(id)) => Some(id),
            _ => None,
        }
    }
}

/// The place of the member of that name, added if it is not there.
fn place(wanted: &mut Vec<Wanted>, name: &str) -> usize {
    wanted.iter().position(|wanted| wanted.name == name).unwrap_or_else(|| {
        wanted.push(Wanted { name: name.to_owned(), column: None });
        wanted.len() - 1
    })
}

fn mistake(name: &str, expected: &str, found: &str) -> String {
    format!("{name}: expected {expected}, found {}", describe(found))
}

/// What a record that is no JSON object is.
fn explain(text: &str, error: &serde_json::Error) -> String {
    let start = text.trim_start();
    match start.as_bytes().first() {
        None => "expected a JSON object, found nothing".to_owned(),
        Some(b'{') => format!("not valid JSON: {error}"),
        // A value of another kind, or no JSON at all.
        Some(_) if serde_json::from_str::<IgnoredAny>(start).is_ok() => {
            format!("expected a JSON object, found {}", describe(start.trim_end()))
        }
        Some(_) => {
            let begin: String = start.chars().take(20).collect();
            format!("expected a JSON object, found text that begins with {begin:?}")
        }
    }
}

/// The JSON value as an error message names it, cut short.
fn describe(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let shown = match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    match text.as_bytes().first() {
        Some(b'"') => format!("the string {shown}"),
        Some(b'[') => format!("the list {shown}"),
        Some(b'{') => format!("the object {shown}"),
        Some(b't' | b'f' | b'n') | None => shown,
        Some(_) => format!("the number {shown}"),
    }
}

/// Reads the text of a valid JSON value as a column's type, or says what was expected.
fn read_value(kind: Kind, text: &str) -> Result<Cell<'_>, &'static str> {
    if text == "null" {
        return Ok(Cell::Null);
    }
    match kind {
        Kind::Text => Ok(Cell::Text(read_text(text))),
        Kind::Json => Ok(Cell::Text(Cow::Borrowed(text))),
        Kind::Int => {
            read_long(text).and_then(|number| i32::try_from(number).ok()).map(Cell::Int).ok_or(WHOLE_NUMBER_32)
        }
        Kind::Long => read_long(text).map(Cell::Long).ok_or(WHOLE_NUMBER),
        Kind::Double => read_double(text).map(Cell::Double).ok_or(NUMBER),
        Kind::Boolean => match text {
            "true" => Ok(Cell::Boolean(true)),
            "false" => Ok(Cell::Boolean(false)),
            _ => Err(TRUE_OR_FALSE),
        },
        Kind::Timestamp => read_moment(text).map(Cell::Timestamp).ok_or(MOMENT),
    }
}

/// A string without its quotes; any other value as it is written.
fn read_text(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() { Cow::Borrowed(inner) } else { Cow::Owned(unescape(inner)) }
}

/// Text without its escapes. Half of a surrogate pair, which a browser writes where a script cut a string in the middle
/// of an emoji, becomes U+FFFD: no reason to refuse the click.
fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(escape) = rest.chars().next() else { break };
        rest = &rest[escape.len_utf8()..];
        match escape {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let (unit, after) = code_unit(rest);
                rest = after;
                let low = rest.strip_prefix("\\u").map(code_unit);
                match (unit, low) {
                    (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) => {
                        rest = after;
                        let point = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        out.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    _ => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            plain => out.push(plain),
        }
    }
    out.push_str(rest);
    out
}

/// The four hex digits after `\u`, which the first pass has checked, and what follows them.
fn code_unit(text: &str) -> (u32, &str) {
    match text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(unit) => (unit, &text[4..]),
        None => (u32::MAX, text),
    }
}

/// A whole number, also where it is written with a fraction of zero (`3.0`) or an exponent.
#[allow(clippy::cast_possible_truncation)]
fn read_long(text: &str) -> Option<i64> {
    /// Whole numbers up to here are exact as a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number = read_double(text)?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn read_double(text: &str) -> Option<f64> {
    if !is_number(text) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether the text of a valid JSON value is a number.
fn is_number(text: &str) -> bool {
    text.as_bytes().first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
}

fn read_moment(text: &str) -> Option<i64> {
    if text.starts_with('"') { moment::from_text(&read_text(text)) } else { moment::from_number(read_double(text)?) }
}

/// Names → places in `wanted`. Objects of one producer have their members in the same order, so the member at place n
/// is compared with the name that stood there last time, before it is looked up.
#[derive(Debug)]
struct Names {
    places: HashMap<Box<str>, usize>,
    last: Vec<(Box<str>, Option<usize>)>,
}

impl Names {
    fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self { places: names.enumerate().map(|(place, name)| (name.into(), place)).collect(), last: Vec::new() }
    }

    fn find(&mut self, position: usize, name: &str) -> Option<usize> {
        if let Some((last, place)) = self.last.get(position)
            && **last == *name
        {
            return *place;
        }
        let place = self.places.get(name).copied();
        match self.last.get_mut(position) {
            Some(last) => *last = (name.into(), place),
            None if position < REMEMBERED_MAX => self.last.push((name.into(), place)),
            None => {}
        }
        place
    }
}

/// Reads the members of an object: the texts of the wanted ones, the last of the same name winning.
struct Members<'s, 'a> {
    names: &'s mut Names,
    texts: &'s mut [Option<&'a str>],
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut members: M) -> Result<(), M::Error> {
        let mut position = 0;
        while let Some(place) = members.next_key_seed(Name { names: self.names, position })? {
            match place {
                Some(place) => self.texts[place] = Some(members.next_value::<&'a RawValue>()?.get()),
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            position += 1;
        }
        Ok(())
    }
}

/// Reads the name of a member as its place.
struct Name<'s> {
    names: &'s mut Names,
    position: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.names.find(self.position, name))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
