//! A log on a simulated machine beside the model of what it promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ErrorKind, Millis, Offset, ShardId};
use stream::{Compression, Faults, Keyring, Log, OpenError, ReshardError, ShardStatus, Stream, StreamSettings};
use uuid::Uuid;

use crate::clock::SimClock;
use crate::disk::{Crash, SimDisk};
use crate::hits::Hits;
use crate::look::{append, count_recoveries, kind_of, look_up_times, poll, read_all, read_on, wait};
use crate::model::{Check, Kept, ShardModel, StreamModel};
use crate::send::Speech;
use crate::trace::Trace;

const DIR: &str = "/data";
/// Small, so that a short life has several segments.
const SEGMENT_BYTES: u64 = 1500;
/// Retention by time; the least that the file may say.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The master key of streams that are encrypted.
const KEY: [u8; 32] = [17; 32];
/// What a steady clock may take for time although the wall clock only drifted, see `stream`'s retention.
const CLOCK_SLACK_MS: i64 = 120_000;

/// One batch to append.
#[derive(Clone, Debug)]
pub struct Put {
    /// The stream's name.
    pub stream: &'static str,
    /// The key's hash, which chooses the shard.
    pub hash: u128,
    /// Number of records.
    pub records: usize,
    /// Bytes of each.
    pub bytes: usize,
    /// Whether the batch is compressed.
    pub compression: Compression,
    /// How far the records' times lie in the future, in milliseconds.
    pub future_ms: i64,
}

impl Put {
    /// So many records of so many bytes for the lower end of the hashes of stream `s`.
    #[must_use]
    pub fn new(records: usize, bytes: usize) -> Self {
        Self { stream: "s", hash: 0, records, bytes, compression: Compression::None, future_ms: 0 }
    }
}

/// What has met the log since it was opened, and hence what it may refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbed {
    /// Nothing: whatever can be is done.
    #[default]
    No,
    /// The disk is full: it may say so.
    Full,
    /// A write or sync fails, or the machine stops: it may refuse anything.
    Badly,
}

/// The log, opened on a simulated disk, with the promises so far.
#[derive(Debug)]
pub struct World {
    /// The disk below the log.
    pub disk: SimDisk,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// How long the segments of the streams made from now on may be.
    pub segment_bytes: u64,
    /// What was hit.
    pub hits: Hits,
    /// What was done and answered.
    pub trace: Trace,
    /// The streams that must be there.
    pub streams: BTreeMap<String, StreamModel>,
    faults: Faults,
    log: Option<Arc<Log>>,
    /// Names of streams whose making failed, or was under way: they may be there or not.
    making: BTreeSet<String>,
    deleted: Vec<Uuid>,
    /// Streams whose deletion was never acknowledged, and whose removal by a recovery met a fault itself: gone for now,
    /// and perhaps there again after the next restart.
    half_deleted: BTreeMap<String, StreamModel>,
    /// The log was opened since the last check: what was in doubt is settled by what is found.
    restarted: bool,
    /// What has met the log since it was opened.
    pub disturbed: Disturbed,
    sent: u64,
    /// Batches of producers that were sent and never answered for certain, by stream, shard and producer, in order.
    pub(crate) unanswered: BTreeMap<(Uuid, u32, i64), Vec<Speech>>,
    /// Producers that began in the middle.
    pub(crate) strangers: i64,
}

