//! Delivery to one table: its tasks, from start to stop.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::{Clock, Counter, ErrorKind, Histogram, LedgerRow, Offset, ShardId};
use lake::{Lake, LakeError, Table, TableSpec, TailBatch};
use parking_lot::Mutex;
use query::QueryError;
use stream::Stream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::{Account, Committed};
use crate::backoff::Backoff;
use crate::counts::{Books, DeliverCounts, DeliveryState, ShardBook, rows_of};
use crate::flusher::{Flusher, is_final};
use crate::plan::Plan;
use crate::reader::{Feed, Reader, Step, StepError, rejected_id};
use crate::rejected;
use crate::settings::{StartAt, TableSettings};

/// After a small batch the next is not fetched before this time: many small ones would cost more than they bring, and
/// nobody sees ten milliseconds.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes of log below which a batch is small.
const SMALL_BYTES: usize = 64 << 10;

/// How long a stop goes on to read what is in the stream. What is left is read at the next start.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long reading waits for room in the tail before it looks again.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// Batches being decoded at once, over all tables: as many as there are cores, so that memory stays bounded however many
/// shards there are.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// Delivery to one table could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The table's SQL cannot be planned.
    #[error("the table's SQL: {0}")]
    Sql(#[from] QueryError),
    /// The lake cannot open the table or `system.rejected`.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The lake has more of the stream than the stream itself.
    #[error(
        "the lake has shard {shard} of the stream {stream} up to offset {known}, but the stream ends at {end}: it has lost records. Restore the stream's folder from a copy, or give the table another name"
    )]
    Ahead {
        /// The stream.
        stream: String,
        /// The shard.
        shard: ShardId,
        /// Where the lake would resume.
        known: Offset,
        /// Where the stream ends.
        end: Offset,
    },
}

impl StartError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::Ahead { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Feeds one table from one stream.
#[derive(Debug)]
pub struct Delivery {
    table: Arc<Table>,
    counts: Arc<DeliverCounts>,
    flusher: Arc<Flusher>,
    readers: JoinSet<()>,
    flushing: JoinSet<()>,
    /// Readers go on to the end of the stream and stop there.
    stop: CancellationToken,
    /// Readers stop at once.
    halt: CancellationToken,
    /// The flusher stops.
    end: CancellationToken,
}

/// What every reader's task needs.
struct Shift {
    flusher: Arc<Flusher>,
    stream: Arc<Stream>,
    stop: CancellationToken,
    halt: CancellationToken,
}

/// Where a shard goes on, and what to read again before that.
type Resumed = (Account, Option<(Offset, Offset)>);

impl Delivery {
    /// Opens the table (and `system.rejected`) in the lake and starts to feed it, from where the lake's last commit says
    /// it is.
    ///
    /// # Errors
    /// SQL that cannot be planned, a table that cannot be opened or has other column types, a stream that has lost what
    /// the lake already has.
    pub async fn start(
        settings: TableSettings,
        stream: Arc<Stream>,
        lake: Arc<Lake>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let plan = Plan::new(&settings)?;
        let rejected = lake.ensure(rejected::spec()).await?;
        let spec = TableSpec { name: settings.name.clone(), schema: plan.schema(), partitioned: true };
        let table = lake.ensure(spec).await?;
        let (books, again) = open_books(&settings, &stream, &table, &rejected).await?;
        let counts = Arc::new(DeliverCounts {
            table: Arc::clone(&table),
            stream: Arc::clone(&stream),
            clock,
            books: Mutex::new(books),
            state: Mutex::new(DeliveryState::Running),
            to_tail: Histogram::default(),
            to_lake: Histogram::default(),
            decode_us: Counter::default(),
            transform_us: Counter::default(),
            push_us: Counter::default(),
            batches: Counter::default(),
            flushes: Counter::default(),
            retries: Counter::default(),
            waits: Counter::default(),
        });
        let feed = Arc::new(Feed { settings, plan, table: Arc::clone(&table), rejected, counts: Arc::clone(&counts) });
        let flusher = Arc::new(Flusher::new(Arc::clone(&feed), lake.settings().tail_bytes));
        let (stop, halt, end) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut readers = JoinSet::new();
        for (shard, again) in (0..).map(ShardId).zip(again) {
            let id = rejected_id(&feed.settings.name, &app_id(&stream, shard));
            let reader = Reader::new(Arc::clone(&feed), shard, id);
            let shift = Shift {
                flusher: Arc::clone(&flusher),
                stream: Arc::clone(&stream),
                stop: stop.clone(),
                halt: halt.clone(),
            };
            readers.spawn(shift.work(reader, again));
        }
        let mut flushing = JoinSet::new();
        let (flusher_task, end_task, halt_task) = (Arc::clone(&flusher), end.clone(), halt.clone());
        flushing.spawn(async move { flusher_task.run(end_task, halt_task).await });
        Ok(Self { table, counts, flusher, readers, flushing, stop, halt, end })
    }

    /// The table that is fed.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table)
    }

