//! Rows to Parquet files.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};

use crate::partition::{Hour, Hours};
use crate::stats::TEXT_BOUND_BYTES;
use crate::tail::Chunk;

/// Rows of a row group: enough to scan in one go, few enough that two cores share even one hour's file and that the
/// writer holds only tens of megabytes.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Rows of a page: the page index then lets a query skip most of a row group when it asks for some minutes.
const PAGE_ROWS: usize = 16 * 1024;

/// How hard zstd tries. Level 3 made merged click events 2.6 % larger than level 1 had (dictionaries have already taken
/// what repeats, and random ids fit level 1 better), and costs more time; reading costs the same.
const ZSTD_LEVEL: i32 = 1;

fn properties(schema: &SchemaRef) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(8192)
        .set_dictionary_enabled(true)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(TEXT_BOUND_BYTES))
        .set_created_by(concat!("riverrun ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields() {
        // Nearly every time is different, so a dictionary would be built only to be given up; and it is little more than
        // the one before: the differences take a twentieth of the room and less than half the time to read.
        if matches!(field.data_type(), DataType::Timestamp(_, _)) {
            let path = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    builder.build()
}

/// A writer of rows of `schema`, which are all columns but those of the partition.
pub(crate) fn writer<W: Write + Send>(sink: W, schema: &SchemaRef) -> Result<ArrowWriter<W>, ParquetError> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties(schema))
        // All types we store are told by Parquet's own; a copy of the Arrow schema would only lengthen small files.
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(sink, SchemaRef::clone(schema), options)
}

/// A whole file in memory.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: u64,
    pub(crate) footer: ParquetMetaData,
}

/// The rows of a tail that belong to one hour: per chunk all rows or some.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    parts: Vec<(usize, Option<UInt32Array>)>,
}

/// Which rows of `chunks` belong to which hour.
pub(crate) fn by_hour(chunks: &[Chunk]) -> BTreeMap<Hour, Slice> {
    let mut slices: BTreeMap<Hour, Slice> = BTreeMap::new();
    for (index, chunk) in chunks.iter().enumerate() {
        match &chunk.hours {
            Hours::One(hour) => slices.entry(*hour).or_default().parts.push((index, None)),
            Hours::Each(each) => {
                let mut rows: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
                for (row, hour) in (0u32..).zip(each) {
                    rows.entry(*hour).or_default().push(row);
                }
                for (hour, rows) in rows {
                    slices.entry(hour).or_default().parts.push((index, Some(UInt32Array::from(rows))));
                }
            }
        }
    }
    slices
}

/// Writes the rows of a slice, in their order, as one file.
pub(crate) fn encode(chunks: &[Chunk], slice: &Slice, schema: &SchemaRef) -> Result<Encoded, ParquetError> {
    let own: Vec<usize> = (0..schema.fields().len()).collect();
    let mut bytes = Vec::new();
    let mut writer = writer(&mut bytes, schema)?;
    let mut rows = 0;
    for (index, part) in &slice.parts {
        let all: RecordBatch = chunks[*index].rows.project(&own)?;
        let batch = match part {
            None => all,
            Some(indices) => take_record_batch(&all, indices)?,
        };
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    let footer = writer.close()?;
    Ok(Encoded { bytes, rows, footer })
}

/// A sink that hands on what was written in parts of a fixed size.
pub(crate) struct Parts<F: FnMut(Vec<u8>) -> io::Result<()>> {
    buffer: Vec<u8>,
    size: usize,
    hand_on: F,
    pub(crate) written: u64,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Parts<F> {
    pub(crate) fn new(size: usize, hand_on: F) -> Self {
        Self { buffer: Vec::new(), size, hand_on, written: 0 }
    }

    /// Hands on what is left.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.buffer);
        if rest.is_empty() { Ok(()) } else { (self.hand_on)(rest) }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for Parts<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        while self.buffer.len() >= self.size {
            let rest = self.buffer.split_off(self.size);
            let part = std::mem::replace(&mut self.buffer, rest);
            (self.hand_on)(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
