//! Delivery to one table: its tasks, from start to stop.

use std::sync::Arc;

use base::{Clock, Counter, ErrorKind, Gauge, Histogram, LedgerRow, Offset, ShardId};
use lake::{Lake, LakeError, Table, TableSpec};
use parking_lot::Mutex;
use query::QueryError;
use stream::Stream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::books;
use crate::counts::{DeliverCounts, DeliveryState};
use crate::flusher::Flusher;
use crate::plan::Plan;
use crate::reader::Feed;
use crate::rejected;
use crate::roster::Roster;
use crate::settings::TableSettings;
use crate::shift::Bell;

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
    reading: JoinSet<()>,
    flushing: JoinSet<()>,
    bell: Bell,
    /// The flusher stops.
    end: CancellationToken,
}

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
        let books = books::open(&settings, &stream, &table, &rejected).await?;
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
            waiting: Gauge::default(),
        });
        let feed = Arc::new(Feed { settings, plan, table: Arc::clone(&table), rejected, counts: Arc::clone(&counts) });
        let flusher = Arc::new(Flusher::new(Arc::clone(&feed), lake.settings().tail_bytes));
        let (bell, end) = (Bell::new(Arc::clone(&flusher)), CancellationToken::new());
        let (mut reading, mut flushing) = (JoinSet::new(), JoinSet::new());
        reading.spawn(Roster { feed, stream, bell: bell.clone() }.run());
        let (flusher_task, end_task, halt_task) = (Arc::clone(&flusher), end.clone(), bell.halt.clone());
        flushing.spawn(async move { flusher_task.run(end_task, halt_task).await });
        Ok(Self { table, counts, flusher, reading, flushing, bell, end })
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
        self.bell.stop.cancel();
        while self.reading.join_next().await.is_some() {}
        self.end.cancel();
        while self.flushing.join_next().await.is_some() {}
        if !self.bell.halt.is_cancelled() {
            self.flusher.drain().await;
        }
    }

    /// Ends as a crash would, except that nothing runs on: no flush.
    #[cfg(test)]
    pub(crate) async fn abandon(mut self) {
        self.bell.halt.cancel();
        self.end.cancel();
        while self.reading.join_next().await.is_some() {}
        self.flushing.abort_all();
        while self.flushing.join_next().await.is_some() {}
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.bell.halt.cancel();
        self.end.cancel();
    }
}