impl World {
    /// An empty disk, and no log open yet.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self::counting(faults, Hits::default())
    }

    /// Like [`World::new`], and counts what is hit into `hits`.
    #[must_use]
    pub fn counting(faults: Faults, hits: Hits) -> Self {
        Self {
            disk: SimDisk::counting(hits.clone()),
            clock: Arc::default(),
            segment_bytes: SEGMENT_BYTES,
            hits,
            trace: Trace::default(),
            streams: BTreeMap::new(),
            faults: Faults { late_by: Duration::ZERO, ..faults },
            log: None,
            making: BTreeSet::new(),
            deleted: Vec::new(),
            half_deleted: BTreeMap::new(),
            restarted: false,
            disturbed: Disturbed::No,
            sent: 0,
            unanswered: BTreeMap::new(),
            strangers: 0,
        }
    }

    /// Opens the log.
    ///
    /// # Errors
    /// As the log says.
    pub fn open(&mut self) -> Result<(), OpenError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let disk = Arc::new(self.disk.clone());
        self.disk.forgive(Path::new("/"));
        if self.disk.files().iter().any(|(path, _)| path.ends_with("deleted.json")) {
            self.hits.hit("recovery: deletion_finished");
        }
        let log = Log::open_on(disk, Path::new(DIR), clock, self.faults, 0, Some(Keyring::new(&KEY)))?;
        self.log = Some(log);
        (self.restarted, self.disturbed) = (true, Disturbed::No);
        self.trace.note("opened");
        Ok(())
    }

    /// Restarts in order, and finds the snapshots of the producers of a stream damaged: cut short, or with a flipped bit. Only
    /// of shards that have their whole log yet; of others nothing else knows everybody.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn spoil(&mut self, name: &str, flip: Option<usize>) -> Check {
        for again in [true, false] {
            self.close();
            let spoiled = self.streams.get(name).filter(|_| !again);
            for (id, _) in spoiled.iter().flat_map(|known| &known.shards).filter(|(_, shard)| shard.start == 0) {
                let path = Path::new(DIR).join("stream").join(name).join(id.to_string()).join("producers.snapshot");
                if self.disk.files().iter().any(|(found, _)| *found == path) {
                    self.disk.spoil(&path, |bytes| match flip {
                        Some(at) if !bytes.is_empty() => {
                            let at = at % bytes.len();
                            bytes[at] ^= 4;
                        }
                        _ => bytes.clear(),
                    });
                    self.hits.hit("a snapshot of producers is damaged");
                }
            }
            self.open().map_err(|error| format!("opening again: {error}"))?;
            self.check()?; // where the shards start is certain now
        }
        Ok(())
    }

    /// Whether the log is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.log.is_some()
    }

    /// The log.
    ///
    /// # Panics
    /// If it is not open.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        self.log.as_ref().expect("the log is open")
    }

    /// Closes the log in order.
    pub fn close(&mut self) {
        if let Some(log) = self.log.take() {
            count_recoveries(&log, &self.hits);
            log.close();
            self.trace.note("closed");
        }
    }

    /// The machine or the process goes down; `crash` says what is left.
    pub fn crash(&mut self, crash: Crash) {
        self.disk.stop_at(Some(0)); // nothing is done to it any more, also not by closing
        let left = self.disk.after(crash);
        self.close();
        self.disk = left;
        self.trace.note(format_args!("{crash:?}"));
    }

    /// Settings of the streams here: `shards` of them, kept for a day.
    fn settings(&self, shards: u32) -> StreamSettings {
        let segment_bytes = self.segment_bytes;
        StreamSettings { shards, segment_bytes, retention: RETENTION, ..StreamSettings::default() }
    }

    /// Makes a stream; as a file does (`declared`) or as a call does. Returns whether it was made or is as asked for.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn create(&mut self, name: &'static str, shards: u32, declared: bool) -> Result<bool, String> {
        let (log, settings) = (Arc::clone(self.log()), self.settings(shards));
        self.making.insert(name.to_owned());
        // What changes nothing writes nothing: a change that was in doubt before stays so.
        let known = self.streams.get_mut(name).filter(|_| declared);
        let in_doubt = known.is_some_and(|known| std::mem::replace(&mut known.reshaping, true));
        let made = if declared { log.ensure(name, &settings) } else { log.create(name, &settings) };
        self.note("create", name, &made);
        match (made, self.streams.get_mut(name)) {
            (Ok(stream), Some(known)) if known.uuid == stream.uuid() => {
                known.reshaped(&stream.shard_infos())?;
                known.reshaping = in_doubt;
                self.making.remove(name);
                Ok(true)
            }
            (Ok(stream), None) => {
                self.streams.insert(name.to_owned(), StreamModel::new(stream.uuid(), &stream.shard_infos()));
                self.making.remove(name);
                self.deleted.extend(self.half_deleted.remove(name).map(|known| known.uuid));
                Ok(true)
            }
            (Ok(_), Some(_)) => Err(format!("stream {name} was made although there is one")),
            (Err(OpenError::Exists { .. }), Some(_)) => {
                self.making.remove(name);
                Ok(false)
            }
            (Err(error), _) => self.refused("create", error.kind(), &error).map(|()| false),
        }
    }

    /// Deletes a stream. Returns whether that was acknowledged.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn delete(&mut self, name: &str) -> Result<bool, String> {
        let waiting = self.log().stream(name).map(|stream| {
            let mut waiting = wait(&stream, ShardId(0), Offset(u64::MAX - 1));
            let early = poll(&mut waiting);
            (stream, waiting, early)
        });
        if let Some(known) = self.streams.get_mut(name) {
            known.deleting = true;
        }
        let deleted = self.log().delete(name);
        self.note("delete", name, &deleted);
        match deleted {
            Ok(true) => {
                let known = self.streams.remove(name).ok_or_else(|| format!("deleted {name}, which was not there"))?;
                self.deleted.push(known.uuid);
                self.making.remove(name);
                self.disk.forgive(&Path::new(DIR).join("stream").join(name));
                if let Some((stream, mut waiting, early)) = waiting {
                    if early.or_else(|| poll(&mut waiting)) != Some(false) {
                        return Err("who waits for records of a deleted stream waits on".to_owned());
                    }
                    let late =
                        poll(&mut append(&stream, ShardId(0), &[b"late".as_slice()], &Put::new(1, 4), None, Millis(0)));
                    if !matches!(late, Some(Err(_))) {
                        return Err(format!("an append to a deleted stream was answered {late:?}"));
                    }
                }
                Ok(true)
            }
            Ok(false) if self.streams.contains_key(name) => Err(format!("deleting {name} found none")),
            Ok(false) => Ok(false),
            Err(error) => self.refused("delete", error.kind(), &error).map(|()| false),
        }
    }

    pub(crate) fn acknowledged(&mut self, stream: &str, shard: u32, range: &Range<Offset>, kept: Vec<Kept>) -> Check {
        let now = self.clock.really();
        let known = self.streams.get_mut(stream).and_then(|known| known.shards.get_mut(&shard));
        let known = known.ok_or("acknowledged in a shard that was never made")?;
        if range.start.0 != known.end() || range.end.0 != known.end() + kept.len() as u64 {
            return Err(format!("acknowledged as {range:?} where {} is the end", known.end()));
        }
        if !known.open.is_empty() {
            return Err("a record was acknowledged behind one that was not".to_owned());
        }
        let dir = format!("{DIR}/stream/{stream}/{shard}/");
        let log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        if let Some(failed) = self.disk.failed().iter().find(|path| path.starts_with(&dir) && log(path)) {
            return Err(format!("acknowledged after the sync of {} had failed", failed.display()));
        }
        known.promise(kept, now);
        Ok(())
    }

    /// New records, each with a number of its own.
    pub(crate) fn kept(&mut self, put: &Put) -> Vec<Kept> {
        let retention = i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
        let removable_from = self.clock.really() + retention - self.clock.behind() - CLOCK_SLACK_MS;
        let mut made = Vec::new();
        for _ in 0..put.records {
            self.sent += 1;
            let mut value = self.sent.to_be_bytes().to_vec();
            value.resize(put.bytes.max(8), (self.sent % 251) as u8);
            made.push(Kept { value, time: None, removable_from, batch: None });
        }
        made
    }

    /// Splits the open shard that takes `at`, so that `at` is the first hash of the upper one. Returns whether it was done.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn split(&mut self, name: &str, at: u128) -> Result<bool, String> {
        self.reshape_by(name, "split", |stream, _| stream.split(stream.shard_for_hash(at), at).map(drop))
    }

    /// Merges the `nth` open shard, by hash, with the next one. Returns whether it was done.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn merge(&mut self, name: &str, nth: usize) -> Result<bool, String> {
        self.reshape_by(name, "merge", |stream, open| {
            let nth = nth % open.len().max(1);
            let next = (nth + 1) % open.len().max(1);
            stream.merge(ShardId(open[nth]), ShardId(open[next])).map(drop)
        })
    }

    /// Cuts the stream into `shards` equal ranges. Returns whether it was done.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn reshape(&mut self, name: &str, shards: u32) -> Result<bool, String> {
        self.reshape_by(name, "reshape", |stream, _| stream.reshape(shards))
    }

    fn reshape_by(
        &mut self,
        name: &str,
        what: &str,
        change: impl FnOnce(&Stream, &[u32]) -> Result<(), ReshardError>,
    ) -> Result<bool, String> {
        let (Some(stream), Some(known)) = (self.log().stream(name), self.streams.get_mut(name)) else {
            return Ok(false);
        };
        let before = std::mem::replace(&mut known.reshaping, true);
        let open = known.open();
        let changed = change(&stream, &open);
        self.note(what, name, &changed);
        let known = self.streams.get_mut(name).ok_or("it was there")?;
        match changed {
            Ok(()) => {
                known.reshaped(&stream.shard_infos())?;
                // What is as asked for already is not written: a change that was in doubt before stays so.
                known.reshaping = before && known.open() == open;
                Ok(true)
            }
            // What cannot be is refused without a trace.
            Err(ReshardError::Point { .. } | ReshardError::Apart { .. } | ReshardError::ShardClosed { .. }) => {
                known.reshaping = before;
                Ok(false)
            }
            Err(error) => self.refused(what, error.kind(), &error).map(|()| false),
        }
    }

    /// Encrypts the records of a stream from now on, or no more.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn encrypt(&mut self, name: &str, encrypt: bool) -> Check {
        let Some(stream) = self.log().stream(name) else { return Ok(()) };
        let set = stream.set_encryption(encrypt);
        self.note("encrypt", name, &set);
        set.or_else(|error| self.refused("encrypt", error.kind(), &error))
    }

    /// Lets retention remove what is above `bytes` in a stream.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn retain(&mut self, name: &str, bytes: u64) -> Check {
        let Some(stream) = self.log().stream(name) else { return Ok(()) };
        let shards = stream.shards();
        self.streams.get_mut(name).ok_or("a stream is there that was never made")?.by_size = true;
        self.may_start_later();
        let least = StreamSettings { retention_bytes: Some(bytes), ..stream.settings() };
        let kept = StreamSettings { retention_bytes: None, ..stream.settings() };
        for settings in [least, kept] {
            let known = self.streams.get_mut(name).ok_or("a stream is there that was never made")?;
            let in_doubt = std::mem::replace(&mut known.reshaping, true);
            let changed = self.log().ensure(name, &StreamSettings { shards, ..settings });
            self.note("retain", name, &changed);
            if let Err(error) = changed {
                return self.refused("retain", error.kind(), &error);
            }
            let known = self.streams.get_mut(name).ok_or("it was there")?;
            known.reshaped(&stream.shard_infos())?; // what the file says first is an even cut
            known.reshaping = in_doubt;
            self.log().sweep_after(Duration::ZERO);
        }
        self.streams.get_mut(name).ok_or("it was there")?.by_size = false;
        Ok(())
    }

    /// The wall clock jumps, and stays there: what it believes of the age of records is right from now on.
    pub fn jump(&mut self, ms: i64) {
        self.clock.jump(ms);
        let shards = self.streams.values_mut().flat_map(|known| known.shards.values_mut());
        shards.for_each(ShardModel::may_go);
    }

    /// Time passes, and retention sweeps.
    pub fn sweep(&mut self, passed_ms: i64) {
        self.clock.pass(passed_ms);
        self.may_start_later();
        let swept = self.log().sweep_after(Duration::from_millis(passed_ms.unsigned_abs()));
        self.trace.note(format_args!("swept {swept:?}"));
    }

    /// Retention goes to work: where the shards may start from now on.
    fn may_start_later(&mut self) {
        let files = self.disk.files();
        for (name, known) in &mut self.streams {
            for (id, shard) in &mut known.shards {
                let dir = Path::new(DIR).join("stream").join(name).join(id.to_string());
                let base = |path: &Path| {
                    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
                    if path.parent() == Some(&dir) { stem.parse::<u64>().ok() } else { None }
                };
                let end = shard.end();
                shard.next_starts.extend(files.iter().filter_map(|(path, _)| base(path)));
                // All of it, if its last segment can be closed: by its age, or because the shard was.
                shard.next_starts.insert(end);
                if known.by_size {
                    shard.may_go();
                }
            }
        }
    }

    /// Puts a small file beside a stream.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn set_note(&mut self, name: &str, note: &str, bytes: &[u8]) -> Check {
        let Some(stream) = self.log().stream(name) else { return Ok(()) };
        let set = stream.set_note(note, bytes);
        self.note("note", name, &set);
        let known = self.streams.get_mut(name).ok_or("a stream is there that was never made")?;
        let values = known.notes.entry(note.to_owned()).or_insert_with(|| vec![None]);
        match set {
            Ok(()) => *values = vec![Some(bytes.to_vec())],
            Err(error) => {
                values.push(Some(bytes.to_vec()));
                return self.refused("note", kind_of(&error), &error);
            }
        }
        Ok(())
    }

    /// Holds everything that is there against the promises; what is found is then promised, too.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check(&mut self) -> Check {
        if self.disk.has_stopped() || !self.is_open() {
            return Ok(()); // nobody can look
        }
        let restarted = std::mem::take(&mut self.restarted);
        let log = Arc::clone(self.log());
        let found: BTreeMap<String, Arc<Stream>> =
            log.streams().into_iter().map(|stream| (stream.name().to_owned(), stream)).collect();
        self.check_names(&found)?;
        let now = self.clock.really();
        for (name, stream) in &found {
            let known = self.streams.get_mut(name).ok_or("the names were just checked")?;
            if stream.is_deleted() {
                if !known.deleting {
                    return Err(format!("{name} counts as deleted"));
                }
                continue; // a restart will tell
            }
            known.check_shards(&stream.shard_infos()).map_err(|what| format!("{name}: {what}"))?;
            for (id, shard) in &mut known.shards {
                let told = |what: String| format!("{name}/{id}: {what}");
                match stream.status(ShardId(*id)) {
                    Some(ShardStatus::Corrupt(corrupt)) => {
                        return Err(told(format!("a fault is taken for damage: {corrupt}")));
                    }
                    Some(ShardStatus::Poisoned { why }) if self.disturbed != Disturbed::Badly => {
                        return Err(told(format!("poisoned without a fault: {why}")));
                    }
                    _ => {}
                }
                let (start, read) = read_all(stream, ShardId(*id)).map_err(told)?;
                let bounds = stream.bounds(ShardId(*id));
                if (bounds.start, bounds.end.0) != (start, start.0 + read.len() as u64) {
                    return Err(told(format!("{bounds:?}, and {} records were read", read.len())));
                }
                self.trace.note(format_args!("{name}/{id} {bounds:?}"));
                read.iter().for_each(|(_, value)| self.trace.bytes(value));
                shard.check(start, read, restarted, now).map_err(told)?;
                look_up_times(stream, ShardId(*id), shard).map_err(told)?;
                read_on(stream, ShardId(*id), shard, &self.hits).map_err(told)?;
                if restarted {
                    shard.next_starts.clear();
                }
            }
            for (note, values) in &mut known.notes {
                let found = stream.note(note);
                if !values.contains(&found) {
                    return Err(format!("{name}: the note {note} is {found:?}, expected one of {values:?}"));
                }
                if restarted {
                    *values = vec![found];
                }
            }
            if restarted {
                (known.reshaping, known.deleting) = (false, false);
            }
        }
        if restarted {
            self.making.clear();
        }
        Ok(())
    }

    fn check_names(&mut self, found: &BTreeMap<String, Arc<Stream>>) -> Check {
        for (name, stream) in found {
            let uuid = stream.uuid();
            if self.deleted.contains(&uuid) {
                return Err(format!("{name} is there again after it was deleted"));
            }
            if let Some(back) = self.half_deleted.remove(name).filter(|back| back.uuid == uuid) {
                self.streams.insert(name.clone(), back);
            }
            match self.streams.get(name) {
                Some(known) if known.uuid == uuid => {}
                Some(known) if !known.deleting => return Err(format!("{name} is another stream than before")),
                _ if !self.making.contains(name) => return Err(format!("{name} is there and was never made")),
                _ => {
                    self.streams.insert(name.clone(), StreamModel::new(uuid, &stream.shard_infos()));
                }
            }
        }
        let gone: Vec<String> = self.streams.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in gone {
            let known = self.streams.remove(&name).ok_or("it was there")?;
            if !known.deleting {
                return Err(format!("{name} is gone"));
            }
            if self.disturbed == Disturbed::Badly {
                self.half_deleted.insert(name, known);
            } else {
                self.deleted.push(known.uuid);
            }
        }
        Ok(())
    }

    /// A refusal is right only if something has disturbed the log.
    pub(crate) fn refused(&self, what: &str, kind: ErrorKind, error: &dyn std::error::Error) -> Check {
        match self.disturbed {
            Disturbed::Badly => Ok(()),
            Disturbed::Full if kind == ErrorKind::Full => Ok(()),
            met => Err(format!("{what} failed although {met:?} has disturbed it: {error}")),
        }
    }

    pub(crate) fn note<T: Answered, E: std::fmt::Display>(
        &mut self,
        what: &str,
        on: impl std::fmt::Display,
        answer: &Result<T, E>,
    ) {
        match answer {
            Ok(answer) => self.trace.note(format_args!("{what} {on}: {}", answer.told())),
            Err(error) => self.trace.note(format_args!("{what} {on}: {error}")),
        }
    }
}

/// An answer as the trace tells it: without what differs from run to run (a stream's uuid).
pub(crate) trait Answered {
    fn told(&self) -> String;
}

impl Answered for Arc<Stream> {
    fn told(&self) -> String {
        format!("{} shards", self.shards())
    }
}

impl Answered for Range<Offset> {
    fn told(&self) -> String {
        format!("{}..{}", self.start, self.end)
    }
}

impl Answered for bool {
    fn told(&self) -> String {
        self.to_string()
    }
}

impl Answered for () {
    fn told(&self) -> String {
        "done".to_owned()
    }
}
