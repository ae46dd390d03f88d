//! On-demand streams: hot shards are split and cold neighbours merged by measured load.
//!
//! [`decide`] is pure: from what was seen of each open shard to what is to be done. Its numbers follow the published
//! Kinesis API, so that a stream scales here at the loads at which it would there: a shard carries 1 MiB or 1,000 records
//! a second, and a stream has at least four shards. Load is what producers write; readers do not count, since one machine
//! serves them from memory.
//!
//! * **Hot** is a shard above [`HOT`] of what a shard carries, measured for at least half a minute. It is split where its
//!   observed load halves.
//! * **Cold** are two neighbours that together stay below [`COLD`], each measured for at least ten minutes. The gap
//!   between the two is the hysteresis: halves of a shard that was just hot are far from cold together, and what was just
//!   merged is far from hot.
//! * A shard is left alone after each change until its children have been measured so long themselves.

use std::sync::atomic::{AtomicU32, Ordering};

use base::{Millis, ShardId};

use crate::error::ReshardError;
use crate::heat::Heat;
use crate::limit::{SHARDS_LISTED_MAX, SHARDS_MAX};
use crate::plan::{SHARD_BYTES_IN, SHARD_RECORDS_IN};
use crate::range::HashRange;
use crate::settings::ON_DEMAND_SHARDS;
use crate::stream::Stream;
use crate::topology::ShardMode;

/// What a look at the on-demand streams did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scaled {
    /// Shards split.
    pub splits: u64,
    /// Pairs of shards merged.
    pub merges: u64,
    /// Changes that were due and could not be made: too many shards are listed, or the disk refused.
    pub refused: u64,
}

impl std::ops::AddAssign for Scaled {
    fn add_assign(&mut self, other: Self) {
        self.splits += other.splits;
        self.merges += other.merges;
        self.refused += other.refused;
    }
}

/// Above this share of what a shard carries it is split.
const HOT: f64 = 0.8;
/// Below this share of what one shard carries, two neighbours are merged.
const COLD: f64 = 0.3;
/// For how long a shard must have been measured before it is split: half of the window of the measure.
const MEASURED_TO_SPLIT_MS: i64 = 30_000;
/// For how long before it is merged: ten windows, because merging early costs more than merging late.
const MEASURED_TO_MERGE_MS: i64 = 600_000;
/// Changes of one stream at a time. Each takes a few syncs, during which nobody else's turn comes.
const CHANGES_MAX: usize = 16;
/// Hashes that a shard must have to be split: a load that stays together down to here is one key's, and no split helps.
const HASHES_LEAST: u128 = 1 << 100;

/// An open shard as the decision sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: ShardId,
    pub(crate) range: HashRange,
    pub(crate) heat: Heat,
    /// For how long it has been measured.
    pub(crate) measured_ms: i64,
    /// The first hash of the upper part, if it were split.
    pub(crate) middle: Option<u128>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Split { shard: ShardId, at: u128 },
    Merge { a: ShardId, b: ShardId },
}

impl Seen {
    /// The share of what a shard carries.
    fn load(&self) -> f64 {
        load(&self.heat)
    }
}

fn load(heat: &Heat) -> f64 {
    (heat.records_per_second / SHARD_RECORDS_IN as f64).max(heat.bytes_per_second / SHARD_BYTES_IN as f64)
}

