use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use super::*;
use crate::columns::ColumnType;

const ARRIVAL: Millis = Millis(1_606_855_700_000);

fn record(offset: u64, payload: &[u8]) -> Raw<'_> {
    Raw { offset: Offset(offset), sub_sequence: 0, arrival: ARRIVAL, key: None, payload, headers: Headers::default() }
}

fn decoder(format: Format, names: &[&str]) -> Decoder {
    let declared =
        BTreeMap::from([("price".to_owned(), ColumnType::Double), ("count".to_owned(), ColumnType::Integer)]);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let columns = RecordColumns::all(format, &declared, ["color"]).only(&names);
    Decoder::new(columns, ShardId(3), format, &[], None)
}

fn longs(decoded: &Decoded<'_>, name: &str) -> Vec<Option<i64>> {
    decoded.batch.column_by_name(name).expect("a column").as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn a_record_that_fails_in_the_middle_leaves_nothing_of_itself() {
    let payloads =
        [&b"{\"count\":1,\"color\":\"red\"}"[..], b"{\"count\":2,\"color\":\"blue\",\"price\":\"x\"}", b"{}"];
    let raws = payloads.iter().enumerate().map(|(offset, payload)| record(offset as u64, payload));
    let decoded = decoder(Format::Json, &["count", "color", "price", "offset"]).decode(raws, 3);
    assert_eq!(longs(&decoded, "count"), [Some(1), None]);
    assert_eq!(longs(&decoded, "offset"), [Some(0), Some(2)]);
    let colors = decoded.batch.column_by_name("color").expect("a column").as_string::<i32>();
    assert_eq!(colors.iter().collect::<Vec<_>>(), [Some("red"), None]);
    assert_eq!(decoded.refused.len(), 1);
    assert_eq!(decoded.refused[0].raw.offset, Offset(1));
    assert_eq!(decoded.refused[0].reason, "price: expected a number, found the string \"x\"");
    assert_eq!(decoded.raws.iter().map(|raw| raw.offset.0).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn every_record_has_its_own_columns() {
    let raw = Raw {
        key: Some(b"visitor-1"),
        headers: Headers { id: Some(b"req-1"), simulated: true, ..Headers::default() },
        ..record(7, b"{\"id\":\"not this\",\"timestamp\":1606855678}")
    };
    let names = ["event_time", "arrival_time", "partition_key", "shard", "offset", "payload", "simulated", "id"];
    let batch = decoder(Format::Json, &names).decode([raw].into_iter(), 1).batch;
    let text = |name: &str| batch.column_by_name(name).expect("a column").as_string::<i32>().value(0).to_owned();
    let time =
        |name: &str| batch.column_by_name(name).expect("a column").as_primitive::<TimestampMillisecondType>().value(0);
    assert_eq!(time("event_time"), 1_606_855_678_000);
    assert_eq!(time("arrival_time"), ARRIVAL.0);
    assert_eq!((text("partition_key"), text("id")), ("visitor-1".to_owned(), "req-1".to_owned()));
    assert_eq!(text("payload"), "{\"id\":\"not this\",\"timestamp\":1606855678}");
    assert_eq!(batch.column_by_name("shard").expect("a column").as_primitive::<Int32Type>().value(0), 3);
    assert!(batch.column_by_name("simulated").expect("a column").as_boolean().value(0));
}

#[test]
fn the_records_own_word_on_its_format_wins() {
    let headers =
        |format: &'static str| Headers { format: Some(format.as_bytes()), fields: Some(b"7,5"), ..Headers::default() };
    let raws = [
        Raw { headers: headers("json"), ..record(0, b"{\"cs_method\":\"PUT\",\"sc_status\":204}") },
        Raw { headers: headers("cdn"), ..record(1, b"GET\t200") },
        Raw {
            headers: headers("combined"),
            ..record(2, b"h - - [17/May/2015:10:05:03 +0000] \"POST / HTTP/1.1\" 201 0")
        },
        Raw { headers: headers("xml"), ..record(3, b"<a/>") },
    ];
    let decoded = decoder(Format::Cdn, &["cs_method", "sc_status"]).decode(raws.into_iter(), 4);
    let methods = decoded.batch.column_by_name("cs_method").expect("a column").as_string::<i32>();
    assert_eq!(methods.iter().collect::<Vec<_>>(), [Some("PUT"), Some("GET"), Some("POST")]);
    let statuses = decoded.batch.column_by_name("sc_status").expect("a column").as_primitive::<Int32Type>();
    assert_eq!(statuses.values(), &[204, 200, 201]);
    assert_eq!(decoded.refused[0].reason, "header `format`: expected json, cdn, combined, found \"xml\"");
}

#[test]
fn an_event_time_that_cannot_be_is_told_and_a_late_one_is_not() {
    let payloads = [
        &b"{\"event_time\":\"1969-12-31T23:59:59Z\"}"[..],
        b"{\"event_time\":\"2020-12-03T00:00:00Z\"}",
        b"{\"event_time\":\"2020-12-02T20:00:00Z\"}",
        b"{\"event_time\":0}",
    ];
    let raws = payloads.iter().enumerate().map(|(offset, payload)| record(offset as u64, payload));
    let decoded = decoder(Format::Json, &["event_time"]).decode(raws, 4);
    assert_eq!(decoded.event_times, [1_606_939_200_000, 0]);
    let reasons: Vec<&str> = decoded.refused.iter().map(|refused| refused.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "event_time: expected a time after 1970, found 1969-12-31T23:59:59.000Z",
            "event_time: expected at most a day after the arrival (2020-12-01T20:48:20.000Z), found 2020-12-03T00:00:00.000Z",
        ]
    );
}

#[test]
fn sql_that_reads_no_column_still_has_one_row_per_record() {
    let decoded = decoder(Format::Json, &[]).decode([record(0, b"{}"), record(1, b"{}")].into_iter(), 2);
    assert_eq!(decoded.batch.num_rows(), 2);
}

/// The real file, counted by other means: split at quotes, not scanned.
#[test]
fn ten_thousand_real_lines_become_ten_thousand_rows_with_the_same_counts() {
    let Some(lines) = real_lines() else { return };
    assert_eq!(lines.len(), 10_000);
    let names = ["c_ip", "cs_method", "cs_uri_stem", "cs_uri_query", "cs_user_agent", "sc_status", "sc_bytes"];
    let raws = lines.iter().enumerate().map(|(offset, line)| record(offset as u64, line));
    let decoded = decoder(Format::Combined, &names).decode(raws, lines.len());
    assert_eq!(decoded.refused.iter().map(|refused| &refused.reason).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(decoded.batch.num_rows(), 10_000);

    let (mut statuses, mut paths, mut agents, mut bytes, mut hosts) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), 0i64, BTreeMap::new());
    for line in &lines {
        let line = String::from_utf8_lossy(line);
        let parts: Vec<&str> = line.split('"').collect();
        *hosts.entry(line.split(' ').next().map(str::to_owned)).or_insert(0) += 1;
        let mut numbers = parts[2].split_whitespace();
        *statuses.entry(numbers.next().map(str::to_owned)).or_insert(0) += 1;
        bytes += numbers.next().and_then(|number| number.parse::<i64>().ok()).unwrap_or(0);
        *paths
            .entry(parts[1].split(' ').nth(1).and_then(|target| target.split('?').next()).map(str::to_owned))
            .or_insert(0) += 1;
        *agents.entry(Some(parts[5].to_owned()).filter(|agent| agent != "-")).or_insert(0) += 1;
    }
    let texts = |name: &str| {
        let mut counts = BTreeMap::new();
        for value in decoded.batch.column_by_name(name).expect("a column").as_string::<i32>() {
            *counts.entry(value.map(str::to_owned)).or_insert(0) += 1;
        }
        counts
    };
    assert_eq!(texts("c_ip"), hosts);
    assert_eq!(texts("cs_uri_stem"), paths);
    assert_eq!(texts("cs_user_agent"), agents);
    let mut found = BTreeMap::new();
    for value in decoded.batch.column_by_name("sc_status").expect("a column").as_primitive::<Int32Type>() {
        *found.entry(value.map(|status| status.to_string())).or_insert(0) += 1;
    }
    assert_eq!(found, statuses);
    assert_eq!(longs(&decoded, "sc_bytes").into_iter().flatten().sum::<i64>(), bytes);
}

/// The lines of the real access log beside the repository, where there is one.
fn real_lines() -> Option<Vec<Vec<u8>>> {
    use std::io::Read;
    let shared = std::env::var("RIVERRUN_SHARED").unwrap_or_else(|_| "../../../shared".to_owned());
    let file = std::fs::File::open(format!("{shared}/data/access-combined-10k.log.gz")).ok()?;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut text).ok()?;
    Some(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

proptest! {
    #[test]
    fn rows_and_refused_are_all_records_in_their_order(payloads in proptest::collection::vec(prop_oneof![
        Just(&b"{\"count\":1}"[..]), Just(&b"{\"count\":\"x\"}"[..]), Just(&b"{"[..]), Just(&b""[..]), Just(&b"{\"color\":\"red\",\"count\":null}"[..]),
    ], 0..50)) {
        let raws = payloads.iter().enumerate().map(|(offset, payload)| record(offset as u64, payload));
        let decoded = decoder(Format::Json, &["count", "offset"]).decode(raws, payloads.len());
        prop_assert_eq!(decoded.batch.num_rows(), decoded.raws.len());
        prop_assert_eq!(decoded.event_times.len(), decoded.raws.len());
        prop_assert!(decoded.raws.is_sorted_by_key(|raw| raw.offset) && decoded.refused.is_sorted_by_key(|refused| refused.raw.offset));
        let mut offsets: Vec<u64> = decoded.raws.iter().chain(decoded.refused.iter().map(|refused| &refused.raw)).map(|raw| raw.offset.0).collect();
        offsets.sort_unstable();
        prop_assert_eq!(offsets, (0..payloads.len() as u64).collect::<Vec<_>>());
        for (row, offset) in longs(&decoded, "offset").into_iter().enumerate() {
            prop_assert_eq!(offset, i64::try_from(decoded.raws[row].offset.0).ok());
        }
    }
}

#[test]
fn a_declared_type_counts_for_log_lines_too() {
    let declared = BTreeMap::from([
        ("sc_status".to_owned(), ColumnType::Text),
        ("cs_uri_stem".to_owned(), ColumnType::Integer),
        ("timestamp".to_owned(), ColumnType::Text),
    ]);
    let names = ["sc_status", "cs_uri_stem", "timestamp"].map(str::to_owned);
    let columns = RecordColumns::all(Format::Combined, &declared, []).only(&names);
    let mut decoder = Decoder::new(columns, ShardId(0), Format::Combined, &[], None);
    let line = |stem: &str| format!("h - - [17/May/2015:10:05:03 +0000] \"GET {stem} HTTP/1.1\" 200 0");
    let (good, bad) = (line("12"), line("/a"));
    let cdn = Headers { format: Some(b"cdn"), fields: Some(b"10"), ..Headers::default() };
    let raws = [
        record(0, good.as_bytes()),
        record(1, bad.as_bytes()),
        Raw { headers: cdn, ..record(2, b"34?x") },
        Raw { headers: cdn, ..record(3, b"/b?x") },
    ];
    let decoded = decoder.decode(raws.into_iter(), 4);
    assert_eq!(longs(&decoded, "cs_uri_stem"), [Some(12), Some(34)]);
    let texts = |name: &str| {
        let column = decoded.batch.column_by_name(name).expect("a column").as_string::<i32>();
        column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(texts("sc_status"), [Some("200".to_owned()), None]);
    assert_eq!(texts("timestamp"), [Some("17/May/2015:10:05:03 +0000".to_owned()), None]);
    let reasons: Vec<&str> = decoded.refused.iter().map(|refused| refused.reason.as_str()).collect();
    let wanted = "expected a whole number of 64 bits, found";
    assert_eq!(reasons, [format!("path: {wanted} \"/a\""), format!("cs-uri-stem: {wanted} \"/b\"")]);
}

#[test]
fn the_many_in_an_aggregated_record_are_records_of_their_own() {
    let mut packer = super::aggregate_tests::Packer::default();
    packer.add(b"k1", b"{\"count\":1,\"id\":\"a\"}").add(b"k2", b"{\"count\":\"x\"}").add(b"k1", b"{\"count\":3}");
    let payload = packer.pack();
    let whole = Raw { headers: Headers { id: Some(b"req"), ..Headers::default() }, ..record(5, &payload) };
    let raws = [record(4, b"{\"count\":0}"), whole, record(6, b"{\"count\":4}")];
    let names = ["count", "offset", "sub_sequence", "partition_key", "id"];
    let decoded = decoder(Format::Json, &names).decode(raws.into_iter(), 3);
    assert_eq!(longs(&decoded, "count"), [Some(0), Some(1), Some(3), Some(4)]);
    assert_eq!(longs(&decoded, "offset"), [Some(4), Some(5), Some(5), Some(6)]);
    assert_eq!(longs(&decoded, "sub_sequence"), [Some(0), Some(0), Some(2), Some(0)]);
    let keys = decoded.batch.column_by_name("partition_key").expect("a column").as_string::<i32>();
    assert_eq!(keys.iter().collect::<Vec<_>>(), [None, Some("k1"), Some("k1"), None]);
    let ids = decoded.batch.column_by_name("id").expect("a column").as_string::<i32>();
    assert_eq!(ids.iter().collect::<Vec<_>>(), [None, Some("a"), None, None]);
    assert_eq!(decoded.unpacked, 2);
    assert_eq!((decoded.refused[0].raw.offset, decoded.refused[0].raw.sub_sequence), (Offset(5), 1));
    assert_eq!(decoded.refused[0].raw.payload, b"{\"count\":\"x\"}");
}

#[test]
fn a_broken_aggregated_record_is_refused_whole_with_its_bytes() {
    use md5::Digest;
    let message = b"\x1a\xff\xff\xff\xff\x0f";
    let payload = [&b"\xF3\x89\x9A\xC2"[..], message, &md5::Md5::digest(message)[..]].concat();
    let decoded = decoder(Format::Json, &["count"]).decode([record(0, &payload)].into_iter(), 1);
    assert_eq!((decoded.raws.len(), decoded.refused.len(), decoded.unpacked), (0, 1, 0));
    assert_eq!(decoded.refused[0].raw.payload, payload);
    assert!(
        decoded.refused[0].reason.starts_with("aggregated record: expected as many bytes"),
        "{}",
        decoded.refused[0].reason
    );
}
