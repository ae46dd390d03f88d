//! One shard: its segments as readers see them, and opening them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Offset, ShardId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use crate::ahead::Room;
use crate::batch::Damage;
use crate::cache::{SegmentCache, SegmentKey};
use crate::commit::Writer;
use crate::counts::StreamCounts;
use crate::disk::{Disk, DiskFile};
use crate::error::{AppendError, Corrupt, OpenError};
use crate::fault::Faults;
use crate::heat::Meter;
use crate::index::{Index, Summary};
use crate::limit::NEWEST_BYTES_MAX;
use crate::producer::{self, Producers};
use crate::queue::{Budget, Queue};
use crate::range::HashRange;
use crate::recovery::{self, Decision};
use crate::scale::Spread;
use crate::scan;
use crate::seal::{Keyring, Seal};
use crate::segment::{self, log_name, log_path};
use crate::store::{self, Sealed};
use crate::topology::ShardInfo;

/// What of a shard can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset kept.
    pub start: Offset,
    /// The offset after the last durable record: the next record's.
    pub end: Offset,
}

/// How a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardStatus {
    /// Taking and giving records.
    Serving,
    /// A write or sync failed: gives what was durable, takes nothing until the log is opened anew.
    Poisoned {
        /// What the system said.
        why: String,
    },
    /// Damaged bytes were found.
    Corrupt(Corrupt),
}

/// What all shards of a log share.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache: Arc<SegmentCache>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) faults: Faults,
    pub(crate) keys: Option<Arc<Keyring>>,
}

/// The durable end, for those who wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) offset: u64,
    /// Whether it can still grow.
    pub(crate) open: bool,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    /// Unique within the log, for the cache.
    number: u64,
    /// The folder of the shard; made with the first record.
    pub(crate) dir: PathBuf,
    pub(crate) around: Surroundings,
    pub(crate) counts: Arc<StreamCounts>,
    /// Mixed into the leader epochs, see [`recovery`].
    pub(crate) salt: u32,
    pub(crate) view: RwLock<View>,
    pub(crate) end: watch::Sender<End>,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) room: Room,
    pub(crate) meter: Meter,
    pub(crate) spread: Spread,
    /// Taken before the view, where both are.
    pub(crate) producers: Mutex<Producers>,
    /// Up to which offset their snapshot is known to be durable; locked by whoever writes it.
    pub(crate) producers_saved: Mutex<u64>,
    /// Encrypts and decrypts; `None` without a key.
    pub(crate) seal: Option<Seal>,
    range: HashRange,
    noticed: Mutex<Option<Corrupt>>,
}

/// The durable part of the shard.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) start: u64,
    /// Oldest first.
    pub(crate) closed: VecDeque<Closed>,
    /// The segment being written; `None` before the first record, or behind damage.
    pub(crate) active: Option<Active>,
    /// Damage found when the shard was opened: nothing behind it is served or added.
    pub(crate) damage: Option<Corrupt>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) summary: Summary,
    /// When retention first saw it, by the time that had passed since the log was opened.
    pub(crate) seen: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: Index,
    pub(crate) newest: Newest,
    /// When retention first saw a record in it, by the time that had passed since the log was opened.
    pub(crate) seen: Option<Duration>,
}

/// The last group of a segment: who waited for it need not look for it behind an entry of the index, nor, if it is a small one,
/// ask the file.
#[derive(Debug)]
pub(crate) struct Newest {
    offset: u64,
    position: u64,
    /// All of it, or nothing.
    bytes: Vec<u8>,
}

impl Newest {
    /// None yet, behind what the summary says.
    fn none(summary: &Summary) -> Self {
        Self { offset: summary.end, position: summary.bytes, bytes: Vec::new() }
    }

    /// Takes over the group that comes behind what the summary says.
    pub(crate) fn replace<'a>(&mut self, summary: &Summary, bytes: u64, batches: impl Iterator<Item = &'a [u8]>) {
        (self.offset, self.position) = (summary.end, summary.bytes);
        self.bytes.clear();
        if bytes <= NEWEST_BYTES_MAX {
            batches.for_each(|batch| self.bytes.extend_from_slice(batch));
        }
    }
}

impl Active {
    pub(crate) fn new(file: Arc<dyn DiskFile>, index: Index) -> Self {
        let newest = Newest::none(&index.summary);
        Self { file, index, newest, seen: None }
    }

    /// Where to begin reading for the batch that holds `offset`.
    pub(crate) fn position_of(&self, offset: u64) -> u64 {
        if offset >= self.newest.offset { self.newest.position } else { self.index.position_of(offset) }
    }

