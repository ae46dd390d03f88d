//! Running: what the file declares, put together from the top down and taken down in order.

mod certificates;
mod door;
mod feeds;
mod ledger;
mod lock;
mod pipeline;
mod process;
mod runs;
mod watch_file;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{Clock, Measured, SystemClock};
use console::{Dashboards, Pipeline, Rooms};
use edge::collect::{CollectLimits, Collector};
use edge::serve::ServeLimits;
use edge::{DeliveryStream, Edge, Firehose, FirehoseSettings, KinesisBeside, KinesisDoor, Tls};
use lake::Lake;
use query::Engine;
use serde::Serialize;
use stream::Log;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{Bug, Plant};
use crate::demo::Shopping;
use crate::file::{KinesisDoorSettings, Settings};
use crate::{Outcome, file, say};
use certificates::Certificates;
use door::Door;
use feeds::{FedCounts, Feeds};
use lock::DataLock;

/// How often retention is looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the shards of on-demand streams follow their load, which is measured over a minute.
const SCALE_EVERY: Duration = Duration::from_secs(5);
/// How long a clean end may take: a full tail and a slow disk. Then the process ends as it is, which loses nothing that
/// was acknowledged.
const STOP_MAX: Duration = Duration::from_secs(45);

/// `riverrun serve FILE`.
pub(crate) async fn serve(path: &Path, plant: &Plant) -> anyhow::Result<Outcome> {
    let running = Running::start(file::load(path)?, plant).await?;
    running.ready().say()?;
    until_signal(running, path, None).await
}

/// Where the open doors are.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ready {
    pub(crate) console: SocketAddr,
    pub(crate) edge: BTreeMap<String, SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kinesis: Option<SocketAddr>,
}

impl Ready {
    /// One JSON line on stdout, for whoever started us: `{"ready": {"console": …, "edge": {…}, "kinesis": …}}`.
    pub(crate) fn say(&self) -> anyhow::Result<()> {
        say::out(&serde_json::json!({ "ready": self }).to_string()).context("stdout cannot be written")
    }
}

/// Everything that runs.
pub(crate) struct Running {
    doors: Vec<Edge>,
    kinesis: Option<KinesisDoor>,
    console: Door,
    feeds: Feeds,
    chores: JoinSet<()>,
    end_chores: CancellationToken,
    reports: JoinSet<()>,
    log: Arc<Log>,
    dashboards: watch::Sender<Arc<Dashboards>>,
    ready: Ready,
    /// Taken over for as long as the rooms are open: see [`process`].
    _file_size: tokio::signal::unix::Signal,
    /// Last, so that the folder is free only when all else is gone.
    _lock: DataLock,
}

impl Running {
    /// Opens every room, doors last: what is let in finds all behind it ready.
    pub(crate) async fn start(settings: Settings, plant: &Plant) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let lock = DataLock::take(&settings.data)?;
        let file_size = process::prepare()?;
        let log = open_log(&settings, &clock, plant)?;
        let lake = open_lake(&settings, &clock, plant).await?;
        let runs = runs::open(&lake).await?;
        let feeds = Feeds::start(&settings.tables, &log, &lake, &clock).await?;
        let engine = Engine::new(settings.query.clone(), lake.clone())?;
        for table in lake.tables() {
            engine.add_table(table);
        }
        let collector = Collector::at("console", log.clone(), CollectLimits::default(), clock.clone());
        let mut measured: Vec<Arc<dyn Measured>> = vec![lake.clone(), engine.clone(), collector.counts()];
        measured.extend([log.clone() as Arc<dyn Measured>, Arc::new(FedCounts(feeds.fed()))]);

        let mut certificates = Certificates::new(settings.tls.clone());
        let mut doors = Vec::new();
        for (settings, tls) in settings.edges.clone() {
            let (limits, tls) = (ServeLimits::default(), certificates.of(&tls)?);
            doors.push(Edge::start_secured(settings, limits, tls, log.clone(), clock.clone()).await?);
        }
        let kinesis = match &settings.kinesis {
            None => None,
            Some(kinesis) => {
                let tls = certificates.of(&kinesis.tls)?;
                Some(open_kinesis(kinesis, tls, &settings, &log, &clock, plant, &mut measured).await?)
            }
        };
        measured.extend(doors.iter().map(|edge| edge.counts() as Arc<dyn Measured>));
        measured.extend(doors.iter().filter_map(Edge::collect_counts).map(|counts| counts as Arc<dyn Measured>));
        measured.extend(kinesis.iter().map(|door| door.counts() as Arc<dyn Measured>));
        let console_tls = certificates.of(&settings.console_tls)?;
        measured.push(Arc::new(certificates.counts()));

