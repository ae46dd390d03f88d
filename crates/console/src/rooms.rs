//! What the console looks at, and the state that all its routes share.

use std::sync::Arc;

use base::{Clock, Counter, Measured, Millis, Sample};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::api::rows::collect;
use crate::dashboards::Dashboards;
use crate::error::ApiError;
use crate::guard::Guard;
use crate::live::hub::{Hub, Ran, Source, Wakes};
use crate::live::streams::WATCHERS_MAX;
use crate::live::tail::TAILS_MAX;
use crate::pipeline::Pipeline;
use crate::settings::ConsoleSettings;
use crate::streams::readers::Readers;

/// Rows of one live result: what a chart can show.
const LIVE_ROWS_MAX: usize = 10_000;
/// Pages of the past read at once; each holds a few megabytes, and more of them would only fight for the disk.
const PAGES_MAX: usize = 4;

/// What the console looks at.
#[derive(Clone)]
pub struct Rooms {
    /// Answers SQL.
    pub engine: Arc<query::Engine>,
    /// The streams.
    pub log: Arc<stream::Log>,
    /// The tables, whose changes wake live queries.
    pub lake: Arc<lake::Lake>,
    /// `POST /collect/{stream}`, as the edge room made it.
    pub collector: axum::Router,
    /// Everything that `/metrics` shows.
    pub measured: Vec<Arc<dyn Measured>>,
    /// The map of rooms, measured once a second.
    pub pipeline: watch::Receiver<Arc<Pipeline>>,
    /// The dashboards of the file, as they are now.
    pub dashboards: watch::Receiver<Arc<Dashboards>>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Ends live answers, which would never end by themselves.
    pub stop: CancellationToken,
}

/// The state behind every route.
pub(crate) struct Console {
    pub(crate) rooms: Rooms,
    pub(crate) guard: Arc<Guard>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) tails: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) pages: Semaphore,
    pub(crate) readers: Readers,
    pub(crate) started: Millis,
    pub(crate) queries: Counter,
    pub(crate) queries_failed: Counter,
    /// Changes of streams that were asked for and done.
    pub(crate) changes: Counter,
}

impl Console {
    pub(crate) fn new(rooms: Rooms, settings: &ConsoleSettings) -> Arc<Self> {
        let source = Tables { engine: rooms.engine.clone(), lake: rooms.lake.clone(), clock: rooms.clock.clone() };
        Arc::new(Self {
            started: rooms.clock.now(),
            guard: Arc::new(Guard::new(settings)),
            hub: Hub::new(Arc::new(source)),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            pages: Semaphore::new(PAGES_MAX),
            readers: Readers::default(),
            queries: Counter::default(),
            queries_failed: Counter::default(),
            changes: Counter::default(),
            rooms,
        })
    }
}

impl Measured for Console {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let tails_open = (TAILS_MAX - self.tails.available_permits()) as u64;
        let watchers = (WATCHERS_MAX - self.watchers.available_permits()) as u64;
        samples.extend([
            Sample::new("riverrun_console_queries_total", &[], self.queries.get()),
            Sample::new("riverrun_console_queries_failed_total", &[], self.queries_failed.get()),
            Sample::new("riverrun_console_refused_total", &[], self.guard.refused.get()),
            Sample::new("riverrun_console_stream_changes_total", &[], self.changes.get()),
            Sample::new("riverrun_console_live_tails", &[], tails_open),
            Sample::new("riverrun_console_live_watchers", &[], watchers),
        ]);
        self.hub.measure(samples);
    }
}

/// The lake's tables as the source of live queries.
struct Tables {
    engine: Arc<query::Engine>,
    lake: Arc<lake::Lake>,
    clock: Arc<dyn Clock>,
}

impl Source for Tables {
    fn run(&self, sql: Arc<str>) -> BoxFuture<'static, Result<Ran, ApiError>> {
        let engine = self.engine.clone();
        Box::pin(async move {
            let options = query::QueryOptions { rows_max: Some(LIVE_ROWS_MAX), ..Default::default() };
            let answer = engine.query(&sql, options).await.map_err(|error| ApiError::from_query(&error))?;
            let reads = answer.versions().iter().map(|(table, _)| table.clone()).collect();
            Ok(Ran { rows: collect(answer).await?, reads })
        })
    }

    fn wakes(&self, sql: &str) -> Wakes {
        let sql = sql.to_lowercase();
        let named = self.lake.tables().into_iter().filter(|table| {
            let last = table.name().rsplit('.').next().unwrap_or_default().to_lowercase();
            sql.contains(&last)
        });
        let tables: Vec<_> = named.map(|table| (table.name().to_owned(), table.changes())).collect();
        Wakes { clock: follows_the_clock(&sql) || tables.is_empty(), tables }
    }

    fn changes(&self, table: &str) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.lake.table(table).map(|table| table.changes())
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().0
    }
}

/// Whether the result can change though no table does: time passes, or a system view is read.
fn follows_the_clock(sql: &str) -> bool {
    ["now(", "current_", "system.ledger", "system.edge_ledger"].iter().any(|word| sql.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_that_ask_for_the_time_follow_the_clock() {
        assert!(follows_the_clock("select count(*) from clicks where event_time > now() - interval '1 minute'"));
        assert!(follows_the_clock("select * from system.ledger"));
        assert!(!follows_the_clock("select count(*) from clicks"));
    }
}
