use std::collections::BTreeMap;

use base::Format;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::columns::ColumnType;

const DECLARED: [(&str, ColumnType); 6] = [
    ("name", ColumnType::Text),
    ("count", ColumnType::Integer),
    ("price", ColumnType::Double),
    ("sold", ColumnType::Boolean),
    ("at", ColumnType::Timestamp),
    ("extra", ColumnType::Json),
];

fn columns() -> RecordColumns {
    let declared = BTreeMap::from(DECLARED.map(|(name, kind)| (name.to_owned(), kind)));
    let names: Vec<String> = DECLARED.iter().map(|(name, _)| (*name).to_owned()).chain(["id".to_owned()]).collect();
    RecordColumns::all(Format::Json, &declared, []).only(&names)
}

/// The cells by column name, without the nulls; the event time; the id.
type Row = (BTreeMap<String, Cell<'static>>, Option<i64>, Option<String>);

fn read(payload: &str, event_time: Option<&str>) -> Result<Row, String> {
    let columns = columns();
    let mut reader = JsonReader::new(&columns, event_time);
    let mut cells = vec![Cell::Null; columns.len()];
    let found = reader.read(payload.as_bytes(), &mut Vec::new(), &mut cells)?;
    let named = columns.iter().zip(cells).filter(|(_, cell)| *cell != Cell::Null);
    let own = |cell: Cell<'_>| match cell {
        Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        Cell::Int(n) => Cell::Int(n),
        Cell::Long(n) => Cell::Long(n),
        Cell::Double(n) => Cell::Double(n),
        Cell::Boolean(b) => Cell::Boolean(b),
        Cell::Timestamp(t) => Cell::Timestamp(t),
        Cell::Null => Cell::Null,
    };
    let named = named.map(|(column, cell)| (column.name.clone(), own(cell))).collect();
    Ok((named, found.event_time, found.id.map(Cow::into_owned)))
}

fn cell(payload: &str, name: &str) -> Cell<'static> {
    read(payload, None).expect("it can be read").0.remove(name).unwrap_or_default()
}

fn reason(payload: &str) -> String {
    read(payload, None).expect_err("it cannot be read")
}

fn text(text: &str) -> Cell<'static> {
    Cell::Text(Cow::Owned(text.to_owned()))
}