    /// What is held from there on.
    pub(crate) fn held_from(&self, position: u64) -> &[u8] {
        if position == self.newest.position { &self.newest.bytes } else { &[] }
    }
}

impl Closed {
    pub(crate) fn new(summary: Summary) -> Self {
        Self { summary, seen: None }
    }
}

impl View {
    /// The offset after the last durable record.
    pub(crate) fn end(&self) -> u64 {
        match (&self.active, self.closed.back()) {
            (Some(active), _) => active.index.summary.end,
            (None, Some(closed)) => closed.summary.end,
            (None, None) => self.start,
        }
    }

    /// The latest arrival time.
    pub(crate) fn last_timestamp(&self) -> Option<i64> {
        let active = self.active.as_ref().and_then(|active| active.index.summary.times);
        active.or_else(|| self.closed.back().and_then(|closed| closed.summary.times)).map(|(_, last)| last)
    }

    /// Counts the segment that was being written among the closed ones: nothing more will be.
    pub(crate) fn finish(&mut self) {
        if let Some(active) = self.active.take()
            && active.index.summary.bytes > 0
        {
            self.closed.push_back(Closed::new(active.index.summary));
        }
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|closed| closed.summary.bytes).sum();
        closed + self.active.as_ref().map_or(0, |active| active.index.summary.bytes)
    }
}

impl Shard {
    /// Opens the shard in `dir`, which need not exist yet, recovering what a crash left. One that was closed must reach
    /// to its recorded end.
    pub(crate) fn open(
        info: &ShardInfo,
        number: u64,
        dir: PathBuf,
        uuid: Uuid,
        around: Surroundings,
        counts: Arc<StreamCounts>,
    ) -> Result<Self, OpenError> {
        let salt = crc32c::crc32c(uuid.as_bytes());
        let seal = around.keys.as_ref().map(|keys| Seal::new(uuid, info.id, Arc::clone(keys)));
        let closed = info.closed.map(|closing| closing.end.0);
        let opening = Opening { dir: &dir, salt, closed, around: &around, counts: &counts };
        let mut view = opening.view()?;
        let producers = producer::recover(&around, &dir, &view, &counts)?;
        let vouched = view.active.as_ref().map_or(0, |active| active.index.summary.bytes);
        let mut refused = view.damage.clone().map(AppendError::Corrupt);
        if closed.is_some() {
            refused = Some(AppendError::ShardClosed { shard: info.id });
            view.finish();
        }
        let (end, _) = watch::channel(End { offset: view.end(), open: refused.is_none() });
        let last_timestamp = view.last_timestamp().unwrap_or(i64::MIN);
        Ok(Self {
            id: info.id,
            number,
            dir,
            salt,
            end,
            queue: Mutex::new(Queue::new(refused)),
            writer: Mutex::new(Writer::new(last_timestamp, vouched)),
            room: Room::default(),
            view: RwLock::new(view),
            producers: Mutex::new(producers),
            producers_saved: Mutex::new(0),
            meter: Meter::new(around.clock.now()),
            spread: Spread::default(),
            seal,
            range: info.range,
            noticed: Mutex::new(None),
            around,
            counts,
        })
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let view = self.view.read();
        Bounds { start: Offset(view.start), end: Offset(view.end()) }
    }

    pub(crate) fn status(&self) -> ShardStatus {
        if let Some(AppendError::Poisoned { why }) = &self.queue.lock().refused {
            return ShardStatus::Poisoned { why: why.clone() };
        }
        let damage = self.view.read().damage.clone().or_else(|| self.noticed.lock().clone());
        damage.map_or(ShardStatus::Serving, ShardStatus::Corrupt)
    }

    /// Counts a key that belongs here, for the place of a split.
    pub(crate) fn expect(&self, hash: u128) {
        self.spread.count(&self.range, hash);
    }

    pub(crate) fn range(&self) -> HashRange {
        self.range
    }

    /// Whether no damage is known that hides records.
    pub(crate) fn is_whole(&self) -> bool {
        self.view.read().damage.is_none()
    }

    /// Lets go of all files kept open.
    pub(crate) fn forget(&self) {
        self.around.cache.forget_shard(self.number);
    }

    pub(crate) fn key(&self, base: u64) -> SegmentKey {
        (self.number, base)
    }

    /// Notes damage that a reader met, for the status.
    pub(crate) fn notice(&self, corrupt: &Corrupt) {
        self.counts.corrupt.inc();
        self.noticed.lock().get_or_insert_with(|| corrupt.clone());
    }

    /// Where damage lies, for people.
    pub(crate) fn corrupt(&self, base: u64, position: u64, offset: u64, damage: Damage) -> Corrupt {
        Corrupt { segment: segment_name(&self.dir, base), position, offset: Offset(offset), damage }
    }
}

