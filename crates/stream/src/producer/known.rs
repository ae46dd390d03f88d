//! What a shard remembers of its producers, and what that makes of a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use base::{Millis, Offset};

use crate::batch::Stamp;
use crate::error::AppendError;
use crate::limit::{PRODUCER_BATCHES, PRODUCER_IDLE_MAX, PRODUCER_KEPT_LEAST, PRODUCERS_MAX};

/// A batch that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Sequence number of its first record.
    pub(super) first: i32,
    pub(super) count: u32,
    /// Of its first record.
    pub(super) offset: u64,
    /// The latest arrival time in it.
    pub(super) time: i64,
}

impl Stored {
    /// What its producer was told.
    pub(super) fn answer(&self) -> (Range<Offset>, Millis) {
        (Offset(self.offset)..Offset(self.offset + u64::from(self.count)), Millis(self.time))
    }
}

/// One producer.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) epoch: i16,
    /// Its last batches of that epoch, at least one, the oldest first.
    pub(super) recent: Vec<Stored>,
    /// When a sweep first met it after its last batch.
    seen: Option<Duration>,
}

impl Known {
    pub(super) fn new(epoch: i16, recent: Vec<Stored>) -> Self {
        Self { epoch, recent, seen: None }
    }

    fn last(&self) -> &Stored {
        self.recent.last().expect("a producer is known by a batch")
    }

    /// Takes up what was stored. It need not follow: of a producer that was forgotten meanwhile, the log is right.
    fn take(&mut self, stamp: Stamp, stored: Stored) {
        if self.next(stamp.producer()) != Some(stamp) {
            self.recent.clear();
        }
        if self.recent.len() == PRODUCER_BATCHES {
            self.recent.remove(0);
        }
        self.recent.reserve_exact(PRODUCER_BATCHES - self.recent.len()); // many never send a second one
        self.recent.push(stored);
        (self.epoch, self.seen) = (stamp.epoch(), None);
    }

    /// The stamp of the batch that follows.
    fn next(&self, producer: i64) -> Option<Stamp> {
        let last = self.last();
        Stamp::new(producer, self.epoch, last.first).map(|stamp| stamp.after(last.count))
    }
}

/// A batch that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    pub(crate) stamp: Stamp,
    pub(crate) count: u32,
    pub(crate) offset: u64,
    /// The latest arrival time in it.
    pub(crate) time: i64,
}

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It follows: store it.
    New,
    /// It is this one: tell where it lies.
    Repeat(Stored),
    /// Store nothing.
    Refused(AppendError),
}

/// What a shard remembers of its producers.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    /// By id.
    pub(super) known: BTreeMap<i64, Known>,
    /// Any producer that is not known may have been once. As long as there is none such, an unknown one has stored
    /// nothing here, and its first sequence is 0.
    pub(super) forgetful: bool,
    /// The limit [`PRODUCERS_MAX`]; tests have less.
    most: usize,
    /// How much time had passed at the last sweep.
    swept: Duration,
}

impl Producers {
    /// Nobody is known. `forgetful`: although somebody may have been.
    pub(crate) fn new(forgetful: bool) -> Self {
        Self { known: BTreeMap::new(), forgetful, most: PRODUCERS_MAX, swept: Duration::ZERO }
    }

