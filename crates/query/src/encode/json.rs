//! JSON: one document for the whole answer, or one object per row.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use serde_json::json;

use super::cell::{Cells, json_text};
use super::names::type_name;
use super::{CHUNK_BYTES, Ending, Writer};
use crate::error::QueryError;

pub(crate) struct Json {
    schema: SchemaRef,
    first: bool,
}

impl Json {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, first: true }
    }
}

impl Writer for Json {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let fields = self.schema.fields().iter();
        let columns: Vec<_> =
            fields.map(|field| json!({"name": field.name(), "type": type_name(field.data_type())})).collect();
        out.extend_from_slice(b"{\"columns\":");
        serde_json::to_writer(&mut *out, &columns).map_err(|error| QueryError::internal(error.to_string()))?;
        out.extend_from_slice(b",\"rows\":[");
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, first: usize, out: &mut Vec<u8>) -> Result<usize, QueryError> {
        let columns = cells(batch)?;
        for row in first..batch.num_rows() {
            if out.len() >= CHUNK_BYTES {
                return Ok(row);
            }
            let start = out.len();
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            array(&columns, row, out).inspect_err(|_| out.truncate(start)).map_err(broken)?;
        }
        Ok(batch.num_rows())
    }

    fn end(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let versions: serde_json::Map<String, serde_json::Value> =
            ending.versions.iter().map(|(table, version)| (table.clone(), version.0.into())).collect();
        let elapsed_ms = ending.outcome.elapsed.as_micros() as f64 / 1000.0;
        let tail = format!(
            "],\"truncated\":{},\"row_count\":{},\"elapsed_ms\":{},\"versions\":{}}}",
            ending.outcome.truncated,
            ending.outcome.rows,
            json!(elapsed_ms),
            serde_json::Value::Object(versions),
        );
        out.extend_from_slice(tail.as_bytes());
        Ok(())
    }

    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b"],\"error\":");
        out.extend_from_slice(error_object(error).to_string().as_bytes());
        out.push(b'}');
        true
    }
}

pub(crate) struct Ndjson {
    schema: SchemaRef,
    names: Vec<Vec<u8>>,
}

impl Ndjson {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, names: Vec::new() }
    }
}

impl Writer for Ndjson {
    fn begin(&mut self, _: &mut Vec<u8>) -> Result<(), QueryError> {
        for (index, field) in self.schema.fields().iter().enumerate() {
            let mut name = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            json_text(field.name(), &mut name).map_err(broken)?;
            name.push(b':');
            self.names.push(name);
        }
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, first: usize, out: &mut Vec<u8>) -> Result<usize, QueryError> {
        let columns = cells(batch)?;
        for row in first..batch.num_rows() {
            if out.len() >= CHUNK_BYTES {
                return Ok(row);
            }
            let start = out.len();
            object(&self.names, &columns, row, out).inspect_err(|_| out.truncate(start)).map_err(broken)?;
        }
        Ok(batch.num_rows())
    }

    fn end(&mut self, _: &Ending<'_>, _: &mut Vec<u8>) -> Result<(), QueryError> {
        Ok(())
    }

    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(json!({"error": error_object(error)}).to_string().as_bytes());
        out.push(b'\n');
        true
    }
}

/// Writes a row as `[…]`.
fn array(columns: &[Cells], row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    out.push(b'[');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        column.json(row, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a row as `{…}` and a line end; `names` hold the brace or comma before them and the colon after.
fn object(names: &[Vec<u8>], columns: &[Cells], row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    if columns.is_empty() {
        out.push(b'{');
    }
    for (name, column) in names.iter().zip(columns) {
        out.extend_from_slice(name);
        column.json(row, out)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

pub(crate) fn cells(batch: &RecordBatch) -> Result<Vec<Cells>, QueryError> {
    batch.columns().iter().map(|column| Cells::of(column).map_err(broken)).collect()
}

pub(crate) fn broken(error: ArrowError) -> QueryError {
    QueryError::internal(format!("a value could not be written: {error}"))
}

/// An error as the HTTP API shows it: `kind`, `message`, `remedy`, and `line` and `column` if they are known.
pub fn error_object(error: &QueryError) -> serde_json::Value {
    let mut object = json!({
        "kind": error.kind().to_string(), "message": error.message(), "remedy": error.remedy(),
    });
    if let Some(place) = error.place() {
        object["line"] = place.line.into();
        object["column"] = place.column.into();
    }
    object
}
