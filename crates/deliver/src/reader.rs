//! One shard of a table's stream: fetch, decode, project, push. All of it blocks, and runs on a blocking thread.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use base::{ErrorKind, Millis, Offset, ShardId};
use lake::{LakeError, Progress, Table, TailBatch};
use stream::{Corrupt, FetchError};

use crate::account::Passed;
use crate::counts::DeliverCounts;
use crate::decode::{Decoded, Decoder, Headers, Raw, Refused, aggregate};
use crate::flusher::is_final;
use crate::plan::{Made, Plan};
use crate::rejected::{self, Origin};
use crate::settings::TableSettings;

/// Bytes of log read at once. At 500 B each that is 8,000 records: the batch size of the query engine, and a few
/// milliseconds of work.
const FETCH_BYTES: usize = 4 << 20;

/// Bytes of aggregated records read at once, and one record more: they may hold a user record in every six bytes, each of
/// which takes twenty times as much while it is read.
const AGGREGATED_BYTES_MAX: usize = 1 << 20;

/// Records of a batch whose way is timed. The others waited as long.
const TIMED_MAX: usize = 64;

/// What a table's readers share.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) settings: TableSettings,
    pub(crate) plan: Plan,
    pub(crate) table: Arc<Table>,
    pub(crate) rejected: Arc<Table>,
    pub(crate) counts: Arc<DeliverCounts>,
}

/// Reads one shard.
#[derive(Debug)]
pub(crate) struct Reader {
    feed: Arc<Feed>,
    shard: ShardId,
    decoder: Decoder,
    /// This shard's application id in `system.rejected`.
    rejected_id: String,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is no record at that offset yet.
    Idle,
    /// Records before this offset are done; so many bytes of log were read.
    Went { next: Offset, bytes: usize },
}

/// A step did not happen; nothing of it counts, and it can be taken again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("rows could not be put together: {0}. This is a mistake in riverrun: please report it")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl StepError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Lake(error) => error.kind(),
            Self::Arrow(_) => ErrorKind::Internal,
        }
    }

    /// Whether it will not pass by itself; keys are read when the server starts.
    pub(crate) fn is_final(&self) -> bool {
        is_final(self.kind()) || matches!(self, Self::Fetch(FetchError::NoKey { .. }))
    }
}

/// `<table>/<stream uuid>/<shard>`: whose progress it is in `system.rejected`.
pub(crate) fn rejected_id(table: &str, app_id: &str) -> String {
    format!("{table}/{app_id}")
}

impl Reader {
    pub(crate) fn new(feed: Arc<Feed>, shard: ShardId, rejected_id: String) -> Self {
        let TableSettings { format, fields, event_time, .. } = &feed.settings;
        let decoder = Decoder::new(feed.plan.columns().clone(), shard, *format, fields, event_time.as_deref());
        Self { shard, decoder, rejected_id, feed }
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Makes rows of the next records of this shard.
    pub(crate) fn step(&mut self) -> Result<Step, StepError> {
        let feed = Arc::clone(&self.feed);
        let from = feed.counts.next(self.shard).unwrap_or_default();
        let fetched = match feed.counts.stream.fetch(self.shard, from, FETCH_BYTES) {
            Err(FetchError::Removed { start, .. }) => return self.expire(from, start),
            fetched => fetched?,
        };
        let records = read(&fetched, Offset(u64::MAX))?;
        let Some(last) = records.last() else { return Ok(Step::Idle) };
        let next = last.offset.plus(1);
        let (decoded, made) = self.make(records)?;
        let refused = refused(&decoded, &made);
        let passed = Passed {
            to: next.0,
            filtered: made.filtered,
            rejected: decoded.refused.len() as u64 + made.failed.len() as u64,
            expired: 0,
            unpacked: decoded.unpacked,
        };
        let rows = made.rows.as_ref().map_or(0, RecordBatch::num_rows) as u64;
        let records = next.since(from) + passed.unpacked;
        debug_assert_eq!(rows + passed.filtered + passed.rejected, records, "every record goes somewhere");
        let arrivals: Vec<Millis> = all_arrivals(&decoded);
        self.deliver(made, &refused, passed, &arrivals)?;
        Ok(Step::Went { next, bytes: fetched.bytes() })
    }

    /// Reads records again, from `from` and before `until`, only for the rejections among them that `system.rejected`
    /// may lack after a crash.
    pub(crate) fn reread(&mut self, from: Offset, until: Offset) -> Result<Step, StepError> {
        let feed = Arc::clone(&self.feed);
        let fetched = match feed.counts.stream.fetch(self.shard, from, FETCH_BYTES) {
            Err(FetchError::Removed { start, .. }) => {
                tracing::error!(
                    table = feed.table.name(),
                    shard = self.shard.0,
                    from = from.0,
                    kept_from = start.0,
                    "retention was faster than a restart: rejected records between these offsets may be missing in system.rejected"
                );
                return Ok(Step::Went { next: start.min(until), bytes: 0 });
            }
            fetched => fetched?,
        };
        let records = read(&fetched, until)?;
        let Some(last) = records.last() else { return Ok(Step::Idle) };
        let next = last.offset.plus(1);
        let (decoded, made) = self.make(records)?;
        let refused = refused(&decoded, &made);
        let mut books = feed.counts.books.lock();
        self.reject(&mut books.book(self.shard).account, &refused, next.0)?;
        Ok(Step::Went { next, bytes: fetched.bytes() })
    }

    /// Nobody can read this shard any more: what was not read is counted as expired.
    pub(crate) fn give_up(&mut self) -> Result<Step, StepError> {
        let Some((next, end)) = self.feed.counts.rest(self.shard) else { return Ok(Step::Idle) };
        if next < end { self.expire(next, end) } else { Ok(Step::Idle) }
    }

    fn make<'a>(&mut self, records: Vec<Raw<'a>>) -> Result<(Decoded<'a>, Made), StepError> {
        let counts = &self.feed.counts;
        let begun = Instant::now();
        let expected = records.len();
        let decoded = self.decoder.decode(records.into_iter(), expected);
        let read = Instant::now();
        let made = self.feed.plan.apply(&decoded, &self.feed.table.data_schema())?;
        counts.decode_us.add(micros(begun, read));
        counts.transform_us.add(micros(read, Instant::now()));
        counts.batches.inc();
        Ok((decoded, made))
    }

