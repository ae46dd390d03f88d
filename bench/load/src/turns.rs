//! Several of these programs beside one another, each loading its server in its own turns.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Asked;

/// When an open loop sends: all the time, or only in its own of the turns that several programs take by the clock on the wall.
#[derive(Clone, Copy)]
pub(crate) struct Turns {
    /// How long a turn lasts, if there are any.
    each: Duration,
    /// How many there are until all had theirs.
    count: u32,
    own: u32,
}

impl Turns {
    pub(crate) fn of(asked: &Asked) -> Self {
        Self { each: Duration::from_millis(asked.turn_ms), count: asked.turns, own: asked.turn }
    }

    /// From the first turn to the last.
    fn cycle(&self) -> Duration {
        self.each * self.count
    }

    /// When a record is due, counted from the beginning of the loop. In the first tenth of a turn none is, so that what went before has
    /// come to rest; and every other time the turns are taken in reverse, so that nobody always comes after the same.
    pub(crate) fn due(&self, number: u64, rate: u64) -> Duration {
        let after = |number| Duration::from_nanos(number * 1_000_000_000 / rate);
        if self.each.is_zero() {
            return after(number);
        }
        let records = (self.each.as_millis() as u64 * rate * 9 / 10 / 1000).max(1);
        let cycle = (number / records) as u32;
        let turn = if cycle.is_multiple_of(2) { self.own } else { self.count - 1 - self.own };
        self.cycle() * cycle + self.each * turn + self.each / 10 + after(number % records)
    }

    /// Whether a record that is due then counts. Those of the second tenth of a turn do not: the server has rested since its last one, and
    /// what it takes to come back into the caches is no part of what it does at this rate.
    pub(crate) fn counts(&self, due: Duration) -> bool {
        due.as_nanos().checked_rem(self.each.as_nanos()).is_none_or(|within| within >= self.each.as_nanos() / 5)
    }

    /// The number of the turn in which a record is due.
    pub(crate) fn turn_of(&self, due: Duration) -> u64 {
        due.as_nanos().checked_div(self.cycle().as_nanos()).unwrap_or_default() as u64
    }

    /// The moment from which on all that take turns count theirs: soon, when everybody is ready.
    pub(crate) fn begin(&self) -> Instant {
        let soon = Duration::from_millis(300);
        let (now, clock) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        match (2 * self.cycle()).as_nanos() {
            0 => now + soon,
            both => now + soon + Duration::from_nanos((both - (clock + soon).as_nanos() % both) as u64),
        }
    }
}
