//! Which deliveries came lately, and how far each was stored. A delivery whose answer got lost is sent again under the
//! same request id for up to two hours; what of it is on disk is then not stored again. A restart forgets: what is
//! sent again after one is stored again, as the format promises no more than at least once.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Deliveries remembered, some 100 bytes each: those of the last minutes of a busy stream, the last hours of a quiet
/// one.
const REMEMBERED_MAX: usize = 8192;

/// One delivery: the hash of who sent what under which id.
pub(super) type Key = u128;

#[derive(Debug, Default)]
pub(super) struct Recent {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    progress: HashMap<Key, Progress>,
    /// The oldest first.
    order: VecDeque<Key>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Records on disk.
    stored: u32,
    /// Whether somebody is storing it now.
    busy: bool,
}

/// A delivery that somebody may store; let go when dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    recent: &'a Recent,
    key: Key,
}

impl Recent {
    /// Takes a delivery on; also says how many of its records are on disk already. `None`: it is being stored now.
    pub(super) fn claim(&self, key: Key) -> Option<(Claim<'_>, u32)> {
        let mut known = self.known.lock();
        if !known.progress.contains_key(&key) {
            while known.order.len() >= REMEMBERED_MAX {
                let oldest = known.order.pop_front();
                oldest.map(|oldest| known.progress.remove(&oldest));
            }
            known.order.push_back(key);
        }
        let progress = known.progress.entry(key).or_default();
        if progress.busy {
            return None;
        }
        progress.busy = true;
        Some((Claim { recent: self, key }, progress.stored))
    }
}

impl Claim<'_> {
    /// Remembers how many records are on disk.
    pub(super) fn stored(&self, records: u32) {
        if let Some(progress) = self.recent.known.lock().progress.get_mut(&self.key) {
            progress.stored = records;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(progress) = self.recent.known.lock().progress.get_mut(&self.key) {
            progress.busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_stored_by_one_at_a_time_and_goes_on_where_it_ended() {
        let recent = Recent::default();
        let (claim, stored) = recent.claim(1).expect("is free");
        assert_eq!(stored, 0);
        assert!(recent.claim(1).is_none() && recent.claim(2).is_some());
        claim.stored(7);
        drop(claim);
        assert_eq!(recent.claim(1).map(|(_, stored)| stored), Some(7));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let recent = Recent::default();
        for key in 0..Key::try_from(REMEMBERED_MAX).expect("small") + 1 {
            recent.claim(key).expect("is free").0.stored(1);
        }
        assert_eq!(recent.known.lock().progress.len(), REMEMBERED_MAX);
        assert_eq!(recent.claim(1).map(|(_, stored)| stored), Some(1));
        assert_eq!(recent.claim(0).map(|(_, stored)| stored), Some(0));
    }
}
