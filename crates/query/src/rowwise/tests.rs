//! Row-wise SQL: what is taken, what is refused and where, and that it agrees with the engine.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use base::ErrorKind;
use proptest::prelude::*;

use super::{Projection, columns_named};

fn record() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("cs_uri_stem", DataType::Utf8, true),
        Field::new("cs_uri_query", DataType::Utf8, true),
        Field::new("sc_status", DataType::Int32, true),
        Field::new("cs_user_agent", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[(&str, &str, i32)]) -> RecordBatch {
    let times = TimestampMillisecondArray::from_iter_values((0..rows.len() as i64).map(|n| n * 1000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|_| Some("curl/8")).collect::<StringArray>()),
    ];
    RecordBatch::try_new(record(), columns).expect("columns fit")
}

const SHOP: &str = "select event_time, query_param(cs_uri_query, 'action') as action,
    cast(query_param(cs_uri_query, 'price') as double) as price, is_bot(cs_user_agent) as is_bot
    from record where cs_uri_stem = '/action'";

#[test]
fn the_shops_sql_makes_typed_rows_and_says_which_records_they_come_from() {
    let plan = Projection::plan(SHOP, record()).expect("plans");
    let types: Vec<(&str, &DataType)> =
        plan.schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    assert_eq!(
        types,
        [
            ("event_time", &time),
            ("action", &DataType::Utf8),
            ("price", &DataType::Float64),
            ("is_bot", &DataType::Boolean)
        ]
    );
    let applied = plan
        .apply(&batch(&[
            ("/", "", 200),
            ("/action", "action=buy&price=12.5", 200),
            ("/x.css", "", 200),
            ("/action", "action=view", 200),
        ]))
        .expect("applies");
    assert_eq!(applied.kept, [1, 3]);
    let actions: Vec<Option<&str>> = applied.rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(actions, [Some("buy"), Some("view")]);
    assert!(applied.rows.column(2).is_null(1));
}

#[test]
fn only_the_columns_that_are_named_are_read() {
    let plan = Projection::plan(SHOP, record()).expect("plans");
    let mut used = plan.columns_used().to_vec();
    used.sort();
    assert_eq!(used, ["cs_uri_query", "cs_uri_stem", "cs_user_agent", "event_time"]);
    assert_eq!(
        columns_named("select A, r.b, lower(\"C\") as d from record r where e > 1").expect("reads"),
        Some(["a", "b", "C", "e"].map(ToOwned::to_owned).to_vec())
    );
    assert_eq!(columns_named("select *, a from record").expect("reads"), None);
}

#[test]
fn all_columns_can_be_passed_on_as_they_are() {
    let plan = Projection::plan("select * from record", record()).expect("plans");
    assert_eq!(plan.schema(), record());
    let input = batch(&[("/", "", 200), ("/a", "b", 404)]);
    let applied = plan.apply(&input).expect("applies");
    assert_eq!((applied.rows, applied.kept), (input, vec![0, 1]));
}

#[test]
fn a_condition_that_never_holds_gives_no_rows_of_the_right_shape() {
    let plan = Projection::plan("select sc_status as status from record where 1 = 2", record()).expect("plans");
    let applied = plan.apply(&batch(&[("/", "", 200)])).expect("applies");
    assert_eq!((applied.rows.num_rows(), applied.kept.len()), (0, 0));
    assert_eq!(applied.rows.schema().field(0).name(), "status");
}

#[test]
fn a_null_condition_keeps_no_row() {
    let plan = Projection::plan("select sc_status from record where nullif(cs_uri_stem, '/') = '/a'", record());
    let applied = plan.expect("plans").apply(&batch(&[("/", "", 1), ("/a", "", 2)])).expect("applies");
    assert_eq!(applied.kept, [1]);
}

#[test]
fn a_bad_value_fails_its_batch_and_can_be_found_by_halves() {
    let plan = Projection::plan(SHOP, record()).expect("plans");
    let rows: Vec<(&str, &str, i32)> =
        (0..64).map(|n| if n == 37 { ("/action", "price=cheap", 200) } else { ("/action", "price=1", 200) }).collect();
    let input = batch(&rows);
    let error = plan.apply(&input).expect_err("a bad price");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("cheap"), "{error}");
    let bad: Vec<usize> = (0..64).filter(|row| plan.apply(&input.slice(*row, 1)).is_err()).collect();
    assert_eq!(bad, [37]);
}

#[test]
fn what_is_not_row_wise_is_refused_at_its_place() {
    for (sql, line, column) in [
        ("select count(*) from record", 1, 8),
        ("select cs_uri_stem, row_number() over () from record", 1, 21),
        ("select distinct sc_status from record", 1, 8),
        ("select sc_status from record group by sc_status", 1, 30),
        ("select sc_status from record order by 1", 1, 30),
        ("select sc_status from record limit 1", 1, 30),
        ("select sc_status from record union all select 1", 1, 30),
        ("with a as (select 1) select * from record", 1, 1),
        ("select a.sc_status from record a join record b on a.sc_status = b.sc_status", 1, 34),
        ("select sc_status from clicks", 1, 23),
        ("select sc_status from record, record", 1, 18),
        ("select sc_status\nfrom record\nwhere sc_status in (select 1)", 3, 20),
        ("select (select 1) from record", 1, 8),
        ("select now() as t, sc_status from record", 1, 8),
        ("select random() from record", 1, 8),
        ("insert into record values (1)", 1, 1),
        ("values (1)", 1, 1),
        ("select cs_uri_stm from record", 1, 8),
        ("select query_parm(cs_uri_query, 'a') from record", 1, 8),
        ("select sc_status from record where", 1, 35),
    ] {
        let error = Projection::plan(sql, record()).expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        let place = error.place().unwrap_or_else(|| panic!("{sql}: no place in {error:?}"));
        assert_eq!((place.line, place.column), (line, column), "{sql}: {error:?}");
        assert!(!error.remedy().is_empty(), "{sql}");
    }
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let error = Projection::plan("select cs_uri_stm from record", record()).expect_err("misspelt");
    assert_eq!(error.remedy(), "Did you mean cs_uri_stem?");
    let error = Projection::plan("select query_parm(cs_uri_query, 'a') from record", record()).expect_err("misspelt");
    assert_eq!(error.remedy(), "Did you mean query_param?");
}

proptest! {
    #[test]
    fn rows_made_together_are_the_rows_made_one_by_one(statuses in proptest::collection::vec(0i32..600, 0..40)) {
        let sql = "select sc_status * 2 as double, case when sc_status > 300 then 'bad' else 'good' end as word
            from record where sc_status % 3 <> 0";
        let plan = Projection::plan(sql, record()).expect("plans");
        let rows: Vec<(&str, &str, i32)> = statuses.iter().map(|status| ("/", "", *status)).collect();
        let input = batch(&rows);
        let together = plan.apply(&input).expect("applies");
        let wanted: Vec<u32> =
            statuses.iter().enumerate().filter(|(_, status)| **status % 3 != 0).map(|(row, _)| row as u32).collect();
        prop_assert_eq!(&together.kept, &wanted);
        let doubles = together.rows.column(0).as_primitive::<Int64Type>();
        for (at, row) in wanted.iter().enumerate() {
            prop_assert_eq!(doubles.value(at), i64::from(statuses[*row as usize]) * 2);
            let alone = plan.apply(&input.slice(*row as usize, 1)).expect("applies");
            prop_assert_eq!(alone.rows, together.rows.slice(at, 1));
        }
    }
}
