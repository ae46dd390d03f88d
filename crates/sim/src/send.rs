//! Sending batches, of anybody and of idempotent producers, and judging the answers.

use std::collections::BTreeMap;

use base::{Clock, Offset, ShardId};
use stream::{AppendError, Stamp};

use crate::look::{Answer, Appending, Waiting, append, poll, wait};
use crate::model::{Check, Kept};
use crate::speaker::{Expected, Numbered};
use crate::world::{Disturbed, Put, World};

/// Something that an idempotent producer sends to the shard that takes a hash.
#[derive(Clone, Debug)]
pub struct Say {
    /// The stream's name.
    pub stream: &'static str,
    /// Chooses the shard.
    pub hash: u128,
    /// The producer's id.
    pub producer: i64,
    /// What it sends.
    pub what: What,
    /// Number of records, of a new batch.
    pub records: usize,
}

/// What an idempotent producer sends.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// What follows; what was never answered comes first.
    Next,
    /// The nth last again, also if it is not answered yet.
    Again(usize),
    /// What would follow if there was a batch in between.
    Gap,
    /// The first of a new life.
    NextEpoch,
    /// What the life before this one would go on with.
    Zombie,
    /// Somebody unknown sends, and not the first.
    Stranger,
    /// The nth last of a shard that is closed.
    AgainToClosed(usize),
    /// What follows, to a shard that is closed.
    NextToClosed,
}

/// One batch on its way.
struct Sent {
    stream: &'static str,
    shard: u32,
    appending: Appending,
    kept: Vec<Kept>,
    batch: Option<Numbered>,
    early: Option<Answer>,
    answered: bool,
}

/// A batch of a producer, with its records.
pub(crate) type Speech = (Numbered, Vec<Kept>);

