//! One stream: its face to those who append and read.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::{Measured, Millis, Offset, Sample, ShardId};
use parking_lot::RwLock;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::batch::Batch;
use crate::commit::{Committers, Job};
use crate::counts::StreamCounts;
use crate::disk::Disk;
use crate::error::{AppendError, FetchError, OpenError};
use crate::fetch::Fetched;
use crate::partition::shard_of;
use crate::retention::{self, Swept};
use crate::settings::StreamSettings;
use crate::shard::{Bounds, Shard, ShardStatus, Surroundings};
use crate::store::{self, Sealed};

/// Version of the layout on disk.
const LAYOUT: u32 = 1;
const METADATA_FILE: &str = "stream.json";

/// A stream of records in a fixed number of shards.
#[derive(Debug)]
pub struct Stream {
    name: String,
    dir: PathBuf,
    uuid: Uuid,
    created: Millis,
    settings: RwLock<StreamSettings>,
    shards: Vec<Arc<Shard>>,
    next: AtomicU32,
    counts: Arc<StreamCounts>,
    committers: Arc<Committers>,
    disk: Arc<dyn Disk>,
}

/// `stream.json`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    layout: u32,
    uuid: Uuid,
    shards: u32,
    created_ms: i64,
    retention_ms: u64,
    retention_bytes: Option<u64>,
    segment_bytes: u64,
    crc32c: String,
}

impl Sealed for Metadata {
    fn crc(&mut self) -> &mut String {
        &mut self.crc32c
    }
}

impl Metadata {
    fn new(uuid: Uuid, created: Millis, settings: &StreamSettings) -> Self {
        Self {
            layout: LAYOUT,
            uuid,
            shards: settings.shards,
            created_ms: created.0,
            retention_ms: u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX),
            retention_bytes: settings.retention_bytes,
            segment_bytes: settings.segment_bytes,
            crc32c: String::new(),
        }
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings {
            shards: self.shards,
            retention: Duration::from_millis(self.retention_ms),
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
        }
    }

    fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(METADATA_FILE);
        let Some(bytes) = store::read(disk, &path).map_err(OpenError::io("reading", &path))? else { return Ok(None) };
        let wrong = |what| OpenError::Metadata { path: path.clone(), what };
        let read = Self::unseal(&bytes).map_err(wrong)?;
        if read.layout != LAYOUT {
            return Err(wrong(format!("expected layout {LAYOUT}, found {}", read.layout)));
        }
        match read.settings().problem() {
            Some(problem) => Err(wrong(problem)),
            None => Ok(Some(read)),
        }
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
        let path = dir.join(METADATA_FILE);
        store::replace_durably(disk, &path, &self.clone().seal()).map_err(OpenError::io("writing", &path))
    }
}

/// What a stream is opened with.
pub(crate) struct Ground<'a> {
    pub(crate) around: &'a Surroundings,
    pub(crate) committers: &'a Arc<Committers>,
    /// Gives each shard a number unique within the log.
    pub(crate) numbers: &'a std::sync::atomic::AtomicU64,
}

impl Stream {
    /// Makes a stream in `dir`, which must have none.
    pub(crate) fn create(
        name: &str,
        dir: &Path,
        settings: &StreamSettings,
        ground: &Ground<'_>,
    ) -> Result<Self, OpenError> {
        let disk = &*ground.around.disk;
        store::create_dirs(disk, dir).map_err(OpenError::io("making", dir))?;
        let metadata = Metadata::new(Uuid::new_v4(), ground.around.clock.now(), settings);
        metadata.write(disk, dir)?;
        Self::open_with(name, dir, &metadata, ground)
    }

    /// Opens the stream in `dir`; `None` if there is none (a crash came before it was made wholly).
    pub(crate) fn open(name: &str, dir: &Path, ground: &Ground<'_>) -> Result<Option<Self>, OpenError> {
        let disk = &*ground.around.disk;
        let metadata = Metadata::read(disk, dir)?;
        if metadata.is_some() {
            // The name may have been given just before a crash; from here on records will rely on it.
            disk.sync_dir(dir).map_err(OpenError::io("syncing", dir))?;
        }
        metadata.map(|metadata| Self::open_with(name, dir, &metadata, ground)).transpose()
    }

