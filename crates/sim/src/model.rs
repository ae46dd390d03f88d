//! What was promised about streams, shards and records, and whether what is found keeps it.

use std::collections::{BTreeMap, BTreeSet};

use base::{Millis, Offset};
use stream::{HashRange, ShardInfo};
use uuid::Uuid;

use crate::speaker::{Numbered, Speaker};

/// What was found: nothing, or the promise that was broken.
pub type Check = Result<(), String>;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Its arrival time as it was first read; it must never be another.
    pub time: Option<Millis>,
    /// Before this much time has really passed, retention may not have it.
    pub removable_from: i64,
    /// The batch that it is the first record of, if an idempotent producer sent it.
    pub batch: Option<Numbered>,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardModel {
    /// The keys it takes.
    pub range: HashRange,
    parents: [Option<u32>; 2],
    /// By offset, those that retention has removed included: acknowledged, or seen by a reader.
    pub promised: Vec<Kept>,
    /// Batches that were sent and neither acknowledged nor refused, in order: each may follow what was promised, whole.
    pub open: Vec<Vec<Kept>>,
    /// The first offset that retention has kept.
    pub start: u64,
    /// What the start may have become if the machine stopped while retention was at work.
    pub next_starts: BTreeSet<u64>,
    /// Where it ended.
    pub closed: Option<u64>,
    /// How far a reader has come who takes one record at a time, while retention goes on.
    pub slow: u64,
    /// The idempotent producers that have stored something here.
    pub speakers: BTreeMap<i64, Speaker>,
    /// One of them may have been forgotten at some time: the shard need not be sure any more who is new.
    pub may_have_forgotten_one: bool,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct StreamModel {
    /// Tells it from others of the same name.
    pub uuid: Uuid,
    /// Its shards, by number.
    pub shards: BTreeMap<u32, ShardModel>,
    /// All numbers below were given to a shard at some time.
    next_shard: u32,
    /// A change of its shards failed, or was under way when the machine stopped: it may have been made or not.
    pub reshaping: bool,
    /// A deletion failed, or was under way.
    pub deleting: bool,
    /// Retention also goes by size, or may, because a change of that was under way.
    pub by_size: bool,
    /// Small files, each with the values that it may have.
    pub notes: BTreeMap<String, Vec<Option<Vec<u8>>>>,
}

impl ShardModel {
    fn new(info: &ShardInfo) -> Self {
        Self {
            range: info.range,
            parents: [info.parent, info.adjacent_parent].map(|parent| parent.map(|id| id.0)),
            promised: Vec::new(),
            open: Vec::new(),
            start: 0,
            next_starts: BTreeSet::new(),
            closed: None,
            slow: 0,
            speakers: BTreeMap::new(),
            may_have_forgotten_one: false,
        }
    }

    /// Retention may take any record that was sent so far, whatever its age.
    pub fn may_go(&mut self) {
        let sent = self.promised.iter_mut().chain(self.open.iter_mut().flatten());
        sent.for_each(|kept| kept.removable_from = i64::MIN);
    }

    /// The next record's offset.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.promised.len() as u64
    }

    /// A batch is stored, as its caller was told or a reader has seen.
    pub(crate) fn promise(&mut self, kept: Vec<Kept>, now: i64) {
        if let Some(batch) = kept.first().and_then(|kept| kept.batch) {
            self.heard(batch, self.end(), now);
        }
        self.promised.extend(kept);
    }

    /// Holds what a reader has read, all of it from `start` to the end, against the promises; it is then promised, too.
    /// `restarted`: what was not acknowledged is there or gone for good.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check(&mut self, start: Offset, read: Vec<(Millis, Vec<u8>)>, restarted: bool, now: i64) -> Check {
        self.check_start(start.0, now)?;
        let promised = &mut self.promised[start.0 as usize..];
        if read.len() < promised.len() {
            return Err(format!("{} records were promised from {start} on, {} are there", promised.len(), read.len()));
        }
        let mut read = read.into_iter();
        for (at, kept) in promised.iter_mut().enumerate() {
            let (time, value) = read.next().expect("there are at least as many");
            if kept.value != value || *kept.time.get_or_insert(time) != time {
                return Err(format!("the record at {} is not the one that was there before", start.0 + at as u64));
            }
        }
        let more: Vec<_> = read.collect();
        let mut more = more.as_slice();
        let mut found: Vec<Vec<Kept>> = Vec::new();
        for batch in &self.open {
            if more.is_empty() {
                break;
            }
            let same = |(kept, (_, value)): (&Kept, &(Millis, Vec<u8>))| kept.value == *value;
            if more.len() < batch.len() || !batch.iter().zip(more).all(same) {
                return Err("part of a batch is there, or records that were never sent".to_owned());
            }
            let timed = batch.iter().zip(more).map(|(kept, (time, _))| Kept { time: Some(*time), ..kept.clone() });
            found.push(timed.collect());
            more = &more[batch.len()..];
        }
        if !more.is_empty() {
            return Err(format!("{} records more than were ever sent", more.len()));
        }
        self.open.drain(..found.len());
        found.into_iter().for_each(|batch| self.promise(batch, now));
        if restarted {
            self.open.clear();
            self.restarted();
        }
        match self.closed {
            Some(end) if end != self.end() => Err(format!("it was closed at {end}, and ends at {}", self.end())),
            _ => Ok(()),
        }
    }

    fn check_start(&mut self, start: u64, now: i64) -> Check {
        if start != self.start && !self.next_starts.contains(&start) {
            return Err(format!("it starts at {start}, expected {} or one of {:?}", self.start, self.next_starts));
        }
        if start < self.start || start > self.end() {
            return Err(format!("it starts at {start}, after {} and before the end {}", self.start, self.end()));
        }
        let early = self.promised[self.start as usize..start as usize].iter().find(|kept| now < kept.removable_from);
        if let Some(early) = early {
            return Err(format!("a record was removed {} ms early", early.removable_from - now));
        }
        self.start = start;
        Ok(())
    }

    /// Whether retention may have taken all of it off the list.
    fn may_be_gone(&self) -> bool {
        self.closed.is_some() && (self.start == self.end() || self.next_starts.contains(&self.end()))
    }
}

