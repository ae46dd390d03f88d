//! What a delivery leaves in the log, so that it is known again after a restart: a header of the first record of each of
//! its parts. It is written, synced, kept and removed together with them, so it can neither lag behind them nor be there
//! without them.

use std::fmt;

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// One delivery: the hash of who sent what under which id, to which stream, to be read how.
pub(super) type Key = u128;

/// Hex digits of a key.
const KEY_DIGITS: usize = 32;

/// That a part of a delivery is stored. As text: the delivery in 32 hex digits, a blank, the number of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) delivery: Key,
    /// Records of the delivery that are on disk once this part is: parts are stored one after the other.
    pub(super) stored: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0KEY_DIGITS$x} {}", self.delivery, self.stored)
    }
}

impl Mark {
    /// Reads what was written; `None` for anything else.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (delivery, stored) = text.split_at_checked(KEY_DIGITS)?;
        let mark =
            Self { delivery: Key::from_str_radix(delivery, 16).ok()?, stored: stored.strip_prefix(' ')?.parse().ok()? };
        // Numbers can be written in other ways, too.
        (mark.to_string() == text).then_some(mark)
    }
}

/// What makes a delivery the same one. The same id with another body is another delivery, as is the same in another
/// stream (one made anew under its name included) or cut into records in another way.
pub(super) struct Origin<'a> {
    pub(super) stream: Uuid,
    /// The ARN of who sends.
    pub(super) source: &'a str,
    pub(super) request_id: &'a str,
    /// Whether each line is a record.
    pub(super) lines: bool,
}

impl Origin<'_> {
    pub(super) fn key(&self, body: &[u8]) -> Key {
        let mut key = Xxh3::new();
        for part in
            [self.stream.as_bytes(), self.source.as_bytes(), self.request_id.as_bytes(), &[u8::from(self.lines)]]
        {
            key.update(&part.len().to_le_bytes());
            key.update(part);
        }
        key.update(body);
        key.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        for mark in [Mark { delivery: 0, stored: 0 }, Mark { delivery: Key::MAX, stored: u32::MAX }] {
            let text = mark.to_string();
            assert_eq!(Mark::read(text.as_bytes()), Some(mark));
            for wrong in [
                text.to_uppercase() + " ",
                format!("+{}", &text[1..]),
                format!("{text}0000000000"),
                text.replace(' ', "  "),
            ] {
                assert_eq!(Mark::read(wrong.as_bytes()), None, "{wrong}");
            }
        }
        assert_eq!(Mark::read(b""), None);
        assert_eq!(Mark::read("\u{fc}".repeat(20).as_bytes()), None);
        assert_eq!(Mark::read(format!("{:032x} +1", 7).as_bytes()), None);
    }

    #[test]
    fn whatever_differs_makes_another_delivery() {
        let one = || Origin { stream: Uuid::nil(), source: "a", request_id: "bc", lines: false };
        let key = one().key(b"body");
        assert_eq!(one().key(b"body"), key);
        for other in [
            one().key(b"body2"),
            Origin { stream: Uuid::max(), ..one() }.key(b"body"),
            Origin { lines: true, ..one() }.key(b"body"),
            Origin { source: "ab", request_id: "c", ..one() }.key(b"body"),
        ] {
            assert_ne!(other, key);
        }
    }
}
