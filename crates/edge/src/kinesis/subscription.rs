//! Who is subscribed to which shard: one at a time for each consumer, and a newer one takes over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::ShardId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::counts::KinesisCounts;

/// How the time of a subscription is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long it lives, as published.
    pub(crate) life: Duration,
    /// The longest time without an event. Clients give up after about twice the published five seconds.
    pub(crate) quiet: Duration,
    /// How long it cannot be taken over, as published.
    pub(crate) hold: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { life: Duration::from_secs(300), quiet: Duration::from_secs(4), hold: Duration::from_secs(5) }
    }
}

/// Why a subscription ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its consumer subscribed again.
    TakenOver,
    /// Its consumer is registered no more.
    Deregistered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    stream: Uuid,
    consumer: String,
    shard: ShardId,
}

#[derive(Debug)]
struct Open {
    number: u64,
    since: Instant,
    end: oneshot::Sender<Ending>,
}

#[derive(Debug, Default)]
struct Book {
    open: HashMap<Key, Open>,
    number: u64,
}

/// All subscriptions of the door. As many as there are connections and HTTP/2 streams.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    book: Arc<Mutex<Book>>,
}

/// A subscription, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    book: Arc<Mutex<Book>>,
    key: Key,
    number: u64,
    counts: Arc<KinesisCounts>,
}

impl Subscriptions {
    /// Begins a subscription; `None` while another one is younger than `hold`. An older one ends.
    pub(crate) fn begin(
        &self,
        now: Instant,
        stream: Uuid,
        consumer: &str,
        shard: ShardId,
        hold: Duration,
        counts: &Arc<KinesisCounts>,
    ) -> Option<(Ticket, oneshot::Receiver<Ending>)> {
        let key = Key { stream, consumer: consumer.to_owned(), shard };
        let mut book = self.book.lock();
        if book.open.get(&key).is_some_and(|open| now.saturating_duration_since(open.since) < hold) {
            return None;
        }
        book.number += 1;
        let number = book.number;
        let (end, ended) = oneshot::channel();
        if let Some(older) = book.open.insert(key.clone(), Open { number, since: now, end }) {
            // It may have gone meanwhile.
            let _gone = older.end.send(Ending::TakenOver);
        }
        counts.subscriptions.add(1);
        Some((Ticket { book: self.book.clone(), key, number, counts: counts.clone() }, ended))
    }

    /// Ends all subscriptions of a consumer.
    pub(crate) fn end_consumer(&self, stream: Uuid, consumer: &str) {
        let is_its = |key: &Key| key.stream == stream && key.consumer == consumer;
        for (_, open) in self.book.lock().open.extract_if(|key, _| is_its(key)) {
            let _gone = open.end.send(Ending::Deregistered);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counts.subscriptions.add(-1);
        let mut book = self.book.lock();
        if book.open.get(&self.key).is_some_and(|open| open.number == self.number) {
            book.open.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::budget::Budget;

    #[test]
    fn a_newer_subscription_takes_over_but_not_at_once() {
        let subscriptions = Subscriptions::default();
        let counts = Arc::new(KinesisCounts::new(Budget::new(0)));
        let hold = Pace::default().hold;
        let now = Instant::now();
        let begin = |now| subscriptions.begin(now, Uuid::nil(), "app", ShardId(0), hold, &counts);
        let (first, mut ended) = begin(now).expect("nobody before");
        assert!(begin(now).is_none(), "too soon");
        let (second, _running) = begin(now + hold).expect("late enough");
        assert_eq!(ended.try_recv(), Ok(Ending::TakenOver));
        drop(first);
        assert_eq!(counts.subscriptions(), 1);
        assert!(begin(now + hold).is_none(), "the end of the first says nothing about the second");
        drop(second);
        assert!(begin(now + hold).is_some(), "who has gone holds nothing");
    }

    #[test]
    fn all_subscriptions_of_a_consumer_end_with_it() {
        let subscriptions = Subscriptions::default();
        let counts = Arc::new(KinesisCounts::new(Budget::new(0)));
        let begin = |consumer, shard| {
            subscriptions
                .begin(Instant::now(), Uuid::nil(), consumer, ShardId(shard), Duration::ZERO, &counts)
                .expect("free")
        };
        let (mut a, mut b, mut other) = (begin("app", 0), begin("app", 1), begin("other", 0));
        subscriptions.end_consumer(Uuid::nil(), "app");
        assert_eq!((a.1.try_recv(), b.1.try_recv()), (Ok(Ending::Deregistered), Ok(Ending::Deregistered)));
        assert!(other.1.try_recv().is_err());
    }
}
