//! A table from hashes to numbers.

/// Slots of a new table.
const SLOTS_MIN: usize = 1 << 10;
/// Slots to a key, at least: so many that most keys lie where their hash says.
const SLOTS_TO_KEY: usize = 4;
/// A slot that holds nothing. No key has the highest number, for a batch is refused before numbers run out.
const FREE: u64 = u64::MAX;

/// What stands in the place of a number where none was given yet. No key has it either.
pub(super) const UNMET: u32 = u32::MAX;

/// Which number a key has, by its hash: a slot holds the hash in its upper and the number in its lower half, and a key that
/// finds its slot taken looks at the next. The keys themselves lie with the caller, one after the other in the order of
/// their numbers, so that a slot is eight bytes and a million keys that are all different cost one missed line of the
/// cache each, not four.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<u64>,
    held: usize,
}

impl Slots {
    /// With room for so many keys.
    pub(super) fn new(expected: usize) -> Self {
        let slots = (expected * SLOTS_TO_KEY).next_power_of_two().max(SLOTS_MIN);
        Self { slots: vec![FREE; slots], held: 0 }
    }

    /// The number of the key with this hash, of which `same` says whether a number is its; else `next` from now on.
    #[inline]
    pub(super) fn number(&mut self, hash: u32, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == FREE {
                break;
            }
            let number = slot as u32;
            if (slot >> 32) as u32 == hash && same(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = u64::from(hash) << 32 | u64::from(next);
        self.held += 1;
        if self.held * SLOTS_TO_KEY > self.slots.len() {
            self.grow();
        }
        next
    }

    /// Writes the number of each row whose key is where its hash says, and tells the other rows. Nothing here depends on
    /// what another row found, so that the rows' misses of the cache overlap and no branch is guessed.
    pub(super) fn find(
        &self,
        hashes: &[u32],
        same: impl Fn(usize, u32) -> bool,
        numbers: &mut [usize],
        others: &mut Vec<u32>,
    ) {
        let mask = self.slots.len() - 1;
        others.resize(hashes.len(), 0);
        let mut missed = 0;
        for (row, (hash, found)) in hashes.iter().zip(numbers).enumerate() {
            let slot = self.slots[*hash as usize & mask];
            let number = slot as u32;
            *found = number as usize;
            others[missed] = row as u32;
            let here = ((slot >> 32) as u32 == *hash) & same(row, number);
            missed += usize::from(!here);
        }
        others.truncate(missed);
    }

    #[cold]
    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
        let mask = size - 1;
        for slot in old.into_iter().filter(|slot| *slot != FREE) {
            let mut at = (slot >> 32) as usize & mask;
            while self.slots[at] != FREE {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }
}

/// Two words folded into one: the halves of their product, each of which depends on all bits of both.
#[inline]
pub(super) fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// What hashes begin with; another for each table, so that nobody can choose keys that all meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    one: u64,
    other: u64,
}

impl Seed {
    pub(super) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new();
        Self { one: random.hash_one(1u8), other: random.hash_one(2u8) | 1 }
    }

    #[inline]
    pub(super) fn hash(self, one: u64, other: u64) -> u32 {
        let folded = fold(one ^ self.one, other ^ self.other);
        (folded ^ folded >> 32) as u32
    }

    pub(super) fn hash_bytes(self, bytes: &[u8]) -> u32 {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut hash = self.one ^ bytes.len() as u64;
        for chunk in chunks {
            hash = fold(hash ^ u64::from_le_bytes(*chunk), self.other);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.hash(hash, u64::from_le_bytes(last))
    }
}
