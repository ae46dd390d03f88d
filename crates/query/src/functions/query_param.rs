//! `query_param`: the value of a parameter in a query string.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use memchr::{memchr, memchr2};

use super::Described;
use super::text::Texts;

pub(crate) const DESCRIBED: Described = Described {
    name: "query_param",
    signature: "query_param(query text, name text) -> text",
    about: "The value of the first parameter with this name in a query string, percent-decoded, + read as a space; \
            null if there is none. A leading ? is skipped.",
    example: "query_param('action=buy&name=Blue+mug', 'name') = 'Blue mug'",
};

pub(crate) fn run(arguments: &[Texts<'_>]) -> ArrayRef {
    let [queries, names] = arguments else { return Arc::new(StringBuilder::new().finish()) };
    let rows = if queries.len() == 1 { names.len() } else { queries.len() };
    let row_of = |texts: &Texts<'_>, row: usize| if texts.len() == 1 { 0 } else { row };
    let mut answer = StringBuilder::with_capacity(rows, rows * 8);
    for row in 0..rows {
        let query = queries.get(row_of(queries, row));
        let name = names.get(row_of(names, row));
        answer.append_option(query.zip(name).and_then(|(query, name)| find(query, name)));
    }
    Arc::new(answer.finish())
}

/// The decoded value of the first parameter called `name`.
pub(crate) fn find<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut rest = query.strip_prefix('?').unwrap_or(query);
    loop {
        let end = memchr(b'&', rest.as_bytes()).unwrap_or(rest.len());
        let pair = &rest[..end];
        let equals = memchr(b'=', pair.as_bytes());
        let key = &pair[..equals.unwrap_or(end)];
        let found = if is_encoded(key) { decode(key) == name } else { key == name };
        if found && !pair.is_empty() {
            return Some(equals.map_or(Cow::Borrowed(""), |at| decode(&pair[at + 1..])));
        }
        if end == rest.len() {
            return None;
        }
        rest = &rest[end + 1..];
    }
}

fn is_encoded(text: &str) -> bool {
    memchr2(b'%', b'+', text.as_bytes()).is_some()
}

/// Percent-decodes, with `+` as a space. What is no valid escape stays as it is; bytes that are no UTF-8 become U+FFFD.
fn decode(text: &str) -> Cow<'_, str> {
    if !is_encoded(text) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&spaced).collect();
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}
