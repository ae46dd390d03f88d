//! Pairs of numbers, numbered in the order in which they come.

use super::slots::{Seed, Slots, UNMET};

/// The most places of a table that has one for every pair there could be: 4 MB, of which rows that lie together use a part, for
/// hours follow one another. With fewer, distinct users per hour took a fifth longer.
const PLACES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Pairs {
    keys: Vec<u64>,
    table: Table,
    /// Of the rows of a batch.
    rows: Vec<u64>,
    hashes: Vec<u32>,
    /// Rows of a batch that were not found at once.
    others: Vec<u32>,
}

#[derive(Debug)]
enum Table {
    /// The number of each pair of a first and a second below `width` is at `first * width + second`.
    Places {
        width: usize,
        numbers: Vec<u32>,
    },
    Slots {
        seed: Seed,
        slots: Slots,
    },
}

impl Pairs {
    pub(super) fn new() -> Self {
        let table = Table::Places { width: 1, numbers: Vec::new() };
        Self { keys: Vec::new(), table, rows: Vec::new(), hashes: Vec::new(), others: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let table = match &self.table {
            Table::Places { numbers, .. } => numbers.capacity() * size_of::<u32>(),
            Table::Slots { slots, .. } => slots.size(),
        };
        let rows = self.rows.capacity() * size_of::<u64>()
            + (self.hashes.capacity() + self.others.capacity()) * size_of::<u32>();
        table + self.keys.capacity() * size_of::<u64>() + rows
    }

    /// All pairs in the order of their numbers, the first in the upper half; none are left.
    pub(super) fn take(&mut self) -> Vec<u64> {
        std::mem::replace(self, Self::new()).keys
    }

    /// Puts the number of each pair in the place of its first number.
    pub(super) fn number(&mut self, firsts: &mut [usize], seconds: &[usize]) {
        self.make_places(firsts, seconds);
        let keys = &mut self.keys;
        match &mut self.table {
            Table::Places { width, numbers } => {
                for (first, second) in firsts.iter_mut().zip(seconds) {
                    let number = &mut numbers[*first * *width + *second];
                    if *number == UNMET {
                        *number = keys.len() as u32;
                        keys.push(pair(*first, *second));
                    }
                    *first = *number as usize;
                }
            }
            Table::Slots { seed, slots } => {
                self.rows.clear();
                self.rows.extend(firsts.iter().zip(seconds).map(|(first, second)| pair(*first, *second)));
                self.hashes.clear();
                self.hashes.extend(self.rows.iter().map(|pair| seed.hash(*pair, 0)));
                let rows = &self.rows;
                let same = |row: usize, number: u32| keys.get(number as usize).is_some_and(|key| *key == rows[row]);
                slots.find(&self.hashes, same, firsts, &mut self.others);
                for row in self.others.iter().map(|row| *row as usize) {
                    let next = keys.len() as u32;
                    let number = slots.number(self.hashes[row], next, |number| keys[number as usize] == rows[row]);
                    if number == next {
                        keys.push(rows[row]);
                    }
                    firsts[row] = number as usize;
                }
            }
        }
    }

    /// Makes places for all these pairs, or slots if they would be too many.
    fn make_places(&mut self, firsts: &[usize], seconds: &[usize]) {
        let Table::Places { width, numbers } = &mut self.table else { return };
        let most = |numbers: &[usize]| numbers.iter().fold(0, |most, number| most.max(*number)) + 1;
        let (high, wide) = (most(firsts), most(seconds).next_power_of_two());
        if wide <= *width && high * *width <= numbers.len() {
            return;
        }
        let wide = wide.max(*width);
        let high = high.max(numbers.len() / *width).next_power_of_two();
        if high.saturating_mul(wide) > PLACES_MAX {
            let (seed, mut slots) = (Seed::new(), Slots::new(0));
            for (number, key) in self.keys.iter().enumerate() {
                slots.number(seed.hash(*key, 0), number as u32, |_| false);
            }
            self.table = Table::Slots { seed, slots };
            return;
        }
        *width = wide;
        numbers.clear();
        numbers.resize(high * wide, UNMET);
        for (number, key) in self.keys.iter().enumerate() {
            numbers[(key >> 32) as usize * wide + *key as u32 as usize] = number as u32;
        }
    }
}

fn pair(first: usize, second: usize) -> u64 {
    (first as u64) << 32 | second as u64
}
