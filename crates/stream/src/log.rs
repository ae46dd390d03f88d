//! All streams of one data folder.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use base::limits::NAME_CHARS_MAX;
use base::{Clock, Measured, Millis, Sample};
use parking_lot::{Mutex, RwLock};

use crate::cache::SegmentCache;
use crate::committers::Committers;
use crate::delete;
use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::fault::Faults;
use crate::limit::COMMITTERS;
use crate::queue::Budget;
use crate::retention::{self, Now, SteadyClock, Swept};
use crate::scale::Scaled;
use crate::seal::Keyring;
use crate::settings::StreamSettings;
use crate::shard::Surroundings;
use crate::store;
use crate::stream::{Ground, Stream};

/// Where the streams lie within the data folder.
const FOLDER: &str = "stream";
const LOCK_FILE: &str = ".lock";

/// All streams of one data folder. One process at a time has it open.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    ground: Ground,
    /// Held while a stream is made or deleted.
    naming: Mutex<()>,
    streams: RwLock<Streams>,
    steady: Mutex<(SteadyClock, Instant)>,
}

#[derive(Debug)]
struct Streams {
    by_name: BTreeMap<String, Arc<Stream>>,
    closed: bool,
    lock: Option<Box<dyn Any + Send + Sync>>,
}

impl Log {
    /// Opens the data folder `dir`, making it if need be, and recovers every stream found in `dir/stream`.
    ///
    /// # Errors
    /// The folder cannot be used. Damage within a shard is no error here: that shard says so itself.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, OpenError> {
        Self::open_with(dir, clock, Faults::default())
    }

    /// Like [`Log::open`], with master keys for streams that are encrypted. Without any, what was encrypted is refused on
    /// reading, and nothing is appended to a stream that is to be.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_with_keys(
        dir: &Path,
        clock: Arc<dyn Clock>,
        faults: Faults,
        keys: Option<Keyring>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_on(Arc::new(RealDisk), dir, clock, faults, COMMITTERS, keys)
    }

    /// Like [`Log::open`], with planted bugs: only for testing the tests.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_with(dir: &Path, clock: Arc<dyn Clock>, faults: Faults) -> Result<Arc<Self>, OpenError> {
        Self::open_with_keys(dir, clock, faults, None)
    }

    /// Like [`Log::open_with_keys`], on any disk and with so many threads that commit: for simulations. Without any, what
    /// waits is written by [`Log::step`], or when the log is closed.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        clock: Arc<dyn Clock>,
        faults: Faults,
        committers: usize,
        keys: Option<Keyring>,
    ) -> Result<Arc<Self>, OpenError> {
        let dir = std::path::absolute(dir).map_err(OpenError::io("finding", dir))?.join(FOLDER);
        store::create_dirs(&*disk, &dir).map_err(OpenError::io("making", &dir))?;
        let path = dir.join(LOCK_FILE);
        let lock = disk.lock(&path).map_err(OpenError::io("locking", &path))?;
        let lock = Some(lock.ok_or(OpenError::Locked { path })?);
        let steady = Mutex::new((SteadyClock::new(clock.now(), None), Instant::now()));
        let (cache, budget) = (Arc::new(SegmentCache::default()), Arc::new(Budget::default()));
        let committers = Committers::start(committers).map_err(OpenError::io("starting threads for", &dir))?;
        let log = Self {
            ground: Ground {
                around: Surroundings { disk, clock, cache, budget, faults, keys: keys.map(Arc::new) },
                committers,
                numbers: Arc::new(AtomicU64::new(0)),
            },
            naming: Mutex::new(()),
            streams: RwLock::new(Streams { by_name: BTreeMap::new(), closed: false, lock }),
            steady,
            dir,
        };
        log.recover()?;
        let arrived = || log.streams().iter().filter_map(|stream| stream.last_timestamp()).max().map(Millis);
        let last = retention::load_clock(&*log.ground.around.disk, &log.dir).or_else(arrived);
        log.steady.lock().0 = SteadyClock::new(log.ground.around.clock.now(), last);
        Ok(Arc::new(log))
    }

    fn recover(&self) -> Result<(), OpenError> {
        let disk = &*self.ground.around.disk;
        let names = disk.list(&self.dir).map_err(OpenError::io("reading", &self.dir))?;
        let mut streams = self.streams.write();
        for name in names.into_iter().filter(|name| is_name(name)) {
            let dir = self.dir.join(&name);
            if let Some(stream) = Stream::open(&name, &dir, self.ground.clone())? {
                stream.look_for_keys();
                streams.by_name.insert(name, Arc::new(stream));
            } else if let Err(error) = delete::clear(disk, &dir) {
                tracing::error!(dir = %dir.display(), %error, "a folder holds no stream that can be opened, and is not empty");
            }
        }
        Ok(())
    }

    /// The stream of that name, made if there is none. Of one that exists, that changes which the file newly says; another
    /// number of shards than it said before reshapes the stream, while what calls have changed since stays otherwise.
    ///
    /// # Errors
    /// A wrong name or setting, shards that cannot be changed, or the disk.
    pub fn ensure(&self, name: &str, settings: &StreamSettings) -> Result<Arc<Stream>, OpenError> {
        self.check(name, settings)?;
        let _naming = self.naming.lock();
        if self.streams.read().closed {
            return Err(OpenError::Closed);
        }
        match self.stream(name) {
            Some(stream) => stream.adjust(settings).map(|()| stream),
            None => self.make(name, settings, true),
        }
    }

    /// Makes a stream that the file does not name.
    ///
    /// # Errors
    /// [`OpenError::Exists`], a wrong name or setting, or the disk.
    pub fn create(&self, name: &str, settings: &StreamSettings) -> Result<Arc<Stream>, OpenError> {
        self.check(name, settings)?;
        let _naming = self.naming.lock();
        if self.stream(name).is_some() {
            return Err(OpenError::Exists { name: name.to_owned() });
        }
        self.make(name, settings, false)
    }

    fn check(&self, name: &str, settings: &StreamSettings) -> Result<(), OpenError> {
        if !is_name(name) {
            return Err(OpenError::Name { name: name.to_owned() });
        }
        if let Some(what) = settings.problem() {
            return Err(OpenError::Settings { name: name.to_owned(), what });
        }
        if settings.encryption && self.ground.around.keys.is_none() {
            return Err(OpenError::NoKey { name: name.to_owned() });
        }
        Ok(())
    }

    fn make(&self, name: &str, settings: &StreamSettings, declared: bool) -> Result<Arc<Stream>, OpenError> {
        if self.streams.read().closed {
            return Err(OpenError::Closed);
        }
        let stream = Stream::create(name, &self.dir.join(name), settings, declared, self.ground.clone())?;
        let stream = Arc::new(stream);
        let mut streams = self.streams.write();
        if streams.closed {
            return Err(OpenError::Closed);
        }
        streams.by_name.insert(name.to_owned(), Arc::clone(&stream));
        Ok(stream)
    }

    /// Deletes a stream with all its records: appends are refused from now on, readers told, waiters woken, and the folder
    /// removed. A crash leaves it whole or deletes it with the next start. `false` if there is none. Blocks while files are
    /// removed; one made of the same name afterwards has another uuid.
    ///
    /// # Errors
    /// The stream could not be marked as deleted: it takes no records until a restart finds out whether it is.
    pub fn delete(&self, name: &str) -> Result<bool, OpenError> {
        let _naming = self.naming.lock();
        let Some(stream) = self.stream(name) else { return Ok(false) };
        stream.retire()?;
        self.streams.write().by_name.remove(name);
        let dir = self.dir.join(name);
        if let Err(error) = delete::finish(&*self.ground.around.disk, &dir) {
            tracing::warn!(dir = %dir.display(), %error, "what a deleted stream left is removed with the next start");
        }
        Ok(true)
    }

    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().by_name.get(name).cloned()
    }

    /// All streams, by name.
    #[must_use]
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.streams.read().by_name.values().cloned().collect()
    }

    /// Removes what retention no longer keeps; to be called about once a minute. A jump of the clock ahead is believed
    /// only after an hour of such calls.
    pub fn sweep(&self) -> Swept {
        let passed = {
            let (_, last) = &mut *self.steady.lock();
            let passed = last.elapsed();
            *last += passed;
            passed
        };
        self.sweep_after(passed)
    }

    /// Like [`Log::sweep`], told how much time has really passed since the last call: for simulations.
    pub fn sweep_after(&self, passed: Duration) -> Swept {
        let now = {
            let (steady, _) = &mut *self.steady.lock();
            Now { time: steady.now(self.ground.around.clock.now(), passed), elapsed: steady.elapsed() }
        };
        retention::save_clock(&*self.ground.around.disk, &self.dir, now.time);
        let mut swept = Swept::default();
        for stream in self.streams() {
            swept += stream.sweep(now);
        }
        swept
    }

    /// Splits the hot shards of on-demand streams and merges the cold ones; to be called every few seconds. Blocks for a
    /// few syncs if there is anything to change.
    pub fn scale(&self) -> Scaled {
        let now = self.ground.around.clock.now();
        let mut scaled = Scaled::default();
        for stream in self.streams() {
            scaled += stream.scale(now);
        }
        scaled
    }

    /// Refuses appends, writes what waits, saves the indexes and ends the threads. Blocks until that is done; a second
    /// call does nothing.
    pub fn close(&self) {
        let streams = {
            let mut streams = self.streams.write();
            if std::mem::replace(&mut streams.closed, true) {
                return;
            }
            streams.by_name.values().cloned().collect::<Vec<_>>()
        };
        let _made = self.naming.lock(); // a stream being deleted is gone before the lock on the folder is
        streams.iter().for_each(|stream| stream.refuse());
        self.ground.committers.close();
        streams.iter().for_each(|stream| stream.close());
        self.streams.write().lock = None;
    }

    /// Commits one group, if anything waits: for simulations, which have no threads. Returns whether there was one.
    pub fn step(&self) -> bool {
        self.ground.committers.step()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl Measured for Log {
    fn measure(&self, samples: &mut Vec<Sample>) {
        self.streams().iter().for_each(|stream| stream.measure(samples));
    }
}

/// What names a stream also names a folder and stands in URLs.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.')
}
