//! What came in through the Kinesis door and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Counter, Gauge, Histogram, Measured, Sample};
use parking_lot::Mutex;

use super::follower::Followers;
use super::operation::Operation;
use crate::collect::budget::Budget;
use crate::counts::measure_histogram;
use crate::serve::ServeCounts;

/// Counts of one operation.
#[derive(Debug, Default)]
struct OperationCounts {
    requests: Counter,
    time_us: Histogram,
}

/// Counts of the door.
#[derive(Debug)]
pub struct KinesisCounts {
    operations: Vec<OperationCounts>,
    /// By operation (or `-`) and code of the error; both are words of ours, so there are few.
    errors: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    pub(crate) put_records: Counter,
    pub(crate) put_bytes: Counter,
    pub(crate) failed_records: Counter,
    pub(crate) throttled_records: Counter,
    pub(crate) got_records: Counter,
    pub(crate) got_bytes: Counter,
    pub(crate) pushed_records: Counter,
    pub(crate) remapped: Counter,
    pub(crate) throttles: Counter,
    pub(crate) subscriptions: Gauge,
    pub(crate) followers: Followers,
    budget: Arc<Budget>,
    pub(crate) serve: Arc<ServeCounts>,
}

impl KinesisCounts {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            operations: Operation::ALL.iter().map(|_| OperationCounts::default()).collect(),
            errors: Mutex::default(),
            put_records: Counter::default(),
            put_bytes: Counter::default(),
            failed_records: Counter::default(),
            throttled_records: Counter::default(),
            got_records: Counter::default(),
            got_bytes: Counter::default(),
            pushed_records: Counter::default(),
            remapped: Counter::default(),
            throttles: Counter::default(),
            subscriptions: Gauge::default(),
            followers: Followers::default(),
            budget,
            serve: Arc::new(ServeCounts::new("kinesis")),
        }
    }

    /// Counts one request and its time.
    pub(crate) fn request(&self, operation: Operation, us: u64) {
        let counts = &self.operations[operation.index()];
        counts.requests.inc();
        counts.time_us.record_us(us);
    }

    /// Counts one error.
    pub(crate) fn error(&self, operation: Option<Operation>, code: &'static str) {
        let key = (operation.map_or("-", Operation::name), code);
        *self.errors.lock().entry(key).or_default() += 1;
        if matches!(code, "ProvisionedThroughputExceededException" | "LimitExceededException") {
            self.throttles.inc();
        }
    }

    /// Records stored.
    #[must_use]
    pub fn put_records(&self) -> u64 {
        self.put_records.get()
    }

    /// Requests refused with that code so far, of all operations.
    #[must_use]
    pub fn errors(&self, code: &str) -> u64 {
        self.errors.lock().iter().filter(|((_, found), _)| *found == code).map(|(_, count)| count).sum()
    }

    /// Subscriptions open now.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        u64::try_from(self.subscriptions.get()).unwrap_or(0)
    }

    /// The counts of this door's connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<ServeCounts> {
        &self.serve
    }
}

impl Measured for KinesisCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        for (operation, counts) in Operation::ALL.iter().zip(&self.operations) {
            let requests = counts.requests.get();
            if requests > 0 {
                let labels = [("operation", operation.name())];
                samples.push(Sample::new("riverrun_kinesis_requests_total", &labels, requests));
                measure_histogram(samples, "riverrun_kinesis_request_time_us", &labels, &counts.time_us);
            }
        }
        for ((operation, code), count) in self.errors.lock().iter() {
            let labels = [("operation", *operation), ("code", *code)];
            samples.push(Sample::new("riverrun_kinesis_errors_total", &labels, *count));
        }
        for (name, value) in [
            ("riverrun_kinesis_put_records_total", self.put_records.get()),
            ("riverrun_kinesis_put_bytes_total", self.put_bytes.get()),
            ("riverrun_kinesis_failed_records_total", self.failed_records.get()),
            ("riverrun_kinesis_throttled_records_total", self.throttled_records.get()),
            ("riverrun_kinesis_got_records_total", self.got_records.get()),
            ("riverrun_kinesis_got_bytes_total", self.got_bytes.get()),
            ("riverrun_kinesis_pushed_records_total", self.pushed_records.get()),
            ("riverrun_kinesis_remapped_records_total", self.remapped.get()),
            ("riverrun_kinesis_throttles_total", self.throttles.get()),
            ("riverrun_kinesis_subscriptions", self.subscriptions()),
            ("riverrun_kinesis_memory_bytes", self.budget.used() as u64),
        ] {
            samples.push(Sample::new(name, &[], value));
        }
        self.followers.measure(samples);
        self.serve.measure(samples);
    }
}
