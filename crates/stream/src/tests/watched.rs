//! A disk whose syncs can be watched and held back, and a log on it.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use base::{ShardId, SystemClock};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};

use super::batch;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::{Faults, Log, Stream, StreamSettings};

/// A disk that notes which threads sync, and has a gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Gate>);

/// Who must wait at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Who syncs, unless it is in place.
    Syncs,
    /// Who writes nothing but zeros.
    Zeros,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shut: Option<Held>,
    /// Threads that wait at the gate.
    waiting: usize,
    /// Names of the threads that have come to a sync.
    seen: Vec<String>,
}

impl Watched {
    pub(super) fn shut(&self, shut: impl Into<Option<Held>>) {
        self.0.state.lock().shut = shut.into();
        self.0.changed.notify_all();
    }

    /// The threads that have synced since it was asked last, as soon as there are so many.
    pub(super) fn seen(&self, least: usize) -> Vec<String> {
        let mut state = self.0.state.lock();
        self.0.changed.wait_while(&mut state, |state| state.seen.len() < least);
        std::mem::take(&mut state.seen)
    }

    /// Returns as soon as somebody waits at the gate.
    pub(super) fn holds_somebody(&self) {
        let mut state = self.0.state.lock();
        self.0.changed.wait_while(&mut state, |state| state.waiting == 0);
    }
}

impl Gate {
    fn note(&self) {
        self.state.lock().seen.push(std::thread::current().name().unwrap_or_default().to_owned());
        self.changed.notify_all();
    }

    fn pass(&self, held: Held) {
        let mut state = self.state.lock();
        if state.shut != Some(held) {
            return;
        }
        state.waiting += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.shut == Some(held));
        state.waiting -= 1;
    }
}

#[derive(Debug)]
struct WatchedFile(Box<dyn DiskFile>, Arc<Gate>);

impl Disk for Watched {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(WatchedFile(RealDisk.open(path, create)?, Arc::clone(&self.0))))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.0.read_at(at, max, into)
    }
    fn write_at(&self, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if parts.iter().all(|part| part.iter().all(|byte| *byte == 0)) {
            self.1.pass(Held::Zeros);
        }
        self.0.write_at(at, parts)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.note();
        self.1.pass(Held::Syncs);
        self.0.sync()
    }
    fn sync_in_place(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.1.note();
        self.0.sync_in_place(at, bytes)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.0.reserve(at, bytes)
    }
}

/// A log with four threads of its own, and a stream in it.
pub(super) fn open(dir: &Path, shards: u32) -> (Watched, Arc<Log>, Arc<Stream>) {
    let disk = Watched::default();
    let log = Log::open_on(Arc::new(disk.clone()), dir, Arc::new(SystemClock), Faults::default(), 4, None);
    let log = log.expect("opens");
    let stream = log.ensure("clicks", &StreamSettings { shards, ..StreamSettings::default() }).expect("is made");
    disk.seen(0); // what it took to make the stream
    (disk, log, stream)
}

/// A runtime like that of the doors.
pub(super) fn doors(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name("door").build().expect("starts")
}

/// Appends a batch, in a task on `runtime`, and waits for the answer.
pub(super) fn append(runtime: &Runtime, stream: &Arc<Stream>, value: &str) {
    let (stream, batch) = (Arc::clone(stream), batch(&[value], 0));
    let appended = runtime.spawn(async move { stream.append(ShardId(0), batch).await });
    runtime.block_on(appended).expect("no panic").expect("appends");
}
