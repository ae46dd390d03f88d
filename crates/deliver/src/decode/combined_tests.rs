use std::collections::BTreeMap;

use base::Format;
use proptest::prelude::*;

use super::*;

fn all() -> RecordColumns {
    let names: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).chain(["cs_host".to_owned()]).collect();
    RecordColumns::all(Format::Combined, &BTreeMap::new(), []).only(&names)
}

type Row = BTreeMap<String, String>;

fn read(line: &[u8]) -> Result<(Row, i64), String> {
    let columns = all();
    let mut cells = vec![Cell::Null; columns.len()];
    let found = CombinedReader::new(&columns).read(line, &mut cells)?;
    let show = |cell: &Cell<'_>| match cell {
        Cell::Text(text) => text.to_string(),
        Cell::Int(number) => number.to_string(),
        Cell::Long(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let named = columns.iter().zip(&cells).filter(|(_, cell)| **cell != Cell::Null);
    Ok((
        named.map(|(column, cell)| (column.name.clone(), show(cell))).collect(),
        found.event_time.expect("it has a time"),
    ))
}

#[track_caller]
fn check(line: &[u8], wanted: &[(&str, &str)]) {
    let (row, _) = read(line).expect("read");
    let wanted: Row = wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(row, wanted);
}

const START: &str = "1.2.3.4 - - [17/May/2015:10:05:03 +0000] ";

#[test]
fn a_line_becomes_columns_named_as_the_cdns() {
    check(
        br#"2001:db8::1 - Ann Other [17/May/2015:10:05:03 +0200] "GET /a%20b?x=1&y=%26 HTTP/1.1" 200 5120 "http://e.org/" "Mozilla/5.0 (X11)""#,
        &[
            ("c_ip", "2001:db8::1"),
            ("cs_user", "Ann Other"),
            ("cs_method", "GET"),
            ("cs_uri_stem", "/a%20b"),
            ("cs_uri_query", "x=1&y=%26"),
            ("cs_protocol_version", "HTTP/1.1"),
            ("sc_status", "200"),
            ("sc_bytes", "5120"),
            ("cs_referer", "http://e.org/"),
            ("cs_user_agent", "Mozilla/5.0 (X11)"),
        ],
    );
    let (_, time) = read(format!("{START}\"GET / HTTP/1.0\" 304 -\n").as_bytes()).expect("the common format");
    assert_eq!(time, 1_431_857_103_000);
}

#[test]
fn a_request_that_is_none_leaves_its_columns_null() {
    let rest = [("c_ip", "1.2.3.4"), ("sc_status", "400"), ("sc_bytes", "0")];
    for request in ["-", "", r"\x16\x03\x01\x02", "\u{16}\u{3}", "gibberish", "\\n\\n", "1 / HTTP/1.1"] {
        check(format!("{START}\"{request}\" 400 0 \"-\" \"-\"").as_bytes(), &rest);
    }
}

#[test]
fn odd_requests_keep_the_parts_that_can_be_read() {
    let parts = |request: &str| {
        let (row, _) = read(format!("{START}\"{request}\" 200 1").as_bytes()).expect("read");
        let get = |name: &str| row.get(name).cloned().unwrap_or_default();
        [get("cs_method"), get("cs_host"), get("cs_uri_stem"), get("cs_uri_query"), get("cs_protocol_version")]
    };
    assert_eq!(parts("GET /"), ["GET", "", "/", "", ""]);
    assert_eq!(parts("GET /a b?c=d e HTTP/1.0"), ["GET", "", "/a b", "c=d e", "HTTP/1.0"]);
    assert_eq!(parts("GET http://h.org:80/p?q=/ HTTP/1.1"), ["GET", "h.org:80", "/p", "q=/", "HTTP/1.1"]);
    assert_eq!(parts("GET http://h.org HTTP/1.1"), ["GET", "h.org", "/", "", "HTTP/1.1"]);
    assert_eq!(parts("OPTIONS * HTTP/1.1"), ["OPTIONS", "", "*", "", "HTTP/1.1"]);
    assert_eq!(parts("CONNECT h.org:443 HTTP/1.1"), ["CONNECT", "", "h.org:443", "", "HTTP/1.1"]);
    assert_eq!(parts("M-SEARCH /x?y?z HTTP/1.1"), ["M-SEARCH", "", "/x", "y?z", "HTTP/1.1"]);
}

#[test]
fn quotes_within_quotes_end_nothing_whether_escaped_or_not() {
    let agent = |line: String| read(line.as_bytes()).expect("read").0.remove("cs_user_agent").expect("an agent");
    assert_eq!(agent(format!(r#"{START}"GET / HTTP/1.1" 200 1 "-" "a \"quoted\" agent \\""#)), r#"a "quoted" agent \"#);
    assert_eq!(agent(format!(r#"{START}"GET / HTTP/1.1" 200 1 "-" "a\tb\x41\xc3\xa9\xff\q""#)), "a\tbAé\u{fffd}\\q");
    assert_eq!(agent(format!(r#"{START}"GET / HTTP/1.1" 200 1 "-" "5" screen"#)), "5");
    assert_eq!(agent(format!(r#"{START}"GET / HTTP/1.1" 200 1 "x"y" "a"b""#)), "a\"b");
    let (row, _) = read(format!(r#"{START}"GET /a"b" c HTTP/1.1" 404 1 "-" "-""#).as_bytes()).expect("read");
    assert_eq!((row["cs_uri_stem"].as_str(), row["sc_status"].as_str()), ("/a\"b\" c", "404"));
}

#[test]
fn a_line_that_was_cut_or_goes_on_is_still_a_row() {
    let (row, _) = read(format!(r#"{START}"GET / HTTP/1.1" 200 1 "-" "Mozilla/5.0 (comp"#).as_bytes()).expect("read");
    assert_eq!(row["cs_user_agent"], "Mozilla/5.0 (comp");
    let (row, _) = read(format!(r#"{START}"GET / HTTP/1.1" 200 1 "-" "curl" 0.005 "more""#).as_bytes()).expect("read");
    assert_eq!(row["cs_user_agent"], "curl");
    let (row, _) = read(format!(r#"{START}"GET / HTTP/1.1" 200"#).as_bytes()).expect("read");
    assert_eq!(row["sc_status"], "200");
    check(
        format!(r#"{START}"GET / HTTP/1.1" - -"#).as_bytes(),
        &[("c_ip", "1.2.3.4"), ("cs_method", "GET"), ("cs_uri_stem", "/"), ("cs_protocol_version", "HTTP/1.1")],
    );
}

#[test]
fn bytes_that_are_no_utf8_are_shown_as_such() {
    let mut line = format!("{START}\"GET /").into_bytes();
    line.extend_from_slice(b"caf\xe9 HTTP/1.1\" 200 1 \"-\" \"\xc3\xa9\"");
    let (row, _) = read(&line).expect("read");
    assert_eq!((row["cs_uri_stem"].as_str(), row["cs_user_agent"].as_str()), ("/caf\u{fffd}", "é"));
}

#[test]
fn only_what_has_not_the_format_is_refused() {
    for (line, told) in [
        ("", "not an access log line: expected a host and a space, found \"\""),
        ("hello world", "not an access log line: expected an identity and a space after the host, found \"world\""),
        ("a - - no time", "not an access log line: expected a user and then [time], found \"- no time\""),
        (
            "a - - [17/May/2015:10:05:03 +0000",
            "not an access log line: expected a ] after the time, found \"17/May/2015:10:05:03 +0000\"",
        ),
        ("a - - [x] GET", "not an access log line: expected the request in quotes after the time, found \" GET\""),
        (
            "a - - [x] \"GET / HTTP/1.1",
            "not an access log line: expected a quote and a status after the request, found \"GET / HTTP/1.1\"",
        ),
        (
            "a - - [x] \"GET / HTTP/1.1\" OK 12",
            "not an access log line: expected a quote and a status after the request, found \"GET / HTTP/1.1\\\" OK 12\"",
        ),
        ("a - - [x] \"GET / HTTP/1.1\" 200 12", "time: expected one like 17/May/2015:10:05:03 +0000, found \"x\""),
        (
            "a - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 many",
            "bytes: expected a whole number of 64 bits, found \"many\"",
        ),
    ] {
        assert_eq!(read(line.as_bytes()).expect_err("refused"), told);
    }
}

/// Apache's escaping of a quoted field, as the model of what a server writes.
fn escape(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            32..127 => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

proptest! {
    #[test]
    fn what_a_server_escaped_comes_back(agent in ".{1,30}", referer in ".{1,30}", stem in "/[a-z\"\\\\é?]{0,10}", status in 100u16..600, bytes in any::<u32>()) {
        prop_assume!(agent != "-" && referer != "-");
        let line = format!("h - - [17/May/2015:10:05:03 +0000] \"GET {} HTTP/1.1\" {status} {bytes} \"{}\" \"{}\"", escape(&stem), escape(&referer), escape(&agent));
        let (row, _) = read(line.as_bytes()).expect("read");
        prop_assert_eq!(&row["cs_user_agent"], &agent);
        prop_assert_eq!(&row["cs_referer"], &referer);
        let target = match row.get("cs_uri_query") {
            Some(query) => format!("{}?{query}", row["cs_uri_stem"]),
            None => row["cs_uri_stem"].clone(),
        };
        prop_assert_eq!(&target, stem.strip_suffix('?').filter(|stem| !stem.contains('?')).unwrap_or(&stem));
        prop_assert_eq!(row["sc_status"].parse(), Ok(status));
        prop_assert_eq!(row["sc_bytes"].parse(), Ok(bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), tail in "[\"\\\\ 0-9a-z-]{0,40}") {
        let _ = read(&bytes);
        let _ = read(format!("{START}{tail}").as_bytes());
    }
}