/// What to do with the open `shards`, which are in the order of their hashes: between `least` and `most` of them, no shard
/// twice, at most [`CHANGES_MAX`], the hottest first.
pub(crate) fn decide(shards: &[Seen], least: usize, most: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut hot: Vec<(f64, &Seen, u128)> = shards
        .iter()
        .filter(|shard| shard.measured_ms >= MEASURED_TO_SPLIT_MS && shard.load() > HOT)
        .filter(|shard| shard.range.end - shard.range.start >= HASHES_LEAST)
        .filter_map(|shard| Some((shard.load(), shard, shard.middle?)))
        .collect();
    hot.sort_by(|a, b| b.0.total_cmp(&a.0));
    let room = most.saturating_sub(shards.len()).min(CHANGES_MAX);
    actions.extend(hot.iter().take(room).map(|(_, shard, at)| Action::Split { shard: shard.id, at: *at }));

    let mut spare = shards.len().saturating_sub(least).min(CHANGES_MAX - actions.len());
    let mut next = 0;
    while spare > 0 && next + 1 < shards.len() {
        let (a, b) = (&shards[next], &shards[next + 1]);
        let measured = a.measured_ms.min(b.measured_ms) >= MEASURED_TO_MERGE_MS;
        if measured && load(&(a.heat + b.heat)) < COLD {
            actions.push(Action::Merge { a: a.id, b: b.id });
            spare -= 1;
            next += 1;
        }
        next += 1;
    }
    actions
}

/// Where in its range a shard's records lie: a small histogram, counted where keys are mapped.
#[derive(Debug, Default)]
pub(crate) struct Spread([AtomicU32; PARTS]);

const PARTS: usize = 32;
/// Records below which the histogram says nothing.
const TELLING: u64 = 500;

