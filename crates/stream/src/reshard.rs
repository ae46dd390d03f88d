//! Changing the shards of a stream while it takes records.
//!
//! The order of writes, and why a crash at any point keeps every key's order and every acknowledged record:
//!
//! 1. The shards to be closed refuse appends (`ShardClosed`: the caller maps its keys again). What was queued before is
//!    committed, by this thread if no other does. Now their ends are final, and everything before the ends is synced.
//! 2. `stream.json` is replaced as a whole, durably: the same write says where the old shards ended, and names the new
//!    ones. Before it, a crash leaves the old shards open, and they hold all that was acknowledged; the new ones had never
//!    taken anything. After it, a crash leaves the old ones closed with all their records, and the new ones empty.
//! 3. Only then the new shards take records. So a record of a new shard proves that the ends of its parents are durable, and
//!    whoever reads parents to their ends before children sees each key's records in the order of their acknowledgement.
//! 4. The old shards' last segments are closed and indexed. That is for speed; recovery reads them if a crash comes first.
//!
//! If the write of 2 fails before the old file was touched, the old shards are opened again. If it fails later, nobody
//! knows which of the two a restart will find: under the new one, whatever an old shard took now would lie behind its
//! recorded end and be lost. So the old shards are poisoned until then.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Millis, Offset, ShardId};

use crate::error::{AppendError, OpenError, ReshardError};
use crate::metadata::Metadata;
use crate::shard::Shard;
use crate::store::{self, NotReplaced};
use crate::stream::{Changing, Shape, Stream};
use crate::topology::Topology;

impl Stream {
    /// Replaces a shard by two: `at` is the first hash of the upper one. Blocks for a few syncs; meanwhile appends to
    /// the shard get [`AppendError::ShardClosed`], and to find the new ones they try again.
    ///
    /// # Errors
    /// Nothing was changed, unless it says so.
    pub fn split(&self, shard: ShardId, at: u128) -> Result<[ShardId; 2], ReshardError> {
        let mut changing = self.changing.lock();
        let plan = |topology: &mut Topology, ends: &BTreeMap<ShardId, Offset>, now| {
            topology.split(shard, at, ends.get(&shard).copied().unwrap_or_default(), now)
        };
        let made = self.change(&mut changing, &[shard], plan)?;
        self.counts.splits.inc();
        Ok(made)
    }

    /// Replaces two shards with adjoining ranges by one. Blocks for a few syncs, as [`Stream::split`].
    ///
    /// # Errors
    /// As [`Stream::split`].
    pub fn merge(&self, a: ShardId, b: ShardId) -> Result<ShardId, ReshardError> {
        let mut changing = self.changing.lock();
        let plan = |topology: &mut Topology, ends: &BTreeMap<ShardId, Offset>, now| {
            let end = |shard| ends.get(&shard).copied().unwrap_or_default();
            topology.merge([a, b], [end(a), end(b)], now)
        };
        let made = self.change(&mut changing, &[a, b], plan)?;
        self.counts.merges.inc();
        Ok(made)
    }

    /// Cuts the stream into `shards` equal ranges by splits and merges, all at once: shards that fit already stay. Shards
    /// in between, which descent needs, are made and closed without a record. Blocks for a few syncs.
    ///
    /// # Errors
    /// As [`Stream::split`].
    pub fn reshape(&self, shards: u32) -> Result<(), ReshardError> {
        let mut changing = self.changing.lock();
        self.reshape_within(&mut changing, shards)
    }

    pub(crate) fn reshape_within(&self, changing: &mut Changing, shards: u32) -> Result<(), ReshardError> {
        let unlike = self.shape().metadata.topology.unlike_even(shards);
        let plan = |topology: &mut Topology, ends: &BTreeMap<ShardId, Offset>, now| {
            topology.reshape(shards, |shard| ends.get(&shard).copied().unwrap_or_default(), now)
        };
        self.change(changing, &unlike, plan)
    }

    /// Closes `closing` and makes the list of shards what `plan` says.
    fn change<T>(
        &self,
        changing: &mut Changing,
        closing: &[ShardId],
        plan: impl Fn(&mut Topology, &BTreeMap<ShardId, Offset>, Millis) -> Result<T, ReshardError>,
    ) -> Result<T, ReshardError> {
        changing.check()?;
        let shape = self.shape();
        let now = self.ground.around.clock.now();
        // A rehearsal: what cannot be is told before anything is closed.
        plan(&mut shape.metadata.topology.clone(), &BTreeMap::new(), now)?;
        let closing: Vec<&Arc<Shard>> = closing.iter().filter_map(|shard| shape.shards.get(&shard.0)).collect();
        if closing.is_empty() {
            return plan(&mut shape.metadata.topology.clone(), &BTreeMap::new(), now);
        }
        let segment_bytes = shape.metadata.settings.segment_bytes;
        let mut ends = BTreeMap::new();
        for shard in &closing {
            match shard.seal(segment_bytes) {
                Ok(end) => {
                    ends.insert(shard.id, end);
                }
                Err(error) => {
                    closing.iter().for_each(|shard| shard.unseal());
                    self.tell_change();
                    return Err(ReshardError::Shard { shard: shard.id, error });
                }
            }
        }
        let changed = self.close_and_follow(&shape, &closing, &ends, now, plan);
        self.tell_change(); // also whoever waits for a shard that is open again
        changed
    }

