//! What was promised to idempotent producers, and what must become of a batch of theirs.

use std::collections::BTreeMap;
use std::ops::Range;

use base::Offset;
use stream::Stamp;

use crate::model::ShardModel;

/// Batches of a producer that may be sent again.
const REMEMBERED: usize = 5;
/// A producer that has stored something within so much time is known.
const KEPT_MS: i64 = 24 * 3_600_000;

/// A batch of a producer, and how many records it has.
pub type Numbered = (Stamp, u32);

/// One that is stored.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Which.
    pub batch: Numbered,
    /// Of its first record.
    pub offset: u64,
    /// The log was opened since.
    pub restarted: bool,
}

/// One producer, as a shard must know it.
#[derive(Clone, Debug, Default)]
pub struct Speaker {
    /// What it has stored, all of it, in order.
    pub spoken: Vec<Spoken>,
    /// When it last stored something.
    at: i64,
}

impl Speaker {
    fn hear(&mut self, batch: Numbered, offset: u64, now: i64) {
        self.spoken.push(Spoken { batch, offset, restarted: false });
        self.at = now;
    }

    /// Its last stored batch.
    fn last(&self) -> Option<&Spoken> {
        self.spoken.last()
    }

    /// What may be sent again: of its last epoch, the last first.
    fn recent(&self) -> impl Iterator<Item = &Spoken> {
        let epoch = self.last().map(|last| last.batch.0.epoch());
        let of_epoch = move |spoken: &&Spoken| Some(spoken.batch.0.epoch()) == epoch;
        self.spoken.iter().rev().take_while(of_epoch).take(REMEMBERED)
    }
}

/// What must become of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is stored.
    Stored,
    /// It lies there already. `restarted`: and did so before the log was last opened.
    Repeat {
        /// Where.
        at: Range<Offset>,
        /// Stored before the log was last opened.
        restarted: bool,
    },
    /// Its producer is unknown and should begin at 0; unless somebody may have been forgotten, then it may be stored.
    Unknown {
        /// Nobody was forgotten.
        certain: bool,
    },
    /// It does not follow; `old`: its producer has stored that sequence before.
    OutOfSequence {
        /// Stored before.
        old: bool,
    },
    /// Its producer has begun another epoch.
    Fenced,
    /// The shard takes nothing new.
    Closed,
}

impl ShardModel {
    /// Takes up a stored batch of a producer.
    pub(crate) fn heard(&mut self, batch: Numbered, offset: u64, now: i64) {
        self.may_have_forgotten_one |= self.may_have_forgotten(batch.0.producer(), now);
        self.speakers.entry(batch.0.producer()).or_default().hear(batch, offset, now);
    }

    /// The log was opened.
    pub(crate) fn restarted(&mut self) {
        let spoken = self.speakers.values_mut().flat_map(|speaker| speaker.spoken.iter_mut());
        spoken.for_each(|spoken| spoken.restarted = true);
    }

    /// Whether a producer may have been forgotten: it has stored something, and then nothing for long.
    #[must_use]
    pub fn may_have_forgotten(&self, producer: i64, now: i64) -> bool {
        self.speakers.get(&producer).is_some_and(|speaker| now - speaker.at >= KEPT_MS)
    }

    /// What must become of a batch now.
    #[must_use]
    pub fn expect(&self, batch: Numbered, now: i64) -> Expected {
        let expected = self.expect_of(&self.speakers, batch, now);
        if self.closed.is_some() && !matches!(expected, Expected::Repeat { .. }) { Expected::Closed } else { expected }
    }

    /// Whether a batch that was not answered may be there after a restart: it would be stored if all were that were not
    /// answered before it.
    #[must_use]
    pub fn may_be_stored(&self, batch: Numbered, now: i64) -> bool {
        let mut speakers = self.speakers.clone();
        for batch in self.open.iter().filter_map(|open| open.first()?.batch) {
            speakers.entry(batch.0.producer()).or_default().hear(batch, u64::MAX / 2, now);
        }
        matches!(self.expect_of(&speakers, batch, now), Expected::Stored | Expected::Unknown { certain: false })
    }

    fn expect_of(&self, speakers: &BTreeMap<i64, Speaker>, batch: Numbered, now: i64) -> Expected {
        let (stamp, count) = batch;
        let speaker = speakers.get(&stamp.producer());
        let Some((speaker, last)) = speaker.and_then(|speaker| Some((speaker, speaker.last()?))) else {
            if stamp.sequence() == 0 {
                return Expected::Stored;
            }
            let certain = self.start == 0
                && !self.may_have_forgotten_one
                && self.next_starts.iter().all(|start| *start == 0)
                && self.speakers.keys().all(|producer| !self.may_have_forgotten(*producer, now));
            return Expected::Unknown { certain };
        };
        if let Some(found) = speaker.recent().find(|spoken| spoken.batch == batch) {
            let at = Offset(found.offset)..Offset(found.offset + u64::from(count));
            return Expected::Repeat { at, restarted: found.restarted };
        }
        let (last, records) = last.batch;
        if stamp.epoch() < last.epoch() {
            Expected::Fenced
        } else if stamp.epoch() > last.epoch() {
            if stamp.sequence() == 0 { Expected::Stored } else { Expected::OutOfSequence { old: false } }
        } else if stamp == last.after(records) {
            Expected::Stored
        } else {
            Expected::OutOfSequence { old: speaker.spoken.iter().any(|spoken| spoken.batch == batch) }
        }
    }
}
