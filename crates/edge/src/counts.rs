//! What came in at one edge and what became of it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base::{Counter, Gauge, Histogram, Measured, Sample};

use crate::request_log::LogQueue;
use crate::serve::ServeCounts;

/// The counts of one edge. At rest, and up to requests that change their place while it is read,
/// `requests = in progress + not to be logged + sampled out + dropped + waiting + logged + failed`.
#[derive(Debug, Default)]
pub struct EdgeCounts {
    name: String,
    pub(crate) requests: Counter,
    pub(crate) in_progress: Gauge,
    pub(crate) unlogged: Counter,
    pub(crate) sampled_out: Counter,
    pub(crate) dropped: Counter,
    pub(crate) logged: Counter,
    pub(crate) append_failed: Counter,
    pub(crate) append_retries: Counter,
    /// By the first digit of the status; 0 for requests that were never answered.
    pub(crate) answers: [Counter; 6],
    pub(crate) bytes_out: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_bytes: Gauge,
    pub(crate) origin_failures: Counter,
    pub(crate) request_us: Histogram,
    pub(crate) queue_us: Histogram,
    pub(crate) serve: Arc<ServeCounts>,
    queue: OnceLock<Arc<LogQueue>>,
}

/// What became of all requests of one edge: the edge's part of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeLedger {
    /// Requests that began.
    pub requests: u64,
    /// Not yet answered to the end.
    pub in_progress: u64,
    /// Answered by an edge that keeps no log.
    pub unlogged: u64,
    /// Left out by the sampling rate.
    pub sampled_out: u64,
    /// Lines that did not fit into the queue.
    pub dropped: u64,
    /// Lines that wait for the stream, or for its disk.
    pub waiting: u64,
    /// Lines that are on disk.
    pub logged: u64,
    /// Lines that the stream refused for good.
    pub failed: u64,
}

impl EdgeLedger {
    /// Requests whose whereabouts are not known; 0 at rest.
    #[must_use]
    pub const fn unaccounted(&self) -> i64 {
        let known = self.in_progress
            + self.unlogged
            + self.sampled_out
            + self.dropped
            + self.waiting
            + self.logged
            + self.failed;
        self.requests.wrapping_sub(known) as i64
    }
}

/// How often the ledger is read again when it changed in the middle.
const LEDGER_TRIES: usize = 100;

impl EdgeCounts {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), serve: Arc::new(ServeCounts::new(name)), ..Self::default() }
    }

    pub(crate) fn watch(&self, queue: Arc<LogQueue>) {
        // An edge has one log, so the first queue is the only one.
        let _ = self.queue.set(queue);
    }

    /// Counts how long these lines waited until they were on disk.
    pub(crate) fn queue_waits(&self, since: impl Iterator<Item = Instant>) {
        let now = Instant::now();
        for at in since {
            self.queue_us.record_us(micros(at, now));
        }
    }

    /// The counts of this door's connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<ServeCounts> {
        &self.serve
    }

    /// The name of the edge.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of all requests. Read again until nothing moved while reading, so that the sum closes.
    #[must_use]
    pub fn ledger(&self) -> EdgeLedger {
        let mut read = self.read_ledger();
        for _ in 0..LEDGER_TRIES {
            let again = self.read_ledger();
            if again == read && again.unaccounted() == 0 {
                break;
            }
            read = again;
        }
        read
    }

    fn read_ledger(&self) -> EdgeLedger {
        EdgeLedger {
            requests: self.requests.get(),
            in_progress: u64::try_from(self.in_progress.get()).unwrap_or(0),
            unlogged: self.unlogged.get(),
            sampled_out: self.sampled_out.get(),
            dropped: self.dropped.get(),
            waiting: self.queue.get().map_or(0, |queue| queue.lines() as u64),
            logged: self.logged.get(),
            failed: self.append_failed.get(),
        }
    }

    /// The time of 50, 95 and 99 percent of requests, in microseconds; `None` before the first.
    #[must_use]
    pub fn request_time_us(&self) -> Option<[u64; 3]> {
        quantiles(&self.request_us)
    }

    /// The time from the end of a request until its line was on disk, likewise.
    #[must_use]
    pub fn log_delay_us(&self) -> Option<[u64; 3]> {
        quantiles(&self.queue_us)
    }
}

fn quantiles(histogram: &Histogram) -> Option<[u64; 3]> {
    Some([histogram.quantile_us(0.5)?, histogram.quantile_us(0.95)?, histogram.quantile_us(0.99)?])
}

pub(crate) fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

impl Measured for EdgeCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let edge = [("edge", self.name.as_str())];
        let ledger = self.ledger();
        for (name, value) in [
            ("riverrun_edge_requests_total", ledger.requests),
            ("riverrun_edge_requests_in_progress", ledger.in_progress),
            ("riverrun_edge_log_unlogged_total", ledger.unlogged),
            ("riverrun_edge_log_sampled_out_total", ledger.sampled_out),
            ("riverrun_edge_log_dropped_total", ledger.dropped),
            ("riverrun_edge_log_queue_lines", ledger.waiting),
            ("riverrun_edge_log_queue_bytes", self.queue.get().map_or(0, |queue| queue.bytes() as u64)),
            ("riverrun_edge_log_logged_total", ledger.logged),
            ("riverrun_edge_log_failed_total", ledger.failed),
            ("riverrun_edge_log_retries_total", self.append_retries.get()),
            ("riverrun_edge_response_bytes_total", self.bytes_out.get()),
            ("riverrun_edge_cache_hits_total", self.cache_hits.get()),
            ("riverrun_edge_cache_misses_total", self.cache_misses.get()),
            ("riverrun_edge_cache_bytes", u64::try_from(self.cache_bytes.get()).unwrap_or(0)),
            ("riverrun_edge_origin_failures_total", self.origin_failures.get()),
        ] {
            samples.push(Sample::new(name, &edge, value));
        }
        for (class, answers) in ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&self.answers) {
            let labels = [("edge", self.name.as_str()), ("status", class)];
            samples.push(Sample::new("riverrun_edge_responses_total", &labels, answers.get()));
        }
        measure_histogram(samples, "riverrun_edge_request_time_us", &edge, &self.request_us);
        measure_histogram(samples, "riverrun_edge_log_delay_us", &edge, &self.queue_us);
        self.serve.measure(samples);
    }
}

/// A histogram as three quantiles; a summary in the words of Prometheus.
pub(crate) fn measure_histogram(
    samples: &mut Vec<Sample>,
    name: &'static str,
    labels: &[(&'static str, &str)],
    histogram: &Histogram,
) {
    for (label, q) in [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)] {
        if let Some(value) = histogram.quantile_us(q) {
            let mut labels = labels.to_vec();
            labels.push(("quantile", label));
            samples.push(Sample::new(name, &labels, value));
        }
    }
}
