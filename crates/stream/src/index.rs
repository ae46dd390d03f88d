//! The sparse index of a segment: where batches begin, and when. In memory one list; on disk two files beside the log,
//! `.index` (offset → position) and `.timeindex` (time → offset), each with its own checks. Both can be lost: they are
//! rebuilt by reading the log. They also say how many bytes of the log were synced when they were written, so that
//! recovery need not read those.

use crate::batch::Header;
use crate::limit::INDEX_INTERVAL_BYTES;

const OFFSET_MAGIC: &[u8; 8] = b"RRINDEX1";
const TIME_MAGIC: &[u8; 8] = b"RRTIMEX1";
/// Bytes before the entries.
pub(crate) const INDEX_HEADER_BYTES: usize = 64;
const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// One batch that the index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Offset of its first record, relative to the segment.
    pub(crate) relative: u32,
    /// Where it begins in the log file.
    pub(crate) position: u32,
    /// Arrival time of its first record.
    pub(crate) timestamp: i64,
}

/// What the index says about the segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Offset of the first record; names the file.
    pub(crate) base: u64,
    /// Bytes of the log file that hold whole batches, all synced.
    pub(crate) bytes: u64,
    /// The offset after the last record in them.
    pub(crate) end: u64,
    /// Arrival times of the first and the last record; `None` while there is no record.
    pub(crate) times: Option<(i64, i64)>,
    /// Batches of idempotent producers: where there is none, nobody need look for them.
    pub(crate) stamped: u32,
}

/// The index of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) summary: Summary,
    pub(crate) entries: Vec<Entry>,
}

impl Index {
    /// Of a segment without records.
    pub(crate) fn empty(base: u64) -> Self {
        Self { summary: Summary { base, bytes: 0, end: base, times: None, stamped: 0 }, entries: Vec::new() }
    }

    /// Takes up the next batch of the segment, which begins where the last one ended.
    pub(crate) fn take_up(&mut self, header: &Header) {
        let stamped = header.stamp().is_some();
        self.push(header.bytes, header.count, (header.first_timestamp(), header.max_timestamp), stamped);
    }

    /// Like [`Index::take_up`], of a batch that is in memory. `stamped`: by an idempotent producer.
    pub(crate) fn push(&mut self, bytes: usize, count: u32, (first_time, last_time): (i64, i64), stamped: bool) {
        let position = self.summary.bytes;
        let due = self.entries.last().is_none_or(|last| position >= u64::from(last.position) + INDEX_INTERVAL_BYTES);
        if let (true, Ok(relative), Ok(position)) =
            (due, u32::try_from(self.summary.end - self.summary.base), u32::try_from(position))
        {
            self.entries.push(Entry { relative, position, timestamp: first_time });
        }
        let first = self.summary.times.map_or(first_time, |(first, _)| first);
        self.summary.times = Some((first, last_time));
        self.summary.bytes += bytes as u64;
        self.summary.end += u64::from(count);
        self.summary.stamped = self.summary.stamped.saturating_add(u32::from(stamped));
    }

    /// Where to begin reading for the batch that holds `offset`.
    pub(crate) fn position_of(&self, offset: u64) -> u64 {
        let after = self.entries.partition_point(|entry| self.summary.base + u64::from(entry.relative) <= offset);
        after.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position))
    }

    /// Where to begin reading for the first record that arrived at `time` or later.
    pub(crate) fn position_at(&self, time: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.timestamp < time);
        after.checked_sub(1).map_or(0, |index| u64::from(self.entries[index].position))
    }

    /// The bytes of `.index` and `.timeindex`.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let offsets = self.encode_file(OFFSET_MAGIC, OFFSET_ENTRY_BYTES, |entry, into| {
            into.extend_from_slice(&entry.relative.to_be_bytes());
            into.extend_from_slice(&entry.position.to_be_bytes());
        });
        let times = self.encode_file(TIME_MAGIC, TIME_ENTRY_BYTES, |entry, into| {
            into.extend_from_slice(&entry.timestamp.to_be_bytes());
            into.extend_from_slice(&entry.relative.to_be_bytes());
        });
        (offsets, times)
    }

    fn encode_file(&self, magic: &[u8; 8], entry_bytes: usize, put: impl Fn(&Entry, &mut Vec<u8>)) -> Vec<u8> {
        let mut file = Vec::with_capacity(INDEX_HEADER_BYTES + self.entries.len() * entry_bytes);
        file.resize(INDEX_HEADER_BYTES, 0);
        self.entries.iter().for_each(|entry| put(entry, &mut file));
        let (first, last) = self.summary.times.unwrap_or((0, -1));
        let entries_crc = crc32c::crc32c(&file[INDEX_HEADER_BYTES..]);
        file[0..8].copy_from_slice(magic);
        file[8..16].copy_from_slice(&self.summary.base.to_be_bytes());
        file[16..24].copy_from_slice(&self.summary.bytes.to_be_bytes());
        file[24..32].copy_from_slice(&self.summary.end.to_be_bytes());
        file[32..40].copy_from_slice(&first.to_be_bytes());
        file[40..48].copy_from_slice(&last.to_be_bytes());
        file[48..52].copy_from_slice(&(self.entries.len() as u32).to_be_bytes());
        file[52..56].copy_from_slice(&entries_crc.to_be_bytes());
        file[56..60].copy_from_slice(&self.summary.stamped.to_be_bytes());
        let header_crc = crc32c::crc32c(&file[..60]);
        file[60..64].copy_from_slice(&header_crc.to_be_bytes());
        file
    }

    /// The index that both files hold; `None` if either fails a check or they are not of one writing.
    pub(crate) fn decode(base: u64, offsets: &[u8], times: &[u8]) -> Option<Self> {
        let summary = Summary::decode(base, offsets)?;
        let times_head = Head::read(TIME_MAGIC, times)?;
        if times_head.summary != summary {
            return None;
        }
        let offsets = Head::read(OFFSET_MAGIC, offsets)?.entries::<OFFSET_ENTRY_BYTES>(offsets)?;
        let times = times_head.entries::<TIME_ENTRY_BYTES>(times)?;
        if offsets.len() != times.len() {
            return None;
        }
        let entries = offsets
            .iter()
            .zip(times)
            .map(|(offset, time)| {
                let (relative, position) = (u32_at(offset, 0), u32_at(offset, 4));
                let timestamp = i64_at(time, 0);
                (u32_at(time, 8) == relative).then_some(Entry { relative, position, timestamp })
            })
            .collect::<Option<Vec<Entry>>>()?;
        Some(Self { summary, entries })
    }
}

