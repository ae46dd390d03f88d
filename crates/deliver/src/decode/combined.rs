//! One line of an access log in Apache's combined (or common) format → the values of a row.
//!
//! `host ident user [time] "request" status bytes "referer" "user agent"`, the last two of which the common format
//! lacks; whatever a server writes behind them is passed over. A real server wrote the line, so it is kept wherever it
//! can be: a request that is none (`"-"`, a TLS greeting on a plain port) leaves its columns null, a line that was cut
//! in its last field is a row. Refused is only what does not have the format up to the status.

use std::borrow::Cow;

use super::Found;
use super::cell::Cell;
use super::moment;
use crate::columns::{CS_USER, Kind, RecordColumns};

/// The columns that a line fills: the names of the CDN's fields where it has the same.
pub(crate) const COLUMNS: [&str; 10] = [
    "c_ip",
    CS_USER,
    "cs_method",
    "cs_uri_stem",
    "cs_uri_query",
    "cs_protocol_version",
    "sc_status",
    "sc_bytes",
    "cs_referer",
    "cs_user_agent",
];

/// Reads access log lines for one table: where each part goes.
#[derive(Debug)]
pub(crate) struct CombinedReader {
    host: Place,
    user: Place,
    timestamp: Place,
    method: Place,
    stem: Place,
    query: Place,
    server: Place,
    protocol: Place,
    status: Place,
    bytes: Place,
    referer: Place,
    agent: Place,
}

/// The column that a part fills, if any reads it.
type Place = Option<(usize, Kind)>;

/// The parts of a line, as they stand there.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    host: &'a [u8],
    user: &'a [u8],
    time: &'a [u8],
    request: &'a [u8],
    status: &'a [u8],
    bytes: &'a [u8],
    referer: Option<&'a [u8]>,
    agent: Option<&'a [u8]>,
}

impl CombinedReader {
    pub(crate) fn new(columns: &RecordColumns) -> Self {
        let place = |name: &str| {
            let index = columns.payload_index(name)?;
            Some((index, columns.iter().nth(index)?.kind))
        };
        Self {
            host: place("c_ip"),
            user: place(CS_USER),
            timestamp: place("timestamp"),
            method: place("cs_method"),
            stem: place("cs_uri_stem"),
            query: place("cs_uri_query"),
            server: place("cs_host"),
            protocol: place("cs_protocol_version"),
            status: place("sc_status"),
            bytes: place("sc_bytes"),
            referer: place("cs_referer"),
            agent: place("cs_user_agent"),
        }
    }

    /// Reads one line into `cells`. On a mistake the cells are worth nothing.
    pub(crate) fn read<'a>(&self, payload: &'a [u8], cells: &mut [Cell<'a>]) -> Result<Found<'a>, String> {
        let line = Line::parse(payload)?;
        let time = moment::from_access_log(line.time).ok_or_else(|| {
            format!("time: expected one like 17/May/2015:10:05:03 +0000, found {:?}", shown(line.time))
        })?;
        put(cells, self.host, "c_ip", line.host)?;
        put(cells, self.user, "user", line.user)?;
        put(cells, self.status, "status", line.status)?;
        put(cells, self.bytes, "bytes", line.bytes)?;
        put(cells, self.referer, "referer", line.referer.unwrap_or(b"-"))?;
        put(cells, self.agent, "user agent", line.agent.unwrap_or(b"-"))?;
        if let Some((column, Kind::Timestamp)) = self.timestamp {
            cells[column] = Cell::Timestamp(time);
        } else {
            put(cells, self.timestamp, "time", line.time)?;
        }
        if let Some(request) = Request::parse(line.request) {
            put(cells, self.method, "method", request.method)?;
            put(cells, self.server, "host", request.host)?;
            put(cells, self.stem, "path", request.stem)?;
            put(cells, self.query, "query", request.query)?;
            put(cells, self.protocol, "protocol", request.protocol)?;
        }
        Ok(Found { event_time: Some(time), id: None })
    }
}

fn put<'a>(cells: &mut [Cell<'a>], place: Place, name: &str, value: &'a [u8]) -> Result<(), String> {
    let Some((column, kind)) = place else { return Ok(()) };
    if value == b"-" || value.is_empty() {
        return Ok(());
    }
    cells[column] = Cell::from_text(kind, unescape(value))
        .map_err(|expected| format!("{name}: expected {expected}, found {:?}", shown(value)))?;
    Ok(())
}

