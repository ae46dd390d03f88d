//! Files opened as holding dictionaries.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use datafusion::parquet::basic::Encoding;
use datafusion::parquet::errors;
use datafusion::parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::data_type;

/// Opens files as `files` does, but says of certain columns that they are dictionaries, where the file holds them in no other
/// form. A file says by an entry of its footer which types its writer had in mind; that entry is what is changed.
pub(super) struct Readers {
    pub(super) files: Arc<dyn ParquetFileReaderFactory>,
    pub(super) columns: Arc<Columns>,
}

/// Names of columns.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Wanted as dictionaries of any length.
    pub(super) any: BTreeSet<String>,
    /// Only wanted as dictionaries of a few texts: what is done with them is done with every text for each batch of rows.
    pub(super) short: BTreeSet<String>,
}

/// The longest page of a dictionary of a few texts, as stored.
const SHORT_BYTES: i64 = 2048;

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let file = self.files.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(Reader { file, columns: Arc::clone(&self.columns) }))
    }
}

struct Reader {
    file: Box<dyn AsyncFileReader + Send>,
    columns: Arc<Columns>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, errors::Result<Bytes>> {
        self.file.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, errors::Result<Vec<Bytes>>> {
        self.file.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let footer = self.file.get_metadata(options).await?;
            Ok(told(&footer, &self.columns)?.map_or(footer, Arc::new))
        }
        .boxed()
    }
}

/// The footer that says so; `None` if it is true of no column.
pub(super) fn told(footer: &ParquetMetaData, columns: &Columns) -> errors::Result<Option<ParquetMetaData>> {
    let file = footer.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let mut changed = false;
    let fields = schema.fields().iter().map(|field| {
        let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let bytes_max = match field.name() {
            name if columns.any.contains(name) => i64::MAX,
            name if columns.short.contains(name) => SHORT_BYTES,
            _ => return Arc::clone(field),
        };
        if !(text && dictionaries_only(footer, field.name(), bytes_max)) {
            return Arc::clone(field);
        }
        changed = true;
        Arc::new(Field::clone(field).with_data_type(data_type()))
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
    if !changed {
        return Ok(None);
    }
    let others = file.key_value_metadata().into_iter().flatten().filter(|entry| entry.key != ARROW_SCHEMA_META_KEY);
    let types = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&schema));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(others.cloned().chain([types]).collect()),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let told = ParquetMetaDataBuilder::new(file)
        .set_row_groups(footer.row_groups().to_vec())
        .set_column_index(footer.column_index().cloned())
        .set_offset_index(footer.offset_index().cloned());
    Ok(Some(told.build()))
}

/// Whether all pages of the column hold numbers of a dictionary's entries. Writers fall back to the texts themselves when the
/// dictionary becomes too long; such pages would have to be made into dictionaries, which costs more than is saved.
fn dictionaries_only(footer: &ParquetMetaData, column: &str, bytes_max: i64) -> bool {
    footer.row_groups().iter().all(|group| {
        let chunk = group.columns().iter().find(|chunk| {
            let path = chunk.column_path().parts();
            path.len() == 1 && path[0] == column
        });
        let Some(chunk) = chunk else { return false };
        let Some(pages) = chunk.page_encoding_stats_mask() else { return false };
        let Some(begin) = chunk.dictionary_page_offset() else { return false };
        (pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY))
            && chunk.data_page_offset().saturating_sub(begin) <= bytes_max
    })
}
