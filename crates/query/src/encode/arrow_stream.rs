//! The Arrow IPC stream format, one message per slice of a batch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;

use super::json::broken;
use super::{Ending, Writer};
use crate::error::QueryError;

/// Rows of one message: bounds the size of a chunk.
const ROWS_PER_MESSAGE: usize = 8192;

pub(crate) struct ArrowStream {
    schema: SchemaRef,
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl ArrowStream {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, writer: None }
    }

    fn writer(&mut self) -> Result<&mut StreamWriter<Vec<u8>>, QueryError> {
        if self.writer.is_none() {
            self.writer = Some(StreamWriter::try_new(Vec::new(), &self.schema).map_err(broken)?);
        }
        self.writer.as_mut().ok_or_else(|| QueryError::internal("the Arrow stream was not begun"))
    }

    fn give(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.append(self.writer()?.get_mut());
        Ok(())
    }
}

impl Writer for ArrowStream {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.give(out)
    }

    fn rows(&mut self, batch: &RecordBatch, first: usize, out: &mut Vec<u8>) -> Result<usize, QueryError> {
        let rows = ROWS_PER_MESSAGE.min(batch.num_rows() - first);
        self.writer()?.write(&batch.slice(first, rows)).map_err(broken)?;
        self.give(out)?;
        Ok(first + rows)
    }

    fn end(&mut self, _: &Ending<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.writer()?.finish().map_err(broken)?;
        self.give(out)
    }

    fn fail(&mut self, _: &QueryError, _: &mut Vec<u8>) -> bool {
        false
    }
}
