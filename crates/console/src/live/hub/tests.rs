//! The hub over a source that says what it is told and counts how often it was asked.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Long enough for anything that is going to happen, on the busiest machine.
const IN_TIME: Duration = Duration::from_secs(30);

/// The table that every query's text names, and one that is read without being named.
const TABLE: &str = "named";
const HIDDEN: &str = "hidden";

/// Answers with what it is told, once it is let.
struct Told {
    runs: AtomicU64,
    says: AtomicU64,
    change: watch::Sender<u64>,
    /// The changes of a table that no text names.
    hidden: watch::Sender<u64>,
    /// A run ends when it gets a turn.
    turns: Arc<Semaphore>,
}

impl Told {
    /// A source whose runs end at once.
    fn quick() -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self::with(turns)
    }

    fn with(turns: Arc<Semaphore>) -> Arc<Self> {
        let (change, hidden) = (watch::channel(0).0, watch::channel(0).0);
        Arc::new(Self { runs: AtomicU64::new(0), says: AtomicU64::new(0), change, hidden, turns })
    }

    /// A source whose runs end one by one, as [`Told::let_one_end`] says.
    fn held() -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(0));
        Self::with(turns)
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }

    /// Says something else from now on.
    fn say(&self, what: u64) {
        self.says.store(what, Ordering::SeqCst);
        self.change();
    }

    fn change(&self) {
        self.change.send_modify(|changes| *changes += 1);
    }

    fn let_one_end(&self) {
        self.turns.add_permits(1);
    }
}

impl Source for Told {
    fn run(&self, sql: Arc<str>) -> BoxFuture<'static, Result<Ran, ApiError>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let says = self.says.load(Ordering::SeqCst);
        let turns = self.turns.clone();
        Box::pin(async move {
            turns.acquire().await.expect("nobody closes it").forget();
            if sql.contains("wrong") {
                return Err(ApiError::new(ErrorKind::Invalid, format!("wrong {says}"), ""));
            }
            let rows = Rows { json: Bytes::from(says.to_string()), truncated: false };
            let reads = if sql.contains("hidden") { HIDDEN } else { TABLE };
            Ok(Ran { rows, reads: vec![reads.to_owned()] })
        })
    }

    fn wakes(&self, _sql: &str) -> Wakes {
        Wakes { tables: vec![(TABLE.to_owned(), self.change.subscribe())], clock: false }
    }

    fn changes(&self, table: &str) -> Option<watch::Receiver<u64>> {
        (table == HIDDEN).then(|| self.hidden.subscribe())
    }

    fn now_ms(&self) -> i64 {
        0
    }
}

/// The next result: its version and what it says.
async fn next(look: &mut Subscription) -> (u64, String) {
    let changed = tokio::time::timeout(IN_TIME, look.latest.changed()).await;
    changed.expect("a result in time").expect("the computation lives while somebody looks");
    shown(look)
}

fn shown(look: &mut Subscription) -> (u64, String) {
    let latest = look.latest.borrow_and_update().clone().expect("there is a result");
    let said = match latest.outcome {
        Ok(rows) => String::from_utf8_lossy(&rows.json).into_owned(),
        Err(error) => error.message,
    };
    (latest.version, said)
}

async fn until(what: impl Fn() -> bool) {
    let waited = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(IN_TIME, waited).await.expect("it happens in time");
}

#[tokio::test]
async fn two_who_look_at_the_same_query_share_one_computation() {
    let source = Told::quick();
    let hub = Hub::new(source.clone());
    let mut one = hub.subscribe("select 1").expect("there is room");
    assert_eq!(next(&mut one).await, (1, "0".into()));
    let mut two = hub.subscribe("select 1").expect("there is room");
    assert_eq!(shown(&mut two), (1, "0".into()), "the latest is there at once");
    source.say(7);
    assert_eq!(next(&mut one).await, (2, "7".into()));
    assert_eq!(next(&mut two).await, (2, "7".into()));
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn changes_while_a_run_is_under_way_are_taken_together_and_none_is_missed() {
    let source = Told::held();
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select 1").expect("there is room");
    until(|| source.runs() == 1).await;
    (1..=50).for_each(|what| source.say(what));
    source.let_one_end();
    assert_eq!(next(&mut look).await, (1, "0".into()), "the run that began before the changes");
    until(|| source.runs() == 2).await;
    source.let_one_end();
    assert_eq!(next(&mut look).await, (2, "50".into()), "one run for fifty changes, and it saw the last");
    source.say(51);
    source.let_one_end();
    assert_eq!(next(&mut look).await, (3, "51".into()));
    assert_eq!(source.runs(), 3, "no run without a change");
}

#[tokio::test]
async fn a_result_that_stays_the_same_is_not_pushed_again() {
    let source = Told::quick();
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select 1").expect("there is room");
    assert_eq!(next(&mut look).await.0, 1);
    source.change();
    until(|| source.runs() == 2).await;
    source.say(7);
    assert_eq!(next(&mut look).await, (2, "7".into()), "version 2 is the second different result");
    assert_eq!(source.runs(), 3);
}

#[tokio::test]
async fn a_query_is_woken_by_what_it_reads_and_not_by_what_its_text_names() {
    let source = Told::quick();
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("select from hidden").expect("there is room");
    assert_eq!(next(&mut look).await, (1, "0".into()));
    // Changes during the first run could have been missed: it runs once more.
    until(|| source.runs() == 2).await;
    source.say(7);
    let woken = tokio::time::timeout(REST_MIN * 3, look.latest.changed()).await;
    assert!(woken.is_err(), "by a table that it only names");
    source.hidden.send_modify(|changes| *changes += 1);
    assert_eq!(next(&mut look).await, (2, "7".into()));
}

#[tokio::test]
async fn an_error_is_a_result_that_is_shown_once() {
    let source = Told::quick();
    let hub = Hub::new(source.clone());
    let mut look = hub.subscribe("wrong").expect("there is room");
    assert_eq!(next(&mut look).await, (1, "wrong 0".into()));
    source.change();
    until(|| source.runs() == 2).await;
    source.say(1);
    assert_eq!(next(&mut look).await, (2, "wrong 1".into()));
}

#[tokio::test]
async fn a_query_nobody_looks_at_any_more_is_forgotten_and_its_run_dropped() {
    let source = Told::held();
    let hub = Hub::new(source.clone());
    let look = hub.subscribe("select 1").expect("there is room");
    until(|| source.runs() == 1).await;
    drop(look);
    until(|| hub.queries.lock().is_empty()).await;
    assert_eq!(hub.counts.subscribers.get(), 0);
    source.let_one_end();
    let mut again = hub.subscribe("select 1").expect("and can be looked at again");
    assert_eq!(next(&mut again).await.0, 1, "from the beginning");
}

#[tokio::test]
async fn beyond_the_limits_a_look_is_refused_as_throttled() {
    let hub = Hub::new(Told::quick());
    let looks: Vec<_> = (0..QUERIES_MAX).map(|n| hub.subscribe(&format!("select {n}"))).collect();
    assert!(looks.iter().all(Result::is_ok));
    let refused = hub.subscribe("one more").err().expect("there is no room");
    assert_eq!(refused.error_kind, ErrorKind::Throttled);
    assert!(hub.subscribe("select 1").is_ok(), "a look at a known query needs no new computation");
}

#[test]
fn a_query_is_busy_at_most_a_third_of_the_time_and_rests_a_tenth_of_a_second_at_least() {
    let ms = Duration::from_millis;
    assert_eq!([ms(0), ms(50), ms(51), ms(900)].map(rest_after), [ms(100), ms(100), ms(102), ms(1800)]);
}
