//! Ranges of hashes: which keys a shard takes.

use std::fmt;

/// A stretch of the 128-bit hashes, both ends included, like the published `HashKeyRange`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The least hash.
    pub start: u128,
    /// The greatest hash.
    pub end: u128,
}

impl HashRange {
    /// All hashes.
    pub const ALL: Self = Self { start: 0, end: u128::MAX };

    /// Whether a key of this hash belongs here.
    #[must_use]
    pub const fn contains(&self, hash: u128) -> bool {
        self.start <= hash && hash <= self.end
    }

    /// The first hash of the upper half; `None` if there is but one hash.
    #[must_use]
    pub const fn middle(&self) -> Option<u128> {
        if self.start < self.end { Some(self.start + (self.end - self.start) / 2 + 1) } else { None }
    }

    /// Whether the two lie side by side, in either order.
    #[must_use]
    pub fn adjoins(&self, other: &Self) -> bool {
        self.end.checked_add(1) == Some(other.start) || other.end.checked_add(1) == Some(self.start)
    }

    /// The two parts, the upper one beginning at `at`; `None` if either would be empty.
    pub(crate) fn split(&self, at: u128) -> Option<[Self; 2]> {
        let inside = self.start < at && at <= self.end;
        inside.then(|| [Self { start: self.start, end: at - 1 }, Self { start: at, end: self.end }])
    }

    /// One range over both, which lie side by side.
    pub(crate) fn join(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// All hashes cut into `parts` (at least 1) equal ranges, as the published API cuts them: the last takes the few hashes
    /// that are left over.
    pub(crate) fn even(parts: u32) -> impl ExactSizeIterator<Item = Self> + Clone {
        let parts = parts.max(1);
        // 2^128 / parts, which the greatest hash / parts falls short of where nothing is left over.
        let width = (u128::MAX / u128::from(parts)).saturating_add(u128::from(parts.is_power_of_two()));
        Self::cut(parts, width)
    }

    /// As streams of the first layout, which had no ranges on disk, were cut: the last range is the shorter one.
    pub(crate) fn even_of_layout_1(parts: u32) -> impl ExactSizeIterator<Item = Self> + Clone {
        let parts = parts.max(1);
        Self::cut(parts, (u128::MAX / u128::from(parts)).saturating_add(1))
    }

    fn cut(parts: u32, width: u128) -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..parts).map(move |part| {
            let start = u128::from(part) * width;
            let end = if part + 1 == parts { u128::MAX } else { start + (width - 1) };
            Self { start, end }
        })
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_cut_covers_every_hash_once_for_any_number_of_parts() {
        for parts in 1..=1000 {
            for ranges in [HashRange::even(parts).collect(), HashRange::even_of_layout_1(parts).collect::<Vec<_>>()] {
                assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, u128::MAX));
                assert!(
                    ranges.windows(2).all(|pair| pair[0].adjoins(&pair[1]) && pair[0].end < pair[1].start),
                    "{parts}"
                );
                assert!(ranges.iter().all(|range| range.start <= range.end), "{parts}");
            }
        }
    }

    #[test]
    fn an_even_cut_is_that_of_the_published_api() {
        let ends = |parts| HashRange::even(parts).map(|range| range.end.to_string()).collect::<Vec<_>>();
        // Recorded from the service, see the tests of kinesalite (test/listShards.js).
        let third = "113427455640312821154458202477256070484";
        assert_eq!(
            ends(3),
            [third, "226854911280625642308916404954512140969", "340282366920938463463374607431768211455"]
        );
        assert_eq!(ends(2)[0], ((1u128 << 127) - 1).to_string());
    }

    #[test]
    fn a_range_is_split_only_where_both_parts_have_a_hash() {
        let range = HashRange { start: 10, end: 12 };
        assert_eq!(range.split(10), None);
        assert_eq!(range.split(13), None);
        let [lower, upper] = range.split(12).expect("inside");
        assert_eq!((lower, upper), (HashRange { start: 10, end: 11 }, HashRange { start: 12, end: 12 }));
        assert_eq!((upper.middle(), range.middle(), lower.join(&upper)), (None, Some(12), range));
        assert_eq!(HashRange::ALL.middle(), Some(1 << 127));
    }
}
