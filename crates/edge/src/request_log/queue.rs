//! The bounded queue between requests and the writer. Requests append their line to the lane of their thread, so that
//! two threads rarely meet at one lock; the writer takes whole lanes. Nothing here waits: a line that does not fit is
//! refused, and the caller counts it.

use std::cell::Cell;
use std::mem::size_of;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Lanes: more than the threads of a small machine, few enough to sweep in a moment.
const LANES: usize = 16;

/// A lane that grew beyond this in a burst gives its memory back.
const LANE_BYTES_KEPT: usize = 1024 * 1024;

/// What the writer must know of a line beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where the line ends in its lane; it begins where the one before ends.
    pub(crate) end: usize,
    pub(crate) id: [u8; 36],
    pub(crate) unix_ms: i64,
    pub(crate) at: Instant,
    pub(crate) simulated: bool,
}

/// Lines in the order in which one thread finished them.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

impl Lane {
    /// Where the line of the entry numbered `index` begins.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.entries[before].end)
    }

    /// What these lines count against the queue's limit.
    fn weight(&self, entries: &Range<usize>) -> usize {
        if entries.is_empty() {
            return 0;
        }
        self.entries[entries.end - 1].end - self.start_of(entries.start) + entries.len() * size_of::<Entry>()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.bytes.shrink_to(LANE_BYTES_KEPT);
        self.entries.shrink_to(LANE_BYTES_KEPT / size_of::<Entry>());
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: [Mutex<Lane>; LANES],
    bytes_max: usize,
    /// Bytes of lines that wait or are being appended.
    bytes: AtomicUsize,
    lines: AtomicUsize,
    woken: AtomicBool,
    wake: Notify,
}

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn lane_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        lane.get()
    })
}

impl Queue {
    /// A queue that holds at most `bytes_max` bytes of lines.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            lanes: std::array::from_fn(|_| Mutex::default()),
            bytes_max,
            bytes: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Lines that wait or are being appended.
    pub(crate) fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    /// Bytes of lines that wait or are being appended.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Puts in the line that `write` appends to the lane; `false` if it did not fit. `entry.end` is set here.
    pub(crate) fn push(&self, mut entry: Entry, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.bytes() >= self.bytes_max {
            return false;
        }
        let mut lane = self.lanes[lane_of_thread()].lock();
        let start = lane.bytes.len();
        write(&mut lane.bytes);
        let weight = lane.bytes.len() - start + size_of::<Entry>();
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > self.bytes_max {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            lane.bytes.truncate(start);
            return false;
        }
        entry.end = lane.bytes.len();
        lane.entries.push(entry);
        self.lines.fetch_add(1, Ordering::Relaxed);
        drop(lane);
        // The lane's lock orders this after the writer's last look at the lane: it either saw the line or is not woken.
        if !self.woken.load(Ordering::Relaxed) && !self.woken.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        true
    }

    /// Waits until there may be a line.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Takes all lines, giving the emptied `spare` lanes in exchange. What was taken still counts against the limit
    /// until it is [`settled`](Self::settled).
    pub(crate) fn take(&self, spare: &mut Vec<Lane>) -> Vec<Lane> {
        self.woken.store(false, Ordering::Release);
        let mut taken = Vec::new();
        for lane in &self.lanes {
            let mut lane = lane.lock();
            if !lane.entries.is_empty() {
                let mut empty = spare.pop().unwrap_or_default();
                empty.clear();
                taken.push(std::mem::replace(&mut *lane, empty));
            }
        }
        taken
    }

    /// Says that these lines of a lane that was taken are on disk or given up.
    pub(crate) fn settled(&self, lane: &Lane, entries: Range<usize>) {
        self.bytes.fetch_sub(lane.weight(&entries), Ordering::Relaxed);
        self.lines.fetch_sub(entries.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { end: 0, id: [b'0'; 36], unix_ms: 0, at: Instant::now(), simulated: false }
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once_and_fits_again_when_settled() {
        let line = [b'x'; 100];
        let weight = line.len() + size_of::<Entry>();
        let queue = Queue::new(10 * weight);
        let put = || queue.push(entry(), |lane| lane.extend_from_slice(&line));
        assert_eq!((0..25).filter(|_| put()).count(), 10);
        assert_eq!(queue.lines(), 10);
        let taken = queue.take(&mut Vec::new());
        assert_eq!(taken.iter().map(|lane| lane.entries.len()).sum::<usize>(), 10);
        assert!(!put(), "lines being appended still fill the queue");
        for lane in &taken {
            queue.settled(lane, 0..lane.entries.len());
        }
        assert_eq!((queue.lines(), queue.bytes()), (0, 0));
        assert!(put());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_line_of_every_thread_is_taken_once() {
        const THREADS: usize = 8;
        const EACH: usize = 5_000;
        let queue = std::sync::Arc::new(Queue::new(usize::MAX / 2));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let queue = queue.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        assert!(
                            queue.push(entry(), |lane| lane.extend_from_slice(format!("{thread}/{number}").as_bytes()))
                        );
                    }
                })
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        let mut spare = Vec::new();
        while seen.len() < THREADS * EACH {
            queue.filled().await;
            for lane in queue.take(&mut spare) {
                let mut start = 0;
                for entry in &lane.entries {
                    assert!(seen.insert(lane.bytes[start..entry.end].to_vec()), "a line was taken twice");
                    start = entry.end;
                }
                queue.settled(&lane, 0..lane.entries.len());
                spare.push(lane);
            }
        }
        for thread in threads {
            thread.join().expect("the thread ends well");
        }
        assert_eq!((queue.lines(), queue.bytes()), (0, 0));
    }
}
