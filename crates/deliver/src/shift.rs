//! The life of one shard's reader, from its first record to its last.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use base::{ErrorKind, Offset, ShardId};
use stream::Stream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::flusher::Flusher;
use crate::reader::{Feed, Reader, Step, StepError};

/// After a small batch the next is not fetched before this time: many small ones would cost more than they bring, and
/// nobody sees ten milliseconds.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes of log below which a batch is small.
const SMALL_BYTES: usize = 64 << 10;

/// How long a stop goes on to read what is in the stream. What is left is read at the next start.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long reading waits for room in the tail before it looks again.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// Batches being decoded at once, over all tables: as many as there are cores, so that memory stays bounded however many
/// shards there are.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// How the end of a delivery is told to all its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    /// Readers go on to the end of the stream and stop there.
    pub(crate) stop: CancellationToken,
    /// Readers stop at once.
    pub(crate) halt: CancellationToken,
    pub(crate) flusher: Arc<Flusher>,
    /// When reading on ends for good, from the moment at which the stop is noticed first.
    latest: Arc<OnceLock<Instant>>,
}

impl Bell {
    pub(crate) fn new(flusher: Arc<Flusher>) -> Self {
        Self { stop: CancellationToken::new(), halt: CancellationToken::new(), flusher, latest: Arc::default() }
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.stop.is_cancelled() || self.halt.is_cancelled()
    }

    pub(crate) async fn rung(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.halt.cancelled() => {}
        }
    }

    /// Whether a stop has taken as long as it may.
    pub(crate) fn is_late(&self) -> bool {
        self.stop.is_cancelled() && Instant::now() >= self.latest()
    }

    /// Something was pushed into the tails.
    pub(crate) fn pushed(&self) {
        self.flusher.pushed.notify_one();
    }

    fn latest(&self) -> Instant {
        *self.latest.get_or_init(|| Instant::now() + DRAIN_MAX)
    }
}

/// What the stream says about a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It takes records.
    Open,
    /// It will never have a record at this offset or after it.
    Closed(Offset),
    /// Retention has taken all of it, or somebody has deleted the stream.
    Gone,
}

/// One shard's reader at work.
pub(crate) struct Shift {
    stream: Arc<Stream>,
    topology: tokio::sync::watch::Receiver<u64>,
    bell: Bell,
    life: Life,
    /// Until where to read on, once stopping has begun.
    goal: Option<Offset>,
}

impl Shift {
    pub(crate) fn new(stream: Arc<Stream>, bell: Bell) -> Self {
        let mut topology = stream.topology();
        topology.mark_changed();
        Self { topology, stream, bell, life: Life::Open, goal: None }
    }

    /// Reads the shard until it is over, or delivery is.
    pub(crate) async fn work(mut self, mut reader: Reader, again: Option<(Offset, Offset)>) {
        let mut backoff = Backoff::default();
        if let Some((from, until)) = again {
            match self.reread(reader, from, until, &mut backoff).await {
                Some(back) => reader = back,
                None => return,
            }
        }
        while self.wait_for_records(&reader).await && self.wait_for_room(&reader).await {
            let begun = Instant::now();
            let Some((back, stepped)) = self.turn(reader, Reader::step).await else { return };
            reader = back;
            match stepped {
                Ok(Step::Idle) => {}
                Ok(Step::Went { bytes, .. }) => {
                    backoff.reset();
                    self.bell.pushed();
                    if bytes < SMALL_BYTES && self.goal.is_none() {
                        self.pause(GATHER.saturating_sub(begun.elapsed())).await;
                    }
                }
                // The shard went in the middle of it: the next look says so.
                Err(_) if self.look(reader.shard()) == Life::Gone => {}
                Err(error) => {
                    if !self.survive(&reader, &error, &mut backoff).await || self.goal.is_some() {
                        return;
                    }
                }
            }
        }
        // A deleted stream's books are closed by the roster, once no reader is left.
        if self.life == Life::Gone && !self.stream.is_deleted() && !self.bell.halt.is_cancelled() {
            self.give_up(reader, &mut backoff).await;
        }
    }

    /// Reads again what a crash may have kept out of `system.rejected`.
    async fn reread(
        &self,
        mut reader: Reader,
        mut from: Offset,
        until: Offset,
        backoff: &mut Backoff,
    ) -> Option<Reader> {
        tracing::info!(shard = reader.shard().0, %from, %until, "reading again for rejected records");
        while from < until {
            if self.bell.is_rung() {
                return None;
            }
            let (back, stepped) = self.turn(reader, move |reader| reader.reread(from, until)).await?;
            reader = back;
            match stepped {
                Ok(Step::Idle) => break,
                Ok(Step::Went { next, .. }) => from = next,
                Err(error) => {
                    if !self.survive(&reader, &error, backoff).await {
                        return None;
                    }
                }
            }
        }
        self.bell.pushed();
        Some(reader)
    }

    /// Counts what nobody can read any more.
    async fn give_up(&self, mut reader: Reader, backoff: &mut Backoff) {
        loop {
            let Some((back, given_up)) = self.turn(reader, |reader| reader.give_up()).await else { return };
            reader = back;
            match given_up {
                Ok(_) => return self.bell.pushed(),
                Err(error) => {
                    if self.bell.is_rung() || !self.survive(&reader, &error, backoff).await {
                        return;
                    }
                }
            }
        }
    }

