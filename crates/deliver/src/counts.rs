//! What one table's delivery has counted: per shard the account, and the ledger made of all of them.
//!
//! One lock covers the pushing of a batch into the table and the accounts it changes, and the ledger is read under the
//! same lock. So its sum closes at every moment, though each of its numbers comes from where it is true: the stream's
//! ends, the rows that are in the table, the sums that the commits carry.

use std::collections::VecDeque;
use std::sync::Arc;

use base::{Clock, Counter, Histogram, LedgerRow, Measured, Millis, Offset, Sample, ShardId};
use lake::Table;
use parking_lot::Mutex;
use stream::Stream;

use crate::account::Account;

/// How delivery to one table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeliveryState {
    /// Records become rows.
    #[default]
    Running,
    /// Something failed that may pass; it is tried again. What failed.
    Retrying(String),
    /// Something failed that will not pass by itself. What failed.
    Stopped(String),
}

/// Numbers of one table's delivery.
#[derive(Debug)]
pub struct DeliverCounts {
    pub(crate) table: Arc<Table>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) books: Mutex<Books>,
    pub(crate) state: Mutex<DeliveryState>,
    /// From arrival to visible in the tail.
    pub(crate) to_tail: Histogram,
    /// From the arrival of the oldest record of a batch to its commit in the lake.
    pub(crate) to_lake: Histogram,
    pub(crate) decode_us: Counter,
    pub(crate) transform_us: Counter,
    pub(crate) push_us: Counter,
    pub(crate) batches: Counter,
    pub(crate) flushes: Counter,
    pub(crate) retries: Counter,
    /// How often reading waited because the tail was full.
    pub(crate) waits: Counter,
}

/// What the lock covers.
#[derive(Debug)]
pub(crate) struct Books {
    /// Rows that the table had before it was fed from this stream.
    pub(crate) rows_before: u64,
    pub(crate) shards: Vec<ShardBook>,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct ShardBook {
    pub(crate) account: Account,
    /// Rows pushed since the start of this process.
    pub(crate) delivered: u64,
    /// Arrival of the last record that was read.
    pub(crate) arrival: Millis,
    /// Batches in the tail: their end and the arrival of their first record.
    pub(crate) in_tail: VecDeque<(u64, Millis)>,
    /// Why this shard is no longer read, if so.
    pub(crate) stopped: Option<String>,
}

impl ShardBook {
    pub(crate) fn new(account: Account) -> Self {
        Self { account, delivered: 0, arrival: Millis(0), in_tail: VecDeque::new(), stopped: None }
    }
}

impl DeliverCounts {
    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        self.table.name()
    }

    /// How it goes. Of several shards that stopped, the first is told.
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        let stopped = self.books.lock().shards.iter().find_map(|shard| shard.stopped.clone());
        stopped.map_or_else(|| self.state.lock().clone(), DeliveryState::Stopped)
    }

    /// The next offset to be read of a shard; `None` if there is no such shard.
    #[must_use]
    pub fn next(&self, shard: ShardId) -> Option<Offset> {
        let books = self.books.lock();
        books.shards.get(shard.0 as usize).map(|shard| Offset(shard.account.sums.next))
    }

    /// The ledger at this moment.
    #[must_use]
    pub fn ledger(&self) -> LedgerRow {
        let mut row = LedgerRow {
            table: self.table.name().to_owned(),
            stream: self.stream.name().to_owned(),
            ..LedgerRow::default()
        };
        let rows = {
            let books = self.books.lock();
            for (shard, book) in (0..).map(ShardId).zip(&books.shards) {
                // The end is taken once and used for both: what comes in meanwhile is in neither.
                let end = self.stream.bounds(shard).end.0;
                let sums = &book.account.sums;
                row.received += end.saturating_sub(book.account.origin);
                row.in_flight += end.saturating_sub(sums.next);
                row.filtered += sums.filtered;
                row.rejected += sums.rejected;
                row.expired += sums.expired;
            }
            rows_of(&self.table).saturating_sub(books.rows_before)
        };
        row.delivered = rows;
        let accounted = row.delivered + row.filtered + row.rejected + row.expired + row.in_flight;
        row.unaccounted = i64::try_from(i128::from(row.received) - i128::from(accounted)).unwrap_or(i64::MAX);
        row
    }

    /// How long ago the newest record that was read arrived, if there are newer ones; 0 if there are none.
    fn lag_ms(&self, book: &ShardBook, end: u64) -> u64 {
        if book.account.sums.next >= end || book.arrival == Millis(0) {
            return 0;
        }
        u64::try_from(self.clock.now().since(book.arrival)).unwrap_or(0)
    }
}

/// Rows of the table, in its files and in its tail.
pub(crate) fn rows_of(table: &Table) -> u64 {
    let snapshot = table.snapshot();
    let in_files: u64 = snapshot.files.iter().filter_map(|file| file.rows).sum();
    in_files + snapshot.tail.iter().map(|rows| rows.num_rows() as u64).sum::<u64>()
}

impl Measured for DeliverCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let (table, stream) = (self.table.name(), self.stream.name());
        let books = self.books.lock();
        for (shard, book) in (0..).map(ShardId).zip(&books.shards) {
            let number = shard.to_string();
            let labels = [("table", table), ("stream", stream), ("shard", number.as_str())];
            let end = self.stream.bounds(shard).end.0;
            let sums = &book.account.sums;
            let mut put = |name, value| samples.push(Sample::new(name, &labels, value));
            put("riverrun_deliver_rows_total", book.delivered);
            put("riverrun_deliver_filtered_records_total", sums.filtered);
            put("riverrun_deliver_rejected_records_total", sums.rejected);
            put("riverrun_deliver_expired_records_total", sums.expired);
            put("riverrun_deliver_records_total", sums.next.saturating_sub(book.account.origin));
            put("riverrun_deliver_in_flight_records", end.saturating_sub(sums.next));
            put("riverrun_deliver_lag_ms", self.lag_ms(book, end));
            put("riverrun_deliver_stopped", u64::from(book.stopped.is_some()));
        }
        drop(books);
        let labels = [("table", table)];
        let mut put = |name, value| samples.push(Sample::new(name, &labels, value));
        put("riverrun_deliver_batches_total", self.batches.get());
        put("riverrun_deliver_decode_us_total", self.decode_us.get());
        put("riverrun_deliver_transform_us_total", self.transform_us.get());
        put("riverrun_deliver_push_us_total", self.push_us.get());
        put("riverrun_deliver_flushes_total", self.flushes.get());
        put("riverrun_deliver_retries_total", self.retries.get());
        put("riverrun_deliver_waits_total", self.waits.get());
        quantiles(samples, table, "riverrun_deliver_to_tail_us", &self.to_tail);
        quantiles(samples, table, "riverrun_deliver_to_lake_us", &self.to_lake);
    }
}

fn quantiles(samples: &mut Vec<Sample>, table: &str, name: &'static str, histogram: &Histogram) {
    for (quantile, q) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
        if let Some(us) = histogram.quantile_us(q) {
            samples.push(Sample::new(name, &[("table", table), ("quantile", quantile)], us));
        }
    }
}
