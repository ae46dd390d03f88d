//! Waiting longer after each failure in a row.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// A store that comes back is noticed within this.
const LONGEST: Duration = Duration::from_secs(15);

/// How long to wait before the next attempt.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: twice the last, less up to a quarter so that many do not come back at once.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        let quarter = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) / 4;
        // A hasher's random keys are random enough here.
        wait - Duration::from_millis(RandomState::new().hash_one(self.failures) % (quarter + 1))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST * 3 / 4);
        assert!(waits[19] <= LONGEST && waits[19] >= LONGEST * 3 / 4);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
