//! What waits for a shard, and who may still come.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Millis, Offset};
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::error::AppendError;
use crate::limit::{
    GROUP_BYTES_MAX, LOG_QUEUE_BYTES_MAX, SHARD_QUEUE_APPENDS_MAX, SHARD_QUEUE_BYTES_MAX, SMALL_GROUP_BYTES,
};
use crate::shard::Shard;

pub(crate) type Answer = Result<(Range<Offset>, Millis), AppendError>;

/// Bytes that wait in all queues of a log.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, bytes: usize) -> Result<(), AppendError> {
        let waiting = self.0.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > LOG_QUEUE_BYTES_MAX {
            self.give_back(bytes);
            return Err(AppendError::Throttled { waiting, max: LOG_QUEUE_BYTES_MAX });
        }
        Ok(())
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What waits for one shard.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Whether a committer has the shard or will have it.
    scheduled: bool,
    /// Why nothing more is taken.
    pub(crate) refused: Option<AppendError>,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Who is answered with it.
    pub(crate) others: Vec<Other>,
}

/// Somebody whose answer depends on whether a batch is stored that was sent before.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Why nothing of theirs is stored if that batch is; without a reason they sent the same, and get the same answer.
    pub(crate) refused: Option<AppendError>,
}

impl Waiting {
    /// Answers all who wait for it. A caller that has gone away needs no answer; its records are kept all the same.
    pub(crate) fn answer(self, answer: &Answer) {
        for other in self.others {
            let refused = other.refused.filter(|_| answer.is_ok()).map(Err);
            let _gone = other.answer.send(refused.unwrap_or_else(|| answer.clone()));
        }
        let _gone = self.answer.send(answer.clone());
    }
}

impl Queue {
    pub(crate) fn new(refused: Option<AppendError>) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, scheduled: false, refused }
    }

    fn admit(&self, bytes: usize) -> Result<(), AppendError> {
        match &self.refused {
            Some(refused) => Err(refused.clone()),
            None if self.bytes + bytes > SHARD_QUEUE_BYTES_MAX || self.waiting.len() >= SHARD_QUEUE_APPENDS_MAX => {
                Err(AppendError::Throttled { waiting: self.bytes, max: SHARD_QUEUE_BYTES_MAX })
            }
            None => Ok(()),
        }
    }
}

impl Shard {
    /// Whether so many bytes would be queued now; a refusal counts as one.
    pub(crate) fn has_room(&self, bytes: usize) -> Result<(), AppendError> {
        self.queue.lock().admit(bytes).inspect_err(|error| self.count_refusal(error))
    }

    /// Queues a batch. The second value tells to schedule the shard.
    pub(crate) fn enqueue(&self, batch: Batch) -> Result<(oneshot::Receiver<Answer>, bool), AppendError> {
        let bytes = batch.bytes();
        let mut queue = self.queue.lock();
        let taken = queue.admit(bytes).and_then(|()| self.around.budget.take(bytes));
        taken.inspect_err(|error| self.count_refusal(error))?;
        let (answer, receiver) = oneshot::channel();
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting { batch, answer, others: Vec::new() });
        self.counts.waiting_bytes.add(bytes as i64);
        let schedule = !std::mem::replace(&mut queue.scheduled, true);
        Ok((receiver, schedule))
    }

    /// What is written together next: at least one batch, if any waits.
    pub(crate) fn take_group(&self, segment_bytes: u64) -> Vec<Waiting> {
        self.take(GROUP_BYTES_MAX.min(usize::try_from(segment_bytes).unwrap_or(usize::MAX)), 1)
    }

    /// What of it makes a small group, and be it nothing.
    pub(crate) fn take_small_group(&self) -> Vec<Waiting> {
        self.take(SMALL_GROUP_BYTES as usize, 0)
    }

    /// Up to so many bytes, and `least` batches in any case.
    fn take(&self, most: usize, least: usize) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let mut count = 0;
        for waiting in &queue.waiting {
            bytes += waiting.batch.bytes();
            if bytes > most && count >= least {
                bytes -= waiting.batch.bytes();
                break;
            }
            count += 1;
        }
        queue.bytes -= bytes;
        queue.waiting.drain(..count).collect()
    }

    /// Whether there is more to do; if not, the shard is no longer scheduled.
    pub(crate) fn reschedule(&self, more: bool) -> bool {
        let mut queue = self.queue.lock();
        queue.scheduled = more || !queue.waiting.is_empty();
        queue.scheduled
    }

    /// Refuses everything from now on, also what waits.
    pub(crate) fn refuse_all(&self, why: &AppendError) {
        let mut queue = self.queue.lock();
        queue.refused = Some(why.clone());
        let waiting = std::mem::take(&mut queue.waiting);
        let bytes = std::mem::take(&mut queue.bytes);
        drop(queue);
        self.around.budget.give_back(bytes);
        self.counts.waiting_bytes.add(-(bytes as i64));
        self.counts.failed.add(waiting.len() as u64);
        for waiting in waiting {
            waiting.answer(&Err(why.clone()));
        }
    }

    /// Takes nothing more. What waits is still written.
    pub(crate) fn refuse(&self) {
        self.queue.lock().refused.get_or_insert(AppendError::Closed);
    }

    /// Whether nobody waits, and whoever comes will be taken.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.waiting.is_empty() && queue.refused.is_none()
    }

    /// Whether it takes nothing because it was, or is being, closed.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.queue.lock().refused, Some(AppendError::ShardClosed { .. }))
    }

    /// Takes records again after [`Shard::seal`].
    pub(crate) fn unseal(&self) {
        self.queue.lock().refused.take_if(|refused| matches!(refused, AppendError::ShardClosed { .. }));
    }

    /// Nothing is acknowledged after a failed sync, also if that was of room made ahead.
    pub(crate) fn sound(&self) -> io::Result<()> {
        match &self.queue.lock().refused {
            Some(AppendError::Poisoned { why }) => Err(io::Error::other(why.clone())),
            _ => Ok(()),
        }
    }
}
