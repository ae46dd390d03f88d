//! Retention: which closed segments may go. Decided from facts alone; whole segments only, oldest first.

use std::io;
use std::path::Path;
use std::time::Duration;

use base::{Millis, Offset};

use crate::disk::Disk;
use crate::error::is_full;
use crate::index::Summary;
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
    /// When its last record arrived, or since when it has been seen, whichever is earlier.
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
    /// How much time has really passed since the log was opened.
    elapsed: Duration,
    /// How long the wall clock has been ahead, in step with the time that passes.
    ahead: Duration,
    last_wall: Millis,
}

/// The time of a sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By the clock, as far as it is believed.
    pub(crate) time: Millis,
    /// What has really passed since the log was opened.
    pub(crate) elapsed: Duration,
}

impl Now {
    /// From when on something counts that says it is of `time`, and was first `seen` when so much had passed. A time that
    /// lies in the future is the work of a clock that was wrong: that it was seen so long ago is certain all the same. The
    /// other way round, a clock that is behind now makes nothing older.
    pub(crate) fn aged_from(&self, time: i64, seen: Duration) -> i64 {
        let since = i64::try_from(self.elapsed.saturating_sub(seen).as_millis()).unwrap_or(i64::MAX);
        time.min(self.time.0.saturating_sub(since))
    }
}

const BELIEVE_AFTER: Duration = Duration::from_secs(3600);
const STEP_SLACK_MS: i64 = 60_000;

impl SteadyClock {
    /// `last` is what was believed before, or when the latest record arrived. A machine that starts with a wrong clock must
    /// not delete by it at once.
    pub(crate) fn new(wall: Millis, last: Option<Millis>) -> Self {
        Self {
            believed: last.map_or(wall, |last| last.min(wall)),
            elapsed: Duration::ZERO,
            ahead: Duration::ZERO,
            last_wall: wall,
        }
    }

    /// How much time has really passed since the log was opened.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The time to go by, given the wall clock and how much time has really passed since the last call.
    pub(crate) fn now(&mut self, wall: Millis, passed: Duration) -> Millis {
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let expected = self.believed.plus_ms(passed_ms);
        let in_step = wall.since(self.last_wall.plus_ms(passed_ms)).abs() <= STEP_SLACK_MS;
        self.last_wall = wall;
        self.elapsed += passed;
        if wall.since(expected) <= STEP_SLACK_MS {
            (self.believed, self.ahead) = (wall, Duration::ZERO);
        } else {
            self.ahead = if in_step { self.ahead + passed } else { Duration::ZERO };
            self.believed = if self.ahead >= BELIEVE_AFTER { wall } else { expected };
        }
        self.believed
    }
}

/// What the clock for deleting believed last, kept across restarts. Not synced: if a crash takes it, the time of the
/// latest record stands in for it.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockFile {
    believed_ms: i64,
    crc32c: String,
}

impl Sealed for ClockFile {
    fn crc(&mut self) -> &mut String {
        &mut self.crc32c
    }
}

const CLOCK_FILE: &str = ".clock";

/// What was believed last, if that is known.
pub(crate) fn load_clock(disk: &dyn Disk, dir: &Path) -> Option<Millis> {
    let bytes = store::read(disk, &dir.join(CLOCK_FILE)).ok()??;
    ClockFile::unseal(&bytes).ok().map(|file| Millis(file.believed_ms))
}

/// Keeps what is believed now.
pub(crate) fn save_clock(disk: &dyn Disk, dir: &Path, believed: Millis) {
    let file = ClockFile { believed_ms: believed.0, crc32c: String::new() }.seal();
    if let Err(error) = store::replace(disk, &dir.join(CLOCK_FILE), &file) {
        tracing::debug!(%error, "the time of this sweep could not be kept");
    }
}

impl Shard {
    /// The closed segments.
    pub(crate) fn candidates(&self, shard: usize, at: Now) -> Vec<Candidate> {
        let mut view = self.view.write();
        let judge = |closed: &mut crate::shard::Closed| {
            let seen = *closed.seen.get_or_insert(at.elapsed);
            let last = closed.summary.times.map_or(i64::MIN, |(_, last)| last);
            Candidate { shard, aged_from: at.aged_from(last, seen), bytes: closed.summary.bytes }
        };
        view.closed.iter_mut().map(judge).collect()
    }

    /// Removes the `count` oldest closed segments: first the new start is noted durably, then the files go. Tells what went
    /// also if not all could.
    pub(crate) fn remove_oldest(&self, count: usize) -> (Swept, io::Result<()>) {
        let mut swept = Swept::default();
        let removed = self.part_with(count).and_then(|gone| {
            let mut failed = Ok(());
            for summary in gone {
                let removed = segment::remove(&*self.around.disk, &self.dir, summary.base);
                // After it: a reader who found the segment a moment ago may have opened it until then.
                self.around.cache.forget(self.key(summary.base));
                match removed {
                    Ok(()) => {
                        let records = Offset(summary.end).since(Offset(summary.base));
                        swept += Swept { segments: 1, bytes: summary.bytes, records };
                    }
                    // The next start tries again.
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            failed.and_then(|()| self.around.disk.sync_dir(&self.dir))
        });
        self.counts.removed_segments.add(swept.segments);
        self.counts.removed_bytes.add(swept.bytes);
        (swept, removed)
    }

    /// Shows readers a later start, noted durably. Returns the segments before it.
    fn part_with(&self, count: usize) -> io::Result<Vec<Summary>> {
        let going: Vec<Summary> = self.view.read().closed.iter().take(count).map(|closed| closed.summary).collect();
        let Some(start) = going.last().map(|last| last.end) else { return Ok(going) };
        let disk = &*self.around.disk;
        let free_indexes = || going.iter().try_for_each(|summary| segment::remove_index(disk, &self.dir, summary.base));
        // The headers go, and what they say of producers is still promised.
        match self.save_producers_to(start) {
            Err(error) if is_full(&error) => {
                free_indexes()?;
                self.save_producers_to(start)?;
            }
            saved => saved?,
        }
        let note = StartFile { start, crc32c: String::new() }.seal();
        match store::replace_durably(disk, &start_path(&self.dir), &note) {
            // The note must come before the records go, and a full disk has no room for it: their indexes make it.
            Err(error) if is_full(&error) => {
                free_indexes()?;
                store::replace_durably(disk, &start_path(&self.dir), &note)?;
            }
            noted => noted?,
        }
        let mut view = self.view.write();
        view.start = start;
        view.closed.drain(..going.len());
        Ok(going)
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
        let mut steady = SteadyClock::new(Millis(0), None);
        assert_eq!(steady.now(Millis(60_000), minute), Millis(60_000));
        let year = 365 * DAY_MS;
        assert_eq!(steady.now(Millis(year), minute), Millis(120_000), "not believed");
        assert_eq!(steady.now(Millis(180_000), minute), Millis(180_000), "it was a mistake");
        assert_eq!(steady.now(Millis(180_000 - 3_600_000), minute), Millis(180_000 - 3_600_000), "back is harmless");
        let mut started = SteadyClock::new(Millis(year), Some(Millis(7)));
        assert_eq!(started.now(Millis(year + 60_000), minute), Millis(60_007), "not by a clock wrong from the start");
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
