//! What each format writes, to the byte.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::ipc::reader::StreamReader;
use base::{ErrorKind, TableVersion};
use futures::StreamExt;
use futures::executor::block_on;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::{CHUNK_BYTES, Encoding, encode};
use crate::answer::{Answer, Outcome, Part};
use crate::error::QueryError;

fn outcome(rows: u64, truncated: bool) -> Outcome {
    Outcome { rows, truncated, elapsed: Duration::from_micros(1500), spilled_bytes: 0, scanned_bytes: 0 }
}

/// An answer that gives `batches` and then ends as `end` says.
fn answer(batches: Vec<RecordBatch>, end: Result<Outcome, QueryError>) -> Answer {
    let (parts, rest) = mpsc::channel(batches.len() + 1);
    let schema = batches[0].schema();
    for batch in batches {
        parts.try_send(Ok(Part::Rows(batch))).expect("there is room");
    }
    parts.try_send(end.map(Part::End)).expect("there is room");
    let versions = Arc::from([("clicks".to_owned(), TableVersion(12))]);
    Answer { schema, versions, waiting: None, rest, outcome: None }
}

fn chunks(answer: Answer, encoding: Encoding) -> (Vec<Vec<u8>>, Option<QueryError>) {
    let mut error = None;
    let chunks = block_on(encode(answer, encoding).collect::<Vec<_>>());
    let chunks = chunks.into_iter().filter_map(|chunk| match chunk {
        Ok(bytes) => Some(bytes.to_vec()),
        Err(broken) => {
            error = Some(broken);
            None
        }
    });
    (chunks.collect(), error)
}

fn text(batch: RecordBatch, encoding: Encoding) -> String {
    let rows = batch.num_rows() as u64;
    let (chunks, error) = chunks(answer(vec![batch], Ok(outcome(rows, false))), encoding);
    assert_eq!(error, None);
    String::from_utf8(chunks.concat()).expect("text")
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("equal lengths")
}

fn shop() -> RecordBatch {
    let times = TimestampMillisecondArray::from(vec![Some(1_795_342_650_000), Some(1_795_342_650_123), None]);
    batch(vec![
        ("event_time", Arc::new(times.with_timezone("UTC"))),
        ("product_name", Arc::new(StringViewArray::from(vec![Some("Mug, \"blue\""), Some(""), None]))),
        ("price", Arc::new(Float64Array::from(vec![Some(12.5), Some(f64::NAN), None]))),
        ("clicks", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(-1), None]))),
        ("is_bot", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
    ])
}

#[test]
fn json_gives_columns_rows_and_how_it_ended_in_this_order() {
    assert_eq!(
        text(shop(), Encoding::Json),
        concat!(
            r#"{"columns":[{"name":"event_time","type":"timestamp"},{"name":"product_name","type":"text"},"#,
            r#"{"name":"price","type":"double"},{"name":"clicks","type":"bigint"},{"name":"is_bot","type":"boolean"}],"#,
            r#""rows":[["2026-11-22T10:17:30Z","Mug, \"blue\"",12.5,9223372036854775807,true],"#,
            r#"["2026-11-22T10:17:30.123Z","",null,-1,false],[null,null,null,null,null]],"#,
            r#""truncated":false,"row_count":3,"elapsed_ms":1.5,"versions":{"clicks":12}}"#
        )
    );
}

#[test]
fn ndjson_gives_an_object_per_line() {
    assert_eq!(
        text(shop().slice(0, 1), Encoding::Ndjson),
        concat!(
            r#"{"event_time":"2026-11-22T10:17:30Z","product_name":"Mug, \"blue\"","price":12.5,"#,
            r#""clicks":9223372036854775807,"is_bot":true}"#,
            "\n"
        )
    );
}

#[test]
fn csv_quotes_what_it_must_and_tells_null_from_empty() {
    assert_eq!(
        text(shop(), Encoding::Csv),
        concat!(
            "event_time,product_name,price,clicks,is_bot\r\n",
            "2026-11-22T10:17:30Z,\"Mug, \"\"blue\"\"\",12.5,9223372036854775807,true\r\n",
            "2026-11-22T10:17:30.123Z,\"\",NaN,-1,false\r\n",
            ",,,,\r\n"
        )
    );
}

