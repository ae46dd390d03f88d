//! One stream: its face to those who append and read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use base::{Measured, Millis, Offset, Sample, ShardId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::batch::Batch;
use crate::committers::{Committers, Job};
use crate::counts::StreamCounts;
use crate::delete;
use crate::error::{AppendError, FetchError, OpenError, ReshardError};
use crate::fetch::Fetched;
use crate::heat::{Heat, Meter};
use crate::metadata::Metadata;
use crate::queue::Answer;
use crate::range::HashRange;
use crate::retention::{self, Now, Swept};
use crate::settings::{RETENTION, StreamSettings};
use crate::shard::{Bounds, Shard, ShardStatus, Surroundings};
use crate::store;
use crate::topology::{ShardInfo, ShardMode};

/// A stream of records in shards, each of which takes the keys of a range of hashes.
#[derive(Debug)]
pub struct Stream {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    uuid: Uuid,
    created: Millis,
    shape: RwLock<Arc<Shape>>,
    /// Held while `stream.json` changes, or a note, or the stream ends.
    pub(crate) changing: Mutex<Changing>,
    /// Counts the changes of the list of shards.
    topology: watch::Sender<u64>,
    pub(crate) deleted: AtomicBool,
    /// Whose turn is next, of records without a key.
    pub(crate) next: AtomicU32,
    pub(crate) counts: Arc<StreamCounts>,
    pub(crate) ground: Ground,
}

/// What a stream is at one moment: durable, and replaced as a whole.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) metadata: Metadata,
    /// All that are listed.
    pub(crate) shards: BTreeMap<u32, Arc<Shard>>,
    /// Those that take records, by their first hash.
    open: Vec<(u128, Arc<Shard>)>,
}

impl Shape {
    pub(crate) fn new(metadata: Metadata, shards: BTreeMap<u32, Arc<Shard>>) -> Self {
        let ranges = metadata.topology.open_ranges();
        let open = ranges.into_iter().filter_map(|(range, id)| Some((range.start, Arc::clone(shards.get(&id.0)?))));
        Self { open: open.collect(), metadata, shards }
    }

    /// Those that take records, by their hashes.
    pub(crate) fn open_shards(&self) -> impl Iterator<Item = (HashRange, &Arc<Shard>)> {
        self.open.iter().map(|(_, shard)| (shard.range(), shard))
    }

    /// One that takes records, each in its turn.
    pub(crate) fn in_turn(&self, turn: usize) -> &Arc<Shard> {
        &self.open[turn % self.open.len()].1
    }

    /// The one that takes a hash.
    pub(crate) fn at(&self, hash: u128) -> &Arc<Shard> {
        let after = self.open.partition_point(|(start, _)| *start <= hash);
        &self.open[after.saturating_sub(1)].1
    }
}

/// Whether the stream can still be changed.
#[derive(Debug, Default)]
pub(crate) struct Changing {
    pub(crate) over: Option<Over>,
}

/// Why a stream takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Deleted,
    Closed,
}

impl Changing {
    pub(crate) fn check(&self) -> Result<(), ReshardError> {
        if self.over.is_some() { Err(ReshardError::Gone) } else { Ok(()) }
    }
}

/// What a stream stands on.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) around: Surroundings,
    pub(crate) committers: Arc<Committers>,
    /// Gives each shard a number unique within the log.
    pub(crate) numbers: Arc<AtomicU64>,
}

impl Ground {
    pub(crate) fn open_shard(
        &self,
        stream: &Path,
        uuid: Uuid,
        info: &ShardInfo,
        counts: &Arc<StreamCounts>,
    ) -> Result<Arc<Shard>, OpenError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let folder = stream.join(info.id.0.to_string());
        Shard::open(info, number, folder, uuid, self.around.clone(), Arc::clone(counts)).map(Arc::new)
    }
}

/// Whether `name`, in the folder of a stream, is that of a shard's folder.
pub(crate) fn is_shard_folder(name: &str) -> bool {
    name.parse::<u32>().is_ok_and(|id| id.to_string() == name)
}

