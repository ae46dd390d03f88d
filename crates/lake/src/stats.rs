//! What is known of a file's columns: bounds and nulls, from the Parquet footer to the Delta log and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::parquet::data_type::ByteArray;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::statistics::Statistics;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::{DateTime, NaiveDate, SecondsFormat};
use datafusion::common::ScalarValue;
use serde_json::{Map, Value, json};

/// As many leading columns have bounds, as is the custom in Delta tables: bounds of hundreds of columns would make
/// the log larger than the data of small files.
const COLUMNS_WITH_BOUNDS_MAX: usize = 32;

/// Text bounds are cut here by the Parquet writer, bytes.
pub(crate) const TEXT_BOUND_BYTES: usize = 64;

/// The least or the greatest value of a column in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// Of a boolean column.
    Boolean(bool),
    /// Of an `Int32` or `Int64` column.
    Integer(i64),
    /// Of a date column: days since 1970.
    Date(i32),
    /// Of a timestamp column: microseconds since 1970, widened to whole milliseconds (…000 the least, …999 the
    /// greatest), because that is all that the Delta log keeps.
    Timestamp(i64),
    /// Of a `Float64` column; NaN is left out, as Parquet does.
    Float(f64),
    /// Of a text column: perhaps cut short (the least) or rounded up (the greatest).
    Text(Arc<str>),
}