#[test]
fn every_type_has_one_way_to_be_written() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
    let fields =
        vec![(Arc::new(Field::new("a", DataType::Utf8, true)), Arc::new(StringArray::from(vec!["x"])) as ArrayRef)];
    let dictionary: DictionaryArray<Int32Type> = [Some("word")].into_iter().collect();
    let rows = batch(vec![
        ("seconds", Arc::new(TimestampSecondArray::from(vec![-1]))),
        ("micros", Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]))),
        ("nanos", Arc::new(TimestampNanosecondArray::from(vec![1]))),
        ("date", Arc::new(Date32Array::from(vec![19_782]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![12345]).with_precision_and_scale(10, 2).expect("fits"))),
        ("unsigned", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("real", Arc::new(Float32Array::from(vec![0.1]))),
        ("large", Arc::new(Float64Array::from(vec![1e300]))),
        ("binary", Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()]))),
        ("dictionary", Arc::new(dictionary)),
        ("list", Arc::new(list)),
        ("struct", Arc::new(StructArray::from(fields))),
    ]);
    let json: serde_json::Value = serde_json::from_str(&text(rows.clone(), Encoding::Json)).expect("JSON");
    assert_eq!(
        json["rows"][0].to_string(),
        concat!(
            r#"["1969-12-31T23:59:59Z","1970-01-01T00:00:01.500Z","1970-01-01T00:00:00.000000001Z","2024-02-29","#,
            r#""123.45",18446744073709551615,0.1,1e+300,"00ff","word",[1,null],{"a":"x"}]"#
        )
    );
    let csv = text(rows, Encoding::Csv);
    assert_eq!(
        csv.lines().nth(1).expect("a row"),
        concat!(
            "1969-12-31T23:59:59Z,1970-01-01T00:00:01.500Z,1970-01-01T00:00:00.000000001Z,2024-02-29,",
            r#"123.45,18446744073709551615,0.1,1e+300,00ff,word,"[1,null]","{""a"":""x""}""#
        )
    );
}

#[test]
fn arrow_can_be_read_back() {
    let (chunks, error) = chunks(answer(vec![shop(), shop()], Ok(outcome(6, false))), Encoding::Arrow);
    assert_eq!(error, None);
    let bytes = chunks.concat();
    let read: Vec<RecordBatch> =
        StreamReader::try_new(bytes.as_slice(), None).expect("begins").collect::<Result<_, _>>().expect("reads");
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].num_rows(), 3);
    assert_eq!(read[0].schema(), shop().schema());
}

