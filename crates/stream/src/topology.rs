//! Which shards a stream has, had, and how they descend from each other. Pure: what a split or merge makes of the list
//! is decided here, and done in [`crate::reshard`].

use std::collections::BTreeMap;

use base::{Millis, Offset, ShardId};

use crate::error::ReshardError;
use crate::limit::{SHARDS_LISTED_MAX, SHARDS_MAX};
use crate::range::HashRange;

/// Who decides how many shards a stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardMode {
    /// Somebody outside: the file, or a call.
    #[default]
    Provisioned,
    /// The measured load, see [`crate::Log::scale`].
    OnDemand,
}

/// One shard of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its number, never used again within the stream.
    pub id: ShardId,
    /// The keys it takes, or took.
    pub range: HashRange,
    /// The shard it was split from, or one of the two it was merged from. Its records come before those of this shard;
    /// it may be gone by now.
    pub parent: Option<ShardId>,
    /// The other one of the two it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// When it was made.
    pub created: Millis,
    /// When and where it ended; `None` while it takes records.
    pub closed: Option<Closing>,
}

/// The end of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// When it was closed.
    pub at: Millis,
    /// No record at or after this offset will ever be in it.
    pub end: Offset,
}

/// All shards that are still listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    /// The next shard's number.
    next: u32,
    shards: BTreeMap<u32, ShardInfo>,
}

impl Topology {
    /// A new stream's: `shards` equal ranges.
    pub(crate) fn even(shards: u32, now: Millis) -> Self {
        Self::of(HashRange::even(shards), now)
    }

    /// That of a stream of the first layout.
    pub(crate) fn even_of_layout_1(shards: u32, now: Millis) -> Self {
        Self::of(HashRange::even_of_layout_1(shards), now)
    }

    fn of(ranges: impl Iterator<Item = HashRange>, now: Millis) -> Self {
        let mut topology = Self { next: 0, shards: BTreeMap::new() };
        for range in ranges {
            topology.add(range, None, None, now);
        }
        topology
    }

    /// As it was stored; an `Err` says what cannot be.
    pub(crate) fn restore(next: u32, shards: Vec<ShardInfo>) -> Result<Self, String> {
        let count = shards.len();
        let topology = Self { next, shards: shards.into_iter().map(|info| (info.id.0, info)).collect() };
        if topology.shards.len() != count {
            return Err("two shards have one number".to_owned());
        }
        topology.check().map(|()| topology)
    }

