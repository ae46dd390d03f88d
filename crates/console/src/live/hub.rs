//! The hub of live queries: one computation per distinct SQL, however many look at it.
//!
//! Each distinct query has one task while somebody subscribes to it. The task runs the query, publishes the result if it
//! differs from the last, rests (at least [`REST_MIN`], and twice as long as the run took: at most a third of the time
//! busy), and waits until a table it reads has changed. A slow subscriber misses results in between, never the latest.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{Counter, ErrorKind, Gauge, Measured, Sample};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::error::ApiError;

/// Distinct live queries at once: some ten open dashboards that share nothing.
pub(crate) const QUERIES_MAX: usize = 200;
/// Subscriptions at once over all queries: each holds a little memory and a place in a connection.
pub(crate) const SUBSCRIBERS_MAX: usize = 5_000;
/// Time between the end of a run and the start of the next: ten pictures a second are as many as eyes follow.
const REST_MIN: Duration = Duration::from_millis(100);
/// A run is followed by this many times its duration of rest, so that a query keeps at most a third of a core busy.
const REST_PER_RUN: u32 = 2;
/// What depends on the clock (`now()`) or on no lake table is looked at this often.
const CLOCK_TICK: Duration = Duration::from_secs(1);

/// Where live queries get their results from.
pub(crate) trait Source: Send + Sync + 'static {
    /// Runs the query.
    fn run(&self, sql: Arc<str>) -> BoxFuture<'static, Result<Ran, ApiError>>;
    /// What may wake the query, as far as its text tells: rather one table too many than one too few.
    fn wakes(&self, sql: &str) -> Wakes;
    /// The changes of a table; `None` if there is no such table.
    fn changes(&self, table: &str) -> Option<watch::Receiver<u64>>;
    /// The wall clock, milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// A result, already as JSON: shared by all who look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// `"columns":[…],"rows":[…]` without braces, so that each subscriber puts its own number before it.
    pub(crate) json: Bytes,
    /// There were more rows than a live query shows.
    pub(crate) truncated: bool,
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) rows: Rows,
    /// The tables that the planned query reads.
    pub(crate) reads: Vec<String>,
}

/// What wakes a live query: tables whose counter moves, and the clock if the result depends on it.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// By name.
    pub(crate) tables: Vec<(String, watch::Receiver<u64>)>,
    pub(crate) clock: bool,
}

/// The latest of one query.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    /// Grows by one with each different result.
    pub(crate) version: u64,
    /// When it was computed, milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) outcome: Result<Rows, ApiError>,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct HubCounts {
    runs: Counter,
    pushes: Counter,
    failures: Counter,
    refused: Counter,
    queries: Gauge,
    subscribers: Gauge,
}

/// The results of one query, the latest only; nothing before the first.
type Results = watch::Sender<Option<Latest>>;

/// The hub.
pub(crate) struct Hub {
    source: Arc<dyn Source>,
    queries: Mutex<HashMap<Arc<str>, Weak<Results>>>,
    /// Half the cores, at least one: live queries leave room for the one that a person is waiting for.
    running: Semaphore,
    pub(crate) counts: HubCounts,
}

/// A look at one live query; dropping it ends the look.
pub(crate) struct Subscription {
    pub(crate) latest: watch::Receiver<Option<Latest>>,
    hub: Arc<Hub>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.counts.subscribers.add(-1);
    }
}

impl Hub {
    pub(crate) fn new(source: Arc<dyn Source>) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Self {
            source,
            queries: Mutex::default(),
            running: Semaphore::new((cores / 2).max(1)),
            counts: HubCounts::default(),
        })
    }

    /// Looks at `sql`; the first look starts the computation.
    pub(crate) fn subscribe(self: &Arc<Self>, sql: &str) -> Result<Subscription, ApiError> {
        let mut queries = self.queries.lock();
        if self.counts.subscribers.get() >= SUBSCRIBERS_MAX as i64 {
            return Err(self.full(format!("{SUBSCRIBERS_MAX} live subscriptions are open")));
        }
        let known = queries.get(sql).and_then(Weak::upgrade);
        let latest = match known {
            Some(sender) => sender.subscribe(),
            None if queries.len() >= QUERIES_MAX => {
                return Err(self.full(format!("{QUERIES_MAX} different live queries are open")));
            }
            None => {
                let sql: Arc<str> = sql.into();
                let (sender, latest) = watch::channel(None);
                let sender = Arc::new(sender);
                queries.insert(sql.clone(), Arc::downgrade(&sender));
                self.counts.queries.add(1);
                tokio::spawn(compute(self.clone(), sql, sender));
                latest
            }
        };
        self.counts.subscribers.add(1);
        Ok(Subscription { latest, hub: self.clone() })
    }

    fn full(&self, what: String) -> ApiError {
        self.counts.refused.inc();
        ApiError::new(ErrorKind::Throttled, what, "Close a dashboard that nobody looks at, or ask again later")
    }

    /// Forgets the query if nobody looks at it. Under the same lock as `subscribe`, so that no look is lost.
    fn leave(&self, sql: &Arc<str>, sender: &Results) -> bool {
        let mut queries = self.queries.lock();
        if sender.receiver_count() > 0 {
            return false;
        }
        queries.remove(sql);
        self.counts.queries.add(-1);
        true
    }
}

