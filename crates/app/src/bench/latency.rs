//! From a click to its row in SQL: N clicks a second on the site, each timed from when it should have been sent.
//!
//! Every click carries a number of its own as `visitor`. A watcher asks for the numbers of the last seconds again and
//! again, as a reader would; a click counts as visible when an answer that has it has arrived. What the asking costs is
//! part of what is measured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::{Clock as _, SystemClock};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use reqwest::header;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{histogram, milliseconds, tell};
use crate::cli::BenchLatency;
use crate::client::Client;
use crate::{Outcome, say};

/// Clicks on their way at once: above it clicks are late, and their lateness counts.
const IN_FLIGHT_MAX: usize = 512;
/// How far back the watcher looks; what is not visible by then is lost or far too late.
const LOOK_BACK_MS: i64 = 3_000;
/// Between two looks, at least.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long after the last click the watcher waits for those still missing.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// The first part of the run warms up and is not counted.
const WARM_UP: Duration = Duration::from_secs(3);

/// Clicks that were due and not yet seen: when each was due.
type Waiting = Arc<Mutex<HashMap<u64, Instant>>>;

pub(crate) async fn latency(asked: BenchLatency) -> anyhow::Result<Outcome> {
    let client = Client::new(&asked.server)?;
    let name = format!("bench-{}-", std::process::id());
    let waiting = Waiting::default();
    let begun = Instant::now();
    let clicks = (asked.rate * f64::from(asked.seconds)) as u64;
    let clicking = tokio::spawn(click(asked.site.clone(), name.clone(), asked.rate, clicks, begun, waiting.clone()));
    let mut seen = Seen { visible: histogram(), looks: histogram(), counted: begun + WARM_UP };
    let deadline = begun + Duration::from_secs(u64::from(asked.seconds)) + WAIT_MAX;
    loop {
        let sent_all = clicking.is_finished();
        look(&client, &asked.table, &name, &waiting, &mut seen).await?;
        if (sent_all && waiting.lock().is_empty()) || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let answered = clicking.await.context("the clicking broke")??;
    let missing = waiting.lock().len();
    say::note(&format!(
        "{clicks} clicks, {missing} never seen; visible after p50 {:.0} ms, p99 {:.0} ms",
        seen.visible.value_at_quantile(0.5) as f64 / 1000.0,
        seen.visible.value_at_quantile(0.99) as f64 / 1000.0,
    ));
    let visible = milliseconds(&seen.visible);
    tell(&json!({
        "p50_ms": visible["p50"], "p90_ms": visible["p90"], "p99_ms": visible["p99"], "max_ms": visible["max"], "clicks": clicks, "rate": asked.rate, "missing": missing, "visible_ms": visible,
        "answered_ms": milliseconds(&answered), "look_ms": milliseconds(&seen.looks),
    }))?;
    Ok(if missing == 0 { Outcome::Done } else { Outcome::NotAllWell })
}

/// Clicks at the rate, whatever the answers do; gives how long answers took from when clicks were due.
async fn click(
    site: url::Url,
    name: String,
    rate: f64,
    clicks: u64,
    begun: Instant,
    waiting: Waiting,
) -> anyhow::Result<Histogram<u64>> {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let answered = Arc::new(Mutex::new(histogram()));
    for number in 0..clicks {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        waiting.lock().insert(number, due);
        let place = places.clone().acquire_owned().await?;
        let mut url = site.join("/action")?;
        url.set_query(Some(&format!(
            "action=view&product_id=bench&product_name=Bench&price=1.00&visitor={name}{number}"
        )));
        let (client, answered) = (client.clone(), answered.clone());
        tokio::spawn(async move {
            match client.get(url).send().await {
                Ok(answer) => drop(answer.bytes().await),
                Err(error) => say::note(&format!("click {number} got no answer: {error}")),
            }
            answered.lock().saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
            drop(place);
        });
    }
    let _all = places.acquire_many(u32::try_from(IN_FLIGHT_MAX)?).await?;
    let answered = answered.lock().clone();
    Ok(answered)
}

struct Seen {
    visible: Histogram<u64>,
    looks: Histogram<u64>,
    /// Clicks due before are not counted.
    counted: Instant,
}

/// Asks once which clicks of the last seconds are there.
async fn look(client: &Client, table: &str, name: &str, waiting: &Waiting, seen: &mut Seen) -> anyhow::Result<()> {
    let start = Instant::now();
    let from = chrono::DateTime::from_timestamp_millis(SystemClock.now().0 - LOOK_BACK_MS).unwrap_or_default();
    let sql = format!(
        "select visitor from {table} where event_time >= timestamp '{}' and starts_with(visitor, '{name}')",
        from.format("%Y-%m-%dT%H:%M:%S%.3fZ")
    );
    let request = client.post(client.url("/api/v1/sql", &[])).header(header::ACCEPT, "text/csv");
    let answer =
        client.ask(request.json(&json!({ "sql": sql }))).await?.text().await.context("the answer broke off")?;
    let arrived = Instant::now();
    seen.looks.saturating_record(u64::try_from((arrived - start).as_micros()).unwrap_or(u64::MAX));
    let mut waiting = waiting.lock();
    for number in answer.lines().filter_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()) {
        if let Some(due) = waiting.remove(&number).filter(|due| *due >= seen.counted) {
            let took = arrived.saturating_duration_since(due);
            seen.visible.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(())
}