    fn open_with(name: &str, dir: &Path, metadata: &Metadata, ground: &Ground<'_>) -> Result<Self, OpenError> {
        let counts = Arc::new(StreamCounts::default());
        let salt = crc32c::crc32c(metadata.uuid.as_bytes());
        let open = |id: u32| {
            let number = ground.numbers.fetch_add(1, Ordering::Relaxed);
            let folder = dir.join(id.to_string());
            Shard::open(ShardId(id), number, folder, salt, ground.around.clone(), Arc::clone(&counts)).map(Arc::new)
        };
        let shards = (0..metadata.shards).map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            uuid: metadata.uuid,
            created: Millis(metadata.created_ms),
            settings: RwLock::new(metadata.settings()),
            shards,
            next: AtomicU32::new(0),
            counts,
            committers: Arc::clone(ground.committers),
            disk: Arc::clone(&ground.around.disk),
        })
    }

    /// Takes over settings that may change while the stream exists: all but the number of shards.
    pub(crate) fn adjust(&self, settings: &StreamSettings) -> Result<(), OpenError> {
        let stored = self.shards();
        if settings.shards != stored {
            return Err(OpenError::Shards { name: self.name.clone(), stored, asked: settings.shards });
        }
        let mut held = self.settings.write();
        if *held != *settings {
            Metadata::new(self.uuid, self.created, settings).write(&*self.disk, &self.dir)?;
            held.clone_from(settings);
        }
        Ok(())
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

    /// Number of shards; they are numbered from 0.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> StreamSettings {
        self.settings.read().clone()
    }

    /// The shard of a key: MD5 into equal hash ranges, so that records of one key keep their order. Without a key, one
    /// shard after the other.
    #[must_use]
    pub fn shard_for(&self, key: Option<&[u8]>) -> ShardId {
        ShardId(match key {
            Some(key) => shard_of(key, self.shards()),
            None => self.next.fetch_add(1, Ordering::Relaxed) % self.shards(),
        })
    }

    /// Appends a batch, and returns its offsets once it is on disk. If the caller goes away meanwhile, the batch is
    /// appended all the same.
    ///
    /// # Errors
    /// Nothing of the batch was acknowledged. After [`AppendError::Throttled`] and [`AppendError::Full`] it may be sent
    /// again.
    pub async fn append(&self, shard: ShardId, batch: Batch) -> Result<Range<Offset>, AppendError> {
        if batch.is_empty() {
            let end = self.shard(shard).ok_or_else(|| self.no_shard_to_append(shard))?.bounds().end;
            return Ok(end..end);
        }
        let answer = self.enqueue(shard, batch)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Queues a batch; the answer comes once it is on disk.
    pub(crate) fn enqueue(
        &self,
        shard: ShardId,
        batch: Batch,
    ) -> Result<oneshot::Receiver<Result<Range<Offset>, AppendError>>, AppendError> {
        let shard = self.shard(shard).ok_or_else(|| self.no_shard_to_append(shard))?;
        let (answer, schedule) = shard.enqueue(batch)?;
        if schedule {
            let segment_bytes = self.settings.read().segment_bytes;
            self.committers.schedule(Job { shard: Arc::clone(shard), segment_bytes });
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

    /// Waits until there is a durable record at `offset`. Returns `false` if there will never be one: the log was
    /// closed, or the shard is damaged (a fetch then says where). A shard that does not exist never has one.
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
        self.shards.iter().map(|shard| shard.view.read().bytes()).sum()
    }

    /// Removes what retention no longer keeps.
    pub(crate) fn sweep(&self, now: Millis) -> Swept {
        let settings = self.settings();
        let age = i64::try_from(retention::roll_age(settings.retention).as_millis()).unwrap_or(i64::MAX);
        let mut candidates = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            shard.roll_if_older(now.plus_ms(-age).0);
            candidates.extend(shard.candidates(index, now));
        }
        let (retention, most) = (settings.retention, settings.retention_bytes);
        let going = retention::decide(self.shards.len(), candidates, self.bytes(), now, retention, most);
        let mut swept = Swept::default();
        for (shard, count) in self.shards.iter().zip(going).filter(|(_, count)| *count > 0) {
            match shard.remove_oldest(count) {
                Ok(removed) => swept += removed,
                Err(error) => {
                    tracing::warn!(stream = self.name, shard = shard.id.0, %error, "old segments could not be removed");
                }
            }
        }
        swept
    }

    pub(crate) fn refuse(&self) {
        self.shards.iter().for_each(|shard| shard.refuse());
    }

    pub(crate) fn close(&self) {
        self.shards.iter().for_each(|shard| shard.close());
    }

    fn shard(&self, shard: ShardId) -> Option<&Arc<Shard>> {
        self.shards.get(shard.0 as usize)
    }

    fn shard_to_read(&self, shard: ShardId) -> Result<&Arc<Shard>, FetchError> {
        let missing = || FetchError::NoShard { stream: self.name.clone(), shard, shards: self.shards() };
        self.shard(shard).ok_or_else(missing)
    }

    fn no_shard_to_append(&self, shard: ShardId) -> AppendError {
        AppendError::NoShard { stream: self.name.clone(), shard, shards: self.shards() }
    }
}

impl Measured for Stream {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let labels = [("stream", self.name.as_str())];
        self.counts.measure(&self.name, samples);
        let statuses: Vec<ShardStatus> = self.shards.iter().map(|shard| shard.status()).collect();
        let count = |wanted: fn(&ShardStatus) -> bool| statuses.iter().filter(|status| wanted(status)).count() as u64;
        let poisoned = count(|status| matches!(status, ShardStatus::Poisoned { .. }));
        let corrupt = count(|status| matches!(status, ShardStatus::Corrupt(_)));
        samples.push(Sample::new("riverrun_stream_shards", &labels, u64::from(self.shards())));
        samples.push(Sample::new("riverrun_stream_poisoned_shards", &labels, poisoned));
        samples.push(Sample::new("riverrun_stream_corrupt_shards", &labels, corrupt));
        samples.push(Sample::new("riverrun_stream_bytes", &labels, self.bytes()));
        let kept = self.shards.iter().map(|shard| shard.bounds()).map(|bounds| bounds.end.since(bounds.start)).sum();
        samples.push(Sample::new("riverrun_stream_kept_records", &labels, kept));
    }
}