#[test]
fn an_answer_without_rows_is_still_whole() {
    let none = shop().slice(0, 0);
    assert!(text(none.clone(), Encoding::Json).contains(r#""rows":[],"truncated":false"#));
    assert_eq!(text(none.clone(), Encoding::Ndjson), "");
    assert_eq!(text(none, Encoding::Csv), "event_time,product_name,price,clicks,is_bot\r\n");
}

#[test]
fn an_answer_cut_off_is_never_taken_for_the_whole() {
    let cut = || answer(vec![shop()], Ok(outcome(3, true)));
    let (json, error) = chunks(cut(), Encoding::Json);
    assert!(error.is_none() && String::from_utf8(json.concat()).expect("text").contains(r#""truncated":true"#));
    let (ndjson, error) = chunks(cut(), Encoding::Ndjson);
    let last = String::from_utf8(ndjson.concat()).expect("text").lines().last().map(ToOwned::to_owned);
    assert!(error.is_none() && last.as_ref().is_some_and(|line| line.starts_with(r#"{"error":{"#)), "{last:?}");
    for encoding in [Encoding::Csv, Encoding::Arrow] {
        let (_, error) = chunks(cut(), encoding);
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Full), "{encoding:?}");
    }
}

#[test]
fn an_answer_that_breaks_says_so_in_json_and_breaks_the_transfer_elsewhere() {
    let broken = || {
        let error = QueryError::new(ErrorKind::TimedOut, "too long", "query less");
        answer(vec![shop()], Err(error))
    };
    let (json, error) = chunks(broken(), Encoding::Json);
    assert_eq!(error, None);
    let json: serde_json::Value = serde_json::from_slice(&json.concat()).expect("still JSON");
    assert_eq!(json["error"]["kind"], "timed out");
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(3));
    for encoding in [Encoding::Csv, Encoding::Arrow] {
        assert!(chunks(broken(), encoding).1.is_some(), "{encoding:?}");
    }
}

#[test]
fn a_large_answer_comes_in_bounded_chunks() {
    let wide: ArrayRef = Arc::new(StringArray::from_iter_values((0..8192).map(|n| format!("{n:0100}"))));
    let rows = batch(vec![("wide", wide)]);
    for encoding in [Encoding::Json, Encoding::Ndjson, Encoding::Csv] {
        let (chunks, error) = chunks(answer(vec![rows.clone(), rows.clone()], Ok(outcome(16_384, false))), encoding);
        assert!(error.is_none() && chunks.len() > 10);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES + 200), "{encoding:?}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_back_from_json_and_from_csv(texts in proptest::collection::vec(proptest::option::of(any::<String>()), 1..20)) {
        let column: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringArray>());
        let rows = batch(vec![("a", column.clone()), ("b", column)]);
        let json: serde_json::Value = serde_json::from_str(&text(rows.clone(), Encoding::Json)).expect("JSON");
        for (row, text) in texts.iter().enumerate() {
            prop_assert_eq!(json["rows"][row][0].as_str(), text.as_deref());
        }
        let csv = text(rows, Encoding::Csv);
        prop_assert_eq!(parse_csv(&csv)[1..].to_vec(), texts.iter().map(|text| vec![text.clone(), text.clone()]).collect::<Vec<_>>());
    }

    #[test]
    fn any_instant_is_written_as_the_calendar_has_it(ms in -62_135_596_800_000i64..253_402_300_800_000) {
        let rows = batch(vec![("t", Arc::new(TimestampMillisecondArray::from(vec![ms])) as ArrayRef)]);
        let csv = text(rows, Encoding::Csv);
        let written = csv.lines().nth(1).expect("a row");
        let read = chrono::DateTime::parse_from_rfc3339(written).expect("RFC 3339");
        prop_assert_eq!(read.timestamp_millis(), ms);
    }
}

/// A reader of RFC 4180 as simple as can be; an unquoted empty field is null.
fn parse_csv(text: &str) -> Vec<Vec<Option<String>>> {
    let mut lines = vec![];
    let (mut line, mut field, mut quoted, mut was_quoted) = (vec![], String::new(), false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' | '\r' if !quoted => {
                let done = std::mem::take(&mut field);
                line.push((was_quoted || !done.is_empty()).then_some(done));
                was_quoted = false;
                if c == '\r' {
                    characters.next();
                    lines.push(std::mem::take(&mut line));
                }
            }
            c => field.push(c),
        }
    }
    lines
}

#[test]
fn an_arrow_message_carries_no_bytes_that_none_of_its_rows_stands_for() {
    let long = |n: usize| format!("a text too long to stand in the view itself, number {n}");
    let page = StringViewArray::from_iter_values((0..100_000).map(long));
    let passed = batch(vec![("text", Arc::new(page.slice(40_000, 3)) as ArrayRef)]);
    let (chunks, error) = chunks(answer(vec![passed], Ok(outcome(3, false))), Encoding::Arrow);
    assert_eq!(error, None);
    let bytes = chunks.concat();
    assert!(bytes.len() < 4096, "three texts took {} bytes", bytes.len());
    let read: Vec<RecordBatch> =
        StreamReader::try_new(bytes.as_slice(), None).expect("a stream").map(|batch| batch.expect("rows")).collect();
    assert_eq!(
        read[0].column(0).as_ref(),
        &StringViewArray::from_iter_values((40_000..40_003).map(long)) as &dyn arrow::array::Array
    );
}