    #[cfg(test)]
    pub(super) fn limited(most: usize) -> Self {
        Self { most, ..Self::new(false) }
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The stored batch that this one repeats.
    pub(super) fn repeated(&self, stamp: Stamp, count: u32) -> Option<Stored> {
        repeated(self.known.get(&stamp.producer())?, stamp, count)
    }

    /// Takes up a batch that is on disk. Returns whether another producer had to be forgotten for it.
    pub(crate) fn note(&mut self, stamp: Stamp, count: u32, offset: u64, time: i64) -> bool {
        let stored = Stored { first: stamp.sequence(), count, offset, time };
        if let Some(known) = self.known.get_mut(&stamp.producer()) {
            known.take(stamp, stored);
            return false;
        }
        let full = self.known.len() >= self.most;
        if full && let Some((idle, _)) = self.known.iter().min_by_key(|(_, known)| known.last().offset) {
            let idle = *idle;
            self.known.remove(&idle);
            self.forgetful = true;
        }
        self.known.insert(stamp.producer(), Known::new(stamp.epoch(), vec![stored]));
        full
    }

    /// Takes up batches that were written together; returns how many producers had to be forgotten for them. Newcomers come
    /// last, when nobody who has a batch among them is idle any more.
    pub(crate) fn note_all(&mut self, batches: impl Iterator<Item = Noted>) -> u64 {
        let (known, new): (Vec<_>, Vec<_>) = batches.partition(|it| self.known.contains_key(&it.stamp.producer()));
        let batches = known.into_iter().chain(new);
        batches.map(|it| u64::from(self.note(it.stamp, it.count, it.offset, it.time))).sum()
    }

    /// Forgets who has stored nothing for [`PRODUCER_IDLE_MAX`]; returns how many. `elapsed` is what has really passed since
    /// the log was opened: no clock that jumps makes anybody older, and a restart makes all of them young.
    pub(crate) fn sweep(&mut self, elapsed: Duration) -> usize {
        let before = self.known.len();
        self.swept = elapsed;
        self.known.retain(|_, known| {
            let seen = *known.seen.get_or_insert(elapsed);
            elapsed.saturating_sub(seen) < PRODUCER_IDLE_MAX
        });
        let gone = before - self.known.len();
        self.forgetful |= gone > 0;
        gone
    }
}

fn repeated(known: &Known, stamp: Stamp, count: u32) -> Option<Stored> {
    let same = |stored: &&Stored| (stored.first, stored.count) == (stamp.sequence(), count);
    known.recent.iter().rev().find(same).filter(|_| known.epoch == stamp.epoch()).copied()
}

/// Judges batches that are about to be stored, each as if those before it were stored already.
#[derive(Debug)]
pub(super) struct Trial<'p> {
    producers: &'p Producers,
    /// Whose batches come: none of them is forgotten for another.
    coming: BTreeSet<i64>,
    /// Those who have a batch among them that is to be stored.
    ahead: BTreeMap<i64, Known>,
    /// How many of them were unknown before.
    newcomers: usize,
}

impl<'p> Trial<'p> {
    /// Of batches of these producers.
    pub(super) fn new(producers: &'p Producers, coming: BTreeSet<i64>) -> Self {
        Self { producers, coming, ahead: BTreeMap::new(), newcomers: 0 }
    }

    /// Judges a batch that would be stored at `offset`.
    pub(super) fn judge(&mut self, stamp: Stamp, count: u32, offset: u64) -> Verdict {
        let id = stamp.producer();
        let known = self.ahead.get(&id).or_else(|| self.producers.known.get(&id));
        if let Some(refused) = self.refuse(known, stamp, count) {
            return refused;
        }
        let stored = Stored { first: stamp.sequence(), count, offset, time: 0 };
        match known.cloned() {
            Some(mut known) => {
                known.take(stamp, stored);
                self.ahead.insert(id, known);
            }
            None => {
                self.newcomers += 1;
                self.ahead.insert(id, Known::new(stamp.epoch(), vec![stored]));
            }
        }
        Verdict::New
    }

    /// Where the last batch of the producer would be stored that was judged before.
    pub(super) fn last_ahead(&self, stamp: Stamp) -> Option<u64> {
        self.ahead.get(&stamp.producer()).map(|known| known.last().offset)
    }

    /// Why the batch is not to be stored, if so.
    fn refuse(&self, known: Option<&Known>, stamp: Stamp, count: u32) -> Option<Verdict> {
        let (producer, epoch, found) = (stamp.producer(), stamp.epoch(), stamp.sequence());
        let out_of_sequence = |expected| AppendError::OutOfSequence { producer, epoch, expected, found };
        let refused = match known {
            None if found != 0 && !self.producers.forgetful => AppendError::UnknownProducer { producer, found },
            None if !self.has_room() => AppendError::TooManyProducers { max: self.producers.most },
            None => return None,
            Some(known) if epoch < known.epoch => AppendError::Fenced { producer, known: known.epoch, found: epoch },
            Some(known) if epoch > known.epoch => {
                if found == 0 {
                    return None;
                }
                out_of_sequence(0)
            }
            Some(known) => {
                if let Some(stored) = repeated(known, stamp, count) {
                    return Some(Verdict::Repeat(stored));
                }
                let next = known.next(producer)?;
                if next == stamp {
                    return None;
                }
                out_of_sequence(next.sequence())
            }
        };
        Some(Verdict::Refused(refused))
    }

    /// Whether one more producer can be remembered, be it by forgetting one who was idle for long enough.
    fn has_room(&self) -> bool {
        let with_this = self.producers.len() + self.newcomers + 1;
        let Some(over) = with_this.checked_sub(self.producers.most).filter(|over| *over > 0) else { return true };
        let idle = |known: &Known| {
            known.seen.is_some_and(|seen| self.producers.swept.saturating_sub(seen) >= PRODUCER_KEPT_LEAST)
        };
        let producers = self.producers.known.iter();
        producers.filter(|(id, known)| idle(known) && !self.coming.contains(id)).count() >= over
    }
}
