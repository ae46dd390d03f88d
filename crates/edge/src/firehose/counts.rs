//! What came in through the Firehose door and what became of it.

use base::{Counter, Measured, Sample};

/// Counts of the door. Every record that came is in exactly one of the record counts.
#[derive(Debug, Default)]
pub struct FirehoseCounts {
    pub(super) requests: Counter,
    pub(super) refused_requests: Counter,
    pub(super) deliveries: Counter,
    pub(super) refused_deliveries: Counter,
    pub(super) repeated_deliveries: Counter,
    pub(super) records: Counter,
    pub(super) bytes: Counter,
    pub(super) failed_records: Counter,
    pub(super) repeated_records: Counter,
    pub(super) doubtful_deliveries: Counter,
    pub(super) recalled_deliveries: Counter,
    pub(super) recall_bytes: Counter,
    pub(super) recalls_cut: Counter,
    pub(super) recall_failures: Counter,
}

impl FirehoseCounts {
    /// Records that are on disk.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.get()
    }

    /// Records that could not be stored; their senders know.
    #[must_use]
    pub fn failed_records(&self) -> u64 {
        self.failed_records.get()
    }

    /// Records of deliveries sent again that were on disk already.
    #[must_use]
    pub fn repeated_records(&self) -> u64 {
        self.repeated_records.get()
    }

    /// Deliveries stored before this process began that are known again.
    #[must_use]
    pub fn recalled_deliveries(&self) -> u64 {
        self.recalled_deliveries.get()
    }

    /// Searches for such deliveries that a limit ended.
    #[must_use]
    pub fn recalls_cut(&self) -> u64 {
        self.recalls_cut.get()
    }

    /// Deliveries to the HTTP endpoint that were refused.
    #[must_use]
    pub fn refused_deliveries(&self) -> u64 {
        self.refused_deliveries.get()
    }
}

impl Measured for FirehoseCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        for (name, count) in [
            ("riverrun_edge_firehose_requests_total", &self.requests),
            ("riverrun_edge_firehose_refused_requests_total", &self.refused_requests),
            ("riverrun_edge_firehose_deliveries_total", &self.deliveries),
            ("riverrun_edge_firehose_refused_deliveries_total", &self.refused_deliveries),
            ("riverrun_edge_firehose_repeated_deliveries_total", &self.repeated_deliveries),
            ("riverrun_edge_firehose_records_total", &self.records),
            ("riverrun_edge_firehose_record_bytes_total", &self.bytes),
            ("riverrun_edge_firehose_failed_records_total", &self.failed_records),
            ("riverrun_edge_firehose_repeated_records_total", &self.repeated_records),
            ("riverrun_edge_firehose_doubtful_deliveries_total", &self.doubtful_deliveries),
            ("riverrun_edge_firehose_recalled_deliveries_total", &self.recalled_deliveries),
            ("riverrun_edge_firehose_recall_bytes_total", &self.recall_bytes),
            ("riverrun_edge_firehose_recalls_cut_total", &self.recalls_cut),
            ("riverrun_edge_firehose_recall_failures_total", &self.recall_failures),
        ] {
            samples.push(Sample::new(name, &[], count.get()));
        }
    }
}