/// `SHARD/BASEOFFSET.log`.
pub(crate) fn segment_name(dir: &Path, base: u64) -> String {
    let shard = dir.file_name().unwrap_or_default().to_string_lossy();
    format!("{shard}/{}", log_name(base))
}

/// Where the first offset kept is noted.
pub(crate) fn start_path(dir: &Path) -> PathBuf {
    dir.join("start.json")
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartFile {
    pub(crate) start: u64,
    pub(crate) crc32c: String,
}

impl Sealed for StartFile {
    fn crc(&mut self) -> &mut String {
        &mut self.crc32c
    }
}

/// Opening a shard: the I/O around the decision in [`recovery`].
struct Opening<'a> {
    dir: &'a Path,
    salt: u32,
    /// Where the shard was closed, if it was.
    closed: Option<u64>,
    around: &'a Surroundings,
    counts: &'a StreamCounts,
}

impl Opening<'_> {
    fn view(&self) -> Result<View, OpenError> {
        let mut view = self.segments()?;
        if let Some(expected) = self.closed
            && view.damage.is_none()
            && view.end() != expected
        {
            let found = view.end();
            view.finish();
            let base = view.closed.back().map_or(found, |last| last.summary.base);
            self.stop(&mut view, base, Damage::Ended { expected, found });
        }
        Ok(view)
    }

    fn segments(&self) -> Result<View, OpenError> {
        let mut view = View { start: 0, closed: VecDeque::new(), active: None, damage: None };
        let names = match self.around.disk.list(self.dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(view),
            Err(error) => return Err(OpenError::io("reading", self.dir)(error)),
        };
        view.start = self.start()?;
        let bases = self.bases(&names, view.start)?;
        let Some((last, earlier)) = bases.split_last() else {
            // Of a closed shard, retention takes the last segment, too.
            if view.start > 0 && self.closed != Some(view.start) {
                let start = view.start;
                self.stop(&mut view, start, Damage::Missing { start });
            }
            return Ok(view);
        };
        let mut expected = view.start;
        for (index, base) in earlier.iter().enumerate() {
            if *base > expected {
                self.stop(&mut view, *base, Damage::Gap { expected, found: *base });
                return Ok(view);
            }
            expected = bases[index + 1];
            if let Err(damage) = self.closed(&mut view, *base, expected)? {
                self.stop(&mut view, *base, damage);
                return Ok(view);
            }
        }
        if *last > expected {
            self.stop(&mut view, *last, Damage::Gap { expected, found: *last });
            return Ok(view);
        }
        self.active(&mut view, *last)?;
        Ok(view)
    }

    /// Notes damage at the end of what `view` holds.
    fn stop(&self, view: &mut View, base: u64, damage: Damage) {
        let position = view.closed.back().filter(|last| last.summary.base == base).map_or(0, |last| last.summary.bytes);
        let offset = Offset(view.end());
        self.counts.recovered.stopped.inc();
        view.damage = Some(Corrupt { segment: segment_name(self.dir, base), position, offset, damage });
    }

    fn start(&self) -> Result<u64, OpenError> {
        let path = start_path(self.dir);
        let Some(bytes) = store::read(&*self.around.disk, &path).map_err(OpenError::io("reading", &path))? else {
            return Ok(0);
        };
        StartFile::unseal(&bytes).map(|file| file.start).map_err(|what| OpenError::Metadata { path, what })
    }

    /// The base offsets of the segments, in order. Leftovers go: unfinished files, and segments that retention had
    /// begun to remove.
    fn bases(&self, names: &[String], start: u64) -> Result<Vec<u64>, OpenError> {
        let disk = &*self.around.disk;
        for name in names.iter().filter(|name| name.ends_with(store::UNFINISHED)) {
            let path = self.dir.join(name);
            disk.remove(&path).map_err(OpenError::io("removing", &path))?;
            self.counts.recovered.unfinished_removed.inc();
        }
        let mut bases: Vec<u64> = names.iter().filter_map(|name| segment::parse_log_name(name)).collect();
        bases.sort_unstable();
        // Of a closed shard, retention takes the last segment, too; any of them may be left by a crash.
        let ended = start > 0 && self.closed == Some(start);
        let gone = bases.partition_point(|base| *base <= start).saturating_sub(usize::from(!ended));
        if gone > 0 || ended {
            disk.sync_dir(self.dir).map_err(OpenError::io("syncing", self.dir))?; // the new start before the old segments
        }
        for base in bases.drain(..gone) {
            segment::remove(disk, self.dir, base).map_err(OpenError::io("removing", &log_path(self.dir, base)))?;
            self.counts.recovered.removal_finished.inc();
        }
        Ok(bases)
    }

    /// Takes up a closed segment, which must hold all offsets up to `end`.
    fn closed(&self, view: &mut View, base: u64, end: u64) -> Result<Result<(), Damage>, OpenError> {
        let disk = &*self.around.disk;
        let path = log_path(self.dir, base);
        let file = disk.open(&path, false).map_err(OpenError::io("opening", &path))?;
        let length = file.length().map_err(OpenError::io("reading", &path))?;
        if let Some(summary) = segment::load_summary(disk, self.dir, base)
            && (summary.bytes, summary.end) == (length, end)
        {
            view.closed.push_back(Closed::new(summary));
            return Ok(Ok(()));
        }
        let (index, damage) = scan::rebuild(&*file, base, length).map_err(OpenError::io("reading", &path))?;
        view.closed.push_back(Closed::new(index.summary));
        let whole = index.summary.bytes;
        if let Some(damage) = damage {
            // Room made blank ahead was given back when the next segment began; a crash may have kept that from the disk.
            let blank = recovery::is_blank(&*file, whole, length).map_err(OpenError::io("reading", &path))?;
            if !blank {
                return Ok(Err(damage));
            }
            file.truncate(whole).map_err(OpenError::io("cutting", &path))?;
            self.counts.recovered.trimmed.inc();
        }
        if index.summary.end != end {
            return Ok(Err(Damage::Gap { expected: index.summary.end, found: end }));
        }
        if let Err(error) = segment::save_index(disk, self.dir, &index) {
            tracing::warn!(path = %path.display(), %error, "the rebuilt index could not be saved");
        }
        self.counts.recovered.index_rebuilt.inc();
        Ok(Ok(()))
    }

    /// Takes up the segment that was being written.
    fn active(&self, view: &mut View, base: u64) -> Result<(), OpenError> {
        let disk = &*self.around.disk;
        let path = log_path(self.dir, base);
        let file: Arc<dyn DiskFile> = Arc::from(disk.open(&path, false).map_err(OpenError::io("opening", &path))?);
        let saved = segment::load_index(disk, self.dir, base).unwrap_or_else(|| Index::empty(base));
        let facts = recovery::examine(&*file, saved, self.salt).map_err(OpenError::io("reading", &path))?;
        let mut decision = recovery::decide(&facts);
        if self.around.faults.cut_at_damage && matches!(decision, Decision::Stop(_)) {
            decision = Decision::Cut;
        }
        if let (Decision::Cut, Some(damage), Some(_)) = (&decision, &facts.damage, self.closed) {
            decision = Decision::Stop(damage.clone()); // all of a closed shard was synced before it was closed
        }
        let whole = facts.whole.summary.bytes;
        match decision {
            Decision::Stop(damage @ Damage::Truncated { .. }) => {
                let (index, _) = scan::rebuild(&*file, base, facts.length).map_err(OpenError::io("reading", &path))?;
                view.closed.push_back(Closed::new(index.summary));
                self.stop(view, base, damage);
                return Ok(());
            }
            Decision::Stop(damage) => {
                view.closed.push_back(Closed::new(facts.whole.summary));
                self.stop(view, base, damage);
                return Ok(());
            }
            Decision::Trim => {
                file.truncate(whole).map_err(OpenError::io("cutting", &path))?;
                self.counts.recovered.trimmed.inc();
            }
            Decision::Cut => {
                file.truncate(whole).map_err(OpenError::io("cutting", &path))?;
                self.counts.cut_bytes.add(facts.length - whole);
                self.counts.recovered.cut.inc();
                let (cut, kept) = (facts.length - whole, whole);
                tracing::warn!(path = %path.display(), cut, kept, "cut the end, which was never synced");
            }
            Decision::Keep => self.counts.recovered.kept.inc(),
        }
        if facts.vouched == 0 {
            // Nothing tells that the name of this file was ever synced.
            disk.sync_dir(self.dir).map_err(OpenError::io("syncing", self.dir))?;
            self.counts.recovered.name_synced.inc();
        }
        if facts.length > facts.vouched {
            self.counts.recovered.rewritten.inc();
            rewrite(&*file, facts.last_group, whole).map_err(OpenError::io("syncing", &path))?;
        }
        view.active = Some(Active::new(file, facts.whole));
        Ok(())
    }
}

/// Writes the last group again and syncs. After a failed sync the kernel may hold pages that it believes clean although
/// the disk never got them; what is served from here on must not vanish with the power.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.read_at(from, (to - from) as usize, &mut bytes)?;
    if !bytes.is_empty() {
        file.write_at(from, &mut [std::io::IoSlice::new(&bytes)])?;
    }
    file.sync()
}
