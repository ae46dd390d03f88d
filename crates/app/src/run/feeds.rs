//! Feeding the tables: a delivery for each, and another one when its stream was deleted and made anew.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{Clock, Measured, Sample};
use deliver::{DeliverCounts, Delivery, DeliveryState, TableSettings};
use lake::Lake;
use stream::Log;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often is looked whether a stream was deleted, and whether it is there again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a delivery that could not begin anew the next attempt is made.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What the deliveries count, as they are now: one for each table, in the order of the file.
pub(crate) type Fed = watch::Receiver<Arc<Vec<Arc<DeliverCounts>>>>;

/// The deliveries to all tables.
pub(crate) struct Feeds {
    fed: Fed,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// One table's.
struct Feed {
    index: usize,
    table: TableSettings,
    log: Arc<Log>,
    lake: Arc<Lake>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    told: Arc<watch::Sender<Arc<Vec<Arc<DeliverCounts>>>>>,
}

impl Feeds {
    /// Begins to feed every table.
    pub(crate) async fn start(
        tables: &[TableSettings],
        log: &Arc<Log>,
        lake: &Arc<Lake>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (told, fed) = watch::channel(Arc::new(Vec::new()));
        let (told, stop) = (Arc::new(told), CancellationToken::new());
        let mut begun = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let (log, lake, clock) = (log.clone(), lake.clone(), clock.clone());
            let feed = Feed { index, table: table.clone(), log, lake, clock, stop: stop.clone(), told: told.clone() };
            let stream = feed.log.stream(&table.from).with_context(|| format!("there is no stream {}", table.from))?;
            let delivery = Delivery::start(table.clone(), stream, feed.lake.clone(), feed.clock.clone()).await;
            begun.push((feed, delivery.with_context(|| format!("the table {} cannot be delivered to", table.name))?));
        }
        told.send_replace(Arc::new(begun.iter().map(|(_, delivery)| delivery.counts()).collect()));
        let mut tasks = JoinSet::new();
        for (feed, delivery) in begun {
            tasks.spawn(feed.follow(delivery));
        }
        Ok(Self { fed, tasks, stop })
    }

    /// What they count.
    pub(crate) fn fed(&self) -> Fed {
        self.fed.clone()
    }

    /// Brings what the streams hold into the lake, and ends.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Feed {
    /// Keeps the table fed until the stop.
    async fn follow(self, mut delivery: Delivery) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return delivery.stop().await,
                () = ended(&delivery) => {}
            }
            delivery.stop().await;
            delivery = tokio::select! {
                () = self.stop.cancelled() => return,
                anew = self.begin_anew() => anew,
            };
            self.told.send_modify(|all| {
                let mut now = Vec::clone(all);
                now[self.index] = delivery.counts();
                *all = Arc::new(now);
            });
            tracing::info!(table = self.table.name, stream = self.table.from, "the stream is there again, and is read");
        }
    }

    /// Waits for a stream of that name, and begins to read it.
    async fn begin_anew(&self) -> Delivery {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(stream) = self.log.stream(&self.table.from).filter(|stream| !stream.is_deleted()) else {
                continue;
            };
            match Delivery::start(self.table.clone(), stream, self.lake.clone(), self.clock.clone()).await {
                Ok(delivery) => return delivery,
                Err(error) => {
                    tracing::warn!(table = self.table.name, %error, "the stream is there again, and cannot be read yet");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }
}

/// Waits until there is nothing more to deliver.
async fn ended(delivery: &Delivery) {
    let counts = delivery.counts();
    while !matches!(counts.state(), DeliveryState::Ended(_)) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The deliveries' part of `/metrics`.
pub(crate) struct FedCounts(pub(crate) Fed);

impl Measured for FedCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let fed = self.0.borrow().clone();
        fed.iter().for_each(|counts| counts.measure(samples));
    }
}
