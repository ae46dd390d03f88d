//! Who works, who waits and who is turned away: two numbers that many queries at once cannot overstep.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counts::QueryCounts;
use crate::settings::QuerySettings;

/// The places for queries, at work and waiting.
pub(crate) struct Turns {
    at_work: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    counts: Arc<QueryCounts>,
}

/// The place of one query. Dropping it gives the place to another, so a query is counted as ended before.
pub(crate) struct Turn {
    at_work: Arc<Semaphore>,
    counts: Arc<QueryCounts>,
    stands: Stands,
}

enum Stands {
    Waiting(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    AtWork(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Turns {
    pub(crate) fn new(settings: &QuerySettings, counts: Arc<QueryCounts>) -> Self {
        Self {
            at_work: Arc::new(Semaphore::new(settings.concurrency)),
            waiting: Arc::new(Semaphore::new(settings.queue_max)),
            counts,
        }
    }

    /// Takes a query in: to work if that is free, else to wait; `None` if too many wait already.
    ///
    /// It is counted as received last, so that whoever reads that number first finds each of its queries somewhere.
    pub(crate) fn take_in(&self) -> Option<Turn> {
        let free = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let stands = free(&self.at_work).map(Stands::AtWork).or_else(|| free(&self.waiting).map(Stands::Waiting));
        match &stands {
            Some(Stands::AtWork(_)) => self.counts.running.add(1),
            Some(Stands::Waiting(_)) => self.counts.queued.add(1),
            None => self.counts.refused.inc(),
        }
        self.counts.received.inc();
        Some(Turn { at_work: Arc::clone(&self.at_work), counts: Arc::clone(&self.counts), stands: stands? })
    }
}

impl Turn {
    /// Returns when it is this query's turn to work; in the order of arrival.
    pub(crate) async fn comes(&mut self) {
        if let Stands::Waiting(_) = self.stands {
            let place = Arc::clone(&self.at_work).acquire_owned().await.expect("places are never closed");
            self.counts.running.add(1);
            self.counts.queued.add(-1);
            self.stands = Stands::AtWork(place);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.stands {
            Stands::AtWork(_) => self.counts.running.add(-1),
            Stands::Waiting(_) => self.counts.queued.add(-1),
        }
    }
}