impl Stream {
    /// Makes a stream in `dir`, which must have none.
    pub(crate) fn create(
        name: &str,
        dir: &Path,
        settings: &StreamSettings,
        declared: bool,
        ground: Ground,
    ) -> Result<Self, OpenError> {
        let disk = &*ground.around.disk;
        delete::clear(disk, dir)?;
        store::create_dirs(disk, dir).map_err(OpenError::io("making", dir))?;
        let mut metadata = Metadata::new(ground.around.clock.now(), settings);
        metadata.declared = declared.then(|| settings.clone());
        metadata.write(disk, dir).map_err(|failed| failed.to_open_error(dir))?;
        Self::open_with(name, dir, metadata, ground, Arc::default())
    }

    /// Opens the stream in `dir`; `None` if there is none (a crash came before it was made wholly).
    pub(crate) fn open(name: &str, dir: &Path, ground: Ground) -> Result<Option<Self>, OpenError> {
        let disk = &*ground.around.disk;
        let Some(metadata) = Metadata::read(disk, dir)? else { return Ok(None) };
        let counts = Arc::new(StreamCounts::default());
        // The name may have been given just before a crash; from here on records will rely on it.
        disk.sync_dir(dir).map_err(OpenError::io("syncing", dir))?;
        for folder in disk.list(dir).map_err(OpenError::io("reading", dir))?.iter().filter(|name| is_shard_folder(name))
        {
            let id = ShardId(folder.parse().unwrap_or(u32::MAX));
            if metadata.topology.get(id).is_some() {
                continue;
            }
            if id.0 >= metadata.topology.next() {
                let what = format!("it knows no shard {id}, whose folder lies beside it: it is older than that");
                return Err(OpenError::Metadata { path: Metadata::path(dir), what });
            }
            // Its retention was over, and a crash came before its folder was gone.
            let path = dir.join(folder);
            counts.recovered.shard_removal_finished.inc();
            store::remove_folder(disk, &path).map_err(OpenError::io("removing", &path))?;
        }
        Self::open_with(name, dir, metadata, ground, counts).map(Some)
    }

