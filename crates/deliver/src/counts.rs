//! What one table's delivery has counted: per shard the account, and the ledger made of all of them.
//!
//! One lock covers the pushing of a batch into the table and the accounts it changes, and the ledger is read under the
//! same lock. So its sum closes at every moment, though each of its numbers comes from where it is true: the stream's
//! ends, the rows that are in the table, the sums that the commits carry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::{Clock, Counter, Gauge, Histogram, LedgerRow, Measured, Millis, Offset, Sample, ShardId};
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
    /// There is nothing to read any more, and why: the stream was deleted.
    Ended(String),
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
    /// Shards that wait until those they came from are read.
    pub(crate) waiting: Gauge,
}

/// What the lock covers.
#[derive(Debug)]
pub(crate) struct Books {
    /// Rows that the table had before it was fed from this stream.
    pub(crate) rows_before: u64,
    /// One for each shard that was ever read: closed ones stay, because their rows do.
    pub(crate) shards: BTreeMap<ShardId, ShardBook>,
}

impl Books {
    pub(crate) fn new(rows_before: u64) -> Self {
        Self { rows_before, shards: BTreeMap::new() }
    }

    /// The next offset to be read of a shard; `None` if there is no such shard.
    pub(crate) fn next(&self, shard: ShardId) -> Option<Offset> {
        self.shards.get(&shard).map(|book| Offset(book.account.sums.next))
    }

    /// The book of a shard that is being read.
    pub(crate) fn book(&mut self, shard: ShardId) -> &mut ShardBook {
        self.shards.get_mut(&shard).expect("a shard gets its book before its reader, and keeps it")
    }
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
    /// What to read again for its rejections before anything else.
    pub(crate) again: Option<(Offset, Offset)>,
    /// Where it ends, if it is closed.
    pub(crate) closed: Option<Offset>,
    /// The stream no longer has it.
    pub(crate) over: bool,
}

impl ShardBook {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            account,
            delivered: 0,
            arrival: Millis(0),
            in_tail: VecDeque::new(),
            stopped: None,
            again: None,
            closed: None,
            over: false,
        }
    }

    /// Where the shard ends now. The stream no longer says it of a shard that is gone.
    fn end(&self, stream: &Stream, shard: ShardId) -> u64 {
        let bounds = if self.over { Offset::ZERO } else { stream.bounds(shard).end };
        bounds.max(self.closed.unwrap_or_default()).0.max(self.account.sums.next)
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
        let stopped = self.books.lock().shards.values().find_map(|shard| shard.stopped.clone());
        stopped.map_or_else(|| self.state.lock().clone(), DeliveryState::Stopped)
    }

    /// The next offset to be read of a shard; `None` if there is no such shard.
    #[must_use]
    pub fn next(&self, shard: ShardId) -> Option<Offset> {
        self.books.lock().next(shard)
    }

    /// What is left of a shard that is gone: from where, and its end.
    pub(crate) fn rest(&self, shard: ShardId) -> Option<(Offset, Offset)> {
        let books = self.books.lock();
        let book = books.shards.get(&shard)?;
        Some((Offset(book.account.sums.next), Offset(book.end(&self.stream, shard))))
    }

    /// The shards that have records which were not read.
    pub(crate) fn unread(&self) -> Vec<ShardId> {
        let books = self.books.lock();
        let is_unread =
            |(shard, book): &(&ShardId, &ShardBook)| book.end(&self.stream, **shard) > book.account.sums.next;
        books.shards.iter().filter(is_unread).map(|(shard, _)| *shard).collect()
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
            for (shard, book) in &books.shards {
                // The end is taken once and used for both: what comes in meanwhile is in neither.
                let end = book.end(&self.stream, *shard);
                let sums = &book.account.sums;
                row.received += end.saturating_sub(book.account.origin) + sums.unpacked;
                row.in_flight += end.saturating_sub(sums.next);
                row.filtered += sums.filtered;
                row.rejected += sums.rejected;
                row.expired += sums.expired;
            }
            // Shards that are so new that they have no book yet: all that they have is still to be read.
            let is_new = |info: &stream::ShardInfo| !books.shards.contains_key(&info.id);
            if !self.stream.is_deleted() {
                for info in self.stream.shard_infos().into_iter().filter(is_new) {
                    let end = self.stream.bounds(info.id).end.0;
                    row.received += end;
                    row.in_flight += end;
                }
            }
            rows_of(&self.table).saturating_sub(books.rows_before)
        };
        row.delivered = rows;
        let accounted = row.delivered + row.filtered + row.rejected + row.expired + row.in_flight;
        row.unaccounted = i64::try_from(i128::from(row.received) - i128::from(accounted)).unwrap_or(i64::MAX);
        row
    }

    fn numbers(&self, shard: ShardId, book: &ShardBook) -> ShardNumbers {
        let (end, sums) = (book.end(&self.stream, shard), &book.account.sums);
        ShardNumbers {
            rows: book.delivered,
            filtered: sums.filtered,
            rejected: sums.rejected,
            expired: sums.expired,
            unpacked: sums.unpacked,
            records: sums.next.saturating_sub(book.account.origin),
            in_flight: end.saturating_sub(sums.next),
            lag_ms: self.lag_ms(book, end),
            stopped: u64::from(book.stopped.is_some()),
        }
    }

    /// How long ago the newest record that was read arrived, if there are newer ones; 0 if there are none.
    fn lag_ms(&self, book: &ShardBook, end: u64) -> u64 {
        if book.account.sums.next >= end || book.arrival == Millis(0) {
            return 0;
        }
        u64::try_from(self.clock.now().since(book.arrival)).unwrap_or(0)
    }
}

