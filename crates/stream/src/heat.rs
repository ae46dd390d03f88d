//! How busy a shard is: what went in and out during the last minute.

use base::Millis;
use parking_lot::Mutex;

/// What went through a shard per second, on average over the last minute (or since it was opened, but at least ten
/// seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heat {
    /// Records appended.
    pub records_per_second: f64,
    /// Bytes of their keys and payloads, before compression.
    pub bytes_per_second: f64,
    /// Records read, by all readers together.
    pub read_records_per_second: f64,
    /// Bytes read, as they lie in the log.
    pub read_bytes_per_second: f64,
}

impl std::ops::Add for Heat {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            records_per_second: self.records_per_second + other.records_per_second,
            bytes_per_second: self.bytes_per_second + other.bytes_per_second,
            read_records_per_second: self.read_records_per_second + other.read_records_per_second,
            read_bytes_per_second: self.read_bytes_per_second + other.read_bytes_per_second,
        }
    }
}

/// What a shard is measured by. Times come from the wall clock: where that jumps, the measure is wrong for a minute, and
/// nothing but the number of shards depends on it.
#[derive(Debug)]
pub(crate) struct Meter(Mutex<Ring>);

/// Five seconds each.
const SLICE_MS: i64 = 5_000;
const SLICES: usize = 12;
const LEAST_MS: i64 = 10_000;

#[derive(Debug)]
struct Ring {
    since: Millis,
    slices: [Slice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    /// Which five seconds since 1970.
    number: i64,
    amounts: [u64; 4],
}

/// What was counted within the time that is covered.
struct Sums {
    amounts: [f64; 4],
    covered_ms: i64,
}

impl Sums {
    fn heat(&self) -> Heat {
        let [records, bytes, read_records, read_bytes] = self.amounts.map(|sum| sum * 1000.0 / self.covered_ms as f64);
        Heat {
            records_per_second: records,
            bytes_per_second: bytes,
            read_records_per_second: read_records,
            read_bytes_per_second: read_bytes,
        }
    }
}

impl Meter {
    pub(crate) fn new(now: Millis) -> Self {
        Self(Mutex::new(Ring { since: now, slices: [Slice::default(); SLICES] }))
    }

    pub(crate) fn wrote(&self, now: Millis, records: u64, bytes: u64) {
        self.add(now, [records, bytes, 0, 0]);
    }

    pub(crate) fn read(&self, now: Millis, records: u64, bytes: u64) {
        self.add(now, [0, 0, records, bytes]);
    }

    fn add(&self, now: Millis, amounts: [u64; 4]) {
        let number = now.0.div_euclid(SLICE_MS);
        let mut ring = self.0.lock();
        let slice = &mut ring.slices[number.rem_euclid(SLICES as i64) as usize];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        for (sum, amount) in slice.amounts.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
    }

    pub(crate) fn heat(&self, now: Millis) -> Heat {
        self.measured(now).heat()
    }

    /// The heat of all together. Not the sum of each one's: a young shard is measured over less time than the one that it was
    /// split from, and part of the last minute would count twice.
    pub(crate) fn together<'m>(meters: impl Iterator<Item = &'m Self>, now: Millis) -> Heat {
        let mut all = Sums { amounts: [0.0; 4], covered_ms: LEAST_MS };
        for one in meters.map(|meter| meter.measured(now)) {
            all.covered_ms = all.covered_ms.max(one.covered_ms);
            all.amounts.iter_mut().zip(one.amounts).for_each(|(sum, amount)| *sum += amount);
        }
        all.heat()
    }

    fn measured(&self, now: Millis) -> Sums {
        let number = now.0.div_euclid(SLICE_MS);
        let ring = self.0.lock();
        let oldest = number - SLICES as i64 + 1;
        let mut amounts = [0.0; 4];
        for slice in ring.slices.iter().filter(|slice| (oldest..=number).contains(&slice.number)) {
            for (sum, amount) in amounts.iter_mut().zip(slice.amounts) {
                *sum += amount as f64;
            }
        }
        let covered_ms = now.since(Millis(oldest * SLICE_MS)).min(now.since(ring.since)).max(LEAST_MS);
        Sums { amounts, covered_ms }
    }

    /// For how long it has been measured.
    pub(crate) fn age_ms(&self, now: Millis) -> i64 {
        now.since(self.0.lock().since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_the_average_of_the_last_minute_and_cools_down() {
        let start = 1_700_000_000_000;
        let meter = Meter::new(Millis(start));
        for second in 0..30 {
            meter.wrote(Millis(start + second * 1000), 100, 1_000);
            meter.read(Millis(start + second * 1000), 200, 2_000);
        }
        let heat = meter.heat(Millis(start + 30_000));
        assert!((heat.records_per_second - 100.0).abs() < 1.0, "{heat:?}");
        assert!((heat.read_bytes_per_second - 2_000.0).abs() < 20.0, "{heat:?}");
        let later = meter.heat(Millis(start + 75_000));
        assert!(later.records_per_second < 40.0, "{later:?}");
        assert_eq!(meter.heat(Millis(start + 200_000)), Heat::default());
        assert_eq!(meter.heat(Millis(start - 3_600_000)), Heat::default(), "a clock that went back gives no nonsense");
    }

    #[test]
    fn what_goes_on_in_the_children_of_a_split_shard_is_counted_once() {
        let (parent, split) = (Meter::new(Millis(0)), 70_000);
        let children = [Meter::new(Millis(split)), Meter::new(Millis(split))];
        for now in (0..200_000).step_by(100) {
            let meter = if now < split { &parent } else { &children[usize::from(now % 200 == 0)] };
            meter.wrote(Millis(now), 20, 0);
            if now >= 60_000 {
                let heat = Meter::together(children.iter().chain([&parent]), Millis(now));
                assert!((heat.records_per_second - 200.0).abs() < 5.0, "at {now}: {heat:?}");
            }
        }
    }

    #[test]
    fn a_first_burst_is_not_taken_for_a_rate() {
        let meter = Meter::new(Millis(0));
        meter.wrote(Millis(10), 1_000, 0);
        assert!(meter.heat(Millis(20)).records_per_second <= 100.0);
    }
}
