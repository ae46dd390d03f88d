//! Group commit: everything that waits for a shard is written with one call and synced once, then all are told.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Millis, Offset};
use tokio::sync::oneshot;

use crate::ahead::Hand;
use crate::disk::DiskFile;
use crate::error::{AppendError, is_full};
use crate::index::{Index, Summary};
use crate::limit::{BLANK, CHECKPOINT_BYTES, RESERVE, SMALL_GROUP_BYTES};
use crate::producer::Noted;
use crate::queue::Waiting;
use crate::recovery::leader_epoch;
use crate::retention::Now;
use crate::segment::{self, OpenSegment, log_path};
use crate::shard::{Active, Closed, End, Shard};

/// What only the committing thread knows.
#[derive(Debug)]
pub(crate) struct Writer {
    last_timestamp: i64,
    /// Up to which byte room is reserved.
    reserved: u64,
    /// Bytes of the active file that its saved index vouches for.
    vouched: u64,
    /// Whether the active file was synced since it was opened, or last cut: see [`Shard::settle`].
    settled: bool,
}

impl Writer {
    pub(crate) fn new(last_timestamp: i64, vouched: u64) -> Self {
        Self { last_timestamp, reserved: 0, vouched, settled: false }
    }
}

/// Why a group was not written.
enum Failure {
    /// No room, and the file is as it was before: the next group may succeed.
    Full(io::Error),
    /// Nobody knows what the disk holds.
    Unknown(io::Error),
}

impl Shard {
    /// Writes, syncs and answers one group, if any waits, and does what a later one would have to wait for; room is made while
    /// others may commit. Returns whether more is waiting; if not, the shard is no longer scheduled.
    pub(crate) fn commit(&self, segment_bytes: u64) -> bool {
        let mut writer = self.writer.lock();
        let group = self.take_group(segment_bytes);
        self.commit_taken(&mut writer, group, segment_bytes);
        self.checkpoint(&mut writer);
        let making = self.room_to_make(segment_bytes);
        drop(writer);
        let more = self.reschedule(false);
        if let (false, Some(making)) = (more, making) {
            self.make_room(making);
        }
        more
    }

    /// Likewise, but a small group only, and without what may follow the answers: that, too, makes it return that there is
    /// more to do.
    pub(crate) fn commit_briefly(&self, segment_bytes: u64) -> bool {
        let mut writer = self.writer.lock();
        let group = self.take_small_group();
        if self.commit_taken(&mut writer, group, segment_bytes) {
            self.counts.direct_commits.inc();
        }
        let more = self.has_to_checkpoint(&writer) || self.room_to_make(segment_bytes).is_some();
        drop(writer);
        self.reschedule(more)
    }

    /// Writes, syncs and answers a group that was taken. Returns whether there was any to write.
    fn commit_taken(&self, writer: &mut Writer, group: Vec<Waiting>, segment_bytes: u64) -> bool {
        let bytes: usize = group.iter().map(|waiting| waiting.batch.bytes()).sum();
        let group = self.judge(group);
        let any = !group.is_empty();
        if any {
            if self.around.faults.acknowledge_before_sync {
                self.commit_late(writer, group, segment_bytes);
            } else {
                self.commit_group(writer, group, segment_bytes);
            }
        }
        self.around.budget.give_back(bytes);
        self.counts.waiting_bytes.add(-(bytes as i64));
        any
    }

    fn commit_group(&self, writer: &mut Writer, mut group: Vec<Waiting>, segment_bytes: u64) {
        match self.write_group(writer, &mut group, segment_bytes) {
            Ok(base) => {
                let mut next = Offset(base);
                for waiting in group {
                    let end = next.plus(waiting.batch.len() as u64);
                    let latest = Millis(waiting.batch.times().1);
                    waiting.answer(&Ok((next..end, latest)));
                    next = end;
                }
                // Whoever is answered can read it already; those who wait for it are woken last, and where this is a thread of
                // their runtime they have their turn first.
                self.end.send_modify(|known| known.offset = next.0);
            }
            Err(failure) => {
                let error = match failure {
                    Failure::Full(error) => AppendError::Full { why: error.to_string() },
                    Failure::Unknown(error) => self.poison(&error),
                };
                self.counts.failed.add(group.len() as u64);
                for waiting in group {
                    waiting.answer(&Err(error.clone()));
                }
            }
        }
    }

    /// The planted bug of [`crate::Faults::acknowledge_before_sync`].
    fn commit_late(&self, writer: &mut Writer, group: Vec<Waiting>, segment_bytes: u64) {
        let mut next = Offset(self.view.read().end());
        let mut late = Vec::with_capacity(group.len());
        for waiting in group {
            let end = next.plus(waiting.batch.len() as u64);
            let latest = Millis(waiting.batch.times().1);
            let unheard = Waiting { batch: waiting.batch.clone(), answer: oneshot::channel().0, others: Vec::new() };
            waiting.answer(&Ok((next..end, latest)));
            late.push(unheard);
            next = end;
        }
        std::thread::sleep(self.around.faults.late_by);
        self.commit_group(writer, late, segment_bytes);
    }

