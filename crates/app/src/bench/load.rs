//! Events into the collector: as fast as they are taken (closed loop), or at a rate that does not wait (open loop).
//!
//! The bodies are built before the clock starts; while it runs only the thirteen digits of each event's time are
//! written, so that the generator takes little of the two cores that the server needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::{Clock as _, SystemClock};
use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use reqwest::{StatusCode, header};
use serde_json::json;
use tokio::task::JoinSet;

use super::event::{Event, TIME_AT, TIME_DIGITS};
use super::{histogram, milliseconds, tell};
use crate::cli::BenchLoad;
use crate::client::{Client, refusal};
use crate::import::Collected;
use crate::{Outcome, say};

/// Different bodies, sent in turn.
const BODIES: u64 = 16;
/// A throttled request is sent again after this.
const PAUSE: Duration = Duration::from_millis(20);

/// Some events as NDJSON, and where each begins.
struct Body {
    text: Vec<u8>,
    begins: Vec<usize>,
}

impl Body {
    fn new(first: u64, events: u32) -> Self {
        let mut text = String::new();
        let begins = (first..first + u64::from(events)).map(|number| {
            let begin = text.len();
            Event::new(number).json(0, &mut text);
            begin
        });
        let begins = begins.collect();
        Self { text: text.into_bytes(), begins }
    }

    /// The body with the time as it is now.
    fn at(&self, now_ms: i64) -> Bytes {
        let mut text = self.text.clone();
        let digits = format!("{now_ms:0TIME_DIGITS$}");
        for begin in &self.begins {
            text[begin + TIME_AT..begin + TIME_AT + TIME_DIGITS].copy_from_slice(digits.as_bytes());
        }
        text.into()
    }
}

/// What is shared by all connections.
struct Run {
    client: Client,
    url: url::Url,
    bodies: Vec<Body>,
    next: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    throttled: AtomicU64,
    bytes: AtomicU64,
    /// From the time a request should have been sent to its acknowledgement.
    acknowledged: Mutex<Histogram<u64>>,
    begun: Instant,
    end: Instant,
    /// Time between requests of an open loop.
    every: Option<Duration>,
}

pub(crate) async fn load(asked: BenchLoad) -> anyhow::Result<Outcome> {
    let client = Client::new(&asked.server)?;
    let url = client.url(&format!("/collect/{}", asked.stream), &[]);
    let bodies = (0..BODIES).map(|n| Body::new(n * u64::from(asked.batch), asked.batch)).collect();
    let begun = Instant::now();
    let run = Arc::new(Run {
        client,
        url,
        bodies,
        next: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        rejected: AtomicU64::new(0),
        throttled: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        acknowledged: Mutex::new(histogram()),
        begun,
        end: begun + Duration::from_secs(u64::from(asked.seconds)),
        every: asked.rate.map(|rate| Duration::from_secs_f64(f64::from(asked.batch) / rate)),
    });
    let cpu_before = cpu_seconds();
    let mut connections = JoinSet::new();
    for _ in 0..asked.connections {
        connections.spawn(connection(run.clone()));
    }
    while let Some(ended) = connections.join_next().await {
        ended.context("a connection broke")??;
    }
    report(&run, begun.elapsed().as_secs_f64(), cpu_seconds() - cpu_before)
}

async fn connection(run: Arc<Run>) -> anyhow::Result<()> {
    loop {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        let due = match run.every {
            Some(every) => run.begun + every.mul_f64(number as f64),
            None => Instant::now(),
        };
        if due >= run.end {
            return Ok(());
        }
        tokio::time::sleep_until(due.into()).await;
        let body = run.bodies[usize::try_from(number % BODIES).unwrap_or(0)].at(SystemClock.now().0);
        send(&run, body).await?;
        let took = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        run.acknowledged.lock().saturating_record(took);
    }
}

async fn send(run: &Run, mut body: Bytes) -> anyhow::Result<()> {
    loop {
        let request = run.client.post(run.url.clone()).header(header::CONTENT_TYPE, "application/x-ndjson");
        let response = request.body(body.clone()).send().await.map_err(|error| run.client.failed(error))?;
        let for_now = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if !(for_now || response.status().is_success()) {
            return Err(refusal(response).await);
        }
        let collected: Collected = response.json().await.context("the server's answer is none of ours")?;
        run.accepted.fetch_add(collected.accepted, Ordering::Relaxed);
        run.rejected.fetch_add(collected.rejected_count, Ordering::Relaxed);
        if !for_now {
            run.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            return Ok(());
        }
        run.throttled.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
        let lines = usize::try_from(collected.next.unwrap_or(0))?;
        let taken: usize = body.split_inclusive(|byte| *byte == b'\n').take(lines).map(<[u8]>::len).sum();
        body = body.slice(taken..);
    }
}

#[allow(clippy::cast_precision_loss)]
fn report(run: &Run, seconds: f64, cpu_s: f64) -> anyhow::Result<Outcome> {
    let (accepted, rejected) = (run.accepted.load(Ordering::Relaxed), run.rejected.load(Ordering::Relaxed));
    let bytes = run.bytes.load(Ordering::Relaxed);
    let per_s = accepted as f64 / seconds;
    let acknowledged = milliseconds(&run.acknowledged.lock());
    say::note(&format!(
        "{accepted} events in {seconds:.1} s: {per_s:.0} events/s, {:.1} MB/s",
        bytes as f64 / seconds / 1e6
    ));
    tell(&json!({
        "accepted": accepted, "rejected": rejected, "throttled": run.throttled.load(Ordering::Relaxed), "seconds": seconds,
        "events_per_s": per_s, "bytes": bytes, "acknowledged_ms": acknowledged, "generator_cpu_s": cpu_s,
    }))?;
    Ok(if rejected == 0 { Outcome::Done } else { Outcome::NotAllWell })
}

/// Processor time of this process so far, as Linux tells it; 0 elsewhere.
fn cpu_seconds() -> f64 {
    /// Linux counts in hundredths of a second.
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The 14th and 15th fields of the whole line; the name was the second.
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_gets_the_time_of_its_sending_in_every_event() {
        let body = Body::new(0, 3).at(1_763_800_000_999);
        let lines: Vec<serde_json::Value> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|event| event["event_time"] == 1_763_800_000_999_i64));
    }
}