#[test]
fn values_are_read_as_their_declared_types() {
    let payload = r#" { "name" : "mug", "count":3, "price": 1.5e1, "sold":true, "at":"2020-12-01T20:47:58.123Z",
        "extra": {"a": [1, "]}"]}, "ignored": {"x": ["\"", {}]} } "#;
    assert_eq!(cell(payload, "name"), text("mug"));
    assert_eq!(cell(payload, "count"), Cell::Long(3));
    assert_eq!(cell(payload, "price"), Cell::Double(15.0));
    assert_eq!(cell(payload, "sold"), Cell::Boolean(true));
    assert_eq!(cell(payload, "at"), Cell::Timestamp(1_606_855_678_123));
    assert_eq!(cell(payload, "extra"), text(r#"{"a": [1, "]}"]}"#));
}

#[test]
fn a_text_column_takes_any_value_as_its_json_text() {
    assert_eq!(cell(r#"{"name":12.50}"#, "name"), text("12.50"));
    assert_eq!(cell(r#"{"name":[1, 2]}"#, "name"), text("[1, 2]"));
    assert_eq!(cell(r#"{"name":false}"#, "name"), text("false"));
    assert_eq!(cell(r#"{"name":null}"#, "name"), Cell::Null);
    assert_eq!(cell(r#"{"name":"null"}"#, "name"), text("null"));
    assert_eq!(cell(r#"{"extra":"a"}"#, "extra"), text(r#""a""#));
    assert_eq!(cell(r#"{"extra":null}"#, "extra"), Cell::Null);
}

#[test]
fn escapes_are_taken_off_and_half_an_emoji_is_no_reason_to_refuse_a_click() {
    assert_eq!(cell(r#"{"name":"a\"b\\c\/d\n\té\ud83d\ude00"}"#, "name"), text("a\"b\\c/d\n\té😀"));
    assert_eq!(cell(r#"{"name":"cut \ud83d"}"#, "name"), text("cut \u{fffd}"));
    assert_eq!(cell(r#"{"name":"\ude00 \ud83dx \ud83d\u0041"}"#, "name"), text("\u{fffd} \u{fffd}x \u{fffd}A"));
    assert_eq!(cell(r#"{"na\u006de":"by an escaped name"}"#, "name"), text("by an escaped name"));
}

#[test]
fn the_last_of_a_repeated_name_wins_even_if_it_is_null() {
    assert_eq!(cell(r#"{"count":1,"count":2}"#, "count"), Cell::Long(2));
    assert_eq!(cell(r#"{"count":1,"count":null}"#, "count"), Cell::Null);
    assert_eq!(cell(r#"{"count":"no number","count":2}"#, "count"), Cell::Long(2));
}

#[test]
fn whole_numbers_may_be_written_with_a_fraction_of_zero() {
    assert_eq!(cell(r#"{"count":3.0}"#, "count"), Cell::Long(3));
    assert_eq!(cell(r#"{"count":-1e3}"#, "count"), Cell::Long(-1000));
    assert_eq!(cell(r#"{"count":9223372036854775807}"#, "count"), Cell::Long(i64::MAX));
}

#[test]
fn a_value_of_another_type_is_told_exactly() {
    for (payload, told) in [
        (r#"{"price":"abc"}"#, r#"price: expected a number, found the string "abc""#),
        (r#"{"price":1e999}"#, "price: expected a number, found the number 1e999"),
        (r#"{"count":1.5}"#, "count: expected a whole number of 64 bits, found the number 1.5"),
        (
            r#"{"count":9223372036854775808}"#,
            "count: expected a whole number of 64 bits, found the number 9223372036854775808",
        ),
        (r#"{"sold":"yes"}"#, r#"sold: expected true or false, found the string "yes""#),
        (r#"{"sold":1}"#, "sold: expected true or false, found the number 1"),
        (r#"{"price":{"eur":1}}"#, r#"price: expected a number, found the object {"eur":1}"#),
        (r#"{"price":[true]}"#, "price: expected a number, found the list [true]"),
        (r#"{"price":true}"#, "price: expected a number, found true"),
        (
            r#"{"at":"soon"}"#,
            r#"at: expected a time (RFC 3339, or seconds, milliseconds or microseconds since 1970), found the string "soon""#,
        ),
    ] {
        assert_eq!(reason(payload), told);
    }
    let long = format!(r#"{{"price":"{}"}}"#, "ü".repeat(100));
    assert!(reason(&long).ends_with(&format!("found the string \"{}…", "ü".repeat(39))));
}

#[test]
fn what_is_no_json_object_is_told() {
    for (payload, told) in [
        ("", "expected a JSON object, found nothing"),
        ("  \n", "expected a JSON object, found nothing"),
        ("[1]", "expected a JSON object, found the list [1]"),
        ("12", "expected a JSON object, found the number 12"),
        ("null", "expected a JSON object, found null"),
        ("GET / HTTP/1.1", "expected a JSON object, found text that begins with \"GET / HTTP/1.1\""),
        (r#"{"name":"mug""#, "not valid JSON: EOF while parsing an object at line 1 column 13"),
        (r#"{"name":"mug",}"#, "not valid JSON: trailing comma at line 1 column 15"),
        (r#"{"name":"a"} {"name":"b"}"#, "not valid JSON: trailing characters at line 1 column 14"),
        (r#"{"name":nul}"#, "not valid JSON: expected ident at line 1 column 12"),
        (r#"{"name":01}"#, "not valid JSON: invalid number at line 1 column 10"),
    ] {
        assert_eq!(reason(payload), told);
    }
    let columns = columns();
    let mut cells = vec![Cell::Null; columns.len()];
    let read = JsonReader::new(&columns, None).read(b"{\"name\":\"\xff\"}", &mut Vec::new(), &mut cells);
    assert_eq!(read.expect_err("refused"), "not valid UTF-8 at byte 9");
}

#[test]
fn the_event_time_is_the_declared_member_or_a_usual_one_that_can_be_read() {
    let moment = Some(1_606_855_678_000);
    let found = |payload, declared| read(payload, declared).map(|read| read.1);
    assert_eq!(found(r#"{"event_time":"2020-12-01T20:47:58Z","timestamp":1}"#, None), Ok(moment));
    assert_eq!(found(r#"{"timestamp":1606855678}"#, None), Ok(moment));
    assert_eq!(found(r#"{"event_time":"soon","timestamp":1606855678000}"#, None), Ok(moment));
    assert_eq!(found(r#"{"event_time":"soon"}"#, None), Ok(None));
    assert_eq!(found(r#"{"at":1606855678000000}"#, Some("at")), Ok(moment));
    assert_eq!(found(r#"{"t":"1606855678"}"#, Some("t")), Ok(moment));
    assert_eq!(found(r#"{"event_time":5}"#, Some("t")), Ok(None));
    assert_eq!(found(r#"{"t":null}"#, Some("t")), Ok(None));
    assert!(found(r#"{"t":"soon"}"#, Some("t")).expect_err("refused").starts_with("t: expected a time"));
}

#[test]
fn the_id_is_taken_from_the_object_in_whatever_form_it_has() {
    assert_eq!(read(r#"{"id":"a-1"}"#, None).expect("read").2.as_deref(), Some("a-1"));
    assert_eq!(read(r#"{"id":7}"#, None).expect("read").2.as_deref(), Some("7"));
    assert_eq!(read(r#"{}"#, None).expect("read").2, None);
}

#[test]
fn objects_whose_members_change_places_are_read_alike() {
    let columns = columns();
    let mut reader = JsonReader::new(&columns, None);
    let count = columns.payload_index("count").expect("declared");
    let name = columns.payload_index("name").expect("declared");
    for payload in [
        r#"{"name":"x","count":1}"#,
        r#"{"name":"x","count":1}"#,
        r#"{"count":1,"name":"x"}"#,
        r#"{"other":0,"name":"x","more":[],"count":1}"#,
        r#"{"name":"x","more":[],"other":{},"count":1}"#,
    ] {
        let mut cells = vec![Cell::Null; columns.len()];
        reader.read(payload.as_bytes(), &mut Vec::new(), &mut cells).expect("read");
        assert_eq!((&cells[name], &cells[count]), (&text("x"), &Cell::Long(1)), "{payload}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("2020-12-01T20:47:58Z")),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What a column of that type must hold for a value, as the model: built from the parsed tree, not from the text.
fn model(kind: ColumnType, value: &Value) -> Result<Cell<'static>, ()> {
    Ok(match (kind, value) {
        (_, Value::Null) => Cell::Null,
        (ColumnType::Text, Value::String(string)) => text(string),
        (ColumnType::Text | ColumnType::Json, value) => text(&value.to_string()),
        (ColumnType::Integer, value) => match (value.as_i64(), value.as_f64()) {
            (Some(number), _) => Cell::Long(number),
            (None, Some(number)) if number.fract() == 0.0 && number.abs() <= 2f64.powi(53) => Cell::Long(number as i64),
            _ => return Err(()),
        },
        (ColumnType::Double, Value::Number(number)) => Cell::Double(number.as_f64().ok_or(())?),
        (ColumnType::Boolean, Value::Bool(value)) => Cell::Boolean(*value),
        (ColumnType::Timestamp, Value::Number(number)) => {
            Cell::Timestamp(moment::from_number(number.as_f64().ok_or(())?).ok_or(())?)
        }
        (ColumnType::Timestamp, Value::String(string)) => Cell::Timestamp(moment::from_text(string).ok_or(())?),
        _ => return Err(()),
    })
}

proptest! {
    #[test]
    fn reading_the_text_agrees_with_the_parsed_tree(
        values in proptest::collection::vec(any_json(), DECLARED.len()),
        others in proptest::collection::btree_map("[a-z]{1,2}", any_json(), 0..5),
        pretty in any::<bool>(),
    ) {
        let mut object: serde_json::Map<String, Value> = others.into_iter().collect();
        for ((name, _), value) in DECLARED.iter().zip(&values) {
            object.insert((*name).to_owned(), value.clone());
        }
        let value = Value::Object(object);
        let payload = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("it is JSON");
        let wanted: Result<BTreeMap<String, Cell<'static>>, ()> = DECLARED
            .iter()
            .map(|(name, kind)| {
                // Nested values keep their spaces, so the model speaks of the compact form only.
                let kind = if pretty && matches!(kind, ColumnType::Text | ColumnType::Json) && (value[*name].is_object() || value[*name].is_array()) { return Ok(((*name).to_owned(), Cell::Null)) } else { *kind };
                Ok(((*name).to_owned(), model(kind, &value[*name])?))
            })
            .collect();
        match (read(&payload, None), wanted) {
            (Err(_), Err(())) => {}
            (Ok((read, ..)), Ok(wanted)) => {
                for (name, wanted) in wanted {
                    if wanted != Cell::Null {
                        prop_assert_eq!(read.get(&name), Some(&wanted), "{}", name);
                    }
                }
            }
            (read, wanted) => prop_assert!(false, "{payload}: {read:?} against {wanted:?}"),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..60), like_json in r#"[{}\[\]",:\\u0-9a-ftrnl \.eE+-]{0,60}"#) {
        let columns = columns();
        for payload in [&payload[..], like_json.as_bytes()] {
            let mut cells = vec![Cell::Null; columns.len()];
            let ours = JsonReader::new(&columns, None).read(payload, &mut Vec::new(), &mut cells);
            if serde_json::from_slice::<serde_json::Map<String, Value>>(payload).is_err()
                && ours.is_ok() {
                // The only tolerance: half of a surrogate pair.
                prop_assert!(String::from_utf8_lossy(payload).contains("\\u"));
            }
        }
    }
}
