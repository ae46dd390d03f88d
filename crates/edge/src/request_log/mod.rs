//! The real-time request log: which requests are logged, how a line reads, and how lines reach the stream without
//! ever delaying an answer.

mod cmcd;
mod escape;
pub(crate) mod field;
pub(crate) mod line;
mod queue;
pub(crate) mod random;
mod writer;

use std::sync::Arc;

use stream::Stream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::counts::EdgeCounts;
use field::Field;
use line::{Ended, Exchange, LineWriter};
use queue::{Entry, Queue};
use writer::Writer;

/// The log of one edge.
#[derive(Debug)]
pub(crate) struct RequestLog {
    writer: LineWriter,
    sampling_rate: u8,
    queue: Arc<Queue>,
    counts: Arc<EdgeCounts>,
}

/// The writer of a log while it runs.
#[derive(Debug)]
pub(crate) struct Writing {
    task: JoinHandle<()>,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl RequestLog {
    /// A log of `sampling_rate` percent of all requests into `stream`, and its running writer.
    pub(crate) fn start(
        writer: LineWriter,
        sampling_rate: u8,
        queue_bytes: usize,
        stream: Arc<Stream>,
        counts: Arc<EdgeCounts>,
    ) -> (Self, Writing) {
        let queue = Arc::new(Queue::new(queue_bytes));
        counts.watch(queue.clone());
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let fields = Field::header(writer.fields());
        let background = Writer { queue: queue.clone(), stream, counts: counts.clone(), fields };
        let task = tokio::spawn(background.run(stop.clone(), give_up.clone()));
        (Self { writer, sampling_rate, queue, counts }, Writing { task, stop, give_up })
    }

    /// Logs a finished request, or counts why not. Never waits.
    pub(crate) fn finished(&self, exchange: &Exchange, ended: Ended) {
        if !random::chosen(self.sampling_rate) {
            self.counts.sampled_out.inc();
            return;
        }
        let entry =
            Entry { end: 0, id: exchange.id, unix_ms: ended.unix_ms, at: ended.at, simulated: exchange.simulated() };
        if !self.queue.push(entry, |line| self.writer.write(line, exchange, ended)) {
            self.counts.dropped.inc();
        }
    }
}

impl Writing {
    /// Empties the queue to disk; what cannot be appended within `patience` is counted as failed.
    pub(crate) async fn stop(self, patience: std::time::Duration) {
        self.stop.cancel();
        let mut task = self.task;
        let ended = tokio::time::timeout(patience, &mut task).await;
        if ended.is_err() {
            self.give_up.cancel();
            if let Err(error) = task.await {
                tracing::error!(%error, "the writer of the request log ended badly");
            }
        }
    }
}

pub(crate) use queue::Queue as LogQueue;