    /// Puts rejections and rows into the tails and closes the account over them, under one lock.
    fn deliver(
        &self,
        made: Made,
        refused: &[Refused<'_>],
        passed: Passed,
        arrivals: &[Millis],
    ) -> Result<(), StepError> {
        let counts = &self.feed.counts;
        let begun = Instant::now();
        let rows = made.rows.unwrap_or_else(|| RecordBatch::new_empty(self.feed.table.data_schema()));
        let count = rows.num_rows() as u64;
        {
            let mut books = counts.books.lock();
            let book = books.book(self.shard);
            // Rejections first: if the table takes the rows no more, they are not pushed a second time.
            self.reject(&mut book.account, refused, passed.to)?;
            let sums = book.account.after(&passed);
            let progress = book.account.progress(&sums);
            self.feed.table.push(TailBatch { rows, event_time: made.event_times, progress })?;
            book.account.sums = sums;
            book.delivered += count;
            if let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) {
                book.arrival = *last;
                book.in_tail.push_back((passed.to, *first));
            }
        }
        counts.push_us.add(micros(begun, Instant::now()));
        let now = counts.clock.now();
        for arrival in arrivals.iter().step_by(arrivals.len().div_ceil(TIMED_MAX).max(1)) {
            counts.to_tail.record_us(u64::try_from(now.since(*arrival)).unwrap_or(0) * 1000);
        }
        Ok(())
    }

    /// Puts those rejections into the tail of `system.rejected` that are not there yet.
    fn reject(&self, account: &mut crate::account::Account, refused: &[Refused<'_>], to: u64) -> Result<(), StepError> {
        let feed = &self.feed;
        account.rejections_durable(feed.rejected.progress(&self.rejected_id));
        let first = refused.partition_point(|refused| refused.raw.offset.0 < account.rejected_to);
        let new = &refused[first..];
        let Some(first) = new.first() else {
            account.rejected(None, to);
            return Ok(());
        };
        let origin = Origin {
            table: &feed.settings.name,
            stream: &feed.settings.from,
            shard: self.shard.0,
            format: feed.settings.format,
        };
        let batch = TailBatch {
            rows: rejected::rows(&origin, new),
            event_time: new.iter().map(|refused| refused.raw.arrival.0).collect(),
            progress: vec![Progress { app_id: self.rejected_id.clone(), next: i64::try_from(to).unwrap_or(i64::MAX) }],
        };
        feed.rejected.push(batch)?;
        account.rejected(Some(first.raw.offset.0), to);
        Ok(())
    }

    /// Retention removed records before they were read: they are counted, and reading goes on behind them.
    fn expire(&self, from: Offset, start: Offset) -> Result<Step, StepError> {
        tracing::error!(
            table = self.feed.table.name(),
            shard = self.shard.0,
            from = from.0,
            kept_from = start.0,
            lost = start.since(from),
            "records were removed before the table had read them; they are counted as expired"
        );
        let passed = Passed { to: start.0, expired: start.since(from), ..Passed::default() };
        self.deliver(Made::default(), &[], passed, &[])?;
        Ok(Step::Went { next: start, bytes: 0 })
    }
}

/// The fetched records before `until`. Those before a damaged one are given; the next fetch then tells the damage.
fn read(fetched: &stream::Fetched, until: Offset) -> Result<Vec<Raw<'_>>, Corrupt> {
    let mut records = Vec::with_capacity(fetched.len());
    let mut aggregated_bytes = 0;
    for record in fetched.records() {
        match record {
            Ok(record) if record.offset >= until || aggregated_bytes >= AGGREGATED_BYTES_MAX => break,
            Ok(record) => {
                if aggregate::begins_like_one(record.value) {
                    aggregated_bytes += record.value.len();
                }
                records.push(Raw {
                    offset: record.offset,
                    sub_sequence: 0,
                    arrival: record.timestamp,
                    key: record.key,
                    payload: record.value,
                    headers: Headers::read(record.headers()),
                });
            }
            Err(corrupt) if records.is_empty() => return Err(corrupt),
            Err(_) => break,
        }
    }
    Ok(records)
}

/// Everything of a batch that became no row, in the order of the offsets.
fn refused<'a>(decoded: &Decoded<'a>, made: &Made) -> Vec<Refused<'a>> {
    let mut all: Vec<Refused<'a>> = decoded.refused.clone();
    all.extend(made.failed.iter().map(|(row, reason)| Refused { raw: decoded.raws[*row], reason: reason.clone() }));
    all.sort_by_key(|refused| (refused.raw.offset, refused.raw.sub_sequence));
    all
}

/// Arrivals of all records of a batch, the oldest first.
fn all_arrivals(decoded: &Decoded<'_>) -> Vec<Millis> {
    let refused = decoded.refused.iter().map(|refused| refused.raw.arrival);
    let mut arrivals: Vec<Millis> = decoded.raws.iter().map(|raw| raw.arrival).chain(refused).collect();
    arrivals.sort_unstable();
    arrivals
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.duration_since(from).as_micros()).unwrap_or(u64::MAX)
}