    /// What was counted; lives on after [`Delivery::stop`].
    #[must_use]
    pub fn counts(&self) -> Arc<DeliverCounts> {
        Arc::clone(&self.counts)
    }

    /// What became of the stream's records; see [`DeliverCounts::ledger`].
    #[must_use]
    pub fn ledger(&self) -> LedgerRow {
        self.counts.ledger()
    }

    /// Reads what the stream has now (for ten seconds at most), commits it to the lake, and ends. What is left is read
    /// at the next start.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.readers.join_next().await.is_some() {}
        self.end.cancel();
        while self.flushing.join_next().await.is_some() {}
        if !self.halt.is_cancelled() {
            self.flusher.drain().await;
        }
    }

    /// Ends as a crash would, except that nothing runs on: no flush.
    #[cfg(test)]
    pub(crate) async fn abandon(mut self) {
        self.halt.cancel();
        self.end.cancel();
        while self.readers.join_next().await.is_some() {}
        self.flushing.abort_all();
        while self.flushing.join_next().await.is_some() {}
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.halt.cancel();
        self.end.cancel();
    }
}

fn app_id(stream: &Stream, shard: ShardId) -> String {
    format!("{}/{shard}", stream.uuid())
}

/// Reads the accounts of all shards out of the lake. Where a new table begins is committed at once, so that `latest`
/// stays what it was at the first start.
async fn open_books(
    settings: &TableSettings,
    stream: &Stream,
    table: &Table,
    rejected: &Table,
) -> Result<(Books, Vec<Option<(Offset, Offset)>>), StartError> {
    let before_id = format!("{}#rows_before", stream.uuid());
    let rows_before = match table.progress(&before_id) {
        Some(rows) => u64::try_from(rows).unwrap_or(0),
        None => rows_of(table),
    };
    let mut books = Books { rows_before, shards: Vec::new() };
    let mut again = Vec::new();
    let mut first = Vec::new();
    for shard in (0..stream.shards()).map(ShardId) {
        let (account, reread) = match resume(settings, stream, shard, table, rejected)? {
            Some(resumed) => resumed,
            None => {
                let bounds = stream.bounds(shard);
                let origin = if settings.start == StartAt::Latest { bounds.end } else { bounds.start };
                let id = app_id(stream, shard);
                let had = rejected.progress(&rejected_id(&settings.name, &id));
                let account = Account::begin(id, origin, had);
                first.extend(account.progress(&account.sums));
                (account, None)
            }
        };
        books.shards.push(ShardBook::new(account));
        again.push(reread);
    }
    if !first.is_empty() {
        let rows = i64::try_from(rows_before).unwrap_or(i64::MAX);
        first.push(lake::Progress { app_id: before_id, next: rows });
        let rows = arrow::array::RecordBatch::new_empty(table.data_schema());
        table.push(TailBatch { rows, event_time: Vec::new(), progress: first })?;
        table.drain().await?;
    }
    Ok((books, again))
}

fn resume(
    settings: &TableSettings,
    stream: &Stream,
    shard: ShardId,
    table: &Table,
    rejected: &Table,
) -> Result<Option<Resumed>, StartError> {
    let id = app_id(stream, shard);
    let rejected_to = rejected.progress(&rejected_id(&settings.name, &id));
    let committed = Committed { table: &|id| table.progress(id), rejected_to };
    let Some((account, again)) = Account::resume(id, &committed) else { return Ok(None) };
    let (known, end) = (Offset(account.sums.next), stream.bounds(shard).end);
    if known > end {
        return Err(StartError::Ahead { stream: stream.name().to_owned(), shard, known, end });
    }
    Ok(Some((account, again)))
}

/// Until when to read on, once stopping has begun.
struct Goal {
    end: Offset,
    latest: Instant,
}

