//! Answers that keep their part of the door's memory until they are sent, however slowly their clients take them.

use std::sync::Arc;

use bytes::Bytes;

use super::fault::Fault;
use crate::collect::budget::{Budget, Share};

/// Answers up to this size are not counted: fewer than the connection itself holds.
const FREE_BYTES: usize = 16 * 1024;

/// The bytes of an answer and their part of memory.
struct Held {
    answer: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// Counts an answer until its last byte is on its way. `read` is what was reserved to make it: given back if there is room
/// for the answer alone, and kept instead of that if there is not.
pub(super) fn hold(budget: &Arc<Budget>, answer: Bytes, read: Share) -> Bytes {
    if answer.len() <= FREE_BYTES {
        return answer;
    }
    let mut share = budget.share();
    let share = if share.grow_to(answer.len()) { share } else { read };
    Bytes::from_owner(Held { answer, _share: share })
}

/// Likewise of an answer for which nothing was reserved.
///
/// # Errors
/// There is no room: the client is to come back.
pub(super) fn admit(budget: &Arc<Budget>, answer: Bytes) -> Result<Bytes, Fault> {
    let mut share = budget.share();
    if answer.len() > FREE_BYTES && !share.grow_to(answer.len()) {
        return Err(Fault::busy());
    }
    Ok(hold(budget, answer, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_until_the_last_piece_of_it_is_gone() {
        let budget = Budget::new(300_000);
        let mut read = budget.share();
        assert!(read.grow_to(150_000));
        let answer = hold(&budget, vec![7; 100_000].into(), read);
        assert_eq!((budget.used(), answer.len()), (100_000, 100_000));
        let piece = answer.slice(10..20);
        drop(answer);
        assert_eq!((budget.used(), &*piece), (100_000, &[7; 10][..]));
        drop(piece);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn without_room_what_was_reserved_to_make_it_stays_or_it_is_refused() {
        let budget = Budget::new(100_000);
        let mut read = budget.share();
        assert!(read.grow_to(90_000));
        let answer = hold(&budget, vec![7; 60_000].into(), read);
        assert_eq!(budget.used(), 90_000);
        assert!(admit(&budget, vec![7; 20_000].into()).is_err());
        assert!(admit(&budget, vec![7; FREE_BYTES].into()).is_ok());
        drop(answer);
        assert!(admit(&budget, vec![7; 20_000].into()).is_ok());
        assert_eq!(budget.used(), 0);
    }
}