/// The label of the shards that the stream no longer has.
const PAST: &str = "past";

/// What `/metrics` says of one shard.
#[derive(Clone, Copy, Debug, Default)]
struct ShardNumbers {
    rows: u64,
    filtered: u64,
    rejected: u64,
    expired: u64,
    unpacked: u64,
    records: u64,
    in_flight: u64,
    lag_ms: u64,
    stopped: u64,
}

impl ShardNumbers {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.unpacked += other.unpacked;
        self.records += other.records;
        self.in_flight += other.in_flight;
        self.lag_ms = self.lag_ms.max(other.lag_ms);
        self.stopped += other.stopped;
    }

    fn measure(&self, samples: &mut Vec<Sample>, table: &str, stream: &str, shard: &str) {
        let labels = [("table", table), ("stream", stream), ("shard", shard)];
        let mut put = |name, value| samples.push(Sample::new(name, &labels, value));
        put("riverrun_deliver_rows_total", self.rows);
        put("riverrun_deliver_filtered_records_total", self.filtered);
        put("riverrun_deliver_rejected_records_total", self.rejected);
        put("riverrun_deliver_expired_records_total", self.expired);
        put("riverrun_deliver_unpacked_records_total", self.unpacked);
        put("riverrun_deliver_records_total", self.records);
        put("riverrun_deliver_in_flight_records", self.in_flight);
        put("riverrun_deliver_lag_ms", self.lag_ms);
        put("riverrun_deliver_stopped", self.stopped);
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
        // Shards that are gone stand together: else a stream that is split and merged for months would have ever more lines.
        let mut past = ShardNumbers::default();
        for (shard, book) in &books.shards {
            let numbers = self.numbers(*shard, book);
            if book.over {
                past.add(&numbers);
            } else {
                numbers.measure(samples, table, stream, &shard.to_string());
            }
        }
        if books.shards.values().any(|book| book.over) {
            past.measure(samples, table, stream, PAST);
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
        put("riverrun_deliver_waiting_shards", u64::try_from(self.waiting.get()).unwrap_or(0));
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