    /// Refuses everything from now on, also what waits.
    pub(crate) fn poison(&self, error: &io::Error) -> AppendError {
        let poisoned = AppendError::Poisoned { why: error.to_string() };
        tracing::error!(dir = %self.dir.display(), %error, "a write failed: the shard takes no more records until restart");
        self.refuse_all(&poisoned);
        poisoned
    }

    /// Ends the shard for appenders, those that wait included, and for readers that wait. Returns when no write is
    /// under way any more.
    pub(crate) fn abandon(&self, why: &AppendError) {
        self.refuse_all(why);
        let _written = self.writer.lock();
        let _made = self.room.take();
        self.end.send_modify(|end| end.open = false);
    }

    /// Takes nothing more, and writes what waits. Returns where the shard ends now: everything before is durable, what
    /// lies behind is blank, and nothing will come after, unless the shard is unsealed.
    pub(crate) fn seal(&self, segment_bytes: u64) -> Result<Offset, AppendError> {
        {
            let mut queue = self.queue.lock();
            if let Some(refused) = &queue.refused {
                return Err(refused.clone());
            }
            queue.refused = Some(AppendError::ShardClosed { shard: self.id });
        }
        while self.commit(segment_bytes) {}
        // A committer that had taken a group before has written it by now: each holds the writer meanwhile.
        let mut writer = self.writer.lock();
        if let Err(error) = self.settle(&mut writer, &self.room.take()) {
            return Err(self.poison(&error));
        }
        match &self.queue.lock().refused {
            Some(AppendError::ShardClosed { .. }) => Ok(self.bounds().end),
            Some(refused) => Err(refused.clone()),
            None => Err(AppendError::Closed),
        }
    }

    /// Leaves the files of a sealed shard as those of a closed one, and wakes all who wait.
    pub(crate) fn finish(&self) {
        let mut writer = self.writer.lock();
        let active = self.view.read().active.as_ref().map(|active| {
            let Summary { base, bytes, .. } = active.index.summary;
            (Arc::clone(&active.file), active.index.clone(), base, bytes)
        });
        if let Some((file, index, base, bytes)) = active {
            self.give_back(&*file, bytes, &self.room.take());
            self.save_index();
            self.save_producers();
            self.around.cache.put(self.key(base), Arc::new(OpenSegment { file, index }));
            *writer = Writer::new(writer.last_timestamp, bytes);
        }
        self.view.write().finish();
        self.end.send_modify(|end| end.open = false);
    }

    /// Cuts off what was prepared behind the `bytes` that the file holds. What stays all the same is blank, and goes when the
    /// log is opened.
    fn give_back(&self, file: &dyn DiskFile, bytes: u64, hand: &Hand<'_>) {
        hand.forget();
        if let Err(error) = file.truncate(bytes) {
            tracing::warn!(dir = %self.dir.display(), %error, "blank room could not be given back");
        }
    }

    /// Makes durable that nothing lies behind what the active file holds, before the file is taken for complete. An end
    /// that was never synced may have been cut by a start that a crash ended before its own sync; the next start sees
    /// nothing to cut, and if the power fails then, the end is there again. Behind the last group of a file that may
    /// grow that is an end to cut once more; in a complete file it would be damage.
    /// Whoever has the hand meets no room that is not synced yet.
    fn settle(&self, writer: &mut Writer, _hand: &Hand<'_>) -> io::Result<()> {
        if let (false, Some((file, _))) = (writer.settled, self.active()) {
            self.sync(&*file)?;
            writer.settled = true;
        }
        Ok(())
    }

