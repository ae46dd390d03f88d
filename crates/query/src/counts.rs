//! What the room counts, as `/metrics` and the pipeline map show it.

use base::{Counter, Gauge, Histogram, Measured, Sample};

/// Every query that came in ends in exactly one of `answered`, `failed`, `refused`, `timed_out`, `cancelled`, or is
/// still `queued` or `running`. Read in the order in which [`Measured::measure`] gives them, none is missing.
#[derive(Debug, Default)]
pub struct QueryCounts {
    /// Queries that came in.
    pub received: Counter,
    /// Queries whose last row was given.
    pub answered: Counter,
    /// Queries that were wrong or broke.
    pub failed: Counter,
    /// Queries turned away because too many were waiting.
    pub refused: Counter,
    /// Queries that took too long.
    pub timed_out: Counter,
    /// Queries whose answer nobody wanted any more.
    pub cancelled: Counter,
    /// Answers cut off at the row limit.
    pub truncated: Counter,
    /// Queries at work now.
    pub running: Gauge,
    /// Queries waiting now.
    pub queued: Gauge,
    /// Rows given.
    pub rows: Counter,
    /// Bytes written to disk because memory was short.
    pub spilled_bytes: Counter,
    /// From arrival to the last row, of those not refused.
    pub duration: Histogram,
    /// From arrival to a plan that can run, waiting excluded.
    pub planning: Histogram,
}

impl Measured for QueryCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        // A query goes from the first to the last of these, and into the next before it leaves the one it is in.
        samples.push(Sample::new("riverrun_query_received_total", &[], self.received.get()));
        let gauges = [("riverrun_query_queued", &self.queued), ("riverrun_query_running", &self.running)];
        samples.extend(gauges.map(|(name, gauge)| Sample::new(name, &[], u64::try_from(gauge.get()).unwrap_or(0))));
        let counters = [
            ("riverrun_query_answered_total", &self.answered),
            ("riverrun_query_failed_total", &self.failed),
            ("riverrun_query_refused_total", &self.refused),
            ("riverrun_query_timed_out_total", &self.timed_out),
            ("riverrun_query_cancelled_total", &self.cancelled),
            ("riverrun_query_truncated_total", &self.truncated),
            ("riverrun_query_rows_total", &self.rows),
            ("riverrun_query_spilled_bytes_total", &self.spilled_bytes),
        ];
        samples.extend(counters.map(|(name, counter)| Sample::new(name, &[], counter.get())));
        duration(samples, "riverrun_query_duration_us", &self.duration);
        duration(samples, "riverrun_query_planning_us", &self.planning);
        samples.push(Sample::new("riverrun_query_duration_us_count", &[], self.duration.count()));
        samples.push(Sample::new("riverrun_query_duration_us_sum", &[], self.duration.sum_us()));
    }
}

fn duration(samples: &mut Vec<Sample>, name: &'static str, histogram: &Histogram) {
    for (label, q) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)] {
        if let Some(us) = histogram.quantile_us(q) {
            samples.push(Sample::new(name, &[("quantile", label)], us));
        }
    }
}
