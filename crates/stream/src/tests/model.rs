//! A log beside a model of what it promised: what was sent, what was acknowledged, what a reader has seen.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Millis, Offset, ShardId};
use parking_lot::Mutex;

use super::disk::{Crash, SimDisk};
use crate::{AppendError, Batch, Faults, FetchError, Log, RecordRef, Stream, StreamSettings};

pub(super) const SHARD: ShardId = ShardId(0);
pub(super) const DIR: &str = "/data";
/// A name short enough for long traces.
pub(super) const STREAM: &str = "s";

/// A clock that says what it is told.
#[derive(Debug, Default)]
pub(super) struct SetClock(pub(super) Mutex<i64>);

impl Clock for SetClock {
    fn now(&self) -> Millis {
        Millis(*self.0.lock())
    }
}

pub(super) fn settings() -> StreamSettings {
    StreamSettings { segment_bytes: 1500, ..StreamSettings::default() }
}

/// The log, opened on a simulated disk, with the promises so far.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<SetClock>,
    pub(super) faults: Faults,
    pub(super) log: Option<(Arc<Log>, Arc<Stream>)>,
    /// Records by offset that must be there: acknowledged, or seen by a reader.
    pub(super) promised: Vec<Vec<u8>>,
    /// Batches that were sent and not acknowledged, in order: each may follow what was promised, as a whole.
    pub(super) open: Vec<Vec<Vec<u8>>>,
    /// The first offset that retention has kept.
    pub(super) start: u64,
    /// What it becomes if the removal under way when the machine stopped was far enough.
    next_start: u64,
    sent: u64,
}

pub(super) type Check = Result<(), String>;

impl World {
    pub(super) fn new(faults: Faults) -> Self {
        let faults = Faults { late_by: Duration::ZERO, ..faults };
        let (disk, clock) = (SimDisk::new(), Arc::new(SetClock::default()));
        Self {
            disk,
            clock,
            faults,
            log: None,
            promised: Vec::new(),
            open: Vec::new(),
            start: 0,
            next_start: 0,
            sent: 0,
        }
    }

    pub(super) fn open(&mut self) -> Result<(), crate::OpenError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let disk = Arc::new(self.disk.clone());
        let log = Log::open_on(disk, Path::new(DIR), clock, self.faults, 0)?;
        let stream = log.ensure(STREAM, &settings())?;
        self.log = Some((log, stream));
        Ok(())
    }

    pub(super) fn close(&mut self) {
        if let Some((log, _)) = self.log.take() {
            log.close();
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.log.as_ref().expect("the log is open").1
    }

    /// Sends one group: batches of so many records of so many bytes, written together. Returns how it went.
    pub(super) fn append(&mut self, batches: &[(usize, usize)]) -> Result<(), AppendError> {
        let mut sent: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut answers = Vec::new();
        let mut failure = None;
        for (records, bytes) in batches {
            let mut builder = Batch::builder();
            let mut values = Vec::new();
            for _ in 0..*records {
                self.sent += 1;
                let mut value = self.sent.to_be_bytes().to_vec();
                value.resize((*bytes).max(8), (self.sent % 251) as u8);
                let timestamp = self.clock.now();
                let record = RecordRef { timestamp, value: &value, ..RecordRef::default() };
                builder.push(record).expect("fits");
                values.push(value);
            }
            match self.stream().enqueue(SHARD, builder.finish()) {
                Ok(answer) => {
                    answers.push(answer);
                    sent.push(values);
                }
                Err(error) => failure = Some(error),
            }
        }
        while self.log.as_ref().expect("the log is open").0.step() {}
        for (mut answer, values) in answers.into_iter().zip(sent) {
            match answer.try_recv().expect("every append is answered") {
                Ok(range) => {
                    assert_eq!(range.start.0, self.promised.len() as u64, "offsets are dense");
                    assert_eq!(range.end.0, range.start.0 + values.len() as u64);
                    assert!(self.open.is_empty(), "nothing is acknowledged behind what was not");
                    self.promised.extend(values);
                }
                Err(error) => {
                    if !matches!(error, AppendError::Full { .. }) {
                        self.open.push(values);
                    }
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The machine or the process goes down; `crash` says what is left.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.disk.stop_at(Some(0)); // nothing is done to it any more, also not by closing
        let left = self.disk.after(crash);
        self.close();
        self.disk = left;
    }

    /// Reads everything and holds it against the promises; what is read is then promised, too.
    pub(super) fn check(&mut self) -> Check {
        let read = self.read_all().map_err(|error| format!("reading failed: {error}"))?;
        let bounds = self.stream().bounds(SHARD);
        if bounds.start.0 != self.start || bounds.end.0 != self.start + read.len() as u64 {
            return Err(format!("bounds are {bounds:?}, start {} and {} records were read", self.start, read.len()));
        }
        let promised = &self.promised[self.start as usize..];
        if read.len() < promised.len() {
            return Err(format!("{} records were promised, {} are there", promised.len(), read.len()));
        }
        if let Some(at) = promised.iter().zip(&read).position(|(promised, read)| promised != read) {
            return Err(format!("record {at} is another one"));
        }
        let mut more = &read[promised.len()..];
        for batch in self.open.drain(..) {
            if more.is_empty() {
                break;
            }
            if more.len() < batch.len() || more[..batch.len()] != batch[..] {
                return Err("part of a batch, or records that were never sent".to_owned());
            }
            more = &more[batch.len()..];
        }
        if !more.is_empty() {
            return Err(format!("{} records more than were ever sent", more.len()));
        }
        self.promised.truncate(self.start as usize);
        self.promised.extend(read);
        Ok(())
    }

    /// All records, fetched in small pieces.
    pub(super) fn read_all(&self) -> Result<Vec<Vec<u8>>, FetchError> {
        let stream = self.stream();
        let mut from = stream.bounds(SHARD).start;
        let mut last = Millis(i64::MIN);
        let mut all = Vec::new();
        loop {
            let fetched = stream.fetch(SHARD, from, 300)?;
            if fetched.is_empty() {
                return Ok(all);
            }
            let mut expected = from;
            for record in fetched.records() {
                let record = record?;
                assert_eq!(record.offset, expected, "offsets are dense");
                assert!(record.timestamp >= last, "arrival times never go backward");
                last = record.timestamp;
                expected = expected.plus(1);
                all.push(record.value.to_vec());
            }
            assert_eq!(expected, fetched.next());
            from = fetched.next();
        }
    }

    /// Removes the oldest closed segment, as retention does.
    pub(super) fn remove_oldest(&mut self) -> std::io::Result<()> {
        let shard = Arc::clone(self.stream().shard_for_test(SHARD));
        if let Some(oldest) = shard.view.read().closed.front() {
            self.next_start = oldest.summary.end;
        }
        let removed = shard.remove_oldest(1);
        self.start = self.stream().bounds(SHARD).start.0;
        removed.map(|_| ())
    }

    /// After a crash the start may be the old or the new one.
    pub(super) fn accept_start(&mut self) -> Check {
        let Offset(found) = self.stream().bounds(SHARD).start;
        if found != self.start && found != self.next_start {
            return Err(format!("the start is {found}, expected {} or {}", self.start, self.next_start));
        }
        self.start = found;
        Ok(())
    }
}
