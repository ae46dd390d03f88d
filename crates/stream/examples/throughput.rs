//! How fast the log is on this machine, beside what the disk can do.
//!
//! `cargo run --release -p stream --example throughput -- [DIR] [SECONDS]`
//!
//! Prints, one line each: the disk alone (write and `fdatasync` of so many bytes, again and again, into a growing file
//! with room reserved), publishing 1 KiB records each acknowledged after its sync, with so many appenders at once,
//! publishing in batches, catch-up reads out of the page cache, put → get latency, and a thousand shards.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::{Histogram, Measured, Millis, Offset, ShardId, SystemClock};
use stream::disk::{Disk, RealDisk};
use stream::{Batch, Compression, Faults, Keyring, Log, RecordRef, Stream, StreamSettings};

const RECORD_BYTES: usize = 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| "target/throughput".to_owned()));
    let seconds: f64 = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    let _absent = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();

    for bytes in [1024, 64 * 1024, 1024 * 1024, 8 * 1024 * 1024] {
        probe(&dir, bytes, time);
    }
    for appenders in [1, 64, 1024] {
        runtime.block_on(publish(&dir, 1, appenders, 1, Compression::None, time));
    }
    for compression in [Compression::None, Compression::Lz4] {
        runtime.block_on(publish(&dir, 1, 16, 500, compression, time));
    }
    runtime.block_on(publish(&dir, 4, 64, 500, Compression::None, time));
    runtime.block_on(publish(&dir, 1000, 1000, 1, Compression::None, time));
    catch_up(&runtime, &dir, time);
    runtime.block_on(put_get(&dir, 1000, time));
    let _left = std::fs::remove_dir_all(&dir);
}

/// The disk alone, with the same calls as the log.
fn probe(dir: &Path, bytes: usize, time: Duration) {
    let path = dir.join("probe");
    let file = RealDisk.open(&path, true).unwrap();
    let data: Vec<u8> = (0..bytes).map(|n| (n * 31 % 251) as u8).collect();
    let latency = Histogram::default();
    let (mut at, mut reserved) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        if at + bytes as u64 > reserved {
            reserved = at + bytes as u64 + (32 << 20);
            file.reserve(at, reserved - at).unwrap();
        }
        file.write_at(at, &mut [IoSlice::new(&data)]).unwrap();
        file.sync().unwrap();
        at += bytes as u64;
        latency.record_us(begun.elapsed().as_micros() as u64);
    }
    let rate = at as f64 / started.elapsed().as_secs_f64() / 1e6;
    println!("disk: write+fdatasync of {bytes:>8} B: {rate:8.1} MB/s, {}", quantiles(&latency));
    std::fs::remove_file(path).unwrap();
}

fn quantiles(latency: &Histogram) -> String {
    let ms = |q| latency.quantile_us(q).unwrap_or(0) as f64 / 1000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {} times", ms(0.5), ms(0.99), ms(1.0), latency.count())
}

fn open(dir: &Path, shards: u32, encryption: bool) -> (Arc<Log>, Arc<Stream>) {
    let _absent = std::fs::remove_dir_all(dir.join("stream"));
    let keys = Some(Keyring::new(&[7; 32]));
    let log = Log::open_with_keys(dir, Arc::new(SystemClock), Faults::default(), keys).unwrap();
    let settings = StreamSettings { shards, encryption, ..StreamSettings::default() };
    let stream = log.ensure("bench", &settings).unwrap();
    (log, stream)
}

fn now() -> Millis {
    base::Clock::now(&SystemClock)
}

/// Text that is as random as click events are.
fn payload(seed: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(RECORD_BYTES + 64);
    let mut state = seed;
    while text.len() < RECORD_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 33;
        text.extend_from_slice(format!("{{\"visitor\":\"{number:08x}\",\"price\":{}.99}},", number % 500).as_bytes());
    }
    text.truncate(RECORD_BYTES);
    text
}

fn batch(payloads: &[Vec<u8>], records: usize, compression: Compression) -> Batch {
    let mut builder = Batch::builder().compression(compression);
    builder.reserve(records * (RECORD_BYTES + 32));
    let timestamp = now();
    for payload in payloads.iter().cycle().take(records) {
        builder.push(RecordRef { timestamp, value: payload, key: Some(b"visitor"), headers: &[] }).unwrap();
    }
    builder.finish()
}

