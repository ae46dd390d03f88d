use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use base::{Format, Millis, Offset, ShardId};

use super::*;
use crate::columns::ColumnType;
use crate::decode::{Decoder, Headers, Raw};

const ARRIVAL: Millis = Millis(1_606_855_700_000);

fn table(sql: &str) -> TableSettings {
    let mut table = TableSettings::new("t", "s");
    table.columns = BTreeMap::from([("n".to_owned(), ColumnType::Integer)]);
    table.sql = Some(sql.to_owned());
    table
}

/// The table's columns as the lake stores them.
fn stored(plan: &Plan) -> SchemaRef {
    let store = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(_, _) => {
            Field::new(field.name(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
        }
        data_type => Field::new(field.name(), data_type.clone(), true),
    };
    Arc::new(Schema::new(plan.schema().fields().iter().map(store).collect::<Vec<_>>()))
}

fn apply<R>(sql: &str, payloads: &[String], look: impl FnOnce(&Decoded<'_>, Made) -> R) -> R {
    let plan = Plan::new(&table(sql)).expect("it can be planned");
    let mut decoder = Decoder::new(plan.columns().clone(), ShardId(0), Format::Json, &[], None);
    let raws = payloads.iter().zip(0..).map(|(payload, offset)| Raw {
        offset: Offset(offset),
        sub_sequence: 0,
        arrival: ARRIVAL,
        key: None,
        payload: payload.as_bytes(),
        headers: Headers::default(),
    });
    let decoded = decoder.decode(raws, payloads.len());
    assert!(decoded.refused.is_empty(), "{:?}", decoded.refused);
    let made = plan.apply(&decoded, &stored(&plan)).expect("it can be put together");
    look(&decoded, made)
}

#[test]
fn only_what_the_sql_reads_is_decoded() {
    let plan = Plan::new(&table("select n + 1 as m, upper(r.color) as color from record r where \"Size\" = 'L'"))
        .expect("plans");
    let names: Vec<&str> = plan.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["n", "color", "Size"]);
    let plan = Plan::new(&table("select 1 as one from record")).expect("plans");
    assert_eq!(plan.columns().len(), 1);
}

#[test]
fn the_records_on_which_the_sql_fails_are_found_however_they_lie() {
    let payloads: Vec<String> = (0..300)
        .map(|n| match n {
            0 | 7 | 8 | 150 | 299 => format!(r#"{{"n":{n},"price":"free"}}"#),
            n if n % 3 == 0 => format!(r#"{{"n":{n}}}"#),
            n => format!(r#"{{"n":{n},"price":"{n}.5"}}"#),
        })
        .collect();
    apply(
        "select n, cast(price as double) as price from record where price is not null",
        &payloads,
        |decoded, made| {
            let failed: Vec<usize> = made.failed.iter().map(|(row, _)| *row).collect();
            assert_eq!(failed, [0, 7, 8, 150, 299]);
            assert!(made.failed[0].1.contains("free"), "{}", made.failed[0].1);
            let rows = made.rows.expect("the others are rows");
            let prices: Vec<f64> = rows.column(1).as_primitive::<Float64Type>().values().to_vec();
            let wanted: Vec<f64> =
                (0..300).filter(|n| n % 3 != 0 && ![7, 8, 299].contains(n)).map(|n| f64::from(n) + 0.5).collect();
            assert_eq!(prices, wanted);
            assert_eq!(made.event_times.len(), prices.len());
            assert_eq!(rows.num_rows() as u64 + made.filtered + 5, 300);
            assert_eq!(decoded.raws.len(), 300);
        },
    );
}

#[test]
fn where_leaves_records_out_and_counts_them() {
    let payloads: Vec<String> = (0..10).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    apply("select n from record where n >= 7", &payloads, |_, made| {
        assert_eq!((made.filtered, made.rows.map(|rows| rows.num_rows())), (7, Some(3)));
    });
    apply("select n from record where 1 = 0", &payloads, |_, made| {
        assert_eq!((made.filtered, made.rows.map(|rows| rows.num_rows()), made.event_times.len()), (10, Some(0), 0));
    });
    apply("select n from record", &[], |_, made| assert!(made.rows.is_none()));
}

#[test]
fn a_row_is_placed_by_the_event_time_that_the_sql_gives_it() {
    let payloads: Vec<String> = ["2020-12-01 10:00:00", "2039-01-01 00:00:00", "2020-12-01 11:00:00"]
        .map(|at| format!(r#"{{"at":"{at}"}}"#))
        .into();
    apply("select cast(at as timestamp) as event_time from record", &payloads, |_, made| {
        assert_eq!(made.event_times, [1_606_816_800_000, 1_606_820_400_000]);
        let rows = made.rows.expect("rows");
        assert_eq!(
            rows.column(0).as_primitive::<TimestampMicrosecondType>().values(),
            &[1_606_816_800_000_000, 1_606_820_400_000_000]
        );
        assert_eq!(made.failed.len(), 1);
        assert!(
            made.failed[0].1.starts_with("event_time: expected at most a day after the arrival"),
            "{}",
            made.failed[0].1
        );
    });
    apply("select n from record", &["{\"timestamp\":5}".to_owned()], |_, made| assert_eq!(made.event_times, [5000]));
}

#[test]
fn a_mistake_in_the_sql_is_told_with_its_place() {
    let error = Plan::new(&table("select n,\n  nosuch(n) as m from record")).expect_err("refused");
    assert_eq!(error.place().map(|place| (place.line, place.column)), Some((2, 3)));
    let error = Plan::new(&table("select count(*) from record")).expect_err("refused");
    assert!(!error.message().is_empty());
    let mut cdn = table("select sc_statu from record");
    cdn.format = Format::Cdn;
    assert!(Plan::new(&cdn).expect_err("refused").remedy().contains("sc_status"));
}

#[test]
fn every_format_has_rows_without_sql() {
    for format in Format::ALL {
        let mut settings = TableSettings::new("t", "s");
        settings.format = format;
        let schema = Plan::new(&settings).expect("plans").schema();
        assert!(schema.index_of("event_time").is_ok() && schema.index_of("id").is_ok());
        let wanted = match format {
            Format::Json => "payload",
            Format::Cdn | Format::Combined => "cs_uri_query",
        };
        assert!(schema.index_of(wanted).is_ok(), "{format:?}: {schema}");
    }
}
