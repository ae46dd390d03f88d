//! Who commits the groups of all shards: threads of the log's own, and threads of a runtime that bring a little.
//!
//! A sync blocks, so the threads of a runtime should leave it to others. But to wake a thread on another core takes a fifth
//! as long as a sync on a good disk, and as long again to come back. A small group is therefore committed by the thread on
//! which it arrived, as the task that comes next there, while another thread of the runtime sees to the network. Only if
//! nothing else is being committed: where much is, the runtime's threads have better things to do than to wait, and so a disk
//! that hangs holds no more than one of them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use crate::limit::SMALL_GROUP_BYTES;
use crate::shard::Shard;

/// What is to be committed, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Committers {
    ready: Mutex<Ready>,
    /// Told when something is ready, and at the end.
    wake: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether it has threads of its own, without which only [`Committers::step`] commits.
    manned: bool,
}

#[derive(Debug, Default)]
struct Ready {
    /// For each there is a thread that was woken or a task that was begun; whoever comes first takes the first.
    shards: VecDeque<Job>,
    /// Whether a task was begun and has not come to take one.
    begun: bool,
    /// Threads, of the log's own and of runtimes, that commit now.
    committing: usize,
    closed: bool,
}

impl Ready {
    /// Whether nothing is being committed, nor will be.
    fn is_idle(&self) -> bool {
        self.shards.is_empty() && !self.begun && self.committing == 0
    }

    /// The shard that waits longest, to be committed by the caller.
    fn take(&mut self) -> Option<Job> {
        let job = self.shards.pop_front()?;
        self.committing += 1;
        Some(job)
    }
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
        let committers = Arc::new(Self { manned: count > 0, ..Self::default() });
        for number in 0..count {
            let worker = Arc::clone(&committers);
            let thread = std::thread::Builder::new().name(format!("commit-{number}")).spawn(move || worker.work())?;
            committers.threads.lock().push(thread);
        }
        Ok(committers)
    }

    /// Hands over a shard for which `bytes` have arrived and that is not scheduled yet.
    pub(crate) fn schedule(self: &Arc<Self>, job: Job, bytes: usize) {
        let small = self.manned && bytes as u64 <= SMALL_GROUP_BYTES;
        let runtime = small.then(Handle::try_current).and_then(Result::ok);
        let Some(runtime) = runtime.filter(|runtime| runtime.metrics().num_workers() > 1) else {
            return self.hand_over(job);
        };
        let mut ready = self.ready.lock();
        if !ready.is_idle() {
            drop(ready);
            return self.hand_over(job);
        }
        ready.begun = true;
        ready.shards.push_back(job);
        drop(ready);
        let task = Task(Some(Arc::clone(self)));
        // The first gives way to the second, and has another thread woken to take it: that one then watches the network while
        // this one waits for the disk.
        runtime.spawn(async {});
        runtime.spawn(async move { task.run() });
    }

    /// Has a thread of the log's own commit it.
    fn hand_over(&self, job: Job) {
        self.ready.lock().shards.push_back(job);
        self.wake.notify_one();
    }

    /// Commits one group of the shard that waits longest, if any.
    pub(crate) fn step(&self) -> bool {
        let Some(job) = self.ready.lock().take() else { return false };
        self.run(job, Shard::commit);
        true
    }

    /// Lets all finish what is scheduled, and ends the threads.
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
        while ready.committing > 0 {
            self.wake.wait(&mut ready);
        }
        drop(ready);
        while self.step() {} // without threads, or scheduled after they had gone
    }

    /// Commits what was taken, and leaves the rest to the log's own threads.
    fn run(&self, job: Job, commit: impl FnOnce(&Shard, u64) -> bool) {
        let _committing = Committing(self);
        if commit(&job.shard, job.segment_bytes) {
            self.hand_over(job); // behind the others: a busy shard must not starve them
        }
    }

    fn work(&self) {
        loop {
            let mut ready = self.ready.lock();
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
            self.run(job, Shard::commit);
        }
    }
}

/// A task of a runtime that is to commit one group; if its runtime ends before, the log's own threads do.
struct Task(Option<Arc<Committers>>);

impl Task {
    fn run(mut self) {
        let Some(committers) = self.0.take() else { return };
        let taken = {
            let mut ready = committers.ready.lock();
            ready.begun = false;
            ready.take()
        };
        if let Some(job) = taken {
            committers.run(job, Shard::commit_briefly);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(committers) = self.0.take() {
            committers.ready.lock().begun = false;
            committers.wake.notify_one();
        }
    }
}

/// While it is there, a thread commits.
struct Committing<'a>(&'a Committers);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let mut ready = self.0.ready.lock();
        ready.committing -= 1;
        if ready.closed {
            self.0.wake.notify_all();
        }
    }
}