    /// Makes the group durable and visible; returns its first offset.
    fn write_group(&self, writer: &mut Writer, group: &mut [Waiting], segment_bytes: u64) -> Result<u64, Failure> {
        let bytes: u64 = group.iter().map(|waiting| waiting.batch.bytes() as u64).sum();
        let (file, position, base) = self.room_for(writer, bytes, segment_bytes)?;
        let last_timestamp = self.place(group, base, writer.last_timestamp);

        let started = Instant::now();
        let end = position + bytes;
        // Where no room is known to be, some may just be in the making.
        let mut hand = (!self.room.reaches(end)).then(|| self.room.take());
        let mut parts: Vec<IoSlice<'_>> = group.iter().map(|waiting| IoSlice::new(waiting.batch.as_slice())).collect();
        if let Err(error) = file.write_at(position, &mut parts) {
            // Without room, what was written goes again; only if that is certain, the shard may go on.
            hand.get_or_insert_with(|| self.room.take()).forget();
            writer.reserved = 0;
            let undone = is_full(&error) && file.truncate(position).and_then(|()| file.sync()).is_ok();
            return Err(if undone { Failure::Full(error) } else { Failure::Unknown(error) });
        }
        // Room was synced when it was made, unless an end was cut since then.
        let in_place = writer.settled && self.room.reaches(end);
        if let (false, Some(hand)) = (in_place, &hand) {
            prepare(writer, hand, &*file, end, bytes, segment_bytes);
        }
        let written = Instant::now();
        let in_place = in_place || self.around.faults.grow_in_place;
        let synced = if in_place { self.sync_in_place(&*file, position, bytes) } else { self.sync(&*file) };
        synced.and_then(|()| self.sound()).map_err(Failure::Unknown)?;
        writer.settled = true;
        self.counts.write.record_us(micros(written - started));
        self.counts.sync.record_us(micros(written.elapsed()));

        writer.last_timestamp = last_timestamp;
        self.publish(group, bytes);
        Ok(base)
    }

    /// Saves the index now and then, so that little must be read after a crash.
    fn checkpoint(&self, writer: &mut Writer) {
        if self.has_to_checkpoint(writer) {
            writer.vouched = self.active().map_or(0, |(_, end)| end);
            self.save_index();
            self.save_producers();
        }
    }

    fn has_to_checkpoint(&self, writer: &Writer) -> bool {
        self.active().is_some_and(|(_, end)| end - writer.vouched >= CHECKPOINT_BYTES)
    }

    /// The file being written, and up to which byte.
    fn active(&self) -> Option<(Arc<dyn DiskFile>, u64)> {
        let view = self.view.read();
        view.active.as_ref().map(|active| (Arc::clone(&active.file), active.index.summary.bytes))
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        self.try_to(|| file.sync())
    }

    fn sync_in_place(&self, file: &dyn DiskFile, at: u64, bytes: u64) -> io::Result<()> {
        self.try_to(|| file.sync_in_place(at, bytes))
    }

    /// Once, unless a bug is planted.
    fn try_to(&self, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match sync() {
            Err(_) if self.around.faults.retry_failed_sync => sync(),
            synced => synced,
        }
    }

    /// The file to write to, from which byte on, and the next offset. Begins a new segment if this one is full.
    fn room_for(
        &self,
        writer: &mut Writer,
        bytes: u64,
        segment_bytes: u64,
    ) -> Result<(Arc<dyn DiskFile>, u64, u64), Failure> {
        if let Some(active) = &self.view.read().active {
            let summary = &active.index.summary;
            if summary.bytes == 0 || summary.bytes + bytes <= segment_bytes {
                return Ok((Arc::clone(&active.file), summary.bytes, summary.end));
            }
        }
        let (file, base) = self.roll(writer)?;
        Ok((file, 0, base))
    }

    /// Begins a new segment and closes the one before it.
    fn roll(&self, writer: &mut Writer) -> Result<(Arc<dyn DiskFile>, u64), Failure> {
        let base = self.view.read().end();
        let hand = self.room.take();
        self.settle(writer, &hand).map_err(Failure::Unknown)?;
        let file = self.create_segment(base)?;
        self.save_index();
        self.save_producers();
        let mut view = self.view.write();
        let active = Active::new(Arc::clone(&file), Index::empty(base));
        if let Some(full) = view.active.replace(active) {
            view.closed.push_back(Closed::new(full.index.summary));
            self.give_back(&*full.file, full.index.summary.bytes, &hand);
            let key = self.key(full.index.summary.base);
            let open = OpenSegment { file: full.file, index: full.index };
            self.around.cache.put(key, Arc::new(open));
        }
        *writer = Writer::new(writer.last_timestamp, 0);
        Ok((file, base))
    }

    fn create_segment(&self, base: u64) -> Result<Arc<dyn DiskFile>, Failure> {
        let disk = &*self.around.disk;
        let failed = |error: io::Error| if is_full(&error) { Failure::Full(error) } else { Failure::Unknown(error) };
        if self.view.read().active.is_none() {
            disk.create_dir(&self.dir).map_err(failed)?;
            disk.sync_dir(self.dir.parent().unwrap_or(&self.dir)).map_err(Failure::Unknown)?;
        }
        let path = log_path(&self.dir, base);
        let file = match disk.open(&path, true) {
            // Made by an attempt that failed for lack of room afterwards.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, false),
            opened => opened,
        };
        let file = Arc::from(file.map_err(failed)?);
        disk.sync_dir(&self.dir).map_err(Failure::Unknown)?;
        Ok(file)
    }

