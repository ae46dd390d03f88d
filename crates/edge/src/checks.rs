//! Turns at the processor for work that is long and cannot wait in between: inflating, parsing, writing large answers.
//!
//! Such work runs on threads of its own, so that it holds up no other request. Without a limit there would be up to 512
//! of them; more than there are cores finish nothing sooner, and hundreds leave whoever asks for something small waiting
//! for seconds. The cores are one for all doors, so the turns are, too. Who waits for a turn keeps its share of memory,
//! which bounds how many wait.

use std::num::NonZero;
use std::sync::LazyLock;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Reads in progress for each core: some wait for the disk, and those whose bytes are in memory need not wait for them.
const READS_PER_CORE: usize = 4;

/// Operations on streams in progress for each core: they are short, or wait for syncs of the disk.
const CHANGES_PER_CORE: usize = 16;

/// What is done in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Needs a core from beginning to end.
    Check,
    /// Reads from the log, which may be waiting for the disk.
    Read,
    /// Looks at streams or changes them, which may be waiting for several syncs.
    Change,
}

static CHECKS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores()));
static READS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(READS_PER_CORE * cores()));
static CHANGES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(CHANGES_PER_CORE * cores()));

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does the work on a thread of its own when it is its turn, first come, first served. Who does not wait for it any more
/// gives up its turn, unless it has come: then the work is done to its end, and so long nobody else has the turn.
///
/// # Errors
/// The work panicked, or the runtime is ending.
pub(crate) async fn run<T: Send + 'static>(
    work: Work,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let turns = match work {
        Work::Check => &CHECKS,
        Work::Read => &READS,
        Work::Change => &CHANGES,
    };
    let turn = turns.acquire().await.expect("it is never closed");
    tokio::task::spawn_blocking(move || {
        let done = job();
        drop(turn);
        done
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn no_more_than_the_cores_work_at_once_also_when_callers_leave() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (started, starts) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let ends = Arc::new(parking_lot::Mutex::new(ends));
        let tasks: Vec<_> = (0..8 * cores())
            .map(|number| {
                let (now, most, started, ends) = (now.clone(), most.clone(), started.clone(), ends.clone());
                let job = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    started.send(number).expect("is told");
                    let _ended = ends.lock().recv();
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                tokio::spawn(run(Work::Check, job))
            })
            .collect();
        drop(started);
        // The first that works is left by its caller; its turn stays its own.
        let first = tokio::task::spawn_blocking(move || (starts.recv().expect("one works"), starts)).await;
        let (first, starts) = first.expect("is received");
        tasks[first].abort();
        tokio::task::yield_now().await;
        for _ in 0..tasks.len() {
            end.send(()).expect("somebody works");
        }
        drop(end);
        for task in tasks {
            let _left = task.await;
        }
        let rest = tokio::task::spawn_blocking(move || starts.iter().count()).await.expect("counts");
        assert_eq!(rest, 8 * cores() - 1, "all had their turn");
        let most = most.load(Ordering::SeqCst);
        assert!(most <= cores(), "{most} at once");
    }

    #[tokio::test]
    async fn a_panic_gives_the_turn_back() {
        for _ in 0..4 * cores() {
            let panicked = run(Work::Check, || panic!("as planned")).await;
            assert!(panicked.is_err_and(|error| error.is_panic()));
        }
        assert_eq!(run(Work::Check, || 7).await.expect("has its turn"), 7);
    }
}
