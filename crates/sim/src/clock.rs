//! A clock that says what it is told, beside the time that really passes.

use base::{Clock, Millis};
use parking_lot::Mutex;

/// A wall clock that may be wrong, and stands still until time passes.
#[derive(Debug, Default)]
pub struct SimClock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wall: i64,
    really: i64,
    frozen: bool,
}

impl SimClock {
    /// Time passes, for the wall clock too unless it is frozen.
    pub fn pass(&self, ms: i64) {
        let mut state = self.0.lock();
        state.really += ms;
        if !state.frozen {
            state.wall += ms;
        }
    }

    /// The wall clock jumps, back if negative.
    pub fn jump(&self, ms: i64) {
        self.0.lock().wall += ms;
    }

    /// The wall clock stands still although time passes, or goes again.
    pub fn freeze(&self, frozen: bool) {
        self.0.lock().frozen = frozen;
    }

    /// The wall clock is set right, and goes.
    pub fn mend(&self) {
        let mut state = self.0.lock();
        (state.wall, state.frozen) = (state.really, false);
    }

    /// The time that has really passed, in milliseconds.
    #[must_use]
    pub fn really(&self) -> i64 {
        self.0.lock().really
    }

    /// How far the wall clock is behind, in milliseconds; 0 if it is right or ahead.
    #[must_use]
    pub fn behind(&self) -> i64 {
        let state = self.0.lock();
        (state.really - state.wall).max(0)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis(self.0.lock().wall)
    }
}