impl Summary {
    /// What the front of an `.index` file of the segment `base` says; needs only its first 64 bytes.
    pub(crate) fn decode(base: u64, file: &[u8]) -> Option<Self> {
        let head = Head::read(OFFSET_MAGIC, file)?;
        (head.summary.base == base).then_some(head.summary)
    }
}

struct Head {
    summary: Summary,
    count: usize,
    entries_crc: u32,
}

impl Head {
    fn read(magic: &[u8; 8], file: &[u8]) -> Option<Self> {
        let head = file.first_chunk::<INDEX_HEADER_BYTES>()?;
        if &head[..8] != magic || crc32c::crc32c(&head[..60]) != u32_at(head, 60) {
            return None;
        }
        let (base, bytes, end) = (i64_at(head, 8) as u64, i64_at(head, 16) as u64, i64_at(head, 24) as u64);
        let (first, last) = (i64_at(head, 32), i64_at(head, 40));
        let times = (end > base).then_some((first, last));
        let summary = Summary { base, bytes, end, times, stamped: u32_at(head, 56) };
        Some(Self { summary, count: u32_at(head, 48) as usize, entries_crc: u32_at(head, 52) })
    }

    fn entries<'f, const N: usize>(&self, file: &'f [u8]) -> Option<&'f [[u8; N]]> {
        let (entries, rest) = file[INDEX_HEADER_BYTES..].as_chunks::<N>();
        let whole = rest.is_empty() && entries.len() == self.count;
        (whole && crc32c::crc32c(entries.as_flattened()) == self.entries_crc).then_some(entries)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let mut index = Index::empty(1000);
        for n in 0..50 {
            index.push(5_000, 3, (n * 10, n * 10 + 9), n % 7 == 0);
        }
        index
    }

    #[test]
    fn an_index_comes_back_from_its_files() {
        let index = sample();
        let (offsets, times) = index.encode();
        assert_eq!(Index::decode(1000, &offsets, &times), Some(index));
        let empty = Index::empty(7);
        let (offsets, times) = empty.encode();
        assert_eq!(Index::decode(7, &offsets, &times), Some(empty));
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_makes_it_worthless() {
        let (offsets, times) = sample().encode();
        for bit in 0..offsets.len() * 8 {
            let mut flipped = offsets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::decode(1000, &flipped, &times), None, "bit {bit} of .index");
        }
        for bit in 0..times.len() * 8 {
            let mut flipped = times.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::decode(1000, &offsets, &flipped), None, "bit {bit} of .timeindex");
        }
        for cut in 0..offsets.len() {
            assert_eq!(Index::decode(1000, &offsets[..cut], &times), None);
        }
    }

    #[test]
    fn an_entry_leads_to_the_batch_or_before_it_and_not_far() {
        let index = sample();
        for n in 0..50u64 {
            for offset in 1000 + n * 3..1000 + n * 3 + 3 {
                let (position, truth) = (index.position_of(offset), n * 5_000);
                assert!(position <= truth && truth - position < INDEX_INTERVAL_BYTES + 5_000);
            }
            let time = n as i64 * 10;
            assert!(index.position_at(time) <= n * 5_000);
        }
    }
}
