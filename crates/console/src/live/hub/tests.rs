//! The hub against a source that counts, on a clock that only moves when nothing else can.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Answers with how often it ran, or with what it is told.
struct Counting {
    runs: AtomicU64,
    change: watch::Sender<u64>,
    run_takes: Duration,
    constant: bool,
}

impl Counting {
    fn new(run_takes: Duration, constant: bool) -> Arc<Self> {
        Arc::new(Self { runs: AtomicU64::new(0), change: watch::channel(0).0, run_takes, constant })
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }

    fn change(&self) {
        self.change.send_modify(|changes| *changes += 1);
    }
}

impl Source for Counting {
    fn run(&self, sql: Arc<str>) -> BoxFuture<'static, Result<Rows, ApiError>> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let shown = if self.constant { 0 } else { run };
        let takes = self.run_takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            if sql.contains("wrong") {
                return Err(ApiError::new(ErrorKind::Invalid, format!("wrong {shown}"), ""));
            }
            Ok(Rows { json: Bytes::from(format!("\"rows\":[[{shown}]]")), truncated: false })
        })
    }

    fn wakes(&self, _sql: &str) -> Wakes {
        Wakes { tables: vec![self.change.subscribe()], clock: false }
    }

    fn now_ms(&self) -> i64 {
        0
    }
}

fn shown(subscription: &mut Subscription) -> String {
    let latest = subscription.latest.borrow_and_update();
    let rows = latest.as_ref().and_then(|latest| latest.outcome.as_ref().ok());
    rows.map(|rows| String::from_utf8_lossy(&rows.json).into_owned()).unwrap_or_default()
}

async fn next(subscription: &mut Subscription) -> String {
    subscription.latest.changed().await.expect("the computation lives while somebody looks");
    shown(subscription)
}

#[tokio::test(start_paused = true)]
async fn two_who_look_at_the_same_query_share_one_computation() {
    let source = Counting::new(Duration::ZERO, false);
    let hub = Hub::new(source.clone());
    let mut one = hub.subscribe("select 1").expect("there is room");
    assert_eq!(next(&mut one).await, "\"rows\":[[1]]");
    let mut two = hub.subscribe("select 1").expect("there is room");
    assert_eq!(shown(&mut two), "\"rows\":[[1]]", "the latest is there at once");
    source.change();
    assert_eq!(next(&mut one).await, "\"rows\":[[2]]");
    assert_eq!(next(&mut two).await, "\"rows\":[[2]]");
    assert_eq!(source.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_fast_are_taken_together_and_none_is_missed() {
    let source = Counting::new(Duration::from_millis(200), false);
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select 1").expect("there is room");
    next(&mut look).await;
    let begun = Instant::now();
    for _ in 0..100 {
        source.change();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while tokio::time::timeout(Duration::from_secs(5), next(&mut look)).await.is_ok() {}
    let runs = source.runs();
    assert!((2..=4).contains(&runs), "one second of changes, 200 ms a run and 400 ms of rest: {runs} runs");
    assert!(begun.elapsed() > Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_stays_the_same_is_not_pushed_again() {
    let source = Counting::new(Duration::ZERO, true);
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select 1").expect("there is room");
    next(&mut look).await;
    source.change();
    assert!(tokio::time::timeout(Duration::from_secs(2), next(&mut look)).await.is_err());
    assert_eq!(source.runs(), 2, "it ran, and said nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_query_nobody_looks_at_any_more_is_forgotten() {
    let source = Counting::new(Duration::ZERO, false);
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select 1").expect("there is room");
    next(&mut look).await;
    drop(look);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(hub.queries.lock().is_empty());
    assert_eq!(hub.counts.subscribers.get(), 0);
    source.change();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(source.runs(), 1);
    assert!(hub.subscribe("select 1").is_ok(), "and can be looked at again");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_a_result_that_is_shown_once() {
    let source = Counting::new(Duration::ZERO, true);
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("wrong").expect("there is room");
    look.latest.changed().await.expect("the computation lives");
    assert!(look.latest.borrow_and_update().as_ref().is_some_and(|latest| latest.outcome.is_err()));
    source.change();
    assert!(tokio::time::timeout(Duration::from_secs(2), look.latest.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limits_a_look_is_refused_as_throttled() {
    let hub = Hub::new(Counting::new(Duration::ZERO, true));
    let looks: Vec<_> = (0..QUERIES_MAX).map(|n| hub.subscribe(&format!("select {n}"))).collect();
    assert!(looks.iter().all(Result::is_ok));
    let refused = hub.subscribe("one more").err().expect("there is no room");
    assert_eq!(refused.error_kind, ErrorKind::Throttled);
    assert!(hub.subscribe("select 1").is_ok(), "a look at a known query needs no new computation");
}