impl<'a> Line<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, String> {
        let line = payload.trim_ascii_end();
        let (host, rest) = until(line, b' ').ok_or_else(|| missing("a host and a space", line))?;
        let (_ident, rest) =
            until(rest, b' ').ok_or_else(|| missing("an identity and a space after the host", rest))?;
        // A user's name may have spaces in it, and the time's bracket ends it.
        let at = memchr::memmem::find(rest, b" [").ok_or_else(|| missing("a user and then [time]", rest))?;
        let (user, rest) = (&rest[..at], &rest[at + 2..]);
        let (time, rest) = until(rest, b']').ok_or_else(|| missing("a ] after the time", rest))?;
        let rest = rest.strip_prefix(b" \"").ok_or_else(|| missing("the request in quotes after the time", rest))?;
        let end = end_of_request(rest).ok_or_else(|| missing("a quote and a status after the request", rest))?;
        let (request, rest) = (&rest[..end], &rest[end + 2..]);
        let (status, rest) = until(rest, b' ').unwrap_or((rest, b""));
        let (bytes, rest) = until(rest, b' ').unwrap_or((rest, b""));
        let (referer, rest) = quoted(rest);
        let (agent, _) = quoted(rest);
        Ok(Self { host, user, time, request, status, bytes, referer, agent })
    }
}

fn until(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..]))
}

fn missing(expected: &str, found: &[u8]) -> String {
    format!("not an access log line: expected {expected}, found {:?}", shown(found))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(40).collect()
}

/// The place of the quote that ends the request: the first one behind which a status stands. Servers that do not escape
/// quotes write requests with quotes within.
fn end_of_request(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'"', text).find(|at| {
        !is_escaped(text, *at)
            && match text.get(at + 1..) {
                Some([b' ', b'-']) | Some([b' ', b'-', b' ', ..]) => true,
                Some([b' ', a, b, c, rest @ ..]) => {
                    [a, b, c].iter().all(|byte| byte.is_ascii_digit()) && matches!(rest, [] | [b' ', ..])
                }
                _ => false,
            }
    })
}

/// The quoted text at the start and what follows it. A quote within that nobody escaped does not end it unless a space
/// follows; a line that ends within has been cut there.
fn quoted(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(text) = text.strip_prefix(b"\"") else { return (None, text) };
    let end = memchr::memchr_iter(b'"', text)
        .find(|at| !is_escaped(text, *at) && matches!(text.get(at + 1), None | Some(b' ')));
    match end {
        Some(end) => (Some(&text[..end]), text.get(end + 2..).unwrap_or_default()),
        None => (Some(text), b""),
    }
}

/// Whether an odd number of backslashes stands before `at`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The parts of a request line.
#[derive(Debug, PartialEq)]
struct Request<'a> {
    method: &'a [u8],
    host: &'a [u8],
    stem: &'a [u8],
    query: &'a [u8],
    protocol: &'a [u8],
}

impl<'a> Request<'a> {
    /// `None` for what is no request at all.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (method, rest) = until(text, b' ')?;
        let is_method = !method.is_empty()
            && method.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-' || *byte == b'_');
        if !is_method {
            return None;
        }
        // The target may have spaces in it that the client should have escaped; the protocol has none.
        let (target, protocol) = match memchr::memrchr(b' ', rest) {
            Some(at) if rest[at + 1..].starts_with(b"HTTP/") => (&rest[..at], &rest[at + 1..]),
            _ => (rest, &b""[..]),
        };
        let (host, target) = split_host(target);
        let (stem, query) = until(target, b'?').unwrap_or((target, b""));
        Some(Self { method, host, stem, query, protocol })
    }
}

/// The host of a target like `http://host/path`, as proxies get it, and the path.
fn split_host(target: &[u8]) -> (&[u8], &[u8]) {
    let Some(rest) = target.strip_prefix(b"http://").or_else(|| target.strip_prefix(b"https://")) else {
        return (b"", target);
    };
    match memchr::memchr2(b'/', b'?', rest) {
        Some(at) if rest[at] == b'/' => (&rest[..at], &rest[at..]),
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, b"/"),
    }
}

/// Takes the server's escapes off (`\"`, `\\`, `\xhh`, `\n`, …); bytes that are no UTF-8 become U+FFFD.
fn unescape(text: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', text) else { return String::from_utf8_lossy(text) };
    let mut out = text[..first].to_vec();
    let mut rest = &text[first..];
    loop {
        rest = match rest {
            [] => break,
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escape @ (b'"' | b'\\' | b'n' | b't' | b'r' | b'b' | b'v'), after @ ..] => {
                out.push(match escape {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'v' => 11,
                    plain => *plain,
                });
                after
            }
            [plain, after @ ..] => {
                out.push(*plain);
                after
            }
        };
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
#[path = "combined_tests.rs"]
mod tests;