    /// Does one step on a blocking thread, when it is this reader's turn. `None`: the step panicked.
    async fn turn(
        &self,
        mut reader: Reader,
        step: impl FnOnce(&mut Reader) -> Result<Step, StepError> + Send + 'static,
    ) -> Option<(Reader, Result<Step, StepError>)> {
        let _turn = TURNS.acquire().await;
        let (feed, shard) = (Arc::clone(reader.feed()), reader.shard());
        let done = tokio::task::spawn_blocking(move || {
            let stepped = step(&mut reader);
            (reader, stepped)
        });
        match done.await {
            Ok(done) => Some(done),
            Err(error) => {
                stopped(&feed, shard, &format!("a mistake in riverrun, please report it: {error}"));
                None
            }
        }
    }

    /// What the stream says about the shard now.
    fn look(&mut self, shard: ShardId) -> Life {
        // Asked only if it can have changed: a stream may have a thousand shards.
        if self.topology.has_changed().unwrap_or(true) {
            self.topology.mark_unchanged();
            let info = self.stream.shard_infos().into_iter().find(|info| info.id == shard);
            self.life = match info {
                _ if self.stream.is_deleted() => Life::Gone,
                None => Life::Gone,
                Some(info) => info.closed.map_or(Life::Open, |closing| Life::Closed(closing.end)),
            };
        }
        self.life
    }

    /// Waits for a record behind those that are done. `false`: there is nothing more to do.
    async fn wait_for_records(&mut self, reader: &Reader) -> bool {
        let shard = reader.shard();
        loop {
            let next = reader.feed().counts.next(shard).unwrap_or_default();
            let over = match self.look(shard) {
                Life::Open => false,
                Life::Closed(end) => next >= end,
                Life::Gone => true,
            };
            if over || self.bell.halt.is_cancelled() {
                return false;
            }
            if self.bell.stop.is_cancelled() {
                let goal = *self.goal.get_or_insert_with(|| self.stream.bounds(shard).end);
                return next < goal && !self.bell.is_late();
            }
            let (bell, stream, topology) = (&self.bell, &self.stream, &mut self.topology);
            tokio::select! {
                biased;
                () = bell.rung() => {}
                there = stream.wait_beyond(shard, next) => {
                    if there || stream.bounds(shard).end > next {
                        return true;
                    }
                    // Nothing will come any more. If that is not because the shard is over, it is damaged, or the log
                    // is closed.
                    self.topology.mark_changed();
                    if self.look(shard) == Life::Open {
                        return self.explain_end(reader, next).await;
                    }
                    if let Life::Closed(end) = self.life && next < end {
                        return self.explain_end(reader, next).await;
                    }
                }
                Ok(()) = topology.changed() => self.topology.mark_changed(),
            }
        }
    }

    /// The stream says there will never be a record at `next`: it was closed, or the shard is damaged there. A fetch
    /// tells which; a closed one is left in peace until this delivery is stopped too.
    async fn explain_end(&self, reader: &Reader, next: Offset) -> bool {
        let stream = Arc::clone(&self.stream);
        let shard = reader.shard();
        let told = tokio::task::spawn_blocking(move || stream.fetch(shard, next, 1)).await;
        if let Ok(Err(error)) = told {
            stopped(reader.feed(), shard, &error.to_string());
            return false;
        }
        self.bell.rung().await;
        false
    }

    /// Waits while the tail is full. `false`: stop.
    async fn wait_for_room(&self, reader: &Reader) -> bool {
        let mut waited = false;
        let flusher = &self.bell.flusher;
        while !flusher.has_room() {
            if !std::mem::replace(&mut waited, true) {
                reader.feed().counts.waits.inc();
            }
            let flushed = flusher.flushed.notified();
            self.bell.pushed();
            tokio::select! {
                () = self.bell.halt.cancelled() => return false,
                () = self.bell.stop.cancelled() => return flusher.has_room(),
                () = flushed => {}
                () = tokio::time::sleep(ROOM_LOOK) => {}
            }
        }
        true
    }

    /// After a failed step: waits and lets it be tried again, or stops this shard.
    async fn survive(&self, reader: &Reader, error: &StepError, backoff: &mut Backoff) -> bool {
        let (feed, shard) = (reader.feed(), reader.shard());
        if error.is_final() {
            stopped(feed, shard, &error.to_string());
            return false;
        }
        if error.kind() == ErrorKind::Full {
            // Batches larger than the room left over: as if there had been none.
            feed.counts.waits.inc();
            self.bell.pushed();
            self.pause(ROOM_LOOK).await;
            return !self.bell.halt.is_cancelled();
        }
        let wait = backoff.next();
        tracing::warn!(table = feed.settings.name, shard = shard.0, %error, ?wait, "records could not be read and are tried again");
        feed.counts.retries.inc();
        self.pause(wait).await;
        !self.bell.halt.is_cancelled()
    }

    /// Sleeps, but not beyond the stop.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = self.bell.rung() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// This shard is read no more, and says why; the others go on.
fn stopped(feed: &Feed, shard: ShardId, why: &str) {
    tracing::error!(
        table = feed.settings.name,
        stream = feed.settings.from,
        shard = shard.0,
        why,
        "delivery of this shard has stopped"
    );
    if let Some(book) = feed.counts.books.lock().shards.get_mut(&shard) {
        book.stopped = Some(why.to_owned());
    }
}