    fn open_with(
        name: &str,
        dir: &Path,
        metadata: Metadata,
        ground: Ground,
        counts: Arc<StreamCounts>,
    ) -> Result<Self, OpenError> {
        let mut shards = BTreeMap::new();
        for info in metadata.topology.infos() {
            shards.insert(info.id.0, ground.open_shard(dir, metadata.uuid, info, &counts)?);
        }
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            uuid: metadata.uuid,
            created: metadata.created,
            shape: RwLock::new(Arc::new(Shape::new(metadata, shards))),
            changing: Mutex::default(),
            topology: watch::Sender::new(0),
            deleted: AtomicBool::new(false),
            next: AtomicU32::new(0),
            counts,
            ground,
        })
    }

    /// Tells when the log is opened, and not only when somebody reads, that the newest records of a shard are encrypted with a
    /// key that was not given.
    pub(crate) fn look_for_keys(&self) {
        let shape = self.shape();
        if self.ground.around.keys.is_none() && !shape.metadata.settings.encryption {
            return;
        }
        for (_, shard) in shape.open_shards() {
            let Bounds { start, end } = shard.bounds();
            if start < end
                && let Err(error @ FetchError::NoKey { .. }) = shard.fetch(Offset(end.0 - 1), 1)
            {
                tracing::error!(stream = self.name, shard = shard.id.0, %error, "records of this stream cannot be read");
            }
        }
    }

    /// Takes over what the file newly says: settings that it said before were perhaps changed through a door since, and
    /// stay so. What a stream made through a door keeps is its number of shards.
    pub(crate) fn adjust(&self, file: &StreamSettings) -> Result<(), OpenError> {
        let mut changing = self.changing.lock();
        let declared = self.shape().metadata.declared.clone();
        if declared.as_ref() == Some(file) {
            return Ok(());
        }
        if declared.as_ref().is_some_and(|declared| declared.shards != file.shards) {
            let reshaped = self.reshape_within(&mut changing, file.shards);
            reshaped.map_err(|error| OpenError::Reshard { name: self.name.clone(), source: Box::new(error) })?;
        }
        self.update(&mut changing, |metadata| {
            let (now, before) = (&mut metadata.settings, declared.as_ref());
            take(&mut now.mode, &file.mode, before.map(|before| &before.mode));
            take(&mut now.encryption, &file.encryption, before.map(|before| &before.encryption));
            take(&mut now.retention, &file.retention, before.map(|before| &before.retention));
            take(&mut now.retention_bytes, &file.retention_bytes, before.map(|before| &before.retention_bytes));
            take(&mut now.segment_bytes, &file.segment_bytes, before.map(|before| &before.segment_bytes));
            take(&mut now.record_bytes_max, &file.record_bytes_max, before.map(|before| &before.record_bytes_max));
            metadata.declared = Some(file.clone());
        })
    }

    /// Changes how long records are kept, 24 hours to 365 days.
    ///
    /// # Errors
    /// Nothing was changed: outside the range, or the disk.
    pub fn set_retention(&self, retention: Duration) -> Result<(), OpenError> {
        if !RETENTION.contains(&retention) {
            let what = format!("expected a retention of 24 to 8760 hours, found {} s", retention.as_secs());
            return Err(OpenError::Settings { name: self.name.clone(), what });
        }
        self.set(|settings| settings.retention = retention)
    }

    /// Changes who decides how many shards there are.
    ///
    /// # Errors
    /// Nothing was changed: the disk.
    pub fn set_mode(&self, mode: ShardMode) -> Result<(), OpenError> {
        self.set(|settings| settings.mode = mode)
    }

    /// Changes how many bytes the payload of a record may have: 1 KiB to 10 MiB.
    ///
    /// # Errors
    /// Nothing was changed: outside the range, or the disk.
    pub fn set_record_bytes_max(&self, bytes: u32) -> Result<(), OpenError> {
        self.set(|settings| settings.record_bytes_max = bytes)
    }

    /// Changes whether records are encrypted from now on; what lies there stays as it is.
    ///
    /// # Errors
    /// Nothing was changed: the log has no key, or the disk.
    pub fn set_encryption(&self, encryption: bool) -> Result<(), OpenError> {
        if encryption && self.ground.around.keys.is_none() {
            return Err(OpenError::NoKey { name: self.name.clone() });
        }
        self.set(|settings| settings.encryption = encryption)
    }

    fn set(&self, change: impl FnOnce(&mut StreamSettings)) -> Result<(), OpenError> {
        let mut changing = self.changing.lock();
        let mut settings = self.shape().metadata.settings.clone();
        change(&mut settings);
        if let Some(what) = settings.problem() {
            return Err(OpenError::Settings { name: self.name.clone(), what });
        }
        self.update(&mut changing, |metadata| metadata.settings = settings)
    }

    /// Changes what needs no change of shards. If the disk refuses, the old settings stay in force; which ones a restart
    /// then finds is not known.
    fn update(&self, changing: &mut Changing, change: impl FnOnce(&mut Metadata)) -> Result<(), OpenError> {
        match changing.over {
            Some(Over::Deleted) => return Err(OpenError::Deleted { name: self.name.clone() }),
            Some(Over::Closed) => return Err(OpenError::Closed),
            None => {}
        }
        let shape = self.shape();
        let mut metadata = shape.metadata.clone();
        change(&mut metadata);
        if metadata != shape.metadata {
            let written = metadata.write(&*self.ground.around.disk, &self.dir);
            written.map_err(|failed| failed.to_open_error(&self.dir))?;
            self.set_shape(Shape::new(metadata, shape.shards.clone()));
        }
        Ok(())
    }

    pub(crate) fn shape(&self) -> Arc<Shape> {
        Arc::clone(&self.shape.read())
    }

    pub(crate) fn set_shape(&self, shape: Shape) {
        *self.shape.write() = Arc::new(shape);
    }

    pub(crate) fn tell_change(&self) {
        self.topology.send_modify(|count| *count += 1);
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells this stream from one of the same name made later.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Millis {
        self.created
    }

    /// Number of open shards. Their numbers need not be dense: ask [`Stream::shard_infos`].
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shape.read().open.len() as u32
    }

    /// All shards that still exist, by number: open ones, and closed ones whose records are kept or whose retention is
    /// not over. A child's records come after its parents': read those to their ends first.
    #[must_use]
    pub fn shard_infos(&self) -> Vec<ShardInfo> {
        self.shape.read().metadata.topology.infos().copied().collect()
    }

    /// What one shard is, if it still exists.
    #[must_use]
    pub fn shard_info(&self, shard: ShardId) -> Option<ShardInfo> {
        self.shape.read().metadata.topology.get(shard).copied()
    }

    /// Changes whenever [`Stream::shard_infos`] does, when the stream is deleted, and sometimes without need.
    #[must_use]
    pub fn topology(&self) -> watch::Receiver<u64> {
        self.topology.subscribe()
    }

    /// Whether the stream was deleted. One of the same name made later is another one.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// The settings in force; the number of shards is that of the open ones.
    #[must_use]
    pub fn settings(&self) -> StreamSettings {
        let shape = self.shape.read();
        StreamSettings { shards: shape.open.len() as u32, ..shape.metadata.settings.clone() }
    }

    /// Who decides how many shards there are.
    #[must_use]
    pub fn mode(&self) -> ShardMode {
        self.shape.read().metadata.settings.mode
    }

    /// How busy a shard is; of one that does not exist, not at all.
    #[must_use]
    pub fn heat(&self, shard: ShardId) -> Heat {
        let now = self.ground.around.clock.now();
        self.shard(shard).map_or(Heat::default(), |shard| shard.meter.heat(now))
    }

    /// How busy all shards are together, those included that were closed within the last minute.
    #[must_use]
    pub fn total_heat(&self) -> Heat {
        let shape = self.shape();
        Meter::together(shape.shards.values().map(|shard| &shard.meter), self.ground.around.clock.now())
    }

    /// Appends a batch, and returns its offsets once it is on disk. If the caller goes away meanwhile, the batch is
    /// appended all the same.
    ///
    /// A batch with a [`Stamp`](crate::Stamp) is stored once: if it is one of the last five of its producer in this shard, the
    /// answer is where it lies already. Of a shard that was closed, too, which stores nothing new.
    ///
    /// # Errors
    /// Nothing of the batch was acknowledged. After [`AppendError::Throttled`] and [`AppendError::Full`] it may be sent
    /// again; after [`AppendError::ShardClosed`], its records to the shards that their keys have now. What does not follow the
    /// producer's last batch is [`AppendError::OutOfSequence`], [`AppendError::UnknownProducer`] or [`AppendError::Fenced`].
    pub async fn append(&self, shard: ShardId, batch: Batch) -> Result<Range<Offset>, AppendError> {
        self.append_timed(shard, batch).await.map(|(offsets, _)| offsets)
    }

    /// Like [`Stream::append`], and says the latest arrival time in the batch as it was stored. Of a batch whose records
    /// all had the same time it is the time of each of them: the log raises it if the shard had a later one.
    ///
    /// # Errors
    /// As [`Stream::append`].
    pub async fn append_timed(&self, shard: ShardId, batch: Batch) -> Result<(Range<Offset>, Millis), AppendError> {
        if batch.is_empty() {
            let end = self.shard(shard).ok_or_else(|| self.no_shard_to_append(shard))?.bounds().end;
            return Ok((end..end, Millis::default()));
        }
        let (stamp, count) = (batch.stamp(), batch.len() as u32);
        let answer = match self.enqueue(shard, batch) {
            Err(closed @ AppendError::ShardClosed { .. }) => {
                self.settled(shard).await;
                let repeated = |stamp| self.shard(shard)?.repeated_when_closed(stamp, count);
                return stamp.and_then(repeated).ok_or(closed);
            }
            queued => queued?,
        };
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Waits until a shard that is being closed is not open any more, or takes records again: whoever then maps its keys
    /// anew finds where they belong, and need not ask again and again meanwhile.
    async fn settled(&self, shard: ShardId) {
        let mut topology = self.topology.subscribe();
        loop {
            let closing = {
                let shape = self.shape.read();
                let open = shape.metadata.topology.get(shard).is_some_and(|info| info.closed.is_none());
                open && shape.shards.get(&shard.0).is_some_and(|shard| shard.is_sealed())
            };
            if !closing || topology.changed().await.is_err() {
                return;
            }
        }
    }

    /// Queues a batch; the answer comes once it is on disk.
    pub(crate) fn enqueue(&self, shard: ShardId, mut batch: Batch) -> Result<oneshot::Receiver<Answer>, AppendError> {
        let (shard, segment_bytes, max, encryption) = {
            let shape = self.shape.read();
            let found = shape.shards.get(&shard.0).ok_or_else(|| self.no_shard_to_append(shard))?;
            let settings = &shape.metadata.settings;
            (Arc::clone(found), settings.segment_bytes, settings.record_bytes_max as usize, settings.encryption)
        };
        let found = batch.largest();
        if found > max {
            return Err(AppendError::RecordTooLarge { found, max });
        }
        if encryption {
            shard.has_room(batch.bytes())?; // before the work, not after
            shard.seal.as_ref().ok_or(AppendError::NoKey)?.seal(&mut batch);
        }
        let bytes = batch.bytes();
        let (answer, schedule) = shard.enqueue(batch)?;
        if schedule {
            self.ground.committers.schedule(Job { shard, segment_bytes }, bytes);
        }
        Ok(answer)
    }

    /// Reads durable records from `from` on: whole batches of up to about `max_bytes` of log, but at least one batch
    /// if there is any. Blocks for one read of the file, mostly out of the page cache.
    ///
    /// # Errors
    /// [`FetchError::Removed`] if retention was faster, [`FetchError::Beyond`] beyond the end (at the end it is simply
    /// empty), [`FetchError::Corrupt`] if the bytes there are damaged.
    pub fn fetch(&self, shard: ShardId, from: Offset, max_bytes: usize) -> Result<Fetched, FetchError> {
        self.shard_to_read(shard)?.fetch(from, max_bytes)
    }

    /// Like [`Stream::fetch`], but never waits for the disk: `None` if what is wanted is not in memory, has more than
    /// `max_bytes`, or is compressed. For readers at the end of a shard, whose records were written a moment ago, on
    /// threads that others are waiting for.
    ///
    /// # Errors
    /// As [`Stream::fetch`].
    pub fn fetch_at_once(&self, shard: ShardId, from: Offset, max_bytes: usize) -> Result<Option<Fetched>, FetchError> {
        self.shard_to_read(shard)?.fetch_at_once(from, max_bytes)
    }

    /// Waits until there is a durable record at `offset`. Returns `false` if there will never be one: the shard or the
    /// log was closed, the stream deleted, or the shard is damaged (a fetch then says where). A shard that does not exist
    /// never has one.
    pub async fn wait_beyond(&self, shard: ShardId, offset: Offset) -> bool {
        let Some(shard) = self.shard(shard) else { return false };
        let mut end = shard.end.subscribe();
        let reached = end.wait_for(|end| end.offset > offset.0 || !end.open).await;
        reached.is_ok_and(|end| end.offset > offset.0)
    }

    /// The first offset whose record arrived at `time` or later; the end if there is none yet.
    ///
    /// # Errors
    /// As [`Stream::fetch`].
    pub fn offset_at(&self, shard: ShardId, time: Millis) -> Result<Offset, FetchError> {
        let shard = self.shard_to_read(shard)?;
        shard.offset_at(time).inspect_err(|error| {
            if let FetchError::Corrupt(corrupt) = error {
                shard.notice(corrupt);
            }
        })
    }

    /// What is kept and durable. Of a shard that does not exist: nothing.
    #[must_use]
    pub fn bounds(&self, shard: ShardId) -> Bounds {
        self.shard(shard).map_or(Bounds { start: Offset::ZERO, end: Offset::ZERO }, |shard| shard.bounds())
    }

    /// How a shard is; `None` if there is no such shard.
    #[must_use]
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.shard(shard).map(|shard| shard.status())
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.read().shards.values().map(|shard| shard.view.read().bytes()).sum()
    }

    /// The latest arrival time of any record.
    pub(crate) fn last_timestamp(&self) -> Option<i64> {
        self.shape().shards.values().filter_map(|shard| shard.view.read().last_timestamp()).max()
    }

    /// Removes what retention no longer keeps.
    pub(crate) fn sweep(&self, at: Now) -> Swept {
        let now = at.time;
        let shape = self.shape();
        let settings = &shape.metadata.settings;
        let age = i64::try_from(retention::roll_age(settings.retention).as_millis()).unwrap_or(i64::MAX);
        let mut candidates = Vec::new();
        for (index, shard) in shape.shards.values().enumerate() {
            self.counts.expired_producers.add(shard.producers.lock().sweep(at.elapsed) as u64);
            shard.roll_if_older(at, age);
            candidates.extend(shard.candidates(index, at));
        }
        let (retention, most) = (settings.retention, settings.retention_bytes);
        let going = retention::decide(shape.shards.len(), candidates, self.bytes(), now, retention, most);
        let mut swept = Swept::default();
        {
            // What is deleted or closed meanwhile waits until the files of this stream are left alone.
            let changing = self.changing.lock();
            if changing.over.is_some() {
                return swept;
            }
            for (shard, count) in shape.shards.values().zip(going).filter(|(_, count)| *count > 0) {
                let (removed, failed) = shard.remove_oldest(count);
                swept += removed;
                if let Err(error) = failed {
                    tracing::warn!(stream = self.name, shard = shard.id.0, %error, "old segments could not be removed");
                }
            }
        }
        self.expire_shards(now.plus_ms(-i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)));
        swept
    }

    /// Takes nothing more; a change of shards under way is waited for.
    pub(crate) fn refuse(&self) {
        self.changing.lock().over.get_or_insert(Over::Closed);
        self.shape().shards.values().for_each(|shard| shard.refuse());
    }

    pub(crate) fn close(&self) {
        self.shape().shards.values().for_each(|shard| shard.close());
    }

    fn shard(&self, shard: ShardId) -> Option<Arc<Shard>> {
        self.shape.read().shards.get(&shard.0).cloned()
    }

    pub(crate) fn shard_to_read(&self, shard: ShardId) -> Result<Arc<Shard>, FetchError> {
        if self.is_deleted() {
            return Err(FetchError::Deleted);
        }
        self.shard(shard).ok_or_else(|| FetchError::NoShard { stream: self.name.clone(), shard })
    }

    fn no_shard_to_append(&self, shard: ShardId) -> AppendError {
        AppendError::NoShard { stream: self.name.clone(), shard }
    }
}

