//! Preconditions and ranges (RFC 9110, sections 13 and 14), decided from the headers and what is known of the file.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The whole file.
    Whole,
    /// The bytes from the first to the second, both included.
    Part(u64, u64),
    /// 304: the client has it.
    NotModified,
    /// 412: the client wanted another one.
    PreconditionFailed,
    /// 416: no byte of the range exists.
    Unsatisfiable,
}

/// What is known of the chosen representation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) etag: &'a str,
    pub(crate) modified: SystemTime,
    pub(crate) bytes: u64,
    /// Whether ranges apply: to GET of the uncompressed file.
    pub(crate) ranges: bool,
}

/// Decides in the order of RFC 9110, section 13.2.2.
pub(crate) fn decide(headers: &HeaderMap, facts: Facts<'_>) -> Decision {
    if let Some(wanted) = text(headers, &header::IF_MATCH) {
        if !matches_any(wanted, facts.etag, false) {
            return Decision::PreconditionFailed;
        }
    } else if let Some(since) = date(headers, &header::IF_UNMODIFIED_SINCE)
        && whole_seconds(facts.modified) > since
    {
        return Decision::PreconditionFailed;
    }
    if let Some(known) = text(headers, &header::IF_NONE_MATCH) {
        if matches_any(known, facts.etag, true) {
            return Decision::NotModified;
        }
    } else if let Some(since) = date(headers, &header::IF_MODIFIED_SINCE)
        && whole_seconds(facts.modified) <= since
    {
        return Decision::NotModified;
    }
    match text(headers, &header::RANGE) {
        Some(range) if facts.ranges && same_file(headers, facts) => part(range, facts.bytes),
        _ => Decision::Whole,
    }
}

/// Whether `If-Range`, if it is there, names this very file.
fn same_file(headers: &HeaderMap, facts: Facts<'_>) -> bool {
    match text(headers, &header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag == facts.etag,
        Some(tag) => httpdate::parse_http_date(tag).is_ok_and(|date| date == whole_seconds(facts.modified)),
    }
}

/// One range of bytes. Anything else (other units, several ranges, nonsense) is answered with the whole file.
fn part(range: &str, bytes: u64) -> Decision {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Decision::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(0)) if first.is_empty() => return Decision::Unsatisfiable,
        (Err(_), Ok(suffix)) if first.is_empty() => (bytes.saturating_sub(suffix), u64::MAX),
        _ => return Decision::Whole,
    };
    if first >= bytes { Decision::Unsatisfiable } else { Decision::Part(first, last.min(bytes - 1)) }
}

/// Whether a list of entity tags holds `etag`; `weak`: `W/` before a tag makes no difference.
fn matches_any(list: &str, etag: &str, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag || weak && tag.strip_prefix("W/") == Some(etag))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

/// HTTP dates have no fractions of a second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => SystemTime::UNIX_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const MODIFIED: &str = "Sun, 22 Nov 2026 10:00:00 GMT";
    const LATER: &str = "Sun, 22 Nov 2026 10:00:01 GMT";
    const EARLIER: &str = "Sun, 22 Nov 2026 09:59:59 GMT";

    fn decided(headers: &[(&'static str, &'static str)]) -> Decision {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let modified = httpdate::parse_http_date(MODIFIED).expect("a date") + Duration::from_millis(700);
        decide(&map, Facts { etag: "\"a1\"", modified, bytes: 100, ranges: true })
    }

    #[test]
    fn preconditions_follow_the_standard() {
        use Decision::{NotModified, PreconditionFailed, Whole};
        assert_eq!(decided(&[]), Whole);
        assert_eq!(decided(&[("if-none-match", "\"a1\"")]), NotModified);
        assert_eq!(decided(&[("if-none-match", "\"x\", W/\"a1\"")]), NotModified);
        assert_eq!(decided(&[("if-none-match", "*")]), NotModified);
        assert_eq!(decided(&[("if-none-match", "\"x\"")]), Whole);
        assert_eq!(decided(&[("if-modified-since", MODIFIED)]), NotModified, "fractions do not count");
        assert_eq!(decided(&[("if-modified-since", EARLIER)]), Whole);
        assert_eq!(decided(&[("if-modified-since", "yesterday")]), Whole);
        assert_eq!(decided(&[("if-none-match", "\"x\""), ("if-modified-since", LATER)]), Whole, "the tag wins");
        assert_eq!(decided(&[("if-match", "\"x\"")]), PreconditionFailed);
        assert_eq!(decided(&[("if-match", "W/\"a1\"")]), PreconditionFailed, "weak tags do not match strongly");
        assert_eq!(decided(&[("if-match", "\"a1\"")]), Whole);
        assert_eq!(decided(&[("if-unmodified-since", EARLIER)]), PreconditionFailed);
    }

    #[test]
    fn one_range_is_served_and_strange_ones_are_not() {
        use Decision::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-9", Part(0, 9)),
            ("bytes=90-", Part(90, 99)),
            ("bytes=-10", Part(90, 99)),
            ("bytes=-1000", Part(0, 99)),
            ("bytes=0-1000", Part(0, 99)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=9-0", Whole),
            ("bytes=0-1,5-6", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("lines=0-9", Whole),
            ("bytes=99999999999999999999-", Whole),
        ] {
            assert_eq!(decided(&[("range", range)]), expected, "{range}");
        }
        assert_eq!(decided(&[("range", "bytes=0-9"), ("if-range", "\"a1\"")]), Part(0, 9));
        assert_eq!(decided(&[("range", "bytes=0-9"), ("if-range", "\"old\"")]), Whole);
        assert_eq!(decided(&[("range", "bytes=0-9"), ("if-range", EARLIER)]), Whole);
        assert_eq!(decided(&[("range", "bytes=0-9"), ("if-range", MODIFIED)]), Part(0, 9));
    }
}