/// The task of one query.
async fn compute(hub: Arc<Hub>, sql: Arc<str>, sender: Arc<Results>) {
    let mut wakes = hub.source.wakes(&sql);
    loop {
        for (_, table) in &mut wakes.tables {
            table.mark_unchanged();
        }
        let (took, reads) = run_once(&hub, &sql, &sender).await;
        if let Some(reads) = reads {
            wakes.keep_to(&reads, |table| hub.source.changes(table));
        }
        tokio::select! {
            () = async { tokio::time::sleep(rest_after(took)).await; wakes.wait().await; } => {}
            () = sender.closed() => {}
        }
        if sender.receiver_count() == 0 && hub.leave(&sql, &sender) {
            return;
        }
    }
}

/// How long a query rests after a run.
fn rest_after(took: Duration) -> Duration {
    (took * REST_PER_RUN).max(REST_MIN)
}

/// Runs the query and publishes what differs; gives how long it took, and which tables it read if it came so far.
async fn run_once(hub: &Arc<Hub>, sql: &Arc<str>, sender: &Results) -> (Duration, Option<Vec<String>>) {
    let Ok(_place) = hub.running.acquire().await else { return (Duration::ZERO, None) };
    let begun = Instant::now();
    let at_ms = hub.source.now_ms();
    let outcome = tokio::select! {
        outcome = hub.source.run(sql.clone()) => outcome,
        () = sender.closed() => return (begun.elapsed(), None),
    };
    let (outcome, reads) = match outcome {
        Ok(Ran { rows, reads }) => (Ok(rows), Some(reads)),
        Err(error) => (Err(error), None),
    };
    hub.counts.runs.inc();
    if outcome.is_err() {
        hub.counts.failures.inc();
    }
    let pushed = sender.send_if_modified(|latest| {
        let version = latest.as_ref().map_or(0, |latest| latest.version);
        let same = match (latest.as_ref().map(|latest| &latest.outcome), &outcome) {
            (Some(Ok(before)), Ok(now)) => before == now,
            (Some(Err(before)), Err(now)) => before.message == now.message,
            _ => false,
        };
        if !same {
            *latest = Some(Latest { version: version + 1, at_ms, outcome });
        }
        !same
    });
    hub.counts.pushes.add(u64::from(pushed));
    (begun.elapsed(), reads)
}

impl Wakes {
    /// Wakes by the tables that the query reads, and by no others; by the clock if it reads none.
    fn keep_to(&mut self, reads: &[String], changes: impl Fn(&str) -> Option<watch::Receiver<u64>>) {
        self.tables.retain(|(name, _)| reads.contains(name));
        for name in reads {
            if self.tables.iter().any(|(known, _)| known == name) {
                continue;
            }
            if let Some(mut table) = changes(name) {
                // What changed while the query ran was not waited for.
                table.mark_changed();
                self.tables.push((name.clone(), table));
            }
        }
    }

    /// Until a table changed or the clock ticked; for ever if neither can happen.
    async fn wait(&mut self) {
        let clock = self.clock || self.tables.is_empty();
        let tick = async { if clock { tokio::time::sleep(CLOCK_TICK).await } else { std::future::pending().await } };
        let tables = self.tables.iter_mut().map(|(_, table)| {
            Box::pin(async move {
                if table.changed().await.is_err() {
                    std::future::pending::<()>().await; // the lake is closed: no change will come
                }
            })
        });
        let changed = async {
            let tables: Vec<_> = tables.collect();
            if tables.is_empty() {
                std::future::pending::<()>().await;
            } else {
                futures::future::select_all(tables).await;
            }
        };
        tokio::select! {
            () = tick => {}
            () = changed => {}
        }
    }
}

impl Measured for Hub {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let counts = &self.counts;
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        samples.extend([
            Sample::new("riverrun_console_live_runs_total", &[], counts.runs.get()),
            Sample::new("riverrun_console_live_pushes_total", &[], counts.pushes.get()),
            Sample::new("riverrun_console_live_failures_total", &[], counts.failures.get()),
            Sample::new("riverrun_console_live_refused_total", &[], counts.refused.get()),
            Sample::new("riverrun_console_live_queries", &[], gauge(&counts.queries)),
            Sample::new("riverrun_console_live_subscribers", &[], gauge(&counts.subscribers)),
        ]);
    }
}

#[cfg(test)]
mod tests;
