//! Who commits: a few threads, for all shards of a log; and while hardly anything is under way, whoever appends.
//!
//! Handing a group to another thread and being woken by it takes about a tenth of a millisecond, a third of what a small
//! append takes where a sync is quick. So a caller that has nothing else on its way may *lead*: it writes and syncs on
//! the spot, one small group of its own shard. Who comes meanwhile queues up behind it as ever, and the threads take
//! over what is left. Whoever leads holds the writer of the shard like a thread, so order, failures and sealing know no
//! difference; and it does not wait in between, so its caller cannot go away halfway.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::commit::micros;
use crate::limit::{BESIDE_LEADER_MAX, GROUP_BYTES_MAX, LEADER_US_MAX, SMALL_GROUP_BYTES};
use crate::shard::Shard;

/// Of the mean of what commits took, the latest counts this part.
const LATELY_PART: u64 = 8;

/// Those who commit, for all shards of a log.
#[derive(Debug, Default)]
pub(crate) struct Committers {
    ready: Mutex<Ready>,
    wake: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How many threads were started.
    count: usize,
    /// Microseconds that a commit takes lately.
    lately: AtomicU64,
}

#[derive(Debug, Default)]
struct Ready {
    shards: VecDeque<Job>,
    /// Groups that are being committed.
    working: usize,
    /// Whether one of them is by a leader.
    led: bool,
    closed: bool,
}

/// A shard with something waiting.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) shard: Arc<Shard>,
    pub(crate) segment_bytes: u64,
}

impl Committers {
    /// Starts that many threads.
    pub(crate) fn start(count: usize) -> io::Result<Arc<Self>> {
        let committers = Arc::new(Self { count, ..Self::default() });
        for number in 0..count {
            let worker = Arc::clone(&committers);
            let thread = std::thread::Builder::new().name(format!("commit-{number}")).spawn(move || worker.work())?;
            committers.threads.lock().push(thread);
        }
        Ok(committers)
    }

    /// Hands over a shard that has something waiting and is not scheduled yet.
    pub(crate) fn schedule(&self, job: Job) {
        self.ready.lock().shards.push_back(job);
        self.wake.notify_one();
    }

    /// Commits the shard here and now, if that is no harm to others; hands it over otherwise. The shard has a batch of so
    /// many bytes waiting and is not scheduled yet. Returns whether it was committed here.
    pub(crate) fn lead(&self, job: Job, bytes: usize) -> bool {
        let fits = bytes <= SMALL_GROUP_BYTES as usize && !job.shard.around.faults.acknowledge_before_sync;
        if !fits || !self.may_wait_here() || !self.begin_to_lead() {
            self.schedule(job);
            return false;
        }
        let leading = Leading(self);
        if self.count > 0 {
            have_others_watch();
        }
        job.shard.counts.led_commits.inc();
        self.run(job, SMALL_GROUP_BYTES as usize);
        drop(leading);
        true
    }

    /// Whether this thread may wait for the disk: the disk is quick, and another thread of the runtime goes on meanwhile.
    /// Where no threads commit there is no runtime either, but a simulation.
    fn may_wait_here(&self) -> bool {
        let others = |runtime: Handle| {
            runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1
        };
        self.count == 0
            || self.lately.load(Ordering::Relaxed) <= LEADER_US_MAX && Handle::try_current().is_ok_and(others)
    }

    /// One at a time leads, and only while hardly anybody else commits: otherwise there is enough to do for the threads
    /// of the runtime, and those of the log are awake.
    fn begin_to_lead(&self) -> bool {
        let mut ready = self.ready.lock();
        let free = !ready.led && !ready.closed && ready.shards.is_empty() && ready.working <= BESIDE_LEADER_MAX;
        if free {
            ready.led = true;
            ready.working += 1;
        }
        free
    }

    /// Commits one group of the shard that waits longest, if any.
    pub(crate) fn step(&self) -> bool {
        let Some(job) = self.ready.lock().take() else { return false };
        self.run(job, GROUP_BYTES_MAX);
        self.ready.lock().working -= 1;
        true
    }

    /// Lets the threads, and whoever leads, finish what is scheduled and end.
    pub(crate) fn close(&self) {
        self.ready.lock().closed = true;
        self.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a committing thread had panicked");
            }
        }
        let mut ready = self.ready.lock();
        while ready.led {
            self.wake.wait(&mut ready);
        }
        drop(ready);
        while self.step() {} // without threads, or scheduled after they had gone
    }

    fn run(&self, job: Job, most: usize) {
        let begun = Instant::now();
        let more = job.shard.commit(job.segment_bytes, most);
        let lately = self.lately.load(Ordering::Relaxed);
        // Two at once may lose the one or the other: it is an estimate.
        let mean = (lately * (LATELY_PART - 1) + micros(begun.elapsed())) / LATELY_PART;
        self.lately.store(mean, Ordering::Relaxed);
        if more {
            self.schedule(job); // behind the others: a busy shard must not starve them
        }
    }

    fn work(&self) {
        let mut ready = self.ready.lock();
        loop {
            let job = loop {
                if let Some(job) = ready.take() {
                    break job;
                }
                if ready.closed {
                    return;
                }
                self.wake.wait(&mut ready);
            };
            drop(ready);
            self.run(job, GROUP_BYTES_MAX);
            ready = self.ready.lock();
            ready.working -= 1;
        }
    }
}

impl Ready {
    /// The shard that waits longest, for somebody to commit.
    fn take(&mut self) -> Option<Job> {
        let job = self.shards.pop_front()?;
        self.working += 1;
        Some(job)
    }
}

/// Somebody who leads, until dropped.
struct Leading<'a>(&'a Committers);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut ready = self.0.ready.lock();
        ready.led = false;
        ready.working -= 1;
        if ready.closed {
            self.0.wake.notify_all();
        }
    }
}

/// Has another thread of the runtime watch what comes in while this one waits for the disk.
///
/// A thread that got something to do from the network watches the network no more until it is done, and wakes nobody
/// to do so; and the task that was made ready last waits for this very thread. Of two tasks spawned here, the first takes
/// that place, so that what was in it goes where everybody finds it, and so does the first when the second comes: another
/// thread is woken for it, and goes on watching. `block_in_place` would do without this, but gives away the place of
/// this thread among those of the runtime: whoever was woken by the commit then waits for another one.
fn have_others_watch() {
    for _ in 0..2 {
        drop(tokio::spawn(async {}));
    }
}