impl Bound {
    /// The bound as a value of the column's type; `None` if it does not fit.
    #[must_use]
    pub fn scalar(&self, column: &DataType) -> Option<ScalarValue> {
        Some(match (self, column) {
            (Self::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
            (Self::Integer(value), DataType::Int32) => ScalarValue::Int32(Some(i32::try_from(*value).ok()?)),
            (Self::Integer(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
            (Self::Date(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
            (Self::Timestamp(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
                ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
            }
            (Self::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
            (Self::Text(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.as_ref().to_owned())),
            (Self::Text(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.as_ref().to_owned())),
            _ => return None,
        })
    }

    fn less(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a < b,
            (Self::Integer(a), Self::Integer(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a < b,
            (Self::Date(a), Self::Date(b)) => a < b,
            (Self::Float(a), Self::Float(b)) => a < b,
            (Self::Text(a), Self::Text(b)) => a < b,
            _ => false,
        }
    }
}

/// What is known of a column in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnBounds {
    /// How many values are null.
    pub nulls: Option<u64>,
    /// No value is less; `None` if unknown or if all are null.
    pub min: Option<Bound>,
    /// No value is greater.
    pub max: Option<Bound>,
}

/// What is known of all columns of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileStats {
    /// By column name, sorted.
    columns: Vec<(Arc<str>, ColumnBounds)>,
}

impl FileStats {
    pub(crate) fn column(&self, name: &str) -> Option<&ColumnBounds> {
        let index = self.columns.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        Some(&self.columns[index].1)
    }

    fn new(columns: BTreeMap<Arc<str>, ColumnBounds>) -> Self {
        Self { columns: columns.into_iter().collect() }
    }

    /// From the footer of a file just written with the columns of `schema`, none of which is nested.
    pub(crate) fn from_footer(footer: &ParquetMetaData, schema: &Schema) -> Self {
        let mut columns = BTreeMap::new();
        for (index, field) in schema.fields().iter().take(COLUMNS_WITH_BOUNDS_MAX).enumerate() {
            let chunks = footer.row_groups().iter().map(|group| {
                let chunk = group.column(index).statistics();
                let bounds = chunk.map_or_else(ColumnBounds::default, |chunk| of_chunk(chunk, field.data_type()));
                let all_null = bounds.nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(group.num_rows()));
                (bounds, all_null)
            });
            let bounds = chunks.reduce(widest).map(|(bounds, _)| bounds).unwrap_or_default();
            if bounds != ColumnBounds::default() {
                columns.insert(Arc::from(field.name().as_str()), bounds);
            }
        }
        Self::new(columns)
    }

    /// Rows and bounds from the `stats` string of an `add` action.
    pub(crate) fn from_json(json: &str, schema: &Schema) -> Result<(Option<u64>, Self), String> {
        let stats: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let of = |part: &str, column: &str| stats.get(part).and_then(|values| values.get(column));
        let mut columns = BTreeMap::new();
        for field in schema.fields() {
            let (name, column) = (field.name().as_str(), field.data_type());
            let bounds = ColumnBounds {
                nulls: of("nullCount", name).and_then(Value::as_u64),
                min: of("minValues", name).and_then(|value| from_value(value, column, End::Least)),
                max: of("maxValues", name).and_then(|value| from_value(value, column, End::Greatest)),
            };
            if bounds != ColumnBounds::default() {
                columns.insert(Arc::from(name), bounds);
            }
        }
        Ok((stats.get("numRecords").and_then(Value::as_u64), Self::new(columns)))
    }

    /// The `stats` string of an `add` action.
    pub(crate) fn to_json(&self, rows: u64) -> String {
        let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (name, bounds) in &self.columns {
            if let Some(value) = bounds.min.as_ref().and_then(to_value) {
                min.insert(name.to_string(), value);
            }
            if let Some(value) = bounds.max.as_ref().and_then(to_value) {
                max.insert(name.to_string(), value);
            }
            if let Some(count) = bounds.nulls {
                nulls.insert(name.to_string(), json!(count));
            }
        }
        json!({"numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls}).to_string()
    }
}

fn to_value(bound: &Bound) -> Option<Value> {
    match bound {
        Bound::Boolean(value) => Some(json!(value)),
        Bound::Integer(value) => Some(json!(value)),
        Bound::Date(days) => {
            let date = DateTime::from_timestamp(i64::from(*days) * 86_400, 0)?.date_naive();
            Some(json!(date.format("%Y-%m-%d").to_string()))
        }
        Bound::Timestamp(us) => {
            let time = DateTime::from_timestamp_micros(*us)?;
            Some(json!(time.to_rfc3339_opts(SecondsFormat::Millis, true)))
        }
        Bound::Float(value) => value.is_finite().then(|| json!(value)),
        Bound::Text(value) => Some(json!(value)),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Least,
    Greatest,
}

/// A timestamp as the Delta log keeps it: whole milliseconds, read as the whole millisecond.
fn widened(us: i64, end: End) -> Bound {
    let floor = us.div_euclid(1000).saturating_mul(1000);
    Bound::Timestamp(if end == End::Greatest { floor.saturating_add(999) } else { floor })
}

fn from_value(value: &Value, column: &DataType, end: End) -> Option<Bound> {
    match column {
        DataType::Boolean => value.as_bool().map(Bound::Boolean),
        DataType::Int32 | DataType::Int64 => value.as_i64().map(Bound::Integer),
        DataType::Float64 => value.as_f64().map(Bound::Float),
        DataType::Utf8 => value.as_str().map(|text| Bound::Text(text.into())),
        DataType::Date32 => {
            let date = NaiveDate::parse_from_str(value.as_str()?, "%Y-%m-%d").ok()?;
            let days = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp().div_euclid(86_400);
            Some(Bound::Date(i32::try_from(days).ok()?))
        }
        DataType::Timestamp(_, _) => {
            let us = DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_micros();
            Some(widened(us, end))
        }
        _ => None,
    }
}

fn of_chunk(chunk: &Statistics, column: &DataType) -> ColumnBounds {
    let text = |value: Option<&ByteArray>| {
        let value = std::str::from_utf8(value?.data()).ok()?;
        Some(Bound::Text(value.into()))
    };
    let (min, max) = match (chunk, column) {
        (Statistics::Boolean(of), _) => {
            (of.min_opt().map(|v| Bound::Boolean(*v)), of.max_opt().map(|v| Bound::Boolean(*v)))
        }
        (Statistics::Int32(of), DataType::Int32) => {
            (of.min_opt().map(|v| Bound::Integer((*v).into())), of.max_opt().map(|v| Bound::Integer((*v).into())))
        }
        (Statistics::Int32(of), DataType::Date32) => {
            (of.min_opt().map(|v| Bound::Date(*v)), of.max_opt().map(|v| Bound::Date(*v)))
        }
        (Statistics::Int64(of), DataType::Int64) => {
            (of.min_opt().map(|v| Bound::Integer(*v)), of.max_opt().map(|v| Bound::Integer(*v)))
        }
        (Statistics::Int64(of), DataType::Timestamp(_, _)) => {
            (of.min_opt().map(|v| widened(*v, End::Least)), of.max_opt().map(|v| widened(*v, End::Greatest)))
        }
        (Statistics::Double(of), _) => (of.min_opt().map(|v| Bound::Float(*v)), of.max_opt().map(|v| Bound::Float(*v))),
        (Statistics::ByteArray(of), DataType::Utf8) => (text(of.min_opt()), text(of.max_opt())),
        _ => (None, None),
    };
    ColumnBounds { nulls: chunk.null_count_opt(), min, max }
}

/// The bounds of two chunks of one column together, and whether all their values are null.
fn widest((a, a_null): (ColumnBounds, bool), (b, b_null): (ColumnBounds, bool)) -> (ColumnBounds, bool) {
    let nulls = a.nulls.zip(b.nulls).map(|(a, b)| a + b);
    let (min, max) = match (a_null, b_null) {
        (true, _) => (b.min, b.max),
        (_, true) => (a.min, a.max),
        // A chunk with values but without bounds says nothing, and so the file has none.
        _ => {
            let min = a.min.zip(b.min).map(|(a, b)| if b.less(&a) { b } else { a });
            (min, a.max.zip(b.max).map(|(a, b)| if a.less(&b) { b } else { a }))
        }
    };
    (ColumnBounds { nulls, min, max }, a_null && b_null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::writer;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    fn footer(values: Vec<Option<i64>>) -> (ParquetMetaData, Arc<Schema>) {
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as ArrayRef)]).expect("rows");
        let mut writer = writer(Vec::new(), rows.schema_ref()).expect("a writer");
        writer.write(&rows).expect("written");
        (writer.close().expect("closed"), rows.schema())
    }

    #[test]
    fn a_row_group_of_nulls_does_not_hide_the_bounds_of_the_others() {
        let values = std::iter::repeat_n(None, 200_000).chain([Some(7), Some(-3)]).collect();
        let (footer, schema) = footer(values);
        assert!(footer.num_row_groups() > 1);
        let stats = FileStats::from_footer(&footer, &schema);
        let bounds = stats.column("n").expect("known");
        assert_eq!((bounds.nulls, &bounds.min), (Some(200_000), &Some(Bound::Integer(-3))));
        assert_eq!(bounds.max, Some(Bound::Integer(7)));
    }

    #[test]
    fn bounds_survive_the_way_through_the_log() {
        let (footer, schema) = footer(vec![Some(i64::MIN), None, Some(i64::MAX)]);
        let stats = FileStats::from_footer(&footer, &schema);
        let (rows, read) = FileStats::from_json(&stats.to_json(3), &schema).expect("valid");
        assert_eq!((rows, read), (Some(3), stats));
        assert!(FileStats::from_json("{\"numRecords\":", &schema).is_err());
    }
}