        let ledger = Arc::new(ledger::Ledger::new(feeds.fed()));
        engine.add_view("system", "ledger", ledger.clone());
        let edges = ledger::EdgeLedgers::new(doors.iter().map(Edge::counts).collect());
        engine.add_view("system", "edge_ledger", Arc::new(edges));
        let (dashboards, followed) = watch::channel(Arc::new(settings.dashboards.clone()));
        let (pipeline, measured_pipeline) = watch::channel(Arc::new(Pipeline::default()));
        let stop = CancellationToken::new();
        let rooms = Rooms {
            engine,
            log: log.clone(),
            lake: lake.clone(),
            collector: collector.routes(),
            measured: measured.clone(),
            pipeline: measured_pipeline,
            dashboards: followed,
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let (pages, counts) = console::router(rooms, &settings.console);
        measured.push(counts);
        let console = Door::open(pages, settings.console.listen, console_tls, stop)?;
        let edge = doors.iter().map(|edge| (edge.counts().name().to_owned(), edge.local_addr())).collect();
        let kinesis_address = kinesis.as_ref().map(KinesisDoor::local_addr);
        let ready = Ready { console: console.local_addr(), edge, kinesis: kinesis_address };

        let end_chores = CancellationToken::new();
        let mut chores = JoinSet::new();
        let mut reports = JoinSet::new();
        chores.spawn(pipeline::measure(measured, lake.clone(), ledger, clock, pipeline));
        chores.spawn(sweep(log.clone()));
        chores.spawn(scale(log.clone()));
        maintain(lake, runs, end_chores.clone(), &mut reports);
        Ok(Self {
            doors,
            kinesis,
            console,
            feeds,
            chores,
            end_chores,
            reports,
            log,
            dashboards,
            ready,
            _file_size: file_size,
            _lock: lock,
        })
    }

    /// Where the open doors are.
    pub(crate) fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// Closes the doors, lets what is inside flow to its end, closes the rooms.
    async fn stop(mut self) {
        let edges = futures::future::join_all(self.doors.into_iter().map(Edge::stop));
        let kinesis = async {
            if let Some(kinesis) = self.kinesis {
                kinesis.stop().await;
            }
        };
        tokio::join!(self.console.stop(), edges, kinesis);
        // Nothing comes in any more: what the stream holds goes into the lake.
        self.feeds.stop().await;
        self.end_chores.cancel();
        self.chores.shutdown().await;
        while self.reports.join_next().await.is_some() {}
        let log = self.log;
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
    }
}

fn open_log(settings: &Settings, clock: &Arc<dyn Clock>, plant: &Plant) -> anyhow::Result<Arc<Log>> {
    let acknowledge_before_sync = plant.bugs.contains(&Bug::AckBeforeSync);
    let faults = stream::Faults { acknowledge_before_sync, ..stream::Faults::default() };
    let log = Log::open_with_keys(&settings.data, clock.clone(), faults, settings.keys.clone())?;
    for (name, stream) in &settings.streams {
        log.ensure(name, stream)?;
    }
    Ok(log)
}

