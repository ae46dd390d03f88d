//! CSV by RFC 4180: a header line, fields quoted where they must be, lines ended with CR LF.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell::csv_text;
use super::json::{broken, cells};
use super::{CHUNK_BYTES, Ending, Writer};
use crate::error::QueryError;

pub(crate) struct Csv {
    schema: SchemaRef,
}

impl Csv {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl Writer for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        for (index, field) in self.schema.fields().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            csv_text(field.name(), out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, first: usize, out: &mut Vec<u8>) -> Result<usize, QueryError> {
        let columns = cells(batch)?;
        for row in first..batch.num_rows() {
            if out.len() >= CHUNK_BYTES {
                return Ok(row);
            }
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                column.csv(row, out).map_err(broken)?;
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(batch.num_rows())
    }

    fn end(&mut self, _: &Ending<'_>, _: &mut Vec<u8>) -> Result<(), QueryError> {
        Ok(())
    }

    fn fail(&mut self, _: &QueryError, _: &mut Vec<u8>) -> bool {
        false
    }
}