async fn publish(dir: &Path, shards: u32, appenders: u64, records: usize, compression: Compression, time: Duration) {
    let (log, stream) = open(dir, shards, false);
    let latency = Arc::new(Histogram::default());
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..appenders)
        .map(|appender| {
            let (stream, latency, done) = (Arc::clone(&stream), Arc::clone(&latency), Arc::clone(&done));
            tokio::spawn(async move {
                let payloads: Vec<Vec<u8>> = (0..8).map(|n| payload(appender * 8 + n)).collect();
                let shard = ShardId((appender % u64::from(stream.shards())) as u32);
                while started.elapsed() < time {
                    let begun = Instant::now();
                    stream.append(shard, batch(&payloads, records, compression)).await.unwrap();
                    latency.record_us(begun.elapsed().as_micros() as u64);
                    done.fetch_add(records as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let passed = started.elapsed().as_secs_f64();
    let count = done.load(Ordering::Relaxed) as f64;
    let mut samples = Vec::new();
    stream.measure(&mut samples);
    let commits = samples.iter().find(|s| s.name == "riverrun_stream_commits_total").unwrap().value;
    println!(
        "publish: {shards} shard(s), {appenders} appender(s), batches of {records}, {compression:?}: {:.0} records/s, {:.1} MB/s, {:.0} records a sync, {}",
        count / passed,
        count * RECORD_BYTES as f64 / passed / 1e6,
        count / commits,
        quantiles(&latency)
    );
    log.close();
}

/// Reads a stream from its start again and again.
fn catch_up(runtime: &tokio::runtime::Runtime, dir: &Path, time: Duration) {
    let plain = [(500, Compression::None, false), (1, Compression::None, false), (500, Compression::Lz4, false)];
    let sealed = [(500, Compression::None, true), (1, Compression::None, true)];
    for (records, compression, encryption) in plain.into_iter().chain(sealed) {
        let (log, stream) = open(dir, 1, encryption);
        let payloads: Vec<Vec<u8>> = (0..64).map(payload).collect();
        runtime.block_on(async {
            let total = if records == 1 { 100_000 } else { 400 };
            let mut waiting = Vec::new();
            for _ in 0..total {
                let (stream, batch) = (Arc::clone(&stream), batch(&payloads, records, compression));
                waiting.push(tokio::spawn(async move { stream.append(ShardId(0), batch).await }));
                if waiting.len() == 1000 || (records > 1 && waiting.len() == 16) {
                    for answer in waiting.drain(..) {
                        answer.await.unwrap().unwrap();
                    }
                }
            }
        });
        let (mut bytes, mut count) = (0usize, 0u64);
        let started = Instant::now();
        while started.elapsed() < time {
            let mut from = Offset::ZERO;
            loop {
                let fetched = stream.fetch(ShardId(0), from, 1 << 20).unwrap();
                if fetched.is_empty() {
                    break;
                }
                for record in fetched.records() {
                    bytes += record.unwrap().value.len();
                    count += 1;
                }
                from = fetched.next();
            }
        }
        let passed = started.elapsed().as_secs_f64();
        let (rate, volume) = (count as f64 / passed, bytes as f64 / passed / 1e9);
        let how = if encryption { "encrypted" } else { "plain" };
        println!(
            "fetch: batches of {records}, {compression:?}, {how}: {rate:.0} records/s, {volume:.2} GB/s of payload"
        );
        log.close();
    }
}

/// One record every so often; a waiting reader takes the time since the moment it was meant to be sent.
async fn put_get(dir: &Path, rate: u64, time: Duration) {
    let (log, stream) = open(dir, 1, false);
    let latency = Arc::new(Histogram::default());
    let started = Instant::now();
    let total = (time.as_secs_f64() * rate as f64) as u64;
    let reader = tokio::spawn({
        let (stream, latency) = (Arc::clone(&stream), Arc::clone(&latency));
        async move {
            let mut next = Offset::ZERO;
            while next.0 < total {
                stream.wait_beyond(ShardId(0), next).await;
                let fetched = stream.fetch(ShardId(0), next, 1 << 16).unwrap();
                let arrived = started.elapsed();
                for record in fetched.records() {
                    let intended: [u8; 8] = record.unwrap().value[..8].try_into().unwrap();
                    let intended = Duration::from_nanos(u64::from_be_bytes(intended));
                    latency.record_us((arrived.saturating_sub(intended)).as_micros() as u64);
                }
                next = fetched.next();
            }
        }
    });
    let mut answers = Vec::new();
    for number in 0..total {
        let intended = Duration::from_nanos(number * 1_000_000_000 / rate);
        tokio::time::sleep_until((started + intended).into()).await;
        let mut value = payload(number);
        value[..8].copy_from_slice(&(intended.as_nanos() as u64).to_be_bytes());
        let batch = batch(&[value], 1, Compression::None);
        let stream = Arc::clone(&stream);
        answers.push(tokio::spawn(async move { stream.append(ShardId(0), batch).await }));
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    reader.await.unwrap();
    println!("put → get at {rate} records/s: {}", quantiles(&latency));
    log.close();
}
