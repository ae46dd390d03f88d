//! The log itself, in this process: publishing, the raw disk in the same pattern, latency from an open loop, catch-up.
//!
//! Publishing and the raw disk take turns, because a shared disk swings within minutes: each round's share is of the
//! same moment.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::{Clock as _, Measured as _, Offset, Sample, ShardId, SystemClock};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::{Value, json};
use stream::{AppendError, Batch, Log, RecordRef, Stream, StreamSettings};
use tokio::task::JoinSet;

use super::{histogram, milliseconds, raw, tell};
use crate::cli::BenchStream;
use crate::{Outcome, say};

/// Bytes of one fetch when catching up.
const FETCH_BYTES: usize = 8 << 20;
/// A full queue is asked again after this.
const PAUSE: Duration = Duration::from_micros(500);
/// The first part of a latency run warms up and is not counted.
const WARM_UP: Duration = Duration::from_secs(1);
pub(crate) async fn stream(asked: BenchStream) -> anyhow::Result<Outcome> {
    let dir = asked.dir.join(format!(".riverrun-bench-{}", std::process::id()));
    let measured = measure(&asked, &dir).await;
    let _ = std::fs::remove_dir_all(&dir);
    let found = measured.with_context(|| format!("the log in {} cannot be measured", dir.display()))?;
    tell(&found)?;
    Ok(Outcome::Done)
}

async fn measure(asked: &BenchStream, dir: &Path) -> anyhow::Result<Value> {
    std::fs::create_dir_all(dir)?;
    let log = Log::open(dir, Arc::new(SystemClock))?;
    let settings = StreamSettings { shards: u32::from(asked.shards), ..StreamSettings::default() };
    let stream = log.ensure("bench", &settings)?;
    let time = Duration::from_secs(u64::from(asked.seconds));
    let mut rounds = Vec::new();
    for round in 0..asked.rounds {
        raw::have_memory_at_hand().await?;
        let published = publish(&log, &stream, asked, time).await?;
        // A thousand files side by side would measure the scheduler: as many as there are writers.
        let files = usize::from(asked.shards.min(asked.writers));
        let group = published.group_bytes.clamp(4096, raw::GROUP_BYTES_MAX);
        let raw = raw::disk(dir, files, group, time).await?;
        say::note(&format!(
            "round {round}: {:.0} records/s, {:.0} MB/s in groups of {group} bytes; the raw disk so, in MB/s: {raw:.0?}",
            published.records_per_s, published.mb_per_s
        ));
        rounds.push(json!({
            "records_per_s": published.records_per_s, "mb_per_s": published.mb_per_s, "group_bytes": group,
            "commits": published.commits, "acknowledged_ms": milliseconds(&published.acknowledged), "raw_mb_per_s": raw,
        }));
    }
    let read = catch_up(stream.clone(), u64::from(asked.size)).await?;
    let latency = latency(&log, asked, time).await?;
    log.close();
    Ok(json!({
        "size": asked.size, "batch": asked.batch, "writers": asked.writers, "shards": asked.shards, "rounds": rounds, "read": read,
        "latency": latency,
    }))
}

struct Published {
    records_per_s: f64,
    mb_per_s: f64,
    commits: u64,
    /// Bytes written with one sync, in the mean.
    group_bytes: u64,
    acknowledged: Histogram<u64>,
}

/// Payloads of the size that is asked for, none of which compresses well.
pub(super) fn payload(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state % 95) as u8
    };
    (0..size).map(next).collect()
}

