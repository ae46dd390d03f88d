//! Sequence numbers: decimal numbers of 56 digits that carry the offset.
//!
//! Clients take them for opaque numbers that grow, but some (and every test suite written against the published
//! service) look inside, so the layout is the one in use there. As 47 hexadecimal digits, from the left:
//!
//! | digits | what |
//! |---|---|
//! | 1 | `2` |
//! | 9 | epoch of the shard, seconds: the creation of the stream plus the number of the shard, so that a child's sequence numbers are above its parents' |
//! | 1 | the lowest four bits of the shard's number |
//! | 16 | index: the record's offset + 1; 0 is the start of the shard, below its first record |
//! | 2 | `00` for a record; `ff` for a place between the record of that index and the next |
//! | 9 | time of arrival, seconds |
//! | 8 | number of the shard |
//! | 1 | `2`, the version |

use base::{Millis, Offset, ShardId};

/// The index of the end of a closed shard: above every record.
const INDEX_MAX: u64 = i64::MAX as u64;

/// Epochs from here on belong to no date that the service takes.
const EPOCH_END_S: u64 = 16_025_175_000;

/// What makes the epoch of the youngest shards lie in the past even when shards are split within the same second.
const EPOCH_SLACK_S: i64 = 2;

const SECONDS_BITS: u64 = (1 << 36) - 1;

/// The mark of a place between two records.
const BETWEEN: u8 = 0xff;

/// The longest decimal number that can be meant: more digits than 192 bits have are no sequence number.
const DIGITS_MAX: usize = 58;

/// What is the same for all sequence numbers of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    epoch_s: u64,
    shard: u32,
}

/// The place that a sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    epoch_s: u64,
    index: u64,
    mark: u8,
    seconds: u64,
    /// Kept signed for messages, as the service does.
    shard: i64,
    version: u8,
}

impl Origin {
    /// Of a shard of a stream made at `created`.
    pub(crate) fn new(created: Millis, shard: ShardId) -> Self {
        let epoch = created.0.div_euclid(1000) - EPOCH_SLACK_S + i64::from(shard.0);
        Self { epoch_s: u64::try_from(epoch).unwrap_or(0), shard: shard.0 }
    }

    /// Below the first record of the shard.
    pub(crate) fn start(self, created: Millis) -> String {
        self.write(0, 0, created)
    }

    /// Above the last record of a closed shard.
    pub(crate) fn end(self, closed: Millis) -> String {
        self.write(INDEX_MAX, 0, closed)
    }

    /// Of a record.
    pub(crate) fn record(self, offset: Offset, arrived: Millis) -> String {
        self.write(offset.0 + 1, 0, arrived)
    }

    /// Of the place before the record that `next` will be: above everything earlier, below `next`.
    pub(crate) fn before(self, next: Offset, now: Millis) -> String {
        self.write(next.0, BETWEEN, now)
    }

    fn write(self, index: u64, mark: u8, time: Millis) -> String {
        let seconds = u64::try_from(time.0.div_euclid(1000)).unwrap_or(0);
        decimal(words(self.epoch_s, index, mark, seconds, self.shard))
    }
}

