//! The threads that serve the connections of all doors: one to a core, each with a runtime of its own. A connection stays
//! with the thread that got it.
//!
//! A runtime whose threads share their tasks has each thread that finds something to do wake another one to look for more.
//! For a door that is asked a little at a time that is another thread woken in vain for each packet, and for each record
//! that the log has stored; it took a tenth of what a put took from the client to the subscriber. What takes long goes to
//! other threads anyway, see [`crate::checks`], so nothing is gained by sharing. The console stays where queries are: they
//! spread their work over the threads of their runtime.

use std::future::{Future, pending};
use std::io;
use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};

/// Threads with a runtime each.
#[derive(Debug)]
pub(crate) struct Threads {
    each: Vec<Thread>,
    /// Where to look first for the one with the fewest connections.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: AtomicUsize,
}

impl Threads {
    /// Those of this process, which last as long as it does.
    pub(crate) fn of_process() -> &'static Self {
        static THREADS: LazyLock<Threads> =
            LazyLock::new(|| Threads::start(thread::available_parallelism().map_or(1, NonZero::get)));
        &THREADS
    }

    fn start(count: usize) -> Self {
        let started: io::Result<Vec<Thread>> = (0..count).map(Thread::start).collect();
        let each = started.unwrap_or_else(|error| {
            tracing::warn!(%error, "no threads could be started for the doors: they share those of everything else");
            Vec::new()
        });
        Self { each, next: AtomicUsize::new(0) }
    }

    /// Has a connection served by the thread that has the fewest; by the caller's runtime if there are no threads.
    pub(crate) fn spawn(&'static self, serving: impl Future<Output = ()> + Send + 'static) {
        let Some(thread) = self.least() else {
            drop(tokio::spawn(serving));
            return;
        };
        let held = Held::of(thread);
        thread.runtime.spawn(async move {
            let _held = held;
            serving.await;
        });
    }

    fn least(&self) -> Option<&Thread> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.each.len().max(1);
        let (after, before) = (self.each.iter().skip(first), self.each.iter().take(first));
        after.chain(before).min_by_key(|thread| thread.connections.load(Ordering::Relaxed))
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("door-{number}")).spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(Self { runtime: handle, connections: AtomicUsize::new(0) })
    }
}

/// A connection that counts as one of its thread's.
struct Held(&'static Thread);

impl Held {
    fn of(thread: &'static Thread) -> Self {
        thread.connections.fetch_add(1, Ordering::Relaxed);
        Self(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::tests::until;

    fn counts(threads: &Threads) -> Vec<usize> {
        threads.each.iter().map(|thread| thread.connections.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_with_the_fewest_and_stay_there() {
        let threads: &'static Threads = Box::leak(Box::new(Threads::start(3)));
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut ends = Vec::new();
        for _ in 0..6 {
            let (end, ended) = oneshot::channel::<()>();
            let tell = tell.clone();
            threads.spawn(async move {
                let name = || thread::current().name().map(str::to_owned);
                let before = name();
                tokio::task::yield_now().await;
                let _ended = ended.await;
                tell.send((before, name())).expect("is heard");
            });
            ends.push(end);
        }
        assert_eq!(counts(threads), [2, 2, 2]);
        // The first and the fourth are with the same thread.
        for at in [3, 0] {
            ends.remove(at).send(()).expect("waits");
            let (before, after) = told.recv().await.expect("tells");
            assert!(before.as_ref().is_some_and(|name| name.starts_with("door-")), "{before:?}");
            assert_eq!(before, after);
        }
        until("the ended are not counted", || counts(threads).iter().sum::<usize>() == 4).await;
        assert!(counts(threads).contains(&0), "{:?}", counts(threads));
        for _ in 0..2 {
            threads.spawn(std::future::pending());
        }
        assert_eq!(counts(threads), [2, 2, 2]);
    }

    #[tokio::test]
    async fn without_threads_the_runtime_of_the_caller_serves() {
        let threads: &'static Threads = Box::leak(Box::new(Threads::start(0)));
        let (tell, told) = oneshot::channel();
        threads.spawn(async move { tell.send(thread::current().id()).expect("is heard") });
        assert_eq!(told.await, Ok(thread::current().id()));
    }
}
