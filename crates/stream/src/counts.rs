//! What one stream counts.

use base::{Counter, Gauge, Histogram, Sample};

/// The numbers of one stream, all shards together.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    pub(crate) appended_records: Counter,
    pub(crate) appended_batches: Counter,
    pub(crate) appended_bytes: Counter,
    pub(crate) fetches: Counter,
    pub(crate) fetched_bytes: Counter,
    /// Appends refused because too much was waiting.
    pub(crate) throttled: Counter,
    /// Appends refused for another reason: full, poisoned, corrupt, closed.
    pub(crate) failed: Counter,
    /// Appends refused because the shard had been closed: their keys belong to others now.
    pub(crate) moved: Counter,
    /// Batches that were stored before, and acknowledged again.
    pub(crate) repeated_batches: Counter,
    /// Batches refused because their sequence does not follow, or because they should have begun at 0.
    pub(crate) out_of_sequence: Counter,
    /// Batches refused because their producer has begun another epoch.
    pub(crate) fenced: Counter,
    /// Batches refused because too many producers are remembered already.
    pub(crate) too_many_producers: Counter,
    /// Producers forgotten because they stored nothing for long.
    pub(crate) expired_producers: Counter,
    /// Producers forgotten for the sake of others.
    pub(crate) evicted_producers: Counter,
    /// Groups written, each with one sync.
    pub(crate) commits: Counter,
    /// Those of them that a thread of a runtime wrote, because it had brought little and nobody else was at it.
    pub(crate) direct_commits: Counter,
    /// Batches whose arrival times had to be raised.
    pub(crate) clamped_batches: Counter,
    /// Fetches that met damaged bytes.
    pub(crate) corrupt: Counter,
    /// Un-synced bytes cut when the stream was opened.
    pub(crate) cut_bytes: Counter,
    pub(crate) removed_segments: Counter,
    pub(crate) removed_bytes: Counter,
    pub(crate) splits: Counter,
    pub(crate) merges: Counter,
    /// Changes of shards that the load asked for and that could not be made.
    pub(crate) refused_changes: Counter,
    /// Closed shards taken off the list after their retention.
    pub(crate) removed_shards: Counter,
    /// What opening found and did.
    pub(crate) recovered: Recovered,
    /// Bytes waiting to be written now.
    pub(crate) waiting_bytes: Gauge,
    /// Duration of writing one group.
    pub(crate) write: Histogram,
    /// Duration of its sync.
    pub(crate) sync: Histogram,
}

/// The ways of recovery taken when a stream was opened. A simulation that misses one of them has shown nothing about it.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Last segments that were whole.
    pub(crate) kept: Counter,
    /// Segments with room at their end that was made blank ahead and is given back.
    pub(crate) trimmed: Counter,
    /// Last segments with an un-synced end, which was cut.
    pub(crate) cut: Counter,
    /// Shards with damage.
    pub(crate) stopped: Counter,
    /// Last groups written once more, because nothing vouched for their sync.
    pub(crate) rewritten: Counter,
    /// Folders synced, because nothing vouched for the name of the last segment.
    pub(crate) name_synced: Counter,
    /// Indexes of closed segments made anew.
    pub(crate) index_rebuilt: Counter,
    /// Files removed that a crash had left half written.
    pub(crate) unfinished_removed: Counter,
    /// Segments removed that retention had begun to remove.
    pub(crate) removal_finished: Counter,
    /// Folders removed of shards whose retention was over.
    pub(crate) shard_removal_finished: Counter,
    /// Snapshots of producers read.
    pub(crate) producers_read: Counter,
    /// Shards whose log was read for producers behind their snapshot.
    pub(crate) producers_replayed: Counter,
    /// Shards whose log was read for producers as a whole, without a snapshot.
    pub(crate) producers_rebuilt: Counter,
    /// Snapshots of producers that were damaged.
    pub(crate) producers_spoiled: Counter,
}

impl Recovered {
    fn measure(&self, stream: &str, samples: &mut Vec<Sample>) {
        for (how, counter) in [
            ("kept", &self.kept),
            ("trimmed", &self.trimmed),
            ("cut", &self.cut),
            ("stopped", &self.stopped),
            ("rewritten", &self.rewritten),
            ("name_synced", &self.name_synced),
            ("index_rebuilt", &self.index_rebuilt),
            ("unfinished_removed", &self.unfinished_removed),
            ("removal_finished", &self.removal_finished),
            ("shard_removal_finished", &self.shard_removal_finished),
            ("producers_read", &self.producers_read),
            ("producers_replayed", &self.producers_replayed),
            ("producers_rebuilt", &self.producers_rebuilt),
            ("producers_spoiled", &self.producers_spoiled),
        ] {
            let labels = [("stream", stream), ("how", how)];
            samples.push(Sample::new("riverrun_stream_recovered_total", &labels, counter.get()));
        }
    }
}

impl StreamCounts {
    pub(crate) fn measure(&self, stream: &str, samples: &mut Vec<Sample>) {
        let labels = [("stream", stream)];
        self.recovered.measure(stream, samples);
        let counters = [
            ("riverrun_stream_appended_records_total", &self.appended_records),
            ("riverrun_stream_appended_batches_total", &self.appended_batches),
            ("riverrun_stream_appended_bytes_total", &self.appended_bytes),
            ("riverrun_stream_fetches_total", &self.fetches),
            ("riverrun_stream_fetched_bytes_total", &self.fetched_bytes),
            ("riverrun_stream_throttled_appends_total", &self.throttled),
            ("riverrun_stream_failed_appends_total", &self.failed),
            ("riverrun_stream_moved_appends_total", &self.moved),
            ("riverrun_stream_repeated_batches_total", &self.repeated_batches),
            ("riverrun_stream_out_of_sequence_appends_total", &self.out_of_sequence),
            ("riverrun_stream_fenced_appends_total", &self.fenced),
            ("riverrun_stream_too_many_producers_appends_total", &self.too_many_producers),
            ("riverrun_stream_expired_producers_total", &self.expired_producers),
            ("riverrun_stream_evicted_producers_total", &self.evicted_producers),
            ("riverrun_stream_commits_total", &self.commits),
            ("riverrun_stream_direct_commits_total", &self.direct_commits),
            ("riverrun_stream_clamped_batches_total", &self.clamped_batches),
            ("riverrun_stream_corrupt_fetches_total", &self.corrupt),
            ("riverrun_stream_cut_bytes_total", &self.cut_bytes),
            ("riverrun_stream_removed_segments_total", &self.removed_segments),
            ("riverrun_stream_removed_bytes_total", &self.removed_bytes),
            ("riverrun_stream_splits_total", &self.splits),
            ("riverrun_stream_merges_total", &self.merges),
            ("riverrun_stream_refused_scalings_total", &self.refused_changes),
            ("riverrun_stream_removed_shards_total", &self.removed_shards),
        ];
        for (name, counter) in counters {
            samples.push(Sample::new(name, &labels, counter.get()));
        }
        let waiting = u64::try_from(self.waiting_bytes.get()).unwrap_or(0);
        samples.push(Sample::new("riverrun_stream_waiting_bytes", &labels, waiting));
        for (name, histogram) in [("riverrun_stream_write_us", &self.write), ("riverrun_stream_sync_us", &self.sync)] {
            for (quantile, q) in [("0.5", 0.5), ("0.99", 0.99)] {
                if let Some(us) = histogram.quantile_us(q) {
                    samples.push(Sample::new(name, &[("stream", stream), ("quantile", quantile)], us));
                }
            }
        }
    }
}
