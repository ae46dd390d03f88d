//! A log beside a model of what it promised: what was sent, what was acknowledged, what a reader has seen.

use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base::{Clock, Millis, Offset, ShardId};
use stream::{AppendError, Batch, Faults, FetchError, Log, OpenError, RecordRef, Stream, StreamSettings};

use crate::clock::SimClock;
use crate::disk::{Crash, SimDisk};

/// The shard that the lives of one shard use.
pub const SHARD: ShardId = ShardId(0);
const DIR: &str = "/data";
/// A name short enough for long traces.
const STREAM: &str = "s";
/// Small, so that a short life has several segments.
const SEGMENT_BYTES: u64 = 1500;

/// What was found: nothing, or the promise that was broken.
pub type Check = Result<(), String>;

type Answer = Result<Range<Offset>, AppendError>;

/// An append under way.
type Appending = Pin<Box<dyn Future<Output = Answer>>>;

/// The log, opened on a simulated disk, with the promises so far.
#[derive(Debug)]
pub struct World {
    /// The disk below the log.
    pub disk: SimDisk,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// The bugs planted in it.
    pub faults: Faults,
    log: Option<(Arc<Log>, Arc<Stream>)>,
    settings: StreamSettings,
    /// Records by offset that must be there: acknowledged, or seen by a reader.
    pub promised: Vec<Vec<u8>>,
    /// Batches that were sent and not acknowledged, in order: each may follow what was promised, as a whole.
    open: Vec<Vec<Vec<u8>>>,
    /// The first offset that retention has kept.
    start: u64,
    /// What it may have become if the machine stopped while retention was at work.
    next_starts: Vec<u64>,
    sent: u64,
}

impl World {
    /// An empty disk, and no log open yet.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Arc::default(),
            faults: Faults { late_by: Duration::ZERO, ..faults },
            log: None,
            settings: StreamSettings { segment_bytes: SEGMENT_BYTES, ..StreamSettings::default() },
            promised: Vec::new(),
            open: Vec::new(),
            start: 0,
            next_starts: Vec::new(),
            sent: 0,
        }
    }

    /// Opens the log and its stream.
    ///
    /// # Errors
    /// As the log says.
    pub fn open(&mut self) -> Result<(), OpenError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let disk = Arc::new(self.disk.clone());
        let log = Log::open_on(disk, Path::new(DIR), clock, self.faults, 0)?;
        let stream = log.ensure(STREAM, &self.settings)?;
        self.log = Some((log, stream));
        Ok(())
    }

    /// Whether the log is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.log.is_some()
    }

    /// Closes the log in order.
    pub fn close(&mut self) {
        if let Some((log, _)) = self.log.take() {
            log.close();
        }
    }

    /// The log.
    ///
    /// # Panics
    /// If it is not open.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log.as_ref().expect("the log is open").0
    }

    /// The stream.
    ///
    /// # Panics
    /// If the log is not open.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.log.as_ref().expect("the log is open").1
    }

    /// Sends one group: batches of so many records of so many bytes, written together.
    ///
    /// # Errors
    /// Why the last batch that failed did.
    ///
    /// # Panics
    /// If an answer breaks a promise.
    pub fn append(&mut self, batches: &[(usize, usize)]) -> Result<(), AppendError> {
        let mut sent: Vec<(Appending, Vec<Vec<u8>>)> = Vec::new();
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
            let (stream, batch) = (Arc::clone(self.stream()), builder.finish());
            sent.push((Box::pin(async move { stream.append(SHARD, batch).await }), values));
        }
        // The first poll puts the batch into the queue, or is refused.
        let early: Vec<Option<Answer>> = sent.iter_mut().map(|(appending, _)| poll(appending)).collect();
        while self.log().step() {}
        let mut failure = None;
        for ((mut appending, values), early) in sent.into_iter().zip(early) {
            let queued = early.is_none();
            match early.or_else(|| poll(&mut appending)).expect("every append is answered") {
                Ok(range) => {
                    assert_eq!(range.start.0, self.promised.len() as u64, "offsets are dense");
                    assert_eq!(range.end.0, range.start.0 + values.len() as u64);
                    assert!(self.open.is_empty(), "nothing is acknowledged behind what was not");
                    self.promised.extend(values);
                }
                Err(error) => {
                    if queued && !matches!(error, AppendError::Full { .. }) {
                        self.open.push(values);
                    }
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The machine or the process goes down; `crash` says what is left.
    pub fn crash(&mut self, crash: Crash) {
        self.disk.stop_at(Some(0)); // nothing is done to it any more, also not by closing
        let left = self.disk.after(crash);
        self.close();
        self.disk = left;
    }

    /// Reads everything and holds it against the promises; what is read is then promised, too.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn check(&mut self) -> Check {
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
    ///
    /// # Errors
    /// As the stream says.
    ///
    /// # Panics
    /// If offsets are not dense or times go back.
    pub fn read_all(&self) -> Result<Vec<Vec<u8>>, FetchError> {
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

    /// Lets retention remove what is above `bytes`.
    ///
    /// # Errors
    /// The settings could not be changed.
    pub fn retain(&mut self, bytes: u64) -> Result<(), OpenError> {
        self.next_starts = self.bases();
        let settings = StreamSettings { retention_bytes: Some(bytes), ..self.settings.clone() };
        self.log().ensure(STREAM, &settings)?;
        self.log().sweep_after(Duration::ZERO);
        self.log().ensure(STREAM, &self.settings)?;
        self.start = self.stream().bounds(SHARD).start.0;
        Ok(())
    }

    /// The first offsets of the segments on the disk.
    fn bases(&self) -> Vec<u64> {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let base = |path: &Path| name(path)?.strip_suffix(".log")?.parse().ok();
        self.disk.files().iter().filter_map(|(path, _)| base(path)).collect()
    }

    /// After a crash the start may be the old or a new one.
    ///
    /// # Errors
    /// It is another one.
    pub fn accept_start(&mut self) -> Check {
        let Offset(found) = self.stream().bounds(SHARD).start;
        if found != self.start && !self.next_starts.contains(&found) {
            return Err(format!("the start is {found}, expected {} or one of {:?}", self.start, self.next_starts));
        }
        self.start = found;
        Ok(())
    }
}

/// The answer, if there is one already.
fn poll(appending: &mut Appending) -> Option<Answer> {
    match appending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
