//! The judging against a model that keeps everything and looks through all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::known::{Noted, Producers, Trial, Verdict};
use super::snapshot;
use crate::batch::Stamp;
use crate::error::AppendError;
use crate::limit::{PRODUCER_BATCHES, PRODUCER_IDLE_MAX, PRODUCER_KEPT_LEAST};

const PRODUCERS: usize = 3;

/// What was stored: its stamp, its records, and its offset.
type Batch = (Stamp, u32, u64);

/// All that was ever stored.
#[derive(Clone, Debug, Default)]
struct Model {
    stored: Vec<Batch>,
    end: u64,
}

impl Model {
    fn of(&self, producer: i64) -> Vec<Batch> {
        self.stored.iter().filter(|(stamp, ..)| stamp.producer() == producer).copied().collect()
    }

    fn expect(&self, stamp: Stamp, count: u32) -> Verdict {
        let (producer, epoch, found) = (stamp.producer(), stamp.epoch(), stamp.sequence());
        let all = self.of(producer);
        let refuse = |expected| Verdict::Refused(AppendError::OutOfSequence { producer, epoch, expected, found });
        let Some(last) = all.last() else {
            let unknown = AppendError::UnknownProducer { producer, found };
            return if found == 0 { Verdict::New } else { Verdict::Refused(unknown) };
        };
        match epoch.cmp(&last.0.epoch()) {
            std::cmp::Ordering::Less => {
                Verdict::Refused(AppendError::Fenced { producer, known: last.0.epoch(), found: epoch })
            }
            std::cmp::Ordering::Greater if found == 0 => Verdict::New,
            std::cmp::Ordering::Greater => refuse(0),
            std::cmp::Ordering::Equal => {
                let recent = all.iter().rev().take_while(|(stored, ..)| stored.epoch() == epoch).take(PRODUCER_BATCHES);
                let same = |(stored, records, _): &&Batch| *stored == stamp && *records == count;
                if let Some((stored, count, offset)) = recent.clone().find(same) {
                    let first = stored.sequence();
                    return Verdict::Repeat(super::known::Stored { first, count: *count, offset: *offset, time: 0 });
                }
                let next = (i64::from(last.0.sequence()) + i64::from(last.1)) % (1 << 31);
                if i64::from(found) == next { Verdict::New } else { refuse(next as i32) }
            }
        }
    }

    fn store(&mut self, stamp: Stamp, count: u32) {
        self.stored.push((stamp, count, self.end));
        self.end += u64::from(count);
    }
}

/// What a producer sends.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// What follows.
    Next,
    /// The nth last again.
    Again(usize),
    /// The nth last, with another number of records.
    Cut(usize),
    /// So far from what follows.
    Off(i32),
    /// The first of an epoch so much higher or lower.
    Epoch(i16),
    /// Not the first of a higher epoch.
    LateEpoch,
}

fn sending() -> impl Strategy<Value = Sending> {
    prop_oneof![
        6 => Just(Sending::Next),
        4 => (0usize..8).prop_map(Sending::Again),
        1 => (0usize..6).prop_map(Sending::Cut),
        2 => (-9i32..9).prop_map(Sending::Off),
        1 => (-2i16..3).prop_map(Sending::Epoch),
        1 => Just(Sending::LateEpoch),
    ]
}

/// The batch that is sent, as the model stands.
fn send(model: &Model, producer: usize, sending: Sending, count: u32) -> Option<(Stamp, u32)> {
    let all = model.of(producer as i64);
    let last = all.last().copied();
    let next = last.map_or(Stamp::new(producer as i64, 0, 0), |(stamp, count, _)| Some(stamp.after(count)))?;
    let nth = |back: usize| all.len().checked_sub(back + 1).map(|at| all[at]);
    match sending {
        Sending::Next => Some((next, count)),
        Sending::Again(back) => nth(back).map(|(stamp, count, _)| (stamp, count)),
        Sending::Cut(back) => nth(back).map(|(stamp, count, _)| (stamp, count + 1)),
        Sending::Off(by) => {
            Stamp::new(next.producer(), next.epoch(), next.sequence().checked_add(by)?).zip(Some(count))
        }
        Sending::Epoch(by) => Stamp::new(next.producer(), next.epoch() + by, 0).zip(Some(count)),
        Sending::LateEpoch => Stamp::new(next.producer(), next.epoch() + 1, 3).zip(Some(count)),
    }
}