impl Spread {
    pub(crate) fn count(&self, range: &HashRange, hash: u128) {
        let part = (hash.saturating_sub(range.start) / step(range)) as usize;
        if let Some(part) = self.0.get(part) {
            part.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes the past count for half.
    fn fade(&self) {
        for part in &self.0 {
            part.fetch_sub(part.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
    }

    /// The first hash of the upper part if the load were halved; of a load of which too little is known, if the range were.
    fn middle(&self, range: &HashRange) -> Option<u128> {
        halve(range, &self.0.each_ref().map(|part| part.load(Ordering::Relaxed)))
    }
}

fn step(range: &HashRange) -> u128 {
    (range.end - range.start) / PARTS as u128 + 1
}

fn halve(range: &HashRange, parts: &[u32; PARTS]) -> Option<u128> {
    let total: u64 = parts.iter().map(|part| u64::from(*part)).sum();
    let narrow = range.end - range.start < (PARTS * PARTS) as u128;
    if narrow || total < TELLING {
        return range.middle();
    }
    let mut below = 0;
    let mut best = (u64::MAX, 0, PARTS / 2);
    for (part, border) in parts.iter().zip(1..PARTS) {
        below += u64::from(*part);
        // Where every border is as good, for the load lies together, its range is halved: to cut off a little each time
        // would take hundreds of shards to come to where it lies.
        let candidate = (below.abs_diff(total - below), border.abs_diff(PARTS / 2), border);
        best = best.min(candidate);
    }
    Some(range.start + step(range) * best.2 as u128)
}

impl Stream {
    /// Splits and merges what is due, if the stream is an on-demand one.
    pub(crate) fn scale(&self, now: Millis) -> Scaled {
        let mut scaled = Scaled::default();
        let shape = self.shape();
        if shape.metadata.settings.mode != ShardMode::OnDemand || self.is_deleted() {
            return scaled;
        }
        let seen: Vec<Seen> = (shape.open_shards())
            .map(|(range, shard)| Seen {
                id: shard.id,
                range,
                heat: shard.meter.heat(now),
                measured_ms: shard.meter.age_ms(now),
                middle: shard.spread.middle(&range),
            })
            .collect();
        shape.open_shards().for_each(|(_, shard)| shard.spread.fade());
        let mut actions = decide(&seen, ON_DEMAND_SHARDS as usize, SHARDS_MAX as usize);
        // Half of the list is left to those who change shards by hand.
        if shape.shards.len() + 2 * actions.len() > SHARDS_LISTED_MAX / 2 {
            scaled.refused += actions.len() as u64;
            actions.clear();
        }
        for action in actions {
            let done = match action {
                Action::Split { shard, at } => self.split(shard, at).map(|_| scaled.splits += 1),
                Action::Merge { a, b } => self.merge(a, b).map(|_| scaled.merges += 1),
            };
            match done {
                Ok(()) => tracing::info!(stream = self.name, ?action, "the load asked for other shards"),
                // Somebody else changed it meanwhile.
                Err(ReshardError::ShardClosed { .. } | ReshardError::NoShard { .. } | ReshardError::Gone) => {}
                Err(error) => {
                    scaled.refused += 1;
                    tracing::warn!(stream = self.name, ?action, %error, "the load asks for other shards");
                }
            }
        }
        self.counts.refused_changes.add(scaled.refused);
        scaled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where load comes from: records per second at points among the hashes.
    type Sources = Vec<(u128, f64)>;

    #[derive(Clone, Debug)]
    struct Town {
        shards: Vec<(ShardId, HashRange, i64)>,
        next: u32,
    }

    impl Town {
        fn new(shards: u32) -> Self {
            let ranges = HashRange::even(shards).enumerate();
            Self { shards: ranges.map(|(id, range)| (ShardId(id as u32), range, 0)).collect(), next: shards }
        }

        fn seen(&self, sources: &Sources) -> Vec<Seen> {
            let see = |(id, range, measured_ms): &(ShardId, HashRange, i64)| {
                let mut parts = [0; PARTS];
                let mut records_per_second = 0.0;
                for (hash, rate) in sources.iter().filter(|(hash, _)| range.contains(*hash)) {
                    records_per_second += rate;
                    parts[((hash - range.start) / step(range)) as usize] += (rate * 30.0) as u32;
                }
                let heat = Heat { records_per_second, ..Heat::default() };
                Seen { id: *id, range: *range, heat, measured_ms: *measured_ms, middle: halve(range, &parts) }
            };
            self.shards.iter().map(see).collect()
        }

        fn add(&mut self, index: usize, range: HashRange) {
            self.shards.insert(index, (ShardId(self.next), range, 0));
            self.next += 1;
        }

        fn apply(&mut self, action: Action) {
            let place = |town: &Self, id| town.shards.iter().position(|(found, ..)| *found == id).expect("is open");
            match action {
                Action::Split { shard, at } => {
                    let index = place(self, shard);
                    let parts = self.shards.remove(index).1.split(at).expect("within the range");
                    self.add(index, parts[1]);
                    self.add(index, parts[0]);
                }
                Action::Merge { a, b } => {
                    let index = place(self, a);
                    assert_eq!(place(self, b), index + 1, "neighbours");
                    let upper = self.shards.remove(index + 1).1;
                    let lower = self.shards.remove(index).1;
                    self.add(index, lower.join(&upper));
                }
            }
        }
    }

    const LEAST: usize = 4;
    const MOST: usize = 40;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]
        #[test]
        fn under_any_steady_load_the_shards_come_to_rest_where_none_is_hot_that_could_be_split(
            first in 1u32..20,
            sources in proptest::collection::vec((any::<u128>(), 0.0f64..400.0), 0..120),
        ) {
            let mut town = Town::new(first);
            let mut quiet = 0;
            let mut changes = 0;
            for _ in 0..400 {
                town.shards.iter_mut().for_each(|shard| shard.2 += 31_000);
                let seen = town.seen(&sources);
                let actions = decide(&seen, LEAST, MOST);
                prop_assert!(actions.len() <= CHANGES_MAX);
                let mut touched: Vec<ShardId> = actions.iter().flat_map(|action| match action {
                    Action::Split { shard, .. } => vec![*shard],
                    Action::Merge { a, b } => vec![*a, *b],
                }).collect();
                touched.sort_unstable();
                prop_assert!(touched.windows(2).all(|pair| pair[0] < pair[1]), "no shard twice: {:?}", actions);
                let merging = actions.iter().any(|action| matches!(action, Action::Merge { .. }));
                for action in &actions {
                    town.apply(*action);
                }
                prop_assert!(town.shards.len() <= MOST.max(first as usize));
                prop_assert!(!merging || town.shards.len() >= LEAST);
                let whole = town.shards[0].1.start == 0
                    && town.shards.last().map(|shard| shard.1.end) == Some(u128::MAX)
                    && town.shards.windows(2).all(|pair| pair[0].1.end + 1 == pair[1].1.start);
                prop_assert!(whole);
                quiet = if actions.is_empty() { quiet + 1 } else { 0 };
                changes += actions.len();
            }
            prop_assert!(quiet > 30, "it never comes to rest: {} changes, {} shards", changes, town.shards.len());
            if town.shards.len() < MOST {
                for shard in town.seen(&sources) {
                    let could = shard.range.end - shard.range.start >= HASHES_LEAST;
                    prop_assert!(shard.load() <= HOT || !could, "{:?}", shard);
                }
            }
        }
    }

    fn seen(id: u32, records_per_second: f64, measured_ms: i64) -> Seen {
        let range = HashRange::even(8).nth(id as usize).expect("one of eight");
        let heat = Heat { records_per_second, ..Heat::default() };
        Seen { id: ShardId(id), range, heat, measured_ms, middle: range.middle() }
    }

    #[test]
    fn young_shards_are_left_alone_and_the_hottest_comes_first() {
        let long = MEASURED_TO_MERGE_MS;
        let hot = [seen(0, 900.0, 10_000), seen(1, 900.0, long), seen(2, 5_000.0, long), seen(3, 500.0, long)];
        let shards: Vec<ShardId> = decide(&hot, 4, 100)
            .into_iter()
            .map(|action| if let Action::Split { shard, .. } = action { shard } else { panic!("{action:?}") })
            .collect();
        assert_eq!(shards, [ShardId(2), ShardId(1)]);
        assert_eq!(decide(&hot, 4, 5).len(), 1, "only one more may be");
        let cold: Vec<Seen> = (0..8).map(|id| seen(id, 1.0, if id == 3 { 1_000 } else { long })).collect();
        let merged = decide(&cold, 4, 100);
        let pair = |a, b| Action::Merge { a: ShardId(a), b: ShardId(b) };
        assert_eq!(merged, [pair(0, 1), pair(4, 5), pair(6, 7)]);
        assert_eq!(decide(&cold, 7, 100), [pair(0, 1)]);
        assert!(decide(&cold, 8, 100).is_empty(), "never fewer than the least");
    }

    #[test]
    fn bytes_make_a_shard_hot_as_records_do() {
        let mut fat = seen(0, 10.0, MEASURED_TO_SPLIT_MS);
        fat.heat.bytes_per_second = 0.9 * SHARD_BYTES_IN as f64;
        assert_eq!(decide(&[fat], 4, 100).len(), 1);
    }

    #[test]
    fn a_shard_is_split_where_its_load_halves() {
        let range = HashRange { start: 1 << 100, end: (1 << 101) - 1 };
        let spread = Spread::default();
        assert_eq!(spread.middle(&range), range.middle(), "nothing is known");
        for _ in 0..1000 {
            spread.count(&range, range.start + 5); // the first of 32 parts
            spread.count(&range, range.start + step(&range) * 20);
        }
        let at = spread.middle(&range).expect("wide enough");
        assert!(at > range.start + 5 && at <= range.start + step(&range) * 20, "{at}");
        spread.fade();
        assert_eq!(spread.0[0].load(Ordering::Relaxed), 500);
        for hash in [0, range.end, u128::MAX] {
            spread.count(&range, hash); // also what lies outside does no harm
        }
        let mut together = [0; PARTS];
        together[20] = 1000;
        assert_eq!(
            halve(&range, &together),
            Some(range.start + step(&range) * 16),
            "what lies together is closed in on"
        );
        let narrow = HashRange { start: 7, end: 8 };
        assert_eq!(halve(&narrow, &[1000; PARTS]), Some(8));
        assert_eq!(halve(&HashRange::ALL, &[1000; PARTS]), Some(step(&HashRange::ALL) * 16));
    }
}