/// What was sent before in the same breath, by stream, shard and producer.
type Ahead = BTreeMap<(&'static str, u32, i64), Vec<Speech>>;

/// Those who wait for the next record of a shard.
type Waits = BTreeMap<(&'static str, u32), Waiting>;

impl World {
    /// Sends batches at once: those of one shard may be written together. Returns how many were acknowledged.
    ///
    /// # Errors
    /// The promise that is broken, also by an answer alone.
    pub fn append(&mut self, puts: &[Put]) -> Result<usize, String> {
        let (mut sent, mut waits) = (Vec::new(), Waits::new());
        for put in puts {
            let Some(shard) = self.shard_of(put.stream, put.hash)? else { continue };
            let kept = self.kept(put);
            sent.extend(self.send(put, shard, kept, None, &mut waits));
        }
        self.answers(sent, waits)
    }

    /// Sends batches of idempotent producers at once. Returns how many were acknowledged.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn produce(&mut self, says: &[Say]) -> Result<usize, String> {
        let (mut sent, mut waits, mut ahead) = (Vec::new(), Waits::new(), Ahead::new());
        for say in says {
            let Some(mut shard) = self.shard_of(say.stream, say.hash)? else { continue };
            if matches!(say.what, What::AgainToClosed(_) | What::NextToClosed) {
                let known = self.streams.get(say.stream).ok_or("a stream is there that was never made")?;
                let heard = |(_, model): &(&u32, &crate::model::ShardModel)| {
                    model.closed.is_some() && model.speakers.contains_key(&say.producer)
                };
                let Some((closed, _)) = known.shards.iter().find(heard) else { continue };
                shard = *closed;
            }
            let put = Put { stream: say.stream, hash: say.hash, ..Put::new(say.records, 24) };
            let Some((batch, kept)) = self.speech(say, shard, &put, &mut ahead) else { continue };
            sent.extend(self.send(&put, shard, kept, Some(batch), &mut waits));
        }
        self.answers(sent, waits)
    }

    /// The shard that takes a hash; `None` if there is no such stream.
    fn shard_of(&self, name: &str, hash: u128) -> Result<Option<u32>, String> {
        let Some(stream) = self.log().stream(name) else { return Ok(None) };
        let shard = stream.shard_for_hash(hash);
        let known = self.streams.get(name).ok_or("a stream is there that was never made")?;
        if self.disturbed != Disturbed::Badly && known.shard_for(hash) != Some(shard.0) {
            return Err(format!("a key of hash {hash} goes to shard {shard}"));
        }
        Ok(Some(shard.0))
    }

    /// What a producer sends, as it believes things to stand; `None` if there is nothing of the kind.
    fn speech(&mut self, say: &Say, shard: u32, put: &Put, ahead: &mut Ahead) -> Option<Speech> {
        let now = self.clock.really();
        let known = self.streams.get(say.stream)?;
        let (uuid, model) = (known.uuid, known.shards.get(&shard)?);
        let place = (say.stream, shard, say.producer);
        let unanswered = self.unanswered.get(&(uuid, shard, say.producer)).cloned().unwrap_or_default();
        let pending = ahead.get(&place).cloned().unwrap_or_default();
        let spoken = model.speakers.get(&say.producer).map_or(&[][..], |speaker| &speaker.spoken);
        let last = pending.last().map(|(batch, _)| *batch).or_else(|| spoken.last().map(|spoken| spoken.batch));
        let next = last.map_or(Stamp::new(say.producer, 0, 0), |(stamp, count)| Some(stamp.after(count)))?;
        let stored = |back: usize| {
            let spoken = spoken.get(spoken.len().checked_sub(back + 1)?)?;
            let from = spoken.offset as usize;
            let kept = model.promised.get(from..from + spoken.batch.1 as usize)?;
            Some((spoken.batch, kept.to_vec()))
        };
        let again = |back: usize| match pending.len().checked_sub(back + 1) {
            Some(at) => Some(pending[at].clone()),
            None => stored(back - pending.len()),
        };
        let mut what = say.what;
        let forgotten = model.may_have_forgotten(say.producer, now);
        if forgotten && pending.is_empty() {
            what = What::NextEpoch; // the only thing that is certain, whether it is remembered or not
        }
        let count = say.records as u32;
        let stamp = match what {
            What::Again(back) => {
                self.hits.add("producer: repeats what is not answered yet", u64::from(back < pending.len()));
                return again(back);
            }
            // The new epoch that is pending then was not taken: the shard is closed.
            What::AgainToClosed(_) if forgotten => return None,
            What::AgainToClosed(back) => return stored(back),
            What::Next if !unanswered.is_empty() => {
                self.hits.hit("producer: sends again what was never answered");
                let (batch, kept) = unanswered.first()?.clone();
                let renewed = self.kept(put).first().map_or(0, |kept| kept.removable_from);
                let kept: Vec<Kept> = kept.into_iter().map(|kept| Kept { removable_from: renewed, ..kept }).collect();
                let waiting = self.unanswered.get_mut(&(uuid, shard, say.producer))?;
                waiting.remove(0);
                ahead.entry(place).or_default().push((batch, kept.clone()));
                return Some((batch, kept));
            }
            What::Next | What::NextToClosed => next,
            What::Gap => next.after(2),
            What::NextEpoch => Stamp::new(say.producer, last.map_or(0, |(stamp, _)| stamp.epoch() + 1), 0)?,
            What::Zombie => Stamp::new(say.producer, next.epoch() - 1, next.sequence())?,
            What::Stranger => {
                self.strangers += 1;
                Stamp::new(1_000 + self.strangers, 0, 5)?
            }
        };
        let mut kept = self.kept(put);
        kept.first_mut()?.batch = Some((stamp, count));
        match what {
            What::Next => ahead.entry(place).or_default().push(((stamp, count), kept.clone())),
            What::NextEpoch => {
                self.unanswered.remove(&(uuid, shard, say.producer)); // given up
                ahead.entry(place).or_default().push(((stamp, count), kept.clone()));
            }
            _ => {}
        }
        Some(((stamp, count), kept))
    }

    fn send(
        &mut self,
        put: &Put,
        shard: u32,
        kept: Vec<Kept>,
        batch: Option<Numbered>,
        waits: &mut Waits,
    ) -> Option<Sent> {
        let stream = self.log().stream(put.stream)?;
        let model = self.streams.get(put.stream).and_then(|known| known.shards.get(&shard));
        let end = model.filter(|model| model.closed.is_none()).map(|model| Offset(model.end()));
        let values: Vec<&[u8]> = kept.iter().map(|kept| kept.value.as_slice()).collect();
        let stamp = batch.map(|(stamp, _)| stamp);
        let mut appending = append(&stream, ShardId(shard), &values, put, stamp, self.clock.now());
        if let Some(end) = end {
            let mut wait = wait(&stream, ShardId(shard), end);
            // Behind the end there is nothing to wait for yet, unless something unacknowledged is already there.
            if poll(&mut wait).is_none() {
                waits.entry((put.stream, shard)).or_insert(wait);
            }
        }
        let early = poll(&mut appending); // the first poll puts the batch into the queue, or is refused
        Some(Sent { stream: put.stream, shard, appending, kept, batch, early, answered: false })
    }

    /// Has the log write what was sent, and judges the answers, in the order of sending.
    fn answers(&mut self, mut sent: Vec<Sent>, mut waits: Waits) -> Result<usize, String> {
        self.disk.count_failed();
        let mut acknowledged = 0;
        loop {
            for one in sent.iter_mut().filter(|one| !one.answered) {
                let queued = one.early.is_none();
                let Some(answer) = one.early.take().or_else(|| poll(&mut one.appending)) else { continue };
                one.answered = true;
                self.note("append", format_args!("{}/{}", one.stream, one.shard), &answer);
                acknowledged += usize::from(answer.is_ok());
                self.judge(one, answer, queued, &mut waits)?;
            }
            if !self.log().step() {
                break;
            }
        }
        if sent.iter().all(|one| one.answered) {
            Ok(acknowledged)
        } else {
            Err("an append was never answered".to_owned())
        }
    }

    /// Holds an answer against what was promised.
    fn judge(&mut self, one: &mut Sent, answer: Answer, queued: bool, waits: &mut Waits) -> Check {
        let kept = std::mem::take(&mut one.kept);
        let now = self.clock.really();
        let model = self.streams.get(one.stream).and_then(|known| known.shards.get(&one.shard));
        let expected = match (one.batch, model) {
            (Some(batch), Some(model)) => model.expect(batch, now),
            _ => Expected::Stored,
        };
        match (expected, answer) {
            (Expected::Stored | Expected::Unknown { certain: false }, Ok(range)) => {
                if let Some((stamp, _)) = one.batch {
                    self.hits.hit("producer: stored");
                    self.hits
                        .add("producer: begins another epoch", u64::from(stamp.epoch() > 0 && stamp.sequence() == 0));
                }
                self.acknowledged(one.stream, one.shard, &range, kept)?;
                let woken =
                    waits.remove(&(one.stream, one.shard)).is_none_or(|mut waiting| poll(&mut waiting) == Some(true));
                if woken { Ok(()) } else { Err("who waits for a record was not woken by it".to_owned()) }
            }
            (Expected::Repeat { at, restarted }, Ok(range)) if at == range => {
                self.hits.hit("producer: told where a repeat lies");
                self.hits.add("producer: told so after a restart", u64::from(restarted));
                let closed = model_closed(self, one);
                self.hits.add("producer: told so by a closed shard", u64::from(closed));
                Ok(())
            }
            (Expected::Unknown { .. }, Err(AppendError::UnknownProducer { .. })) => {
                self.hits.hit("producer: unknown");
                Ok(())
            }
            (Expected::OutOfSequence { old }, Err(AppendError::OutOfSequence { .. })) => {
                self.hits.hit(if old { "producer: older than remembered" } else { "producer: out of sequence" });
                Ok(())
            }
            (Expected::Fenced, Err(AppendError::Fenced { .. })) => {
                self.hits.hit("producer: fenced");
                Ok(())
            }
            (Expected::Closed, Err(AppendError::ShardClosed { .. })) => {
                self.hits.hit("producer: refused by a closed shard");
                Ok(())
            }
            (_, Err(error)) if !is_verdict(&error) => self.not_done(one, kept, queued, &error),
            (expected, answer) => {
                Err(format!("a batch {:?} was answered {answer:?}, expected {expected:?}", one.batch))
            }
        }
    }

    /// A batch was refused for a reason that has nothing to do with it.
    fn not_done(&mut self, one: &Sent, kept: Vec<Kept>, queued: bool, error: &AppendError) -> Check {
        let undone = matches!(error, AppendError::Full { .. } | AppendError::ShardClosed { .. });
        if queued && !undone {
            let now = self.clock.really();
            let known = self.streams.get_mut(one.stream).ok_or("a stream is there that was never made")?;
            let shard = known.shards.get_mut(&one.shard).ok_or("a shard is there that was never made")?;
            // One that repeats another is there once at most.
            if one.batch.is_none_or(|batch| shard.may_be_stored(batch, now)) {
                if let Some(batch) = one.batch {
                    let place = (known.uuid, one.shard, batch.0.producer());
                    self.unanswered.entry(place).or_default().push((batch, kept.clone()));
                }
                shard.open.push(kept);
            }
        }
        self.refused("append", error.kind(), error)
    }
}

fn model_closed(world: &World, one: &Sent) -> bool {
    let model = world.streams.get(one.stream).and_then(|known| known.shards.get(&one.shard));
    model.is_some_and(|model| model.closed.is_some())
}

/// Whether the error is about the producer's sequence.
fn is_verdict(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::OutOfSequence { .. } | AppendError::UnknownProducer { .. } | AppendError::Fenced { .. }
    )
}

impl Say {
    /// So many records of producer 1, for the lower end of the hashes of stream `s`.
    #[must_use]
    pub fn new(what: What, records: usize) -> Self {
        Self { stream: "s", hash: 0, producer: 1, what, records }
    }
}
