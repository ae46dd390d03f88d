//! What a run has hit: a test that never met a fault, or never took a way of recovery, has shown nothing about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How often each thing was hit. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct Hits(Arc<Mutex<BTreeMap<String, u64>>>);

impl Hits {
    /// Counts one.
    pub fn hit(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts `times`.
    pub fn add(&self, what: &str, times: u64) {
        if times > 0 {
            let mut hits = self.0.lock();
            match hits.get_mut(what) {
                Some(count) => *count += times,
                None => {
                    hits.insert(what.to_owned(), times);
                }
            }
        }
    }

    /// How often it was hit.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.lock().get(what).copied().unwrap_or(0)
    }

    /// All that was hit, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }

    /// Adds what another run has hit.
    pub fn take_in(&self, other: &Self) {
        for (what, times) in other.all() {
            self.add(&what, times);
        }
    }

    /// Fails unless each of these was hit.
    ///
    /// # Errors
    /// Those that were not, and what was.
    pub fn expect(&self, wanted: &[&str]) -> Result<(), String> {
        let missed: Vec<&&str> = wanted.iter().filter(|what| self.of(what) == 0).collect();
        if missed.is_empty() { Ok(()) } else { Err(format!("never hit: {missed:?}; hit were {:?}", self.all())) }
    }
}