/// What the file says counts where it says it for the first time, or something new.
fn take<T: Clone + PartialEq>(now: &mut T, file: &T, before: Option<&T>) {
    if before != Some(file) {
        now.clone_from(file);
    }
}

impl Measured for Stream {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let labels = [("stream", self.name.as_str())];
        self.counts.measure(&self.name, samples);
        let shape = self.shape();
        let statuses: Vec<ShardStatus> = shape.shards.values().map(|shard| shard.status()).collect();
        let count = |wanted: fn(&ShardStatus) -> bool| statuses.iter().filter(|status| wanted(status)).count() as u64;
        let poisoned = count(|status| matches!(status, ShardStatus::Poisoned { .. }));
        let corrupt = count(|status| matches!(status, ShardStatus::Corrupt(_)));
        samples.push(Sample::new("riverrun_stream_shards", &labels, u64::from(self.shards())));
        samples.push(Sample::new("riverrun_stream_poisoned_shards", &labels, poisoned));
        samples.push(Sample::new("riverrun_stream_corrupt_shards", &labels, corrupt));
        samples.push(Sample::new("riverrun_stream_bytes", &labels, self.bytes()));
        let closed = shape.shards.len() - shape.open.len();
        samples.push(Sample::new("riverrun_stream_closed_shards", &labels, closed as u64));
        let kept = shape.shards.values().map(|shard| shard.bounds()).map(|bounds| bounds.end.since(bounds.start)).sum();
        samples.push(Sample::new("riverrun_stream_kept_records", &labels, kept));
        let producers = shape.shards.values().map(|shard| shard.producers.lock().len() as u64).sum();
        samples.push(Sample::new("riverrun_stream_producers", &labels, producers));
    }
}
