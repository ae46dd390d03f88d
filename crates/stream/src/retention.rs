//! Retention: which closed segments may go. Decided from facts alone; whole segments only, oldest first.

use std::time::Duration;

use base::{Millis, Offset};

use crate::segment;
use crate::shard::{Shard, StartFile, start_path};
use crate::store::{self, Sealed};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments removed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their records.
    pub records: u64,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.records += other.records;
    }
}

/// A segment is closed at the latest when its first record is this old, so that it can be removed not much later than
/// retention says: a tenth of it, but neither tiny segments by the minute nor ones that hold more than a day.
pub(crate) fn roll_age(retention: Duration) -> Duration {
    (retention / 10).clamp(Duration::from_secs(3600), Duration::from_secs(86_400))
}

/// A closed segment, as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) shard: usize,
    /// When its last record arrived.
    pub(crate) aged_from: i64,
    pub(crate) bytes: u64,
}

/// How many of the oldest closed segments of each shard go. `candidates` has those of each shard in order; `bytes` are
/// all bytes of the stream, those of the segments being written included.
pub(crate) fn decide(
    shards: usize,
    mut candidates: Vec<Candidate>,
    bytes: u64,
    now: Millis,
    retention: Duration,
    retention_bytes: Option<u64>,
) -> Vec<usize> {
    let kept_from = now.0.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let mut going = vec![0; shards];
    let mut stopped = vec![false; shards];
    let mut left = bytes;
    candidates.sort_by_key(|candidate| candidate.aged_from); // stable: the order within a shard stays
    for candidate in candidates {
        let old = candidate.aged_from < kept_from;
        let over = retention_bytes.is_some_and(|most| left > most);
        if stopped[candidate.shard] || !(old || over) {
            stopped[candidate.shard] = true; // never one from the middle
            continue;
        }
        going[candidate.shard] += 1;
        left -= candidate.bytes.min(left);
    }
    going
}

/// A clock for deleting: it does not believe a jump ahead until the clock has been in step for an hour since, so that one
/// wrong second does not delete a week.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    believed: Millis,
    /// How long the wall clock has been ahead, in step with the time that passes.
    ahead: Duration,
    last_wall: Millis,
}

const BELIEVE_AFTER: Duration = Duration::from_secs(3600);
const STEP_SLACK_MS: i64 = 60_000;

impl SteadyClock {
    pub(crate) fn new(wall: Millis) -> Self {
        Self { believed: wall, ahead: Duration::ZERO, last_wall: wall }
    }

    /// The time to go by, given the wall clock and how much time has really passed since the last call.
    pub(crate) fn now(&mut self, wall: Millis, passed: Duration) -> Millis {
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let expected = self.believed.plus_ms(passed_ms);
        let in_step = wall.since(self.last_wall.plus_ms(passed_ms)).abs() <= STEP_SLACK_MS;
        self.last_wall = wall;
        if wall.since(expected) <= STEP_SLACK_MS {
            (self.believed, self.ahead) = (wall, Duration::ZERO);
        } else {
            self.ahead = if in_step { self.ahead + passed } else { Duration::ZERO };
            self.believed = if self.ahead >= BELIEVE_AFTER { wall } else { expected };
        }
        self.believed
    }
}

impl Shard {
    /// The closed segments. A time that lies in the future is the work of a clock that was wrong: it counts from now.
    pub(crate) fn candidates(&self, shard: usize, now: Millis) -> Vec<Candidate> {
        let mut view = self.view.write();
        let judge = |closed: &mut crate::shard::Closed| {
            closed.aged_from = closed.aged_from.min(now.0);
            Candidate { shard, aged_from: closed.aged_from, bytes: closed.summary.bytes }
        };
        view.closed.iter_mut().map(judge).collect()
    }

    /// Removes the `count` oldest closed segments: first the new start is noted durably, then the files go.
    pub(crate) fn remove_oldest(&self, count: usize) -> std::io::Result<Swept> {
        let (going, start) = {
            let view = self.view.read();
            let count = count.min(view.closed.len());
            let going: Vec<_> = view.closed.iter().take(count).map(|closed| closed.summary).collect();
            let Some(last) = going.last() else { return Ok(Swept::default()) };
            let start = last.end;
            (going, start)
        };
        let disk = &*self.around.disk;
        let note = StartFile { start, crc32c: String::new() }.seal();
        store::replace_durably(disk, &start_path(&self.dir), &note)?;
        {
            let mut view = self.view.write();
            view.start = start;
            view.closed.drain(..going.len());
        }
        let mut swept = Swept::default();
        for summary in going {
            self.around.cache.forget(self.key(summary.base));
            segment::remove(disk, &self.dir, summary.base)?;
            let records = Offset(summary.end).since(Offset(summary.base));
            swept += Swept { segments: 1, bytes: summary.bytes, records };
        }
        disk.sync_dir(&self.dir)?;
        self.counts.removed_segments.add(swept.segments);
        self.counts.removed_bytes.add(swept.bytes);
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: i64 = 86_400_000;

    fn candidate(shard: usize, day: i64) -> Candidate {
        Candidate { shard, aged_from: day * DAY_MS, bytes: 100 }
    }

    #[test]
    fn old_segments_go_by_time_and_the_oldest_go_by_size() {
        let all = vec![candidate(0, 1), candidate(0, 5), candidate(0, 9), candidate(1, 2), candidate(1, 8)];
        let now = Millis(10 * DAY_MS);
        assert_eq!(decide(2, all.clone(), 500, now, 7 * DAY, None), [1, 1]);
        assert_eq!(decide(2, all.clone(), 500, now, 30 * DAY, None), [0, 0]);
        assert_eq!(decide(2, all, 500, now, 30 * DAY, Some(200)), [2, 1]);
    }

    #[test]
    fn a_segment_is_never_taken_from_between_two_that_stay() {
        let all = vec![candidate(0, 9), candidate(0, 1)]; // a clock went back between the two
        assert_eq!(decide(1, all, 200, Millis(10 * DAY_MS), 7 * DAY, None), [1], "the older by offset goes first");
    }

    #[test]
    fn a_jump_of_the_clock_ahead_deletes_nothing_and_going_on_is_not_stalled() {
        let minute = Duration::from_secs(60);
        let mut steady = SteadyClock::new(Millis(0));
        assert_eq!(steady.now(Millis(60_000), minute), Millis(60_000));
        let year = 365 * DAY_MS;
        assert_eq!(steady.now(Millis(year), minute), Millis(120_000), "not believed");
        assert_eq!(steady.now(Millis(180_000), minute), Millis(180_000), "it was a mistake");
        assert_eq!(steady.now(Millis(180_000 - 3_600_000), minute), Millis(180_000 - 3_600_000), "back is harmless");
        let mut wall = year;
        let mut now = steady.now(Millis(wall), minute);
        for _ in 0..60 {
            assert!(now < Millis(DAY_MS));
            wall += 60_000;
            now = steady.now(Millis(wall), minute);
        }
        assert_eq!(now, Millis(wall), "in step for an hour: believed");
    }
}
