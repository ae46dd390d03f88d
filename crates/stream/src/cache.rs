//! Closed segments kept open, the least recently used one closed first.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limit::OPEN_SEGMENTS_MAX;
use crate::segment::OpenSegment;

/// Which segment: the number the log gave the shard when it opened it, and the segment's base offset.
pub(crate) type SegmentKey = (u64, u64);

/// At most [`OPEN_SEGMENTS_MAX`] open segments of all shards of a log.
#[derive(Debug, Default)]
pub(crate) struct SegmentCache {
    open: Mutex<VecDeque<(SegmentKey, Arc<OpenSegment>)>>,
}

impl SegmentCache {
    /// The open segment, opened by `open` if need be. Two readers may open it at once; one of the two then goes.
    pub(crate) fn get(
        &self,
        key: SegmentKey,
        open: impl FnOnce() -> io::Result<OpenSegment>,
    ) -> io::Result<Arc<OpenSegment>> {
        if let Some(segment) = self.take_up(key) {
            return Ok(segment);
        }
        let segment = Arc::new(open()?);
        self.put(key, Arc::clone(&segment));
        Ok(segment)
    }

    /// Keeps a segment that is open anyway.
    pub(crate) fn put(&self, key: SegmentKey, segment: Arc<OpenSegment>) {
        let mut open = self.open.lock();
        open.retain(|(found, _)| *found != key);
        open.push_back((key, segment));
        if open.len() > OPEN_SEGMENTS_MAX {
            open.pop_front();
        }
    }

    /// Closes a segment that was removed. Whoever reads it still may finish.
    pub(crate) fn forget(&self, key: SegmentKey) {
        self.open.lock().retain(|(found, _)| *found != key);
    }

    /// Closes all segments of a shard that is no more.
    pub(crate) fn forget_shard(&self, number: u64) {
        self.open.lock().retain(|((found, _), _)| *found != number);
    }

    fn take_up(&self, key: SegmentKey) -> Option<Arc<OpenSegment>> {
        let mut open = self.open.lock();
        let index = open.iter().position(|(found, _)| *found == key)?;
        let entry = open.remove(index)?;
        let segment = Arc::clone(&entry.1);
        open.push_back(entry);
        Some(segment)
    }
}
