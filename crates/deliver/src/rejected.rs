//! `system.rejected`: the records that became no row, with their bytes and the reason.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lake::TableSpec;

use crate::columns::Kind;
use crate::decode::Refused;

/// The table's name.
pub const REJECTED: &str = "system.rejected";

/// Characters of a reason that are kept: an expression error may quote whole values.
const REASON_CHARS_MAX: usize = 1000;

/// What the table is. It is partitioned by the hour of the arrival.
pub(crate) fn spec() -> TableSpec {
    TableSpec { name: REJECTED.to_owned(), schema: schema(), partitioned: true }
}

fn schema() -> SchemaRef {
    let fields = [
        ("table", DataType::Utf8),
        ("stream", DataType::Utf8),
        ("shard", DataType::Int32),
        ("offset", DataType::Int64),
        ("arrival_time", Kind::Timestamp.data_type()),
        ("event_time", Kind::Timestamp.data_type()),
        ("format", DataType::Utf8),
        ("reason", DataType::Utf8),
        ("payload", DataType::Utf8),
        ("payload_bytes", DataType::Binary),
        ("sub_sequence", DataType::Int64),
    ];
    Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

/// Where rejected records come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) table: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) shard: u32,
    /// The table's format, for records that do not say theirs.
    pub(crate) format: base::Format,
}

/// Rows of rejected records. `payload` is the text, with U+FFFD for what is no UTF-8; then, and only then,
/// `payload_bytes` has the bytes as they came.
pub(crate) fn rows(origin: &Origin<'_>, refused: &[Refused<'_>]) -> RecordBatch {
    let count = refused.len();
    let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) };
    let times = || -> ArrayRef {
        let times = TimestampMillisecondArray::from_iter_values(refused.iter().map(|refused| refused.raw.arrival.0));
        Arc::new(times.with_data_type(Kind::Timestamp.data_type()))
    };
    let shard = i32::try_from(origin.shard).unwrap_or(i32::MAX);
    let offsets = refused.iter().map(|refused| i64::try_from(refused.raw.offset.0).unwrap_or(i64::MAX));
    let formats = refused.iter().map(|refused| match refused.raw.headers.format {
        Some(format) => String::from_utf8_lossy(format).into_owned(),
        None => origin.format.name().to_owned(),
    });
    let reasons = refused.iter().map(|refused| cut(&refused.reason));
    let payloads = refused.iter().map(|refused| String::from_utf8_lossy(refused.raw.payload));
    let bytes =
        refused.iter().map(|refused| std::str::from_utf8(refused.raw.payload).is_err().then_some(refused.raw.payload));
    let columns: Vec<ArrayRef> = vec![
        texts(origin.table),
        texts(origin.stream),
        Arc::new(Int32Array::from_iter_values(std::iter::repeat_n(shard, count))),
        Arc::new(Int64Array::from_iter_values(offsets)),
        times(),
        times(),
        Arc::new(StringArray::from_iter_values(formats)),
        Arc::new(StringArray::from_iter_values(reasons)),
        Arc::new(StringArray::from_iter_values(payloads)),
        Arc::new(BinaryArray::from_iter(bytes)),
        Arc::new(Int64Array::from_iter_values(refused.iter().map(|refused| i64::from(refused.raw.sub_sequence)))),
    ];
    RecordBatch::try_new(schema(), columns).expect("one value per record, of the types of the schema")
}

fn cut(reason: &str) -> &str {
    reason.char_indices().nth(REASON_CHARS_MAX).map_or(reason, |(end, _)| &reason[..end])
}
