//! The tail: rows that were pushed and are in no version yet.
//!
//! Pushes may be tiny (a few rows each millisecond), snapshots frequent. So small batches are merged as they come,
//! like the digits of a binary counter: a batch is merged with the one before it while that one is not much larger.
//! Each row is copied at most log2(`CHUNK_ROWS`) times, and n rows stand in about n / `CHUNK_ROWS` + log2(`CHUNK_ROWS`)
//! batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::partition::Hours;
use crate::schema::conform;

/// Merged batches end at this many rows: the batch size of the query engine, so that larger ones would not help it.
const CHUNK_ROWS: usize = 8192;

/// Merged batches end at this many bytes, so that a merge stays short and text offsets cannot overflow.
const CHUNK_BYTES: usize = 4 << 20;

/// Rows of the tail that stand together.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// All columns of the table, the partition columns included.
    pub(crate) rows: RecordBatch,
    pub(crate) hours: Hours,
    bytes: usize,
}

impl Chunk {
    pub(crate) fn new(rows: RecordBatch, hours: Hours) -> Self {
        let bytes = rows.columns().iter().map(|column| bytes_of(column.as_ref())).sum();
        Self { rows, hours, bytes }
    }

    fn may_join(&self, next: &Self) -> bool {
        let rows = self.rows.num_rows() + next.rows.num_rows();
        self.rows.num_rows() <= 2 * next.rows.num_rows() && rows <= CHUNK_ROWS && self.bytes + next.bytes <= CHUNK_BYTES
    }

    fn join(&self, next: &Self) -> Result<Self, arrow::error::ArrowError> {
        let rows = concat_batches(self.rows.schema_ref(), [&self.rows, &next.rows])?;
        let hours = self.hours.join(self.rows.num_rows(), &next.hours, next.rows.num_rows());
        Ok(Self { rows, hours, bytes: self.bytes + next.bytes })
    }
}

/// Bytes that the rows of an array take, without what else its buffers hold.
fn bytes_of(array: &dyn Array) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// Rows in the order they were pushed, and the progress they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    pub(crate) chunks: Vec<Chunk>,
    /// Pushed and not committed, by application id.
    pub(crate) progress: BTreeMap<String, i64>,
    rows: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Tail {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0 && self.progress.is_empty()
    }

    pub(crate) fn push(&mut self, chunk: Chunk, progress: impl IntoIterator<Item = (String, i64)>) {
        self.progress.extend(progress);
        self.since.get_or_insert_with(Instant::now);
        self.rows += chunk.rows.num_rows();
        self.bytes += chunk.bytes;
        if chunk.rows.num_rows() == 0 {
            return;
        }
        self.chunks.push(chunk);
        while let [.., before, last] = self.chunks.as_slice() {
            if !before.may_join(last) {
                break;
            }
            // Joining can only fail if the schemas differ, which push and adopt rule out; unjoined is correct too.
            let Ok(joined) = before.join(last) else { break };
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(joined);
        }
    }

    /// Puts the rows of an abandoned flush back before the others.
    pub(crate) fn put_back(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        self.chunks.extend(later.chunks);
        self.progress.extend(later.progress);
        self.rows += later.rows;
        self.bytes += later.bytes;
        self.since = self.since.or(later.since);
    }

    /// Brings all rows to the table's new columns.
    pub(crate) fn adopt(&mut self, full: &SchemaRef) -> Result<(), String> {
        for chunk in &mut self.chunks {
            chunk.rows = conform(full, &chunk.rows)?;
        }
        Ok(())
    }

    /// All of it, leaving an empty tail.
    pub(crate) fn take(&mut self) -> Arc<Self> {
        Arc::new(std::mem::take(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Hour;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;

    fn chunk(from: i64, rows: usize) -> Chunk {
        let ids: Vec<i64> = (from..).take(rows).collect();
        let names: Vec<String> = ids.iter().map(|id| format!("row {id}")).collect();
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("name", Arc::new(StringArray::from(names)) as ArrayRef),
        ]);
        Chunk::new(rows.expect("rows"), Hours::One(Hour(0)))
    }

    fn ids(tail: &Tail) -> Vec<i64> {
        let column =
            |chunk: &Chunk| chunk.rows.column(0).as_any().downcast_ref::<Int64Array>().expect("ids").values().to_vec();
        tail.chunks.iter().flat_map(column).collect()
    }

    #[test]
    fn a_hundred_thousand_single_rows_stand_in_few_batches() {
        let mut tail = Tail::default();
        for id in 0..100_000 {
            tail.push(chunk(id, 1), None);
        }
        assert_eq!(tail.rows(), 100_000);
        assert!(tail.chunks.len() <= 100_000 / (CHUNK_ROWS / 2) + 14, "{} chunks", tail.chunks.len());
        assert_eq!(ids(&tail), (0..100_000).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn merging_keeps_every_row_in_order(sizes in proptest::collection::vec(0usize..3000, 1..40)) {
            let mut tail = Tail::default();
            let mut next = 0;
            for size in sizes {
                tail.push(chunk(next, size), Some(("a".to_owned(), next)));
                next += i64::try_from(size).expect("small");
            }
            prop_assert_eq!(ids(&tail), (0..next).collect::<Vec<_>>());
            let mut later = Tail::default();
            later.push(chunk(next, 2), None);
            later.put_back(tail);
            prop_assert_eq!(ids(&later), (0..next + 2).collect::<Vec<_>>());
            prop_assert_eq!(later.rows() as i64, next + 2);
        }
    }
}
