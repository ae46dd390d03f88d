//! Judging what is about to be written together.

use std::ops::Range;

use base::{Millis, Offset};

use super::known::{Trial, Verdict};
use crate::batch::Stamp;
use crate::error::AppendError;
use crate::queue::{Other, Waiting};
use crate::shard::Shard;

impl Shard {
    /// What of a group is to be written. A repeat of what is on disk is answered, and so is what is refused. What depends on
    /// batches that are about to be written waits for them: a repeat of one, and what is refused after one. Only for whoever
    /// holds the writer: nothing else is stored meanwhile.
    pub(crate) fn judge(&self, group: Vec<Waiting>) -> Vec<Waiting> {
        if group.iter().all(|waiting| waiting.batch.stamp().is_none()) {
            return group;
        }
        let mut next = self.view.read().end();
        let producers = self.producers.lock();
        let coming = group.iter().filter_map(|waiting| waiting.batch.stamp()).map(|stamp| stamp.producer()).collect();
        let mut trial = Trial::new(&producers, coming);
        let mut fresh: Vec<Waiting> = Vec::with_capacity(group.len());
        let mut starts = Vec::with_capacity(group.len());
        for waiting in group {
            let count = waiting.batch.len() as u32;
            let verdict = waiting.batch.stamp().map_or(Verdict::New, |stamp| trial.judge(stamp, count, next));
            match verdict {
                Verdict::New => {
                    starts.push(next);
                    next += u64::from(count);
                    fresh.push(waiting);
                }
                Verdict::Repeat(stored) => {
                    self.counts.repeated_batches.inc();
                    let written = starts.binary_search(&stored.offset);
                    match written {
                        Ok(at) if !self.around.faults.acknowledge_repeat_early => {
                            fresh[at].others.push(Other { answer: waiting.answer, refused: None });
                        }
                        _ => {
                            let _gone = waiting.answer.send(Ok(stored.answer()));
                        }
                    }
                }
                Verdict::Refused(error) => {
                    self.count_refusal(&error);
                    let ahead = waiting.batch.stamp().and_then(|stamp| trial.last_ahead(stamp));
                    match ahead.and_then(|offset| starts.binary_search(&offset).ok()) {
                        Some(at) => fresh[at].others.push(Other { answer: waiting.answer, refused: Some(error) }),
                        None => {
                            let _gone = waiting.answer.send(Err(error));
                        }
                    }
                }
            }
        }
        fresh
    }

    /// Where a batch lies that was sent again to a shard which was closed after storing it.
    pub(crate) fn repeated_when_closed(&self, stamp: Stamp, count: u32) -> Option<(Range<Offset>, Millis)> {
        if !self.is_sealed() {
            return None; // it was poisoned or deleted, and acknowledges nothing, or takes records again
        }
        let stored = self.producers.lock().repeated(stamp, count)?;
        self.counts.repeated_batches.inc();
        Some(stored.answer())
    }

    /// Counts what was refused.
    pub(crate) fn count_refusal(&self, error: &AppendError) {
        match error {
            AppendError::Throttled { .. } => self.counts.throttled.inc(),
            AppendError::ShardClosed { .. } => self.counts.moved.inc(),
            AppendError::OutOfSequence { .. } | AppendError::UnknownProducer { .. } => {
                self.counts.out_of_sequence.inc();
            }
            AppendError::Fenced { .. } => self.counts.fenced.inc(),
            AppendError::TooManyProducers { .. } => self.counts.too_many_producers.inc(),
            _ => self.counts.failed.inc(),
        }
    }
}
