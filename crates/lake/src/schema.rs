//! What a table can hold, and how rows are brought into its shape.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use base::limits::NAME_CHARS_MAX;

use crate::error::LakeError;

/// The columns that a partitioned table has after its own: the hour of the event time in UTC, each an `Int32`.
pub const PARTITION_COLUMNS: [&str; 4] = ["year", "month", "day", "hour"];

/// Columns of one table: far above any real table, low enough that a mistake (a column per visitor) is told at once.
const COLUMNS_MAX: usize = 2000;

/// What a table is to be.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The name: `clicks`, or with a schema name `system.rejected`. The table's folder has the same name.
    pub name: String,
    /// The table's own columns, without the partition columns. Stored are: boolean, int (8 to 32 bits: as `Int32`),
    /// bigint (`Int64`, `UInt32`), double (all floats), decimal, text (all string types and dictionaries of them: as
    /// `Utf8`), binary, date, timestamp (any unit and zone: as microseconds in UTC). All columns may hold nulls.
    pub schema: SchemaRef,
    /// Whether rows are placed by year, month, day and hour of their event time.
    pub partitioned: bool,
}

/// The shape of a table: as stored and as seen.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The columns in the Parquet files.
    pub(crate) data: SchemaRef,
    /// The same and the partition columns.
    pub(crate) full: SchemaRef,
    pub(crate) partitioned: bool,
}

impl Shape {
    pub(crate) fn new(data: SchemaRef, partitioned: bool) -> Self {
        if !partitioned {
            return Self { full: Arc::clone(&data), data, partitioned };
        }
        let mut fields: Vec<Arc<Field>> = data.fields().iter().cloned().collect();
        fields.extend(PARTITION_COLUMNS.map(|name| Arc::new(Field::new(name, DataType::Int32, true))));
        Self { full: Arc::new(Schema::new(fields)), data, partitioned }
    }
}

/// The name of a table, checked: it is also the name of a folder.
pub(crate) fn check_name(name: &str) -> Result<(), LakeError> {
    let fail = |why| Err(LakeError::Name { name: name.to_owned(), why });
    if name.is_empty() || name.len() > NAME_CHARS_MAX {
        return fail("it must have 1 to 128 characters");
    }
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
        return fail("it must be NAME or SCHEMA.NAME");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return fail("it has other characters");
    }
    Ok(())
}

/// The columns as they are stored.
pub(crate) fn storable(spec: &TableSpec) -> Result<Shape, LakeError> {
    let table = &spec.name;
    let fail = |column: &str, what: &str, remedy: &str| {
        Err(LakeError::Column {
            table: table.clone(),
            column: column.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        })
    };
    let count = spec.schema.fields().len();
    if count == 0 || count > COLUMNS_MAX {
        return fail("*", &format!("a table has 1 to {COLUMNS_MAX} columns, not {count}"), "Select other columns");
    }
    let mut seen: HashSet<String> = HashSet::new();
    if spec.partitioned {
        seen.extend(PARTITION_COLUMNS.map(str::to_owned));
    }
    let mut fields = Vec::with_capacity(count);
    for field in spec.schema.fields() {
        let name = field.name();
        if name.is_empty() || name.len() > NAME_CHARS_MAX {
            return fail(name, "its name must have 1 to 128 characters", "Give it another name with AS");
        }
        if name.chars().any(|c| " ,;{}()\n\t=".contains(c) || c.is_control()) {
            return fail(
                name,
                "its name has characters that a Delta table cannot take",
                "Give it a plain name with AS",
            );
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            let what = "its name is taken (names differ in more than case; year, month, day, hour are the partition's)";
            return fail(name, what, "Give it another name with AS");
        }
        match stored_type(field.data_type()) {
            Some(stored) => fields.push(Field::new(name, stored, true)),
            None => {
                let what = format!("the type {} cannot be stored", field.data_type());
                return fail(name, &what, "Cast it, for example to text, bigint, double or timestamp");
            }
        }
    }
    Ok(Shape::new(Arc::new(Schema::new(fields)), spec.partitioned))
}

fn stored_type(given: &DataType) -> Option<DataType> {
    Some(match given {
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal128(*precision, *scale),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, values) => return stored_type(values),
        _ => return None,
    })
}