/// Writers that each append batch after batch for that time: the next when the one before is acknowledged.
#[allow(clippy::cast_precision_loss)]
async fn publish(log: &Log, stream: &Arc<Stream>, asked: &BenchStream, time: Duration) -> anyhow::Result<Published> {
    let payloads: Arc<Vec<Vec<u8>>> = Arc::new((0..64).map(|seed| payload(usize::from(asked.size), seed)).collect());
    let before = commits(log);
    let taken = Arc::new(Mutex::new(histogram()));
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..u32::from(asked.writers) {
        let (stream, payloads, taken) = (stream.clone(), payloads.clone(), taken.clone());
        let (shard, batch) = (ShardId(writer % u32::from(asked.shards)), usize::from(asked.batch));
        writers.spawn(async move {
            let mut records = 0;
            while begun.elapsed() < time {
                let start = Instant::now();
                append(&stream, shard, payloads.iter().cycle().skip(records % 64).take(batch)).await?;
                taken.lock().saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
                records += batch;
            }
            anyhow::Ok(records)
        });
    }
    let mut records = 0;
    while let Some(ended) = writers.join_next().await {
        records += ended??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let commits = (commits(log) - before).max(1);
    let bytes = records as u64 * u64::from(asked.size);
    let acknowledged = taken.lock().clone();
    Ok(Published {
        records_per_s: records as f64 / seconds,
        mb_per_s: bytes as f64 / seconds / 1e6,
        commits,
        group_bytes: bytes / commits,
        acknowledged,
    })
}

/// Appends one batch, waiting while the shard's queue is full.
async fn append(stream: &Stream, shard: ShardId, values: impl Iterator<Item = &Vec<u8>>) -> anyhow::Result<()> {
    let mut builder = Batch::builder();
    let now = SystemClock.now();
    for value in values {
        builder.push(RecordRef { timestamp: now, key: Some(b"bench"), value, headers: &[] })?;
    }
    let batch = builder.finish();
    loop {
        match stream.append(shard, batch.clone()).await {
            Err(AppendError::Throttled { .. }) => tokio::time::sleep(PAUSE).await,
            other => return other.map(|_| ()).map_err(Into::into),
        }
    }
}

/// Groups synced so far.
fn commits(log: &Log) -> u64 {
    let mut samples: Vec<Sample> = Vec::new();
    log.measure(&mut samples);
    let commits: f64 = samples.iter().filter(|it| it.name == "riverrun_stream_commits_total").map(|it| it.value).sum();
    commits as u64
}

/// Reads everything from the beginning, shard after shard, and looks at every record.
#[allow(clippy::cast_precision_loss)]
async fn catch_up(stream: Arc<Stream>, size: u64) -> anyhow::Result<Value> {
    tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let mut records = 0u64;
        for shard in (0..stream.shards()).map(ShardId) {
            let bounds = stream.bounds(shard);
            let mut from = bounds.start;
            while from < bounds.end {
                let fetched = stream.fetch(shard, from, FETCH_BYTES)?;
                for record in fetched.records() {
                    anyhow::ensure!(record?.value.len() as u64 == size, "a record of another size");
                    records += 1;
                }
                from = fetched.next();
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let mb_per_s = (records * size) as f64 / seconds / 1e6;
        say::note(&format!("catch-up: {records} records, {mb_per_s:.0} MB/s"));
        Ok(json!({ "records": records, "seconds": seconds, "mb_per_s": mb_per_s, "records_per_s": records as f64 / seconds }))
    })
    .await?
}

/// Single records at the rate, each appended when it is due whatever the others do, and read by one who waits for the
/// next. Both times count from when the record was due.
async fn latency(log: &Log, asked: &BenchStream, time: Duration) -> anyhow::Result<Value> {
    let stream = log.ensure("latency", &StreamSettings::default())?;
    let begun = Instant::now() + Duration::from_millis(200);
    let every = Duration::from_secs_f64(1.0 / asked.rate);
    let count = ((time + WARM_UP).as_secs_f64() * asked.rate) as u64;
    let acknowledged = Arc::new(Mutex::new(histogram()));
    let reader = tokio::spawn(receive(stream.clone(), begun, count));
    let (runtime, size) = (tokio::runtime::Handle::current(), usize::from(asked.size).max(8));
    let (writes, taken) = (stream.clone(), acknowledged.clone());
    // A thread of its own: the runtime's timers round to a millisecond.
    let sending = std::thread::spawn(move || {
        let filler = payload(size, 3);
        let sent: Vec<_> = (0..count)
            .map(|number| {
                let due = every.mul_f64(number as f64);
                std::thread::sleep((begun + due).saturating_duration_since(Instant::now()));
                let mut value = filler.clone();
                value[..8].copy_from_slice(&u64::try_from(due.as_nanos()).unwrap_or(0).to_le_bytes());
                let (stream, taken) = (writes.clone(), taken.clone());
                runtime.spawn(async move {
                    append(&stream, ShardId(0), std::iter::once(&value)).await?;
                    if due >= WARM_UP {
                        let took = (begun + due).elapsed().as_micros();
                        taken.lock().saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        sent
    });
    let sent = tokio::task::spawn_blocking(move || sending.join()).await?;
    for append in sent.map_err(|_| anyhow::anyhow!("the sending thread broke"))? {
        append.await??;
    }
    let got = reader.await??;
    let acknowledged = milliseconds(&acknowledged.lock());
    let got = milliseconds(&got);
    say::note(&format!("put → get at {} records/s: p50 {} ms, p99 {} ms", asked.rate, got["p50"], got["p99"]));
    Ok(json!({ "rate": asked.rate, "got_ms": got, "acknowledged_ms": acknowledged }))
}

async fn receive(stream: Arc<Stream>, begun: Instant, count: u64) -> anyhow::Result<Histogram<u64>> {
    let mut taken = histogram();
    let (mut at, mut seen) = (Offset(0), 0);
    while seen < count {
        anyhow::ensure!(stream.wait_beyond(ShardId(0), at).await, "the log was closed");
        let fetched = stream.fetch(ShardId(0), at, FETCH_BYTES)?;
        let now = begun.elapsed();
        for record in fetched.records() {
            let value = record?.value;
            let due = Duration::from_nanos(u64::from_le_bytes(value[..8].try_into()?));
            if due >= WARM_UP {
                taken.saturating_record(u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX));
            }
            seen += 1;
        }
        at = fetched.next();
    }
    Ok(taken)
}
