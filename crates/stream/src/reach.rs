//! Reading the recent end of a shard: where to begin for the last so many bytes.

use std::io;

use base::{Offset, ShardId};

use crate::error::FetchError;
use crate::index::{Index, Summary};
use crate::segment;
use crate::shard::{Shard, segment_name};
use crate::stream::Stream;

impl Stream {
    /// The offset of a batch that begins at least `bytes` of log before the one that holds `from`, and not much more; the
    /// first record kept, if there is not so much. Who reads a shard backward goes from its end by such steps: each one
    /// lies before `from`, unless nothing does.
    ///
    /// # Errors
    /// As [`Stream::fetch`], though nothing of the records is read and no damage is met.
    pub fn offset_back(&self, shard: ShardId, from: Offset, bytes: u64) -> Result<Offset, FetchError> {
        self.shard_to_read(shard)?.offset_back(from, bytes)
    }
}

impl Shard {
    fn offset_back(&self, from: Offset, bytes: u64) -> Result<Offset, FetchError> {
        let bytes = bytes.max(1);
        let active = {
            let view = self.view.read();
            let start = Offset(view.start);
            if from < start {
                return Err(FetchError::Removed { from, start });
            }
            let active = view.active.as_ref().map(|active| &active.index).filter(|index| index.summary.base < from.0);
            active.map(|index| (index.summary.base, back(index, from.0, bytes)))
        };
        let (mut before, mut left) = match active {
            Some((_, Ok(found))) => return Ok(self.kept(found)),
            Some((base, Err(left))) => (base, left),
            None => (from.0, bytes),
        };
        while let Some(summary) = self.closed_before(before) {
            before = summary.base;
            if summary.end <= from.0 && left >= summary.bytes {
                left -= summary.bytes; // all of it is skipped, so its index is not needed
                continue;
            }
            let open = || segment::open_closed(&*self.around.disk, &self.dir, summary);
            let opened = match self.around.cache.get(self.key(summary.base), open) {
                Ok(opened) => opened,
                // Retention was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.bounds().start > Offset(before) => break,
                Err(source) => {
                    return Err(FetchError::Io { segment: segment_name(&self.dir, summary.base), source });
                }
            };
            match back(&opened.index, from.0, left) {
                Ok(found) => return Ok(self.kept(found)),
                Err(more) => left = more,
            }
        }
        Ok(self.bounds().start)
    }

    fn kept(&self, offset: u64) -> Offset {
        Offset(offset).max(self.bounds().start)
    }

    /// The last closed segment that begins before `offset`.
    fn closed_before(&self, offset: u64) -> Option<Summary> {
        let view = self.view.read();
        let after = view.closed.partition_point(|closed| closed.summary.base < offset);
        after.checked_sub(1).map(|place| view.closed[place].summary)
    }
}

/// The last batch known that begins at least `bytes` (one or more) before `from`, or before the end of the segment if
/// that is earlier; otherwise how many bytes are still to go before the segment.
fn back(index: &Index, from: u64, bytes: u64) -> Result<u64, u64> {
    let summary = &index.summary;
    let position = if from >= summary.end { summary.bytes } else { index.position_of(from) };
    let Some(wanted) = position.checked_sub(bytes) else { return Err(bytes - position) };
    let after = index.entries.partition_point(|entry| u64::from(entry.position) <= wanted);
    let entry = after.checked_sub(1).map(|place| index.entries[place]);
    entry.map_or(Err(1), |entry| Ok(summary.base + u64::from(entry.relative)))
}
