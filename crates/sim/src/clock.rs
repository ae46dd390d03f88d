//! A clock that says what it is told.

use base::{Clock, Millis};
use parking_lot::Mutex;

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct SimClock(Mutex<i64>);

impl SimClock {
    /// Moves it by `ms`, back if negative.
    pub fn jump(&self, ms: i64) {
        *self.0.lock() += ms;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis(*self.0.lock())
    }
}