    /// Gives the batches their offsets, times and group; returns the latest time.
    fn place(&self, group: &mut [Waiting], base: u64, last_timestamp: i64) -> i64 {
        let mut next = base;
        let mut last = last_timestamp;
        for waiting in group {
            if waiting.batch.is_early(last) {
                self.counts.clamped_batches.inc();
            }
            last = waiting.batch.place(next, leader_epoch(base, next, self.salt), last);
            next += waiting.batch.len() as u64;
        }
        last
    }

    /// Shows the group to readers.
    fn publish(&self, group: &[Waiting], bytes: u64) {
        let mut records = 0;
        let mut noted = Vec::new();
        let stamped = group.iter().any(|waiting| waiting.batch.stamp().is_some());
        // Held until readers see the group: a snapshot says up to which offset it knows all producers.
        let mut producers = stamped.then(|| self.producers.lock());
        {
            let mut view = self.view.write();
            let active = view.active.as_mut().expect("a group was just written to it");
            active.newest.replace(&active.index.summary, bytes, group.iter().map(|waiting| waiting.batch.as_slice()));
            for batch in group.iter().map(|waiting| &waiting.batch) {
                let (times, count, offset) = (batch.times(), batch.len() as u32, active.index.summary.end);
                noted.extend(batch.stamp().map(|stamp| Noted { stamp, count, offset, time: times.1 }));
                active.index.push(batch.bytes(), count, times, batch.stamp().is_some());
                records += batch.len() as u64;
            }
            if let Some(producers) = &mut producers {
                self.counts.evicted_producers.add(producers.note_all(noted.into_iter()));
            }
        }
        drop(producers);
        let weight = group.iter().map(|waiting| waiting.batch.weight()).sum();
        self.meter.wrote(self.around.clock.now(), records, weight);
        self.counts.commits.inc();
        self.counts.appended_batches.add(group.len() as u64);
        self.counts.appended_records.add(records);
        self.counts.appended_bytes.add(bytes);
    }

    /// Saves the index of the active segment. If that fails, it is rebuilt when needed.
    fn save_index(&self) {
        let index = self.view.read().active.as_ref().map(|active| active.index.clone());
        if let Some(index) = index
            && let Err(error) = segment::save_index(&*self.around.disk, &self.dir, &index)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "the index could not be saved; it will be rebuilt");
        }
    }

    /// Begins a new segment if the first record of this one arrived more than `age` milliseconds ago, so that retention can
    /// have it.
    pub(crate) fn roll_if_older(&self, at: Now, age: i64) {
        let mut writer = self.writer.lock();
        let old = self.view.write().active.as_mut().is_some_and(|active| {
            let Some((first, _)) = active.index.summary.times else { return false };
            let seen = *active.seen.get_or_insert(at.elapsed);
            at.aged_from(first, seen) < at.time.0.saturating_sub(age)
        });
        if !old || self.queue.lock().refused.is_some() {
            return;
        }
        match self.roll(&mut writer) {
            Ok(_) => {}
            Err(Failure::Full(error)) => {
                tracing::warn!(dir = %self.dir.display(), %error, "no new segment could be begun");
            }
            // The new file may be there after a restart: the one before it must not grow any more.
            Err(Failure::Unknown(error)) => {
                self.poison(&error);
            }
        }
    }

    /// Leaves the files so that the next start need not read them, and wakes all who wait.
    pub(crate) fn close(&self) {
        let mut writer = self.writer.lock();
        let healthy = self.queue.lock().refused == Some(AppendError::Closed);
        let prepared = self.room.end().max(writer.reserved) > 0;
        let grown = self.active().filter(|(_, bytes)| *bytes > writer.vouched || prepared);
        if let (true, Some((file, bytes))) = (healthy, grown) {
            self.give_back(&*file, bytes, &self.room.take());
            self.save_index();
            *writer = Writer::new(writer.last_timestamp, bytes);
        }
        if healthy {
            self.save_producers();
            // Who was taken before the end and scheduled after the last committer had gone is written by nobody any more.
            self.refuse_all(&AppendError::Closed);
        }
        self.end.send_modify(|end| *end = End { open: false, ..*end });
    }
}

/// Prepares room behind the group where what was prepared before has ended, so that the one sync of this group pays for
/// many to come. Nothing depends on it; where there is no room, what was taken is given back.
fn prepare(writer: &mut Writer, hand: &Hand<'_>, file: &dyn DiskFile, end: u64, bytes: u64, segment_bytes: u64) {
    if bytes <= SMALL_GROUP_BYTES {
        hand.begin(file, end, BLANK.of(end, segment_bytes));
    } else if end > writer.reserved {
        let room = RESERVE.of(end, segment_bytes);
        writer.reserved = end + room;
        if let Err(error) = file.reserve(end, room) {
            tracing::debug!(%error, "no room could be reserved");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
