//! The Arrow IPC stream format, one message per slice of a batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, SchemaRef, StringViewType};
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
        self.writer()?.write(&compact(&batch.slice(first, rows))?).map_err(broken)?;
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

/// The batch without the bytes that none of its rows stands for. A text that passed a filter still points into the page it
/// was read from, and a message carries all that its columns point into: a thousand rows of a few texts once took 29 MB.
fn compact(batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compacted::<StringViewType>(column),
        DataType::BinaryView => compacted::<BinaryViewType>(column),
        _ => ArrayRef::clone(column),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options).map_err(broken)
}

/// A column whose buffers hold little that is not used.
fn compacted<T: ByteViewType>(column: &ArrayRef) -> ArrayRef {
    let views: &GenericByteViewArray<T> = column.as_byte_view();
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    if held <= 2 * views.total_buffer_bytes_used() { ArrayRef::clone(column) } else { Arc::new(views.gc()) }
}
