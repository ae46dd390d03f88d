//! Who sent a batch, and which of theirs it is.

/// What an idempotent producer writes into a batch, so that sending it again does not store it again. The producer counts
/// its records for each shard: the first one of an epoch is 0, and the one after 2,147,483,647 is 0 again.
///
/// As published: KIP-98 of Apache Kafka, *Idempotent Producer*, and the record batch's producer id, epoch and base sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    producer: i64,
    epoch: i16,
    sequence: i32,
}

impl Stamp {
    /// The producer's id, which of its lives it is in, and the sequence number of the batch's first record; `None` if any of
    /// them is negative.
    #[must_use]
    pub fn new(producer: i64, epoch: i16, sequence: i32) -> Option<Self> {
        (producer >= 0 && epoch >= 0 && sequence >= 0).then_some(Self { producer, epoch, sequence })
    }

    /// The producer's id. Whoever gives out ids never gives one twice.
    #[must_use]
    pub fn producer(&self) -> i64 {
        self.producer
    }

    /// Which of the producer's lives: one of a lower epoch is refused as soon as a higher one was heard.
    #[must_use]
    pub fn epoch(&self) -> i16 {
        self.epoch
    }

    /// The sequence number of the first record.
    #[must_use]
    pub fn sequence(&self) -> i32 {
        self.sequence
    }

    /// The stamp of the batch that follows this one of `count` records.
    #[must_use]
    pub fn after(self, count: u32) -> Self {
        let sequence = (self.sequence as u32).wrapping_add(count) & i32::MAX as u32;
        Self { sequence: sequence as i32, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_on_at_zero_after_the_greatest() {
        let stamp = |sequence| Stamp::new(1, 2, sequence).expect("not negative");
        assert_eq!(stamp(0).after(7), stamp(7));
        assert_eq!(stamp(i32::MAX).after(1), stamp(0));
        assert_eq!(stamp(i32::MAX - 1).after(4), stamp(2));
        assert_eq!(stamp(5).after(i32::MAX as u32), stamp(4));
    }

    #[test]
    fn nothing_negative_is_a_stamp() {
        assert_eq!(Stamp::new(-1, -1, -1), None);
        assert_eq!(Stamp::new(1, -1, 0), None);
        assert_eq!(Stamp::new(1, 0, -1), None);
        assert!(Stamp::new(0, 0, 0).is_some());
    }
}