impl StreamModel {
    /// A stream as it was just made or found, without records.
    #[must_use]
    pub fn new(uuid: Uuid, infos: &[ShardInfo]) -> Self {
        let shards: BTreeMap<u32, ShardModel> = infos.iter().map(|info| (info.id.0, ShardModel::new(info))).collect();
        let next_shard = infos.iter().map(|info| info.id.0 + 1).max().unwrap_or(0);
        Self { uuid, shards, next_shard, reshaping: false, deleting: false, by_size: false, notes: BTreeMap::new() }
    }

    /// The shard that takes a key of this hash.
    #[must_use]
    pub fn shard_for(&self, hash: u128) -> Option<u32> {
        self.shards.iter().find(|(_, shard)| shard.closed.is_none() && shard.range.contains(hash)).map(|(id, _)| *id)
    }

    /// The open shards, by their first hash.
    #[must_use]
    pub fn open(&self) -> Vec<u32> {
        let mut open: Vec<_> = self.shards.iter().filter(|(_, shard)| shard.closed.is_none()).collect();
        open.sort_by_key(|(_, shard)| shard.range.start);
        open.into_iter().map(|(id, _)| *id).collect()
    }

    /// A change of the shards was acknowledged: the list is this from now on. `made` of them are new.
    ///
    /// # Errors
    /// It is no list that such a change can give.
    pub fn reshaped(&mut self, infos: &[ShardInfo]) -> Check {
        let before = std::mem::replace(&mut self.reshaping, true);
        let checked = self.check_shards(infos);
        self.reshaping = before;
        checked
    }

    /// Holds the list of shards against the promises; what is found is then promised, too.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check_shards(&mut self, infos: &[ShardInfo]) -> Check {
        covers_every_hash_once(infos)?;
        let known = self.next_shard;
        for info in infos {
            let id = info.id.0;
            let end = info.closed.map(|closing| closing.end.0);
            let Some(shard) = self.shards.get_mut(&id) else {
                if id < known {
                    return Err(format!("shard {id} is there again"));
                }
                if !self.reshaping {
                    return Err(format!("shard {id} was never asked for"));
                }
                self.next_shard = self.next_shard.max(id + 1);
                self.shards.insert(id, ShardModel { closed: end, ..ShardModel::new(info) });
                continue;
            };
            let found = ShardModel::new(info);
            if (found.range, found.parents) != (shard.range, shard.parents) {
                return Err(format!("shard {id} has changed: {info:?}"));
            }
            match (shard.closed, end) {
                (None, Some(_)) if self.reshaping => shard.closed = end,
                (was, is) if was == is => {}
                (was, is) => return Err(format!("shard {id} ended at {was:?}, and now at {is:?}")),
            }
        }
        let listed: BTreeSet<u32> = infos.iter().map(|info| info.id.0).collect();
        let gone = |id: &u32| !listed.contains(id);
        if let Some((id, _)) = self.shards.iter().find(|(id, shard)| gone(id) && !shard.may_be_gone()) {
            return Err(format!("shard {id} is gone"));
        }
        self.shards.retain(|id, _| listed.contains(id));
        Ok(())
    }
}

/// The ranges of the open shards.
fn covers_every_hash_once(infos: &[ShardInfo]) -> Check {
    let mut ranges: Vec<HashRange> = infos.iter().filter(|info| info.closed.is_none()).map(|info| info.range).collect();
    ranges.sort_unstable();
    let mut expected = Some(0);
    for range in &ranges {
        if expected != Some(range.start) {
            return Err(format!("a shard begins at hash {}, expected {expected:?}", range.start));
        }
        expected = range.end.checked_add(1);
    }
    if expected.is_some() { Err(format!("no shard takes the hashes from {expected:?} on")) } else { Ok(()) }
}