    /// What holds at any time: the ranges of the open shards cover every hash exactly once, and numbers only grow.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ranges = self.open_ranges();
        let mut expected = Some(0);
        for (range, id) in &ranges {
            if Some(range.start) != expected || range.end < range.start {
                return Err(format!("shard {id} has the hashes {range}, expected them from {expected:?} on"));
            }
            expected = range.end.checked_add(1);
        }
        if let Some(first) = expected {
            return Err(format!("no shard takes the hashes from {first} on"));
        }
        for info in self.shards.values() {
            let parents = [info.parent, info.adjacent_parent];
            let later = parents.into_iter().flatten().find(|parent| *parent >= info.id);
            if later.is_some() || info.id.0 >= self.next {
                return Err(format!("shard {} has a number that cannot be", info.id));
            }
            if info.range.end < info.range.start {
                return Err(format!("shard {} has the hashes {}, which are none", info.id, info.range));
            }
        }
        if self.shards.len() > SHARDS_LISTED_MAX {
            return Err(format!("expected at most {SHARDS_LISTED_MAX} shards, found {}", self.shards.len()));
        }
        Ok(())
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// All, by number.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &ShardInfo> {
        self.shards.values()
    }

    pub(crate) fn get(&self, shard: ShardId) -> Option<&ShardInfo> {
        self.shards.get(&shard.0)
    }

    /// Those that take records, by number.
    pub(crate) fn open(&self) -> impl Iterator<Item = &ShardInfo> {
        self.shards.values().filter(|info| info.closed.is_none())
    }

    /// The ranges of the open shards, by hash.
    pub(crate) fn open_ranges(&self) -> Vec<(HashRange, ShardId)> {
        let mut ranges: Vec<_> = self.open().map(|info| (info.range, info.id)).collect();
        ranges.sort_unstable_by_key(|(range, _)| range.start);
        ranges
    }

    /// Replaces a shard, which ends with `end`, by two; the upper one begins with the hash `at`.
    pub(crate) fn split(
        &mut self,
        shard: ShardId,
        at: u128,
        end: Offset,
        now: Millis,
    ) -> Result<[ShardId; 2], ReshardError> {
        let range = self.to_close(shard)?.range;
        let parts = range.split(at).ok_or(ReshardError::Point { shard, at, range })?;
        self.room_for(2, 1)?;
        self.close(shard, Closing { at: now, end });
        Ok(parts.map(|range| self.add(range, Some(shard), None, now)))
    }

    /// Replaces two shards side by side, which end with `ends`, by one.
    pub(crate) fn merge(
        &mut self,
        shards: [ShardId; 2],
        ends: [Offset; 2],
        now: Millis,
    ) -> Result<ShardId, ReshardError> {
        let [a, b] = shards;
        let (one, other) = (self.to_close(a)?.range, self.to_close(b)?.range);
        if !one.adjoins(&other) {
            return Err(ReshardError::Apart { a, b });
        }
        self.room_for(1, 2)?;
        for (shard, end) in shards.into_iter().zip(ends) {
            self.close(shard, Closing { at: now, end });
        }
        Ok(self.add(one.join(&other), Some(a), Some(b), now))
    }

    /// The open shards that an even cut into `shards` would replace.
    pub(crate) fn unlike_even(&self, shards: u32) -> Vec<ShardId> {
        let wanted: Vec<HashRange> = HashRange::even(shards).collect();
        let fits = |info: &&ShardInfo| wanted.binary_search(&info.range).is_ok();
        self.open().filter(|info| !fits(info)).map(|info| info.id).collect()
    }

    /// Makes the open shards an even cut into `shards`, by splits and merges: what must be cut is cut first, then what
    /// belongs together is joined, two by two, because a shard has at most two parents. Shards in between are made and
    /// closed at once. `end` tells where those end that are open before.
    pub(crate) fn reshape(
        &mut self,
        shards: u32,
        end: impl Fn(ShardId) -> Offset,
        now: Millis,
    ) -> Result<(), ReshardError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ReshardError::TooMany {
                what: "open shards",
                asked: shards as usize,
                max: SHARDS_MAX as usize,
            });
        }
        let before = self.next;
        let end = |id: ShardId| if id.0 < before { end(id) } else { Offset::ZERO };
        let wanted: Vec<HashRange> = HashRange::even(shards).collect();
        // Borders that lie within a shard: cut at the middle one, then look again at both parts.
        let mut to_cut = self.open_ranges();
        while let Some((range, id)) = to_cut.pop() {
            let from = wanted.partition_point(|wanted| wanted.start <= range.start);
            let to = wanted.partition_point(|wanted| wanted.start <= range.end);
            if from < to {
                let at = wanted[from + (to - from) / 2].start;
                let parts = range.split(at).expect("the border lies within the range");
                self.listed_for(2)?;
                self.close(id, Closing { at: now, end: end(id) });
                to_cut.extend(parts.map(|part| (part, self.add(part, Some(id), None, now))));
            }
        }
        // Now every wanted range consists of whole shards.
        let mut pieces = self.open_ranges().into_iter().peekable();
        for wanted in wanted {
            let mut group = Vec::new();
            while let Some(piece) = pieces.next_if(|(piece, _)| piece.end <= wanted.end) {
                group.push(piece);
            }
            while group.len() > 1 {
                let mut joined = Vec::with_capacity(group.len().div_ceil(2));
                for pair in group.chunks(2) {
                    let [(lower, a), (upper, b)] = pair else {
                        joined.extend_from_slice(pair);
                        continue;
                    };
                    self.listed_for(1)?;
                    self.close(*a, Closing { at: now, end: end(*a) });
                    self.close(*b, Closing { at: now, end: end(*b) });
                    let range = lower.join(upper);
                    joined.push((range, self.add(range, Some(*a), Some(*b), now)));
                }
                group = joined;
            }
        }
        Ok(())
    }

    /// Takes a closed shard off the list.
    pub(crate) fn remove(&mut self, shard: ShardId) {
        self.shards.remove(&shard.0);
    }

    fn to_close(&self, shard: ShardId) -> Result<&ShardInfo, ReshardError> {
        let info = self.get(shard).ok_or(ReshardError::NoShard { shard })?;
        if info.closed.is_some() {
            return Err(ReshardError::ShardClosed { shard });
        }
        Ok(info)
    }

    fn room_for(&self, more: usize, fewer: usize) -> Result<(), ReshardError> {
        let open = self.open().count() + more - fewer;
        if more > fewer && open > SHARDS_MAX as usize {
            return Err(ReshardError::TooMany { what: "open shards", asked: open, max: SHARDS_MAX as usize });
        }
        self.listed_for(more)
    }

    fn listed_for(&self, more: usize) -> Result<(), ReshardError> {
        let (asked, max) = (self.shards.len() + more, SHARDS_LISTED_MAX);
        if asked > max || self.next.checked_add(more as u32).is_none() {
            return Err(ReshardError::TooMany { what: "shards, closed ones included", asked, max });
        }
        Ok(())
    }

    fn close(&mut self, shard: ShardId, closing: Closing) {
        if let Some(info) = self.shards.get_mut(&shard.0) {
            info.closed = Some(closing);
        }
    }

    fn add(
        &mut self,
        range: HashRange,
        parent: Option<ShardId>,
        adjacent_parent: Option<ShardId>,
        created: Millis,
    ) -> ShardId {
        let id = ShardId(self.next);
        self.next += 1;
        self.shards.insert(id.0, ShardInfo { id, range, parent, adjacent_parent, created, closed: None });
        id
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(7);

    #[derive(Clone, Debug)]
    enum Act {
        Split(prop::sample::Index, u128),
        Merge(prop::sample::Index),
        Reshape(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (any::<prop::sample::Index>(), any::<u128>()).prop_map(|(shard, at)| Act::Split(shard, at)),
            3 => any::<prop::sample::Index>().prop_map(Act::Merge),
            1 => (1u32..40).prop_map(Act::Reshape),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_split_and_merged_every_hash_has_one_shard_and_every_shard_its_parents(
            first in 1u32..9, acts in proptest::collection::vec(act(), 1..30)
        ) {
            let mut topology = Topology::even(first, NOW);
            for act in acts {
                let before = topology.clone();
                let open = topology.open_ranges();
                match act {
                    Act::Split(shard, at) => {
                        let (range, id) = open[shard.index(open.len())];
                        let at = range.start.saturating_add(at % (range.end - range.start).max(1));
                        let split = topology.split(id, at, Offset(1), NOW);
                        prop_assert_eq!(split.is_ok(), at > range.start);
                    }
                    Act::Merge(shard) => {
                        let index = shard.index(open.len());
                        let merged = topology.merge([open[index].1, open[(index + 1) % open.len()].1], [Offset(1); 2], NOW);
                        prop_assert_eq!(merged.is_ok(), index + 1 < open.len() || open.len() == 2);
                    }
                    Act::Reshape(shards) => {
                        topology.reshape(shards, |_| Offset(1), NOW).expect("few enough");
                        let ranges: Vec<HashRange> = topology.open_ranges().into_iter().map(|(range, _)| range).collect();
                        prop_assert_eq!(ranges, HashRange::even(shards).collect::<Vec<_>>());
                        let kept: Vec<ShardId> = before.unlike_even(shards);
                        for info in before.open() {
                            let closed = topology.get(info.id).is_some_and(|info| info.closed.is_some());
                            prop_assert_eq!(closed, kept.contains(&info.id), "only those that had to be are closed");
                        }
                    }
                }
                prop_assert_eq!(topology.check(), Ok(()));
                let restored = Topology::restore(topology.next(), topology.infos().copied().collect());
                prop_assert_eq!(restored.as_ref(), Ok(&topology));
                // A key's way from any shard of before to where it lies now goes from parents to children.
                for info in topology.infos().filter(|info| before.get(info.id).is_none()) {
                    let parents: Vec<&ShardInfo> =
                        [info.parent, info.adjacent_parent].into_iter().flatten().filter_map(|id| topology.get(id)).collect();
                    prop_assert!(!parents.is_empty());
                    for parent in &parents {
                        prop_assert!(parent.closed.is_some(), "a child is not there before its parent's end");
                        prop_assert!(parent.range.contains(info.range.start) || info.range.contains(parent.range.start));
                    }
                    let covered = parents.iter().map(|parent| parent.range).reduce(|a, b| a.join(&b)).expect("a parent");
                    prop_assert_eq!(covered.join(&info.range), covered);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_split_or_merged_is_told_and_changes_nothing() {
        let mut topology = Topology::even(3, NOW);
        let before = topology.clone();
        let told = [
            topology.split(ShardId(7), 1, Offset(0), NOW).map(|_| ()),
            topology.split(ShardId(0), 0, Offset(0), NOW).map(|_| ()),
            topology.split(ShardId(0), u128::MAX, Offset(0), NOW).map(|_| ()),
            topology.merge([ShardId(0), ShardId(2)], [Offset(0); 2], NOW).map(|_| ()),
            topology.merge([ShardId(1), ShardId(1)], [Offset(0); 2], NOW).map(|_| ()),
            topology.reshape(0, |_| Offset(0), NOW),
            topology.reshape(SHARDS_MAX + 1, |_| Offset(0), NOW),
        ];
        assert!(told.iter().all(Result::is_err), "{told:?}");
        assert_eq!(topology, before);
        let mut most = Topology::even(SHARDS_MAX, NOW);
        assert!(matches!(most.split(ShardId(0), 5, Offset(0), NOW), Err(ReshardError::TooMany { .. })));
    }
}
