//! Finding out what is remembered of the producers of a shard that is opened.

use std::io;
use std::path::Path;

use super::known::Producers;
use super::snapshot;
use crate::batch::Damage;
use crate::counts::StreamCounts;
use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::index::Index;
use crate::scan::Scanner;
use crate::segment::{self, log_path};
use crate::shard::{Surroundings, View};
use crate::store;

/// What the snapshot says, and after it the headers of the log; without a snapshot, all headers. Segments without a batch
/// of an idempotent producer, as their indexes say, are not read.
pub(crate) fn recover(
    around: &Surroundings,
    dir: &Path,
    view: &View,
    counts: &StreamCounts,
) -> Result<Producers, OpenError> {
    if around.faults.forget_producers {
        return Ok(Producers::new(false));
    }
    let disk = &*around.disk;
    let path = snapshot::path(dir);
    let found = store::read(disk, &path).map_err(OpenError::io("reading", &path))?;
    // One that goes further than the log is of another log, or this one is cut.
    let saved = found.as_deref().and_then(snapshot::decode).filter(|(end, _)| *end <= view.end());
    let rebuilding = saved.is_none();
    if saved.is_some() {
        counts.recovered.producers_read.inc();
    } else if found.is_some() {
        counts.recovered.producers_spoiled.inc();
        tracing::warn!(path = %path.display(), "the snapshot of the producers is damaged: the log is read for them");
    }
    // Without it, nothing tells who wrote what retention has taken.
    let (from, mut producers) = saved.unwrap_or_else(|| (view.start, Producers::new(view.start > 0)));
    // Nor with an old one: whoever was known then had been forgotten when there was none to save.
    producers.forgetful |= from < view.start;
    let mut replay = Replay { from, producers: &mut producers, batches: 0 };
    for summary in view.closed.iter().map(|closed| closed.summary) {
        if summary.end > from && summary.stamped > 0 {
            let path = log_path(dir, summary.base);
            let open = segment::open_closed(disk, dir, summary).map_err(OpenError::io("opening", &path))?;
            replay.segment(&path, &*open.file, &open.index)?;
        }
    }
    if let Some(active) = &view.active
        && active.index.summary.end > from
        && active.index.summary.stamped > 0
    {
        replay.segment(&log_path(dir, active.index.summary.base), &*active.file, &active.index)?;
    }
    if replay.batches > 0 {
        let how = if rebuilding { &counts.recovered.producers_rebuilt } else { &counts.recovered.producers_replayed };
        how.inc();
    }
    Ok(producers)
}

struct Replay<'p> {
    /// Batches before this offset are known.
    from: u64,
    producers: &'p mut Producers,
    /// How many were taken up.
    batches: u64,
}

impl Replay<'_> {
    fn segment(&mut self, path: &Path, file: &dyn DiskFile, index: &Index) -> Result<(), OpenError> {
        if let Some(damage) = self.headers(file, index).map_err(OpenError::io("reading", path))? {
            // Its readers will be told; whom the rest of it would have named is not known.
            tracing::error!(path = %path.display(), %damage, "producers behind damaged bytes are not remembered");
            self.producers.forgetful = true;
        }
        Ok(())
    }

    fn headers(&mut self, file: &dyn DiskFile, index: &Index) -> io::Result<Option<Damage>> {
        let mut scanner = Scanner::new(file, index.position_of(self.from), index.summary.bytes);
        while let Some(next) = scanner.next()? {
            let header = match next {
                Ok((header, _)) => header,
                Err(damage) => return Ok(Some(damage)),
            };
            if header.base_offset >= self.from
                && let Some(stamp) = header.stamp()
            {
                self.producers.note(stamp, header.count, header.base_offset, header.max_timestamp);
                self.batches += 1;
            }
        }
        Ok(None)
    }
}
