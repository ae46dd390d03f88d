//! One large batch, handed on in pieces.

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;

/// Pieces of at most so many rows. The memory of the batch is given back with the last, for they share it.
#[derive(Debug)]
pub(super) struct Slices {
    rest: Option<RecordBatch>,
    rows: usize,
    reservation: MemoryReservation,
}

impl Slices {
    /// The reservation comes to hold the batch alone.
    pub(super) fn new(batch: RecordBatch, rows: usize, reservation: MemoryReservation) -> Self {
        reservation.resize(batch.get_array_memory_size());
        Self { rest: Some(batch), rows, reservation }
    }
}

impl Iterator for Slices {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let rest = self.rest.take()?;
        if rest.num_rows() <= self.rows {
            self.reservation.free();
            return (rest.num_rows() > 0).then_some(rest);
        }
        self.rest = Some(rest.slice(self.rows, rest.num_rows() - self.rows));
        Some(rest.slice(0, self.rows))
    }
}
