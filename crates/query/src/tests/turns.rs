//! How queries end, and how many work and wait at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use base::ErrorKind;
use futures::StreamExt;

use super::{House, house, schema};
use crate::{QueryCounts, QueryError, QueryOptions, QuerySettings, Virtual};

/// Runs for ever, in little memory.
const ENDLESS: &str = "select count(*) from generate_series(1, 1000000000000) as a where value % 7 = 8";

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended() {
    let house = house(QuerySettings::default()).await;
    let options = QueryOptions { timeout: Some(Duration::from_millis(50)), rows_max: None };
    let error = house.engine.query(ENDLESS, options).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.message().contains("50ms"), "{error}");
    assert_eq!(house.engine.counts().timed_out.get(), 1);
    wait_until(&house, |counts| counts.running.get() == 0).await;
}

#[tokio::test]
async fn a_query_whose_answer_is_dropped_stops_and_gives_its_turn_back() {
    let house = house(QuerySettings { concurrency: 1, ..QuerySettings::default() }).await;
    // Before its first row: the caller goes away while it waits.
    let gone = tokio::time::timeout(Duration::from_millis(20), house.engine.query(ENDLESS, QueryOptions::default()));
    assert!(gone.await.is_err());
    wait_until(&house, |counts| counts.cancelled.get() == 1 && counts.running.get() == 0).await;
    // In the middle of its rows.
    let sql = "select value from generate_series(1, 1000000000000)";
    let options = QueryOptions { rows_max: Some(usize::MAX), timeout: None };
    let mut answer = house.engine.query(sql, options).await.expect("begins");
    assert!(answer.next().await.expect("some rows").is_ok());
    drop(answer);
    wait_until(&house, |counts| counts.cancelled.get() == 2 && counts.running.get() == 0).await;
    assert_eq!(house.number("select count(*) from clicks").await, 0);
}

/// Looks at the counts until `seen`; the test's own time-out ends it if that never comes.
async fn wait_until(house: &House, seen: impl Fn(&QueryCounts) -> bool) {
    let counts = house.engine.counts();
    let looking = async {
        while !seen(&counts) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.unwrap_or_else(|_| panic!("never: {counts:?}"));
}

/// Asks, and forgets the answer.
fn ask(
    house: &House,
    sql: &'static str,
    timeout: Option<Duration>,
) -> impl Future<Output = Result<(), QueryError>> + use<> {
    let engine = Arc::clone(&house.engine);
    async move { engine.query(sql, QueryOptions { timeout, rows_max: None }).await.map(|_| ()) }
}

#[tokio::test]
async fn beyond_those_that_run_queries_wait_and_beyond_those_that_wait_they_are_refused() {
    let house = house(QuerySettings { concurrency: 1, queue_max: 1, ..QuerySettings::default() }).await;
    let running = tokio::spawn(ask(&house, ENDLESS, None));
    wait_until(&house, |counts| counts.running.get() == 1).await;
    let waiting = tokio::spawn(ask(&house, "select 1", None));
    wait_until(&house, |counts| counts.queued.get() == 1).await;
    let error = house.refused("select 2").await;
    assert_eq!(error.kind(), ErrorKind::Throttled);
    running.abort();
    waiting.await.expect("no panic").expect("its turn came");
    let counts = house.engine.counts();
    wait_until(&house, |counts| counts.running.get() + counts.queued.get() == 0).await;
    assert_eq!(
        (counts.received.get(), counts.answered.get(), counts.refused.get(), counts.cancelled.get()),
        (3, 1, 1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_flood_no_limit_is_overstepped_and_no_query_is_missing_at_any_moment() {
    let house = house(QuerySettings { concurrency: 2, queue_max: 3, ..QuerySettings::default() }).await;
    let counts = house.engine.counts();
    let over = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (counts, over) = (Arc::clone(&counts), Arc::clone(&over));
        move || {
            let mut most = (0, 0);
            while !over.load(Ordering::Acquire) {
                let (received, queued, running) = (counts.received.get(), counts.queued.get(), counts.running.get());
                let known = ended(&counts) + u64::try_from(queued + running).expect("never below 0");
                assert!(known >= received, "{known} of {received} are known: {counts:?}");
                most = (most.0.max(queued), most.1.max(running));
            }
            most
        }
    });
    // All places are taken when it begins, and given back while it lasts.
    let endless = [(); 2].map(|()| tokio::spawn(ask(&house, ENDLESS, None)));
    wait_until(&house, |counts| counts.running.get() == 2).await;
    let patient = [(); 3].map(|()| tokio::spawn(ask(&house, "select 1", None)));
    wait_until(&house, |counts| counts.queued.get() == 3).await;
    assert_eq!(house.refused("select 2").await.kind(), ErrorKind::Throttled);
    let flood = (0..16).map(|_| async {
        // Some have too little time, some go away at once; neither may keep its place.
        for _ in 0..20 {
            let sql = "select count(*) from generate_series(1, 20000) where value % 3 = 1";
            let _ = ask(&house, sql, None).await;
            let _ = ask(&house, sql, Some(Duration::from_micros(200))).await;
            let _ = tokio::time::timeout(Duration::ZERO, ask(&house, sql, None)).await;
        }
    });
    endless.iter().for_each(tokio::task::JoinHandle::abort);
    futures::future::join_all(flood).await;
    for patient in patient {
        patient.await.expect("no panic").expect("its turn came");
    }
    let asked = 2 + 3 + 1 + 16 * 20 * 3;
    wait_until(&house, |counts| ended(counts) == asked && counts.running.get() == 0).await;
    assert_eq!((counts.received.get(), counts.queued.get()), (asked, 0));
    over.store(true, Ordering::Release);
    let (queued, running) = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(queued <= 3 && running <= 2, "{queued} waited and {running} worked at a time");
}

fn ended(counts: &QueryCounts) -> u64 {
    [&counts.answered, &counts.failed, &counts.refused, &counts.timed_out, &counts.cancelled]
        .map(base::Counter::get)
        .iter()
        .sum()
}

/// A table with a mistake in its code.
struct Broken;

impl Virtual for Broken {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn rows(&self) -> Result<RecordBatch, QueryError> {
        panic!("index out of bounds")
    }
}

#[tokio::test]
async fn a_panic_becomes_an_error_of_its_query_and_costs_no_place() {
    let house = house(QuerySettings { concurrency: 1, ..QuerySettings::default() }).await;
    house.engine.add_view("system", "broken", Arc::new(Broken));
    for nth in 1..4 {
        let error = house.refused("select * from system.broken").await;
        assert_eq!((error.kind(), house.engine.counts().failed.get()), (ErrorKind::Internal, nth), "{error}");
        assert!(error.remedy().contains("report"), "{error:?}");
    }
    assert_eq!(house.number("select 1").await, 1);
}