    /// The second half of a change: from the ends of the sealed shards to the new ones in force.
    fn close_and_follow<T>(
        &self,
        shape: &Shape,
        closing: &[&Arc<Shard>],
        ends: &BTreeMap<ShardId, Offset>,
        now: Millis,
        plan: impl Fn(&mut Topology, &BTreeMap<ShardId, Offset>, Millis) -> Result<T, ReshardError>,
    ) -> Result<T, ReshardError> {
        let mut metadata = shape.metadata.clone();
        let planned = plan(&mut metadata.topology, ends, now).and_then(|made| {
            metadata.topology.check().map_err(|what| ReshardError::Wrong { what })?;
            Ok((made, self.shape_of(shape, &metadata)?))
        });
        let (made, next) = planned.inspect_err(|_| closing.iter().for_each(|shard| shard.unseal()))?;
        let faults = self.ground.around.faults;
        if let Err(failed) = self.write_closing(&metadata) {
            match &failed {
                NotReplaced::Unknown(_) if faults.reopen_after_failed_close => {
                    closing.iter().for_each(|shard| shard.unseal());
                }
                NotReplaced::Unchanged(_) => closing.iter().for_each(|shard| shard.unseal()),
                NotReplaced::Unknown(error) => closing.iter().for_each(|shard| {
                    shard.abandon(&AppendError::Poisoned { why: error.to_string() });
                }),
            }
            return Err(failed.to_open_error(&self.dir).into());
        }
        self.set_shape(next);
        closing.iter().for_each(|shard| shard.finish());
        Ok(made)
    }

    fn write_closing(&self, metadata: &Metadata) -> Result<(), NotReplaced> {
        let disk = &*self.ground.around.disk;
        if self.ground.around.faults.close_unsynced {
            return metadata.write_unsynced(disk, &self.dir).map_err(NotReplaced::Unknown);
        }
        metadata.write(disk, &self.dir)
    }

    /// What the stream is once `metadata` is in force: shards that are new in it are opened, those that are gone from it
    /// left out.
    fn shape_of(&self, before: &Shape, metadata: &Metadata) -> Result<Shape, OpenError> {
        let mut shards = BTreeMap::new();
        for info in metadata.topology.infos() {
            let shard = match before.shards.get(&info.id.0) {
                Some(shard) => Arc::clone(shard),
                None => self.ground.open_shard(&self.dir, metadata.uuid, info, &self.counts)?,
            };
            shards.insert(info.id.0, shard);
        }
        Ok(Shape::new(metadata.clone(), shards))
    }

    /// Takes closed shards off the list that have no record any more and were closed before `before`: until then the
    /// list tells readers how keys moved.
    pub(crate) fn expire_shards(&self, before: Millis) {
        let changing = self.changing.lock();
        if changing.over.is_some() {
            return;
        }
        let shape = self.shape();
        let gone: Vec<&Arc<Shard>> = (shape.metadata.topology.infos())
            .filter(|info| info.closed.is_some_and(|closed| closed.at < before))
            .filter_map(|info| shape.shards.get(&info.id.0))
            .filter(|shard| shard.bounds().start == shard.bounds().end && shard.is_whole())
            .collect();
        if gone.is_empty() {
            return;
        }
        let mut metadata = shape.metadata.clone();
        gone.iter().for_each(|shard| metadata.topology.remove(shard.id));
        let disk = &*self.ground.around.disk;
        // The list first: a folder without a shard on the list is removed on opening; the other way round would be damage.
        let next = self.shape_of(&shape, &metadata).and_then(|next| {
            metadata.write(disk, &self.dir).map_err(|failed| failed.to_open_error(&self.dir))?;
            Ok(next)
        });
        match next {
            Ok(next) => self.set_shape(next),
            Err(error) => {
                tracing::warn!(stream = self.name, %error, "closed shards could not be taken off the list");
                return;
            }
        }
        self.tell_change();
        for shard in gone {
            self.counts.removed_shards.inc();
            shard.forget();
            if let Err(error) = store::remove_folder(disk, &shard.dir) {
                tracing::warn!(dir = %shard.dir.display(), %error, "the rest of a removed shard goes with the next start");
            }
        }
    }
}