/// Few records, or so many that the sequences come round.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![5 => 1u32..4, 1 => (i32::MAX as u32 - 3)..=i32::MAX as u32]
}

#[derive(Clone, Debug)]
enum Event {
    /// Batches that are written together, and whether that succeeds.
    Group(Vec<(usize, Sending, u32)>, bool),
    /// What is known comes back from a snapshot.
    Restart,
    /// What is known comes back from the log.
    Replay,
}

fn event() -> impl Strategy<Value = Event> {
    let batch = (0..PRODUCERS, sending(), count());
    prop_oneof![
        8 => (proptest::collection::vec(batch, 1..8), any::<bool>()).prop_map(|(group, done)| Event::Group(group, done)),
        1 => Just(Event::Restart),
        1 => Just(Event::Replay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_batch_is_judged_as_by_looking_through_all_that_was_stored(events in proptest::collection::vec(event(), 1..40)) {
        let mut model = Model::default();
        let mut producers = Producers::new(false);
        for event in events {
            match event {
                Event::Group(group, succeeds) => {
                    let mut ahead = model.clone();
                    let mut trial = Trial::new(&producers, BTreeSet::new());
                    let mut written = Vec::new();
                    for (producer, sending, count) in group {
                        let Some((stamp, count)) = send(&ahead, producer, sending, count) else { continue };
                        let verdict = trial.judge(stamp, count, ahead.end);
                        prop_assert_eq!(&verdict, &ahead.expect(stamp, count), "{:?} of {}", stamp, count);
                        if verdict == Verdict::New {
                            written.push((stamp, count, ahead.end));
                            ahead.store(stamp, count);
                        }
                    }
                    if succeeds {
                        model = ahead;
                        for (stamp, count, offset) in written {
                            prop_assert!(!producers.note(stamp, count, offset, 0));
                        }
                    }
                }
                Event::Restart => {
                    let file = snapshot::encode(&producers, model.end);
                    let (end, read) = snapshot::decode(&file).expect("whole");
                    prop_assert_eq!(end, model.end);
                    producers = read;
                }
                Event::Replay => {
                    producers = Producers::new(false);
                    for (stamp, count, offset) in &model.stored {
                        producers.note(*stamp, *count, *offset, 0);
                    }
                }
            }
        }
    }
}

fn stamp(producer: i64, epoch: i16, sequence: i32) -> Stamp {
    Stamp::new(producer, epoch, sequence).expect("not negative")
}

fn judge(producers: &Producers, stamp: Stamp) -> Verdict {
    Trial::new(producers, BTreeSet::new()).judge(stamp, 1, 1_000)
}

#[test]
fn any_flipped_bit_or_missing_byte_makes_a_snapshot_worthless() {
    let mut producers = Producers::new(true);
    producers.note(stamp(7, 1, 0), 3, 20, 5);
    producers.note(stamp(7, 1, 3), 2, 23, 6);
    producers.note(stamp(9, 0, i32::MAX), 2, 25, 7);
    let file = snapshot::encode(&producers, 27);
    let (end, read) = snapshot::decode(&file).expect("whole");
    assert_eq!((end, snapshot::encode(&read, 27)), (27, file.clone()));
    assert!(read.forgetful);
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(snapshot::decode(&flipped).is_none(), "bit {bit}");
    }
    for cut in 0..file.len() {
        assert!(snapshot::decode(&file[..cut]).is_none(), "cut to {cut}");
    }
}

#[test]
fn who_stores_nothing_for_a_day_is_forgotten_and_may_go_on_anywhere() {
    let mut producers = Producers::new(false);
    producers.note(stamp(1, 4, 0), 1, 0, 0);
    let hour = Duration::from_secs(3600);
    assert_eq!(producers.sweep(hour), 0);
    assert_eq!(producers.sweep(PRODUCER_IDLE_MAX), 0, "first met an hour after the start");
    producers.note(stamp(1, 4, 1), 1, 1, 0);
    assert_eq!(producers.sweep(2 * PRODUCER_IDLE_MAX), 0, "it has stored meanwhile");
    let unknown = AppendError::UnknownProducer { producer: 2, found: 9 };
    assert_eq!(judge(&producers, stamp(2, 0, 9)), Verdict::Refused(unknown));
    assert_eq!(producers.sweep(3 * PRODUCER_IDLE_MAX), 1);
    assert_eq!(judge(&producers, stamp(1, 4, 77)), Verdict::New, "nobody knows what came before");
    assert_eq!(judge(&producers, stamp(2, 0, 9)), Verdict::New, "nor whether this one was known");
}

#[test]
fn of_too_many_producers_the_longest_idle_goes_but_nobody_who_stored_within_a_quarter_of_an_hour() {
    let mut producers = Producers::limited(3);
    for id in 0..3 {
        producers.note(stamp(id, 0, 0), 1, id as u64, 0);
    }
    producers.note(stamp(0, 0, 1), 1, 3, 0);
    let refused = Verdict::Refused(AppendError::TooManyProducers { max: 3 });
    assert_eq!(judge(&producers, stamp(3, 0, 0)), refused, "no sweep has seen anybody idle");
    producers.sweep(Duration::ZERO);
    producers.note(stamp(2, 0, 1), 1, 4, 0);
    producers.sweep(PRODUCER_KEPT_LEAST);
    {
        let mut trial = Trial::new(&producers, BTreeSet::new());
        assert_eq!(trial.judge(stamp(3, 0, 0), 1, 5), Verdict::New);
        assert_eq!(trial.judge(stamp(4, 0, 0), 1, 6), Verdict::New);
        assert_eq!(trial.judge(stamp(5, 0, 0), 1, 7), refused, "producer 2 has just stored");
    }
    assert!(producers.note(stamp(3, 0, 0), 1, 5, 0), "one had to go");
    assert_eq!(producers.len(), 3);
    assert!(matches!(judge(&producers, stamp(0, 0, 1)), Verdict::Repeat(_)), "who stored later stays");
    assert_eq!(judge(&producers, stamp(1, 0, 1)), Verdict::New, "producer 1 is forgotten");
}

#[test]
fn nobody_is_forgotten_for_a_newcomer_of_the_same_group() {
    let mut producers = Producers::limited(2);
    producers.note(stamp(1, 0, 0), 1, 0, 0);
    producers.note(stamp(2, 0, 0), 1, 1, 0);
    producers.sweep(Duration::ZERO);
    producers.note(stamp(2, 0, 1), 1, 2, 0);
    producers.sweep(PRODUCER_KEPT_LEAST);
    let verdict = |producers: &Producers, coming: &[i64]| {
        Trial::new(producers, coming.iter().copied().collect()).judge(stamp(3, 0, 0), 1, 3)
    };
    assert_eq!(verdict(&producers, &[3]), Verdict::New, "producer 1 is idle");
    let refused = Verdict::Refused(AppendError::TooManyProducers { max: 2 });
    assert_eq!(verdict(&producers, &[3, 1]), refused, "but it goes on in this group");
    producers.sweep(2 * PRODUCER_KEPT_LEAST);
    assert_eq!(verdict(&producers, &[3, 1]), Verdict::New, "now producer 2 is idle");
    let noted = |stamp, offset| Noted { stamp, count: 1, offset, time: 0 };
    let group = [noted(stamp(3, 0, 0), 3), noted(stamp(1, 0, 1), 4)];
    assert_eq!(producers.note_all(group.into_iter()), 1);
    assert!(matches!(judge(&producers, stamp(1, 0, 0)), Verdict::Repeat(_)), "its earlier batch is known, too");
    assert!(matches!(judge(&producers, stamp(3, 0, 0)), Verdict::Repeat(_)));
}

#[test]
fn what_the_log_says_of_a_forgotten_producer_is_right_although_it_does_not_follow() {
    let mut producers = Producers::new(false);
    producers.note(stamp(1, 5, 0), 2, 0, 0);
    producers.note(stamp(1, 2, 40), 2, 2, 0); // forgotten in between, hence not fenced
    assert!(matches!(judge(&producers, stamp(1, 2, 42)), Verdict::New));
    let gap = AppendError::OutOfSequence { producer: 1, epoch: 2, expected: 42, found: 2 };
    assert_eq!(judge(&producers, stamp(1, 2, 2)), Verdict::Refused(gap), "and not the second of epoch 5");
}