/// The columns a table has after `wanted` is added to `known`; `None` if nothing is new.
pub(crate) fn evolved(table: &str, known: &Schema, wanted: &Schema) -> Result<Option<SchemaRef>, LakeError> {
    let mut fields: Vec<Arc<Field>> = known.fields().iter().cloned().collect();
    for field in wanted.fields() {
        let same = known.fields().iter().find(|other| other.name().eq_ignore_ascii_case(field.name()));
        match same {
            None => fields.push(Arc::clone(field)),
            Some(other) if other.name() == field.name() && other.data_type() == field.data_type() => {}
            Some(other) => {
                return Err(LakeError::Column {
                    table: table.to_owned(),
                    column: field.name().clone(),
                    what: format!(
                        "the lake has it as {} {}, now it is to be {} {}",
                        other.name(),
                        other.data_type(),
                        field.name(),
                        field.data_type()
                    ),
                    remedy: format!(
                        "Cast it to the type it has, give the new one another name, or write to another table than {table}"
                    ),
                });
            }
        }
    }
    Ok((fields.len() > known.fields().len()).then(|| Arc::new(Schema::new(fields))))
}

/// `rows` with exactly the columns of `shape`: taken by name, cast where the type differs, null where missing.
pub(crate) fn conform(shape: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, String> {
    if Arc::ptr_eq(shape, rows.schema_ref()) {
        return Ok(rows.clone());
    }
    let given = rows.schema_ref();
    if let Some(extra) = given.fields().iter().find(|field| shape.index_of(field.name()).is_err()) {
        return Err(format!("it has no column {}", extra.name()));
    }
    let mut columns = Vec::with_capacity(shape.fields().len());
    for field in shape.fields() {
        columns.push(match given.index_of(field.name()) {
            Ok(index) => cast_to(rows.column(index), field)?,
            Err(_) => new_null_array(field.data_type(), rows.num_rows()),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(shape), columns, &options).map_err(|error| error.to_string())
}

fn cast_to(column: &ArrayRef, field: &Field) -> Result<ArrayRef, String> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    // A value that does not fit is an error, not a null: nothing is lost silently.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|error| {
        format!(
            "column {} is {}, and its values do not fit {}: {error}",
            field.name(),
            column.data_type(),
            field.data_type()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray};

    fn spec(fields: Vec<Field>) -> TableSpec {
        TableSpec { name: "t".into(), schema: Arc::new(Schema::new(fields)), partitioned: true }
    }

    #[test]
    fn types_are_stored_in_their_delta_form() {
        let shape = storable(&spec(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), false),
            Field::new("kind", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true),
        ]))
        .expect("storable");
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(shape.data.field(0), &Field::new("at", utc, true));
        assert_eq!(shape.data.field(1).data_type(), &DataType::Utf8);
        let names: Vec<&str> = shape.full.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["at", "kind", "year", "month", "day", "hour"]);
    }

    #[test]
    fn a_column_that_cannot_be_stored_is_told_with_a_remedy() {
        let told = |field| storable(&spec(vec![field])).expect_err("refused").to_string();
        assert!(told(Field::new("a b", DataType::Utf8, true)).contains("plain name"));
        assert!(told(Field::new("Hour", DataType::Utf8, true)).contains("taken"));
        assert!(told(Field::new("n", DataType::Null, true)).contains("Cast it"));
        assert!(check_name("system.rejected").is_ok());
        for bad in ["", "a/b", "..", ".a", "a.b.c", "ü"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_are_brought_into_shape_by_name() {
        let shape = storable(&spec(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("new", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
        ]))
        .expect("storable");
        let rows = RecordBatch::try_from_iter([
            ("name", Arc::new(StringArray::from(vec!["x"])) as ArrayRef),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![5])) as ArrayRef),
        ])
        .expect("rows");
        let shaped = conform(&shape.data, &rows).expect("fits");
        let micros = TimestampMicrosecondArray::from(vec![5000]).with_timezone("UTC");
        assert_eq!(shaped.column(0).as_ref(), &micros);
        assert_eq!(shaped.column(1).null_count(), 1);
        let extra =
            RecordBatch::try_from_iter([("other", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).expect("rows");
        assert_eq!(conform(&shape.data, &extra).expect_err("refused"), "it has no column other");
    }

    #[test]
    fn a_table_grows_by_new_columns_and_refuses_another_type() {
        let known = Schema::new(vec![Field::new("a", DataType::Utf8, true)]);
        let more = Schema::new(vec![Field::new("b", DataType::Int64, true), Field::new("a", DataType::Utf8, true)]);
        let grown = evolved("t", &known, &more).expect("fits").expect("grew");
        assert_eq!(grown.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(evolved("t", &grown, &known).expect("fits").is_none());
        let other = Schema::new(vec![Field::new("A", DataType::Int64, true)]);
        assert!(evolved("t", &known, &other).expect_err("conflict").to_string().contains("Cast it"));
    }
}
