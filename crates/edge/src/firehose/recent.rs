//! Which deliveries came lately, and how far each was stored. A delivery whose answer got lost is sent again under the
//! same request id for up to two hours; what of it is on disk is then not stored again. Held in memory; after a restart
//! the log tells, see `recall`.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;

use super::mark::{Key, Mark};

/// Deliveries remembered, some 80 bytes each, 5 MiB in all: those of two hours at nine in a second.
pub(super) const REMEMBERED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Recent {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those that somebody is storing now.
    busy: HashSet<Key>,
    progress: HashMap<Key, Progress>,
    /// What is in `progress`, the oldest first.
    order: VecDeque<Key>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Records on disk.
    stored: u32,
    /// Whether the next part may be on disk, too: only a restart finds out.
    doubtful: bool,
}

impl Known {
    fn progress(&mut self, key: Key) -> &mut Progress {
        if !self.progress.contains_key(&key) {
            while self.order.len() >= REMEMBERED_MAX {
                let oldest = self.order.pop_front();
                oldest.map(|oldest| self.progress.remove(&oldest));
            }
            self.order.push_back(key);
        }
        self.progress.entry(key).or_default()
    }
}

/// A delivery that somebody may store; let go when dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    recent: &'a Recent,
    key: Key,
}

/// Why a delivery cannot be stored now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclaimed {
    /// It is being stored.
    Busy,
    /// A failing disk left it unknown whether its next part is stored.
    Doubtful,
}

impl Recent {
    /// Takes a delivery on; also says how many of its records are on disk already.
    pub(super) fn claim(&self, key: Key) -> Result<(Claim<'_>, u32), Unclaimed> {
        let mut known = self.known.lock();
        let progress = known.progress.get(&key).copied().unwrap_or_default();
        if progress.doubtful {
            return Err(Unclaimed::Doubtful);
        }
        if !known.busy.insert(key) {
            return Err(Unclaimed::Busy);
        }
        Ok((Claim { recent: self, key }, progress.stored))
    }

    /// Takes over what the log tells, in the order in which it was stored.
    pub(super) fn recall(&self, marks: impl IntoIterator<Item = Mark>) {
        let mut known = self.known.lock();
        for mark in marks {
            let progress = known.progress(mark.delivery);
            progress.stored = progress.stored.max(mark.stored);
        }
    }
}

impl Claim<'_> {
    /// Remembers how many records are on disk.
    pub(super) fn stored(&self, records: u32) {
        self.recent.known.lock().progress(self.key).stored = records;
    }

    /// Remembers that nobody knows whether the next part is on disk.
    pub(super) fn doubt(&self) {
        self.recent.known.lock().progress(self.key).doubtful = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.recent.known.lock().busy.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(recent: &Recent, key: Key) -> Result<u32, Unclaimed> {
        recent.claim(key).map(|(_, stored)| stored)
    }

    #[test]
    fn a_delivery_is_stored_by_one_at_a_time_and_goes_on_where_it_ended() {
        let recent = Recent::default();
        let (claim, already) = recent.claim(1).expect("is free");
        assert_eq!(already, 0);
        assert_eq!((stored(&recent, 1), stored(&recent, 2)), (Err(Unclaimed::Busy), Ok(0)));
        claim.stored(7);
        drop(claim);
        assert_eq!(stored(&recent, 1), Ok(7));
    }

    #[test]
    fn what_is_in_doubt_is_not_stored_again() {
        let recent = Recent::default();
        recent.claim(1).expect("is free").0.doubt();
        assert_eq!((stored(&recent, 1), stored(&recent, 2)), (Err(Unclaimed::Doubtful), Ok(0)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_who_stored_nothing_takes_no_place() {
        let recent = Recent::default();
        let many = Key::try_from(REMEMBERED_MAX).expect("small");
        let (busy, _) = recent.claim(0).expect("is free");
        busy.stored(1);
        for key in 1..=many {
            recent.claim(key).expect("is free").0.stored(1);
        }
        for key in 2 * many..4 * many {
            assert_eq!(stored(&recent, key), Ok(0));
        }
        assert_eq!(recent.known.lock().progress.len(), REMEMBERED_MAX);
        assert_eq!((stored(&recent, 1), stored(&recent, many)), (Ok(1), Ok(1)));
        assert_eq!(stored(&recent, 0), Err(Unclaimed::Busy), "forgotten, but not given to a second one");
        busy.stored(2);
        drop(busy);
        assert_eq!((stored(&recent, 0), stored(&recent, 1)), (Ok(2), Ok(0)));
    }

    #[test]
    fn what_the_log_tells_is_known_and_never_less_than_what_is_known() {
        let recent = Recent::default();
        recent.claim(1).expect("is free").0.stored(5);
        let mark = |delivery, stored| Mark { delivery, stored };
        recent.recall([mark(1, 3), mark(2, 4), mark(2, 2)]);
        assert_eq!((stored(&recent, 1), stored(&recent, 2)), (Ok(5), Ok(4)));
    }
}