impl Sequence {
    /// Reads any number that the service would take for one; `None` for others.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = number(text)?;
        let [low, middle, high] = number;
        // Numbers of the first layout are below 2^129 and may lack their leading 1.
        if high <= 1 {
            return Self::parse_first(number);
        }
        if high >> 56 != 2 {
            return None;
        }
        let epoch_s = (high >> 20) & SECONDS_BITS;
        let version = (low & 0xf) as u8;
        let shard = i64::from(((low >> 4) & 0xffff_ffff) as u32 as i32);
        match version {
            1 => {
                // The second layout has its time where the third has the index.
                let seconds = (high & 0xff) << 28 | middle >> 36;
                Some(Self { epoch_s, index: 0, mark: 0, seconds, shard, version })
            }
            2 => {
                let index = (high & 0xffff) << 48 | middle >> 16;
                let seconds = (middle & 0xff) << 28 | low >> 36;
                let fits = index <= INDEX_MAX && epoch_s < EPOCH_END_S;
                fits.then_some(Self { epoch_s, index, mark: (middle >> 8) as u8, seconds, shard, version })
            }
            _ => None,
        }
    }

    /// The first layout: `1`, 9 digits of time, 2, 16, 4 of the shard; 32 digits in all.
    fn parse_first([low, middle, _]: [u64; 3]) -> Option<Self> {
        let epoch_s = middle >> 24 & SECONDS_BITS;
        let shard = i64::from(low as u16);
        (epoch_s < EPOCH_END_S).then_some(Self { epoch_s, index: 0, mark: 0, seconds: 0, shard, version: 0 })
    }

    /// Whether it was given out by this shard.
    pub(crate) fn is_of(&self, origin: Origin) -> bool {
        self.version == 2 && self.shard == i64::from(origin.shard) && self.epoch_s == origin.epoch_s
    }

    /// The number of the shard, as messages write it.
    pub(crate) fn shard_name(&self) -> String {
        let sign = if self.shard < 0 { "-" } else { "" };
        let width = if self.shard < 0 { 11 } else { 12 };
        format!("shardId-{sign}{:0width$}", self.shard.abs())
    }

    /// The number of the shard.
    pub(crate) fn shard(&self) -> i64 {
        self.shard
    }

    /// The time it carries.
    pub(crate) fn time(&self) -> Millis {
        Millis(i64::try_from(self.seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// The first offset that lies at or above it.
    pub(crate) fn at(&self) -> Offset {
        Offset(if self.mark == 0 { self.index.saturating_sub(1) } else { self.index })
    }

    /// The first offset that lies above it.
    pub(crate) fn after(&self) -> Offset {
        Offset(self.index)
    }
}

/// The three words of the number, the lowest first.
fn words(epoch_s: u64, index: u64, mark: u8, seconds: u64, shard: u32) -> [u64; 3] {
    let seconds = seconds & SECONDS_BITS;
    [
        2 | u64::from(shard) << 4 | seconds << 36,
        seconds >> 28 | u64::from(mark) << 8 | index << 16,
        index >> 48 | u64::from(shard & 0xf) << 16 | (epoch_s & SECONDS_BITS) << 20 | 2 << 56,
    ]
}

/// Digits of a number of 192 bits, in pieces of 19.
fn decimal(mut words: [u64; 3]) -> String {
    const PIECE: u128 = 10_000_000_000_000_000_000;
    let mut pieces = [0u64; 3];
    for piece in &mut pieces {
        let mut rest = 0u128;
        for word in words.iter_mut().rev() {
            let value = rest << 64 | u128::from(*word);
            *word = (value / PIECE) as u64;
            rest = value % PIECE;
        }
        *piece = rest as u64;
    }
    match pieces {
        [low, 0, 0] => low.to_string(),
        [low, middle, 0] => format!("{middle}{low:019}"),
        [low, middle, high] => format!("{high}{middle:019}{low:019}"),
    }
}

fn number(text: &str) -> Option<[u64; 3]> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let mut words = [0u64; 3];
    for byte in text.bytes() {
        let mut carry = u128::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
        for word in &mut words {
            let value = u128::from(*word) * 10 + carry;
            *word = value as u64;
            carry = value >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> String {
        let padded = format!("{text:0>48}");
        let word = |at: usize| u64::from_str_radix(&padded[at..at + 16], 16).expect("hexadecimal");
        decimal([word(32), word(16), word(0)])
    }

    proptest! {
        #[test]
        fn a_sequence_number_carries_its_place_and_orders_as_its_offset(
            created in 1_500_000_000_000i64..4_000_000_000_000, shard in 0u32..1 << 31, offset in 0u64..1 << 62, later in 0i64..1 << 40,
        ) {
            let origin = Origin::new(Millis(created), ShardId(shard));
            let text = origin.record(Offset(offset), Millis(created + later));
            prop_assert_eq!(text.len(), 56);
            let read = Sequence::parse(&text).expect("ours");
            prop_assert!(read.is_of(origin));
            prop_assert_eq!((read.at(), read.after()), (Offset(offset), Offset(offset + 1)));
            prop_assert_eq!(read.time().0, (created + later) / 1000 * 1000);
            let gap = origin.before(Offset(offset + 1), Millis(0));
            let next = origin.record(Offset(offset + 1), Millis(0));
            prop_assert!(origin.start(Millis(created)) < text && text < gap && gap < next && next < origin.end(Millis(0)));
            let between = Sequence::parse(&gap).expect("ours");
            prop_assert_eq!((between.at(), between.after()), (Offset(offset + 1), Offset(offset + 1)));
            prop_assert!(origin.end(Millis(created)) < Origin::new(Millis(created), ShardId(shard + 1)).start(Millis(0)), "a child is above its parent");
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{0,60}") {
            let _ = Sequence::parse(&text);
        }
    }

    #[test]
    fn the_layout_is_the_one_in_use() {
        let text = Origin::new(Millis(1_500_000_002_000), ShardId(1)).record(Offset(4), Millis(1_500_000_100_000));
        let digits = ["2", "059682f01", "1", "0000000000000005", "00", "059682f64", "00000001", "2"].concat();
        assert_eq!(text, hex(&digits));
    }

    #[test]
    fn numbers_of_earlier_layouts_are_known_and_nonsense_is_not() {
        let parse = |digits: &str| Sequence::parse(&hex(digits));
        assert_eq!(Sequence::parse("5").expect("the first layout").shard_name(), "shardId-000000000005");
        assert!(parse("20000000000000000000000000000000000000000000002").is_some());
        assert!(parse("20000000000000000000000000000000000000000000001").is_some());
        let negative = parse("20000000000000000000000000000000000000800000002").expect("a shard below zero");
        assert_eq!(negative.shard_name(), "shardId--02147483648");
        for wrong in [
            "20000000000000000000000000000000000000000000000",
            "20000000000000000000000000000000000000000000003",
            "20000000000000000000000000000000000000000000004",
            "30000000000000000000000000000000000000000000001",
            "1ffffffffff7fffffffffffffff000000000007fffffff2",
            "20000000000800000000000000000000000000000000002",
            "2ffffffffff7fffffffffffffff000000000007fffffff2",
            "13bb2cc3d80000000000000000000000",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
        assert!(Sequence::parse("").is_none() && Sequence::parse("12a").is_none());
        assert!(Sequence::parse(&"9".repeat(58)).is_none());
    }
}
