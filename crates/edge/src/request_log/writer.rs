//! The writer: takes what waits in the queue, makes batches, appends them, and counts what became of every line.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Header, Millis};
use futures::future::join_all;
use stream::{Batch, RecordRef, Stream};
use tokio_util::sync::CancellationToken;

use super::queue::{Lane, Queue};
use crate::counts::EdgeCounts;

/// How long the writer waits after the first line for others to share its append: long against one append of a quiet
/// disk, short against the second in which a click must be seen.
const LINGER: Duration = Duration::from_millis(4);

/// Lines and bytes of one append, well below what the stream takes, so that a burst spreads over all shards.
const APPEND_LINES_MAX: usize = 10_000;
const APPEND_BYTES_MAX: usize = 2 * 1024 * 1024;

/// First and longest pause before a throttled append is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// What the writer needs beside its queue.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) counts: Arc<EdgeCounts>,
    /// The numbers of the fields on each line, as the record header carries them.
    pub(crate) fields: String,
}

/// Some lines of one lane.
struct Part<'a> {
    lane: &'a Lane,
    entries: Range<usize>,
}

impl Writer {
    /// Runs until `stop`, then empties the queue. After `give_up` nothing is tried again.
    pub(crate) async fn run(self, stop: CancellationToken, give_up: CancellationToken) {
        let mut spare = Vec::new();
        loop {
            let stopping = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                () = self.queue.filled() => {
                    tokio::time::sleep(LINGER).await;
                    false
                }
            };
            loop {
                let lanes = self.queue.take(&mut spare);
                if lanes.is_empty() {
                    break;
                }
                self.append_all(&lanes, &give_up).await;
                spare.extend(lanes);
                if !stopping {
                    break;
                }
            }
            if stopping {
                return;
            }
        }
    }

    async fn append_all(&self, lanes: &[Lane], give_up: &CancellationToken) {
        let parts = lanes.iter().flat_map(parts_of);
        join_all(parts.map(|part| self.settle(part, give_up))).await;
    }

    async fn settle(&self, part: Part<'_>, give_up: &CancellationToken) {
        let lines = part.entries.len() as u64;
        let appended = self.append(&part, give_up).await;
        self.queue.settled(part.lane, part.entries.clone());
        if appended {
            self.counts.logged.add(lines);
            self.counts.queue_waits(part.lane.entries[part.entries].iter().map(|entry| entry.at));
        } else {
            self.counts.append_failed.add(lines);
        }
    }

    /// Appends one part, to another shard at each try: any shard will do for a line. `false` if it was given up.
    async fn append(&self, part: &Part<'_>, give_up: &CancellationToken) -> bool {
        let lines = part.entries.len() as u64;
        let mut pause = RETRY_FIRST;
        let mut refusals = 0;
        loop {
            let batch = match self.batch(part) {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(stream = self.stream.name(), lines, %error, "request log lines do not make a batch");
                    return false;
                }
            };
            let shard = self.stream.shard_for(None);
            match self.stream.append(shard, batch).await {
                Ok(_) => return true,
                Err(error) => {
                    let busy = error.kind() == ErrorKind::Throttled;
                    refusals += u32::from(!busy);
                    if give_up.is_cancelled() || refusals > self.stream.shards() {
                        tracing::error!(stream = self.stream.name(), lines, %error, "request log lines were not appended");
                        return false;
                    }
                    if busy {
                        self.counts.append_retries.inc();
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            () = give_up.cancelled() => {}
                        }
                        pause = (pause * 2).min(RETRY_MAX);
                    }
                }
            }
        }
    }

    fn batch(&self, part: &Part<'_>) -> Result<Batch, stream::BatchError> {
        let mut batch = Batch::builder();
        for index in part.entries.clone() {
            let entry = &part.lane.entries[index];
            let start = part.lane.start_of(index);
            let headers: [(&[u8], &[u8]); 4] = [
                (Header::FORMAT.as_bytes(), base::Format::Cdn.name().as_bytes()),
                (Header::FIELDS.as_bytes(), self.fields.as_bytes()),
                (Header::ID.as_bytes(), &entry.id),
                (Header::SIMULATED.as_bytes(), b"1"),
            ];
            batch.push(RecordRef {
                timestamp: Millis(entry.unix_ms),
                key: None,
                value: &part.lane.bytes[start..entry.end],
                headers: &headers[..3 + usize::from(entry.simulated)],
            })?;
        }
        Ok(batch.finish())
    }
}

/// Cuts a lane into parts of one append each.
fn parts_of(lane: &Lane) -> impl Iterator<Item = Part<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let entries = &lane.entries;
        if from >= entries.len() {
            return None;
        }
        let start = lane.start_of(from);
        let fits = |entry: &super::queue::Entry| entry.end - start <= APPEND_BYTES_MAX;
        let more = entries[from..].iter().take(APPEND_LINES_MAX).take_while(|entry| fits(entry)).count().max(1);
        let part = Part { lane, entries: from..from + more };
        from += more;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_lane_is_cut_into_appends_without_losing_a_line() {
        let mut lane = Lane::default();
        for number in 0..25_000usize {
            let bytes = if number % 5_000 == 0 { APPEND_BYTES_MAX + 1 } else { 100 };
            lane.bytes.resize(lane.bytes.len() + bytes, b'x');
            let end = lane.bytes.len();
            lane.entries.push(super::super::queue::Entry {
                end,
                id: [0; 36],
                unix_ms: 0,
                at: Instant::now(),
                simulated: false,
            });
        }
        let mut next = 0;
        for part in parts_of(&lane) {
            assert_eq!(part.entries.start, next);
            assert!(part.entries.len() <= APPEND_LINES_MAX && !part.entries.is_empty());
            let start = lane.start_of(part.entries.start);
            let bytes = lane.entries[part.entries.end - 1].end - start;
            assert!(bytes <= APPEND_BYTES_MAX || part.entries.len() == 1);
            next = part.entries.end;
        }
        assert_eq!(next, lane.entries.len());
    }
}