impl Shift {
    /// The life of one shard's reader.
    async fn work(self, mut reader: Reader, again: Option<(Offset, Offset)>) {
        let mut backoff = Backoff::default();
        if let Some((from, until)) = again {
            match self.reread(reader, from, until, &mut backoff).await {
                Some(back) => reader = back,
                None => return,
            }
        }
        let mut goal = None;
        while self.wait_for_records(&reader, &mut goal).await && self.wait_for_room(&reader).await {
            let begun = Instant::now();
            let Some((back, stepped)) = self.turn(reader, Reader::step).await else { return };
            reader = back;
            match stepped {
                Ok(Step::Idle) => {}
                Ok(Step::Went { bytes, .. }) => {
                    backoff.reset();
                    self.flusher.pushed.notify_one();
                    if bytes < SMALL_BYTES && goal.is_none() {
                        self.pause(GATHER.saturating_sub(begun.elapsed())).await;
                    }
                }
                Err(error) => {
                    if !self.survive(&reader, &error, &mut backoff).await || goal.is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// Reads again what a crash may have kept out of `system.rejected`.
    async fn reread(
        &self,
        mut reader: Reader,
        mut from: Offset,
        until: Offset,
        backoff: &mut Backoff,
    ) -> Option<Reader> {
        tracing::info!(shard = reader.shard().0, %from, %until, "reading again for rejected records");
        while from < until {
            if self.halt.is_cancelled() || self.stop.is_cancelled() {
                return None;
            }
            let (back, stepped) = self.turn(reader, move |reader| reader.reread(from, until)).await?;
            reader = back;
            match stepped {
                Ok(Step::Idle) => break,
                Ok(Step::Went { next, .. }) => from = next,
                Err(error) => {
                    if !self.survive(&reader, &error, backoff).await {
                        return None;
                    }
                }
            }
        }
        self.flusher.pushed.notify_one();
        Some(reader)
    }

    /// Does one step on a blocking thread, when it is this reader's turn. `None`: the step panicked.
    async fn turn(
        &self,
        mut reader: Reader,
        step: impl FnOnce(&mut Reader) -> Result<Step, StepError> + Send + 'static,
    ) -> Option<(Reader, Result<Step, StepError>)> {
        let _turn = TURNS.acquire().await;
        let (feed, shard) = (Arc::clone(reader.feed()), reader.shard());
        let done = tokio::task::spawn_blocking(move || {
            let stepped = step(&mut reader);
            (reader, stepped)
        });
        match done.await {
            Ok(done) => Some(done),
            Err(error) => {
                stopped(&feed, shard, &format!("a mistake in riverrun, please report it: {error}"));
                None
            }
        }
    }

    /// Waits for a record behind those that are done. `false`: there is nothing more to do.
    async fn wait_for_records(&self, reader: &Reader, goal: &mut Option<Goal>) -> bool {
        let shard = reader.shard();
        loop {
            let next = reader.feed().counts.next(shard).unwrap_or_default();
            if goal.is_none() && self.stop.is_cancelled() {
                *goal = Some(Goal { end: self.stream.bounds(shard).end, latest: Instant::now() + DRAIN_MAX });
            }
            if self.halt.is_cancelled() {
                return false;
            }
            if let Some(goal) = goal {
                return next < goal.end && Instant::now() < goal.latest;
            }
            tokio::select! {
                biased;
                () = self.halt.cancelled() => {}
                () = self.stop.cancelled() => {}
                there = self.stream.wait_beyond(shard, next) => {
                    if there || self.stream.bounds(shard).end > next {
                        return true;
                    }
                    return self.explain_end(reader, next).await;
                }
            }
        }
    }

    /// The stream says there will never be a record at `next`: it was closed, or the shard is damaged there. A fetch
    /// tells which; a closed one is left in peace until this delivery is stopped too.
    async fn explain_end(&self, reader: &Reader, next: Offset) -> bool {
        let stream = Arc::clone(&self.stream);
        let shard = reader.shard();
        let told = tokio::task::spawn_blocking(move || stream.fetch(shard, next, 1)).await;
        if let Ok(Err(error)) = told {
            stopped(reader.feed(), shard, &error.to_string());
            return false;
        }
        tokio::select! {
            () = self.halt.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        false
    }

    /// Waits while the tail is full. `false`: stop.
    async fn wait_for_room(&self, reader: &Reader) -> bool {
        let mut waited = false;
        while !self.flusher.has_room() {
            if !std::mem::replace(&mut waited, true) {
                reader.feed().counts.waits.inc();
            }
            let flushed = self.flusher.flushed.notified();
            self.flusher.pushed.notify_one();
            tokio::select! {
                () = self.halt.cancelled() => return false,
                () = self.stop.cancelled() => return self.flusher.has_room(),
                () = flushed => {}
                () = tokio::time::sleep(ROOM_LOOK) => {}
            }
        }
        true
    }

    /// After a failed step: waits and lets it be tried again, or stops this shard.
    async fn survive(&self, reader: &Reader, error: &StepError, backoff: &mut Backoff) -> bool {
        let (feed, shard) = (reader.feed(), reader.shard());
        if is_final(error.kind()) {
            stopped(feed, shard, &error.to_string());
            return false;
        }
        if error.kind() == ErrorKind::Full {
            // Batches larger than the room left over: as if there had been none.
            feed.counts.waits.inc();
            self.flusher.pushed.notify_one();
            self.pause(ROOM_LOOK).await;
            return !self.halt.is_cancelled();
        }
        let wait = backoff.next();
        tracing::warn!(table = feed.settings.name, shard = shard.0, %error, ?wait, "records could not be read and are tried again");
        feed.counts.retries.inc();
        self.pause(wait).await;
        !self.halt.is_cancelled()
    }

    /// Sleeps, but not beyond the stop.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = self.halt.cancelled() => {}
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// This shard is read no more, and says why; the others go on.
fn stopped(feed: &Feed, shard: ShardId, why: &str) {
    tracing::error!(
        table = feed.settings.name,
        stream = feed.settings.from,
        shard = shard.0,
        why,
        "delivery of this shard has stopped"
    );
    if let Some(book) = feed.counts.books.lock().shards.get_mut(shard.0 as usize) {
        book.stopped = Some(why.to_owned());
    }
}