/// Opens the door of the Kinesis and Firehose APIs. Streams that the file declares are not to be deleted through it: the
/// next start would make them again, empty. Every table is a delivery stream, under its own name and its stream's.
async fn open_kinesis(
    kinesis: &KinesisDoorSettings,
    tls: Option<Arc<Tls>>,
    settings: &Settings,
    log: &Arc<Log>,
    clock: &Arc<dyn Clock>,
    plant: &Plant,
    measured: &mut Vec<Arc<dyn Measured>>,
) -> anyhow::Result<KinesisDoor> {
    let named = |name: &str, stream: &str| DeliveryStream { name: name.to_owned(), stream: stream.to_owned() };
    let own = settings.tables.iter().map(|table| named(&table.name, &table.from));
    let streams = settings.tables.iter().map(|table| named(&table.from, &table.from));
    let door = kinesis.door.clone();
    let of_firehose = FirehoseSettings {
        account: door.account.clone(),
        region: door.region.clone(),
        access: kinesis.delivery.clone(),
        forget_deliveries: plant.bugs.contains(&Bug::ForgetDeliveries),
        ..FirehoseSettings::default()
    };
    // Of two with one name the first counts, and a client that names a stream means that stream.
    let names = streams.chain(own).collect();
    let firehose = Arc::new(Firehose::new(log.clone(), clock.clone(), of_firehose, names));
    measured.push(firehose.counts());
    let beside = KinesisBeside { tls, firehose: Some(firehose) };
    Ok(KinesisDoor::start_beside(door, log.clone(), clock.clone(), settings.streams.keys().cloned(), beside).await?)
}

async fn open_lake(settings: &Settings, clock: &Arc<dyn Clock>, plant: &Plant) -> anyhow::Result<Arc<Lake>> {
    let forget_offsets_in_commit = plant.bugs.contains(&Bug::ForgetOffsets);
    let faults = lake::Faults { forget_offsets_in_commit, ..lake::Faults::default() };
    Ok(Lake::open_with(&settings.data.join("lake"), settings.lake.clone(), clock.clone(), faults).await?)
}

/// Splits the hot shards of on-demand streams and merges the cold ones, as the load goes.
async fn scale(log: Arc<Log>) {
    let mut ticks = tokio::time::interval(SCALE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let log = log.clone();
        let scaled = tokio::task::spawn_blocking(move || log.scale()).await.unwrap_or_default();
        if scaled != stream::Scaled::default() {
            tracing::info!(
                splits = scaled.splits,
                merges = scaled.merges,
                "shards of on-demand streams follow their load"
            );
        }
    }
}

async fn sweep(log: Arc<Log>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        let log = log.clone();
        // Retention deletes files: off the threads that answer.
        let _ = tokio::task::spawn_blocking(move || log.sweep()).await;
    }
}

/// Keeps the lake in shape until `end`, and writes down what was done.
fn maintain(lake: Arc<Lake>, runs: Arc<lake::Table>, end: CancellationToken, tasks: &mut JoinSet<()>) {
    let (sender, reports) = mpsc::channel(runs::WAITING_MAX);
    tasks.spawn(runs::keep(runs, reports));
    tasks.spawn(async move {
        let told = |report: lake::RunReport| {
            tracing::debug!(table = report.table, kind = %report.kind, files_before = report.files_before, files_after = report.files_after, "maintenance");
            if let Some(error) = &report.error {
                tracing::warn!(table = report.table, kind = %report.kind, error, "maintenance failed");
            }
            if sender.try_send(report).is_err() {
                tracing::warn!("a maintenance run could not be kept for system.runs: too many wait");
            }
        };
        lake.maintain(end.cancelled(), told).await;
    });
}

/// Runs until SIGINT or SIGTERM, then ends cleanly; a second signal ends at once.
pub(crate) async fn until_signal(running: Running, path: &Path, shoppers: Option<Shopping>) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    let following = tokio::spawn(watch_file::follow(path.to_owned(), running.dashboards.clone()));
    signals.next().await;
    say::note("riverrun: ending cleanly; once more to end at once");
    following.abort();
    let ending = async {
        if let Some(shoppers) = shoppers {
            shoppers.stop().await;
        }
        running.stop().await;
    };
    tokio::select! {
        () = ending => Ok(Outcome::Done),
        () = signals.next() => anyhow::bail!("ended at once: what was acknowledged is on disk, and the next start goes on from there"),
        () = tokio::time::sleep(STOP_MAX) => {
            anyhow::bail!("not ended cleanly within {STOP_MAX:?}: what was acknowledged is on disk, and the next start goes on from there")
        }
    }
}

/// The signals that ask us to end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot = "signals cannot be listened to";
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context(cannot)?,
            terminate: signal(SignalKind::terminate()).context(cannot)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
