use std::collections::BTreeMap;

use base::Format;
use proptest::prelude::*;

use super::*;
use base::cdn::{CDN_FIELDS, FieldKind};

fn all() -> RecordColumns {
    let names: Vec<String> = CDN_FIELDS.iter().map(CdnField::column).chain(["id".to_owned()]).collect();
    RecordColumns::all(Format::Cdn, &BTreeMap::new(), []).only(&names)
}

type Row = (BTreeMap<String, Cell<'static>>, Option<i64>, Option<String>);

fn read(line: &[u8], header: Option<&str>, table: &[u8]) -> Result<Row, String> {
    let columns = all();
    let mut cells = vec![Cell::Null; columns.len()];
    let mut reader = CdnReader::new(&columns, table, None);
    // Twice: the second time with what was remembered of the first.
    let _ = reader.read(line, header.map(str::as_bytes), &mut cells);
    cells.fill(Cell::Null);
    let found = reader.read(line, header.map(str::as_bytes), &mut cells)?;
    let own = |cell: Cell<'_>| match cell {
        Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        Cell::Int(n) => Cell::Int(n),
        Cell::Long(n) => Cell::Long(n),
        Cell::Double(n) => Cell::Double(n),
        Cell::Timestamp(t) => Cell::Timestamp(t),
        _ => Cell::Null,
    };
    let named = columns.iter().zip(cells).filter(|(_, cell)| *cell != Cell::Null);
    let named = named.map(|(column, cell)| (column.name.clone(), own(cell))).collect();
    Ok((named, found.event_time, found.id.map(Cow::into_owned)))
}

fn text(text: &str) -> Cell<'static> {
    Cell::Text(Cow::Owned(text.to_owned()))
}

#[test]
fn a_line_becomes_typed_columns_with_the_query_apart_from_the_path() {
    let line = b"1606855678.123\t203.0.113.7\t200\t5120\tGET\t/action?action=buy&product_name=red%2520mug\t0.004\tMozilla/5.0%20(X11)\tabc==\t-\n";
    let (cells, event_time, id) = read(line, Some("1,2,5,6,7,10,15,18,13,19"), &[]).expect("read");
    assert_eq!(event_time, Some(1_606_855_678_123));
    assert_eq!(id.as_deref(), Some("abc=="));
    let wanted = BTreeMap::from(
        [
            ("timestamp", Cell::Timestamp(1_606_855_678_123)),
            ("c_ip", text("203.0.113.7")),
            ("sc_status", Cell::Int(200)),
            ("sc_bytes", Cell::Long(5120)),
            ("cs_method", text("GET")),
            ("cs_uri_stem", text("/action")),
            ("cs_uri_query", text("action=buy&product_name=red%20mug")),
            ("time_taken", Cell::Double(0.004)),
            ("cs_user_agent", text("Mozilla/5.0 (X11)")),
            ("x_edge_request_id", text("abc==")),
        ]
        .map(|(name, cell)| (name.to_owned(), cell)),
    );
    assert_eq!(cells, wanted);
}

#[test]
fn the_query_field_wins_over_the_query_in_the_stem() {
    let (cells, ..) = read(b"/a?x=1\tx=2", Some("10,21"), &[]).expect("read");
    assert_eq!(cells["cs_uri_query"], text("x=2"));
    let (cells, ..) = read(b"/a?x=1\t-", Some("10,21"), &[]).expect("read");
    assert!(!cells.contains_key("cs_uri_query"));
    let (cells, ..) = read(b"/a?", Some("10"), &[]).expect("read");
    assert!(!cells.contains_key("cs_uri_query") && cells["cs_uri_stem"] == text("/a"));
}

#[test]
fn the_table_says_the_fields_of_lines_that_do_not() {
    let (cells, ..) = read(b"GET\t200\r\n", None, &[7, 5]).expect("read");
    assert_eq!((&cells["cs_method"], &cells["sc_status"]), (&text("GET"), &Cell::Int(200)));
    let told = read(b"GET\t200", None, &[]).expect_err("refused");
    assert!(told.contains("does not say which fields"), "{told}");
}

#[test]
fn what_does_not_fit_is_told() {
    for (line, fields, told) in [
        (&b"200\tGET"[..], "5", "expected 1 values separated by tabs, found 2"),
        (b"200", "5,7,10", "expected 3 values separated by tabs, found 1"),
        (b"OK", "5", "sc-status: expected a whole number of 32 bits, found \"OK\""),
        (b"1e999", "15", "time-taken: expected a number, found \"1e999\""),
        (
            b"soon",
            "1",
            "timestamp: expected a time (RFC 3339, or seconds, milliseconds or microseconds since 1970), found \"soon\"",
        ),
        (b"x", "70", "header `fields`: expected numbers from 1 to 69 with commas between, found \"70\""),
        (b"x", "", "header `fields`: expected numbers from 1 to 69 with commas between, found \"\""),
        (b"x", "1,b", "header `fields`: expected numbers from 1 to 69 with commas between, found \"b\""),
    ] {
        assert_eq!(read(line, Some(fields), &[]).expect_err("refused"), told);
    }
}

#[test]
fn what_is_no_escape_stays_and_odd_bytes_are_shown_as_such() {
    let (cells, ..) = read(b"100%\t%zz%4\t%C3%A9%FF\t\xff", Some("18,19,20,29"), &[]).expect("read");
    assert_eq!(cells["cs_user_agent"], text("100%"));
    assert_eq!(cells["cs_referer"], text("%zz%4"));
    assert_eq!(cells["cs_cookie"], text("é\u{fffd}"));
    assert_eq!(cells["sc_content_type"], text("\u{fffd}"));
}

#[test]
fn what_a_visitor_can_choose_never_makes_a_line_unreadable() {
    let (cells, ..) = read(b"not%20a%20number\tmaybe", Some("47,49"), &[]).expect("read");
    assert_eq!(cells["cmcd_encoded_bitrate"], text("not a number"));
}

/// The published escaping, as the model of what a server writes.
fn escape(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte <= 32 || byte >= 127 || b"<>\"#%{}|\\^~[]`'".contains(&byte) {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

proptest! {
    #[test]
    fn any_values_in_any_fields_come_back_as_they_were_written(
        values in proptest::collection::btree_map(0usize..69, ".{1,12}", 1..12),
    ) {
        let fields: Vec<(&CdnField, &String)> = values
            .iter()
            .map(|(index, value)| (&CDN_FIELDS[*index], value))
            .filter(|(field, value)| field.kind == FieldKind::Text && field.number != CS_URI_STEM && *value != "-")
            .collect();
        prop_assume!(!fields.is_empty());
        let line: Vec<String> = fields.iter().map(|(_, value)| escape(value)).collect();
        let header: Vec<String> = fields.iter().map(|(field, _)| field.number.to_string()).collect();
        let (cells, ..) = read(line.join("\t").as_bytes(), Some(&header.join(",")), &[]).expect("read");
        let wanted: BTreeMap<String, Cell<'static>> =
            fields.iter().map(|(field, value)| (field.column(), text(value))).collect();
        prop_assert_eq!(cells, wanted);
    }

    #[test]
    fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..60), fields in "[0-9,]{0,20}") {
        let _ = read(&line, Some(&fields), &[1, 10]);
        let _ = read(&line, None, &[1, 10, 5]);
    }
}
