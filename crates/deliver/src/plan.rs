//! A table's SQL, planned: which columns it reads, what its rows look like, and how a batch becomes rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use query::QueryError;
use query::rowwise::{self, Projection};

use crate::columns::RecordColumns;
use crate::decode::{Decoded, check_event_time};
use crate::settings::TableSettings;

/// The column whose value places a row in the lake, if the SQL makes one of that name.
const EVENT_TIME: &str = "event_time";

/// A table's SQL, ready to be applied.
#[derive(Debug)]
pub(crate) struct Plan {
    projection: Projection,
    columns: RecordColumns,
}

impl Plan {
    /// Plans the SQL of `table` over all columns that a record may have. Only those that it reads are ever decoded.
    pub(crate) fn new(table: &TableSettings) -> Result<Self, QueryError> {
        let sql = table.sql();
        // `select *` names nothing: it stands for the columns that are known without it.
        let read = rowwise::columns_named(&sql)?.unwrap_or_default();
        let all = RecordColumns::all(table.format, &table.columns, read.iter().map(String::as_str));
        let projection = Projection::plan(&sql, all.schema())?;
        let columns = all.only(projection.columns_used());
        Ok(Self { projection, columns })
    }

    /// The columns of a record that the SQL reads.
    pub(crate) fn columns(&self) -> &RecordColumns {
        &self.columns
    }

    /// The columns of the rows it makes.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.projection.schema()
    }

    /// Makes rows of `decoded` in the types of `stored`. A record on which the SQL fails is found by halving the batch
    /// until it stands alone.
    pub(crate) fn apply(&self, decoded: &Decoded<'_>, stored: &SchemaRef) -> Result<Made, ArrowError> {
        let mut made = Made::default();
        let mut parts = Vec::new();
        let mut todo = vec![(0, decoded.batch.num_rows())];
        while let Some((start, len)) = todo.pop() {
            if len == 0 {
                continue;
            }
            match self.try_apply(&decoded.batch.slice(start, len), stored) {
                Ok((rows, kept)) => {
                    made.filtered += (len - kept.len()) as u64;
                    let kept = kept.into_iter().map(|index| start + index as usize).collect::<Vec<_>>();
                    parts.push(made.place(rows, &kept, decoded)?);
                }
                Err(reason) if len == 1 => made.failed.push((start, reason)),
                Err(_) => {
                    todo.push((start + len / 2, len - len / 2));
                    todo.push((start, len / 2));
                }
            }
        }
        made.rows = match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(concat_batches(parts[0].schema_ref(), &parts)?),
        };
        Ok(made)
    }

    /// Rows of one slice and the slice's rows that they come from.
    fn try_apply(&self, batch: &RecordBatch, stored: &SchemaRef) -> Result<(RecordBatch, Vec<u32>), String> {
        let applied = self.projection.apply(batch).map_err(|error| error.to_string())?;
        let rows = store_as(&applied.rows, stored)?;
        Ok((rows, applied.kept))
    }
}

/// What the SQL made of a batch.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The rows, in the order of their records; `None`: no row.
    pub(crate) rows: Option<RecordBatch>,
    /// Per row the event time by which it is placed, milliseconds since 1970.
    pub(crate) event_times: Vec<i64>,
    /// How many records the SQL's `where` left out.
    pub(crate) filtered: u64,
    /// Records (by their place in the batch) that became no row, and why.
    pub(crate) failed: Vec<(usize, String)>,
}

impl Made {
    /// Notes the event time of each row: that of its own column if it has one, else that of its record. A row of an
    /// event time that cannot be is taken out and told.
    fn place(&mut self, rows: RecordBatch, kept: &[usize], decoded: &Decoded<'_>) -> Result<RecordBatch, ArrowError> {
        let own = rows
            .column_by_name(EVENT_TIME)
            .and_then(|column| column.as_any().downcast_ref::<TimestampMicrosecondArray>())
            .cloned();
        let Some(own) = own else {
            self.event_times.extend(kept.iter().map(|index| decoded.event_times[*index]));
            return Ok(rows);
        };
        let failed_before = self.failed.len();
        let mut good = Vec::with_capacity(kept.len());
        for (row, index) in kept.iter().enumerate() {
            let event_time =
                if own.is_valid(row) { own.value(row).div_euclid(1000) } else { decoded.event_times[*index] };
            let checked = check_event_time(event_time, decoded.raws[*index].arrival);
            good.push(checked.is_ok());
            match checked {
                Ok(()) => self.event_times.push(event_time),
                Err(reason) => self.failed.push((*index, reason)),
            }
        }
        if self.failed.len() == failed_before {
            Ok(rows)
        } else {
            filter_record_batch(&rows, &BooleanArray::from(good))
        }
    }
}

/// Casts each column to the type in which the table stores it. A value that does not fit is an error, not a null.
fn store_as(rows: &RecordBatch, stored: &SchemaRef) -> Result<RecordBatch, String> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let schema = rows.schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let target =
            stored.field_with_name(field.name()).map_err(|_| format!("the table has no column {}", field.name()))?;
        fields.push(target.clone());
        columns.push(if column.data_type() == target.data_type() {
            Arc::clone(column)
        } else {
            cast_with_options(column, target.data_type(), &options)
                .map_err(|error| format!("{}: {error}", field.name()))?
        });
    }
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
