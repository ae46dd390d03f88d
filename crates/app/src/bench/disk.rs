//! The raw disk: what a write with `fdatasync` costs, beside which every other figure is to be read.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::{histogram, milliseconds, tell};
use crate::{Outcome, say};

const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;
/// The probe's file begins anew at this size.
const FILE_BYTES_MAX: u64 = 1 << 30;

pub(crate) fn fdatasync(dir: &Path, seconds: u32) -> anyhow::Result<Outcome> {
    let path = dir.join(format!(".riverrun-probe-{}", std::process::id()));
    let probed = probe(&path, Duration::from_secs(u64::from(seconds)));
    let _ = std::fs::remove_file(&path);
    probed.with_context(|| format!("the disk below {} cannot be probed", dir.display()))
}

fn probe(path: &Path, each: Duration) -> anyhow::Result<Outcome> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let (small, _) = write_for(&file, SMALL, each)?;
    file.set_len(0)?;
    let (large, bytes_per_s) = write_for(&file, LARGE, each)?;
    let megabytes_per_s = bytes_per_s / 1e6;
    say::note(&format!(
        "4 KiB + fdatasync: p50 {:.2} ms, p99 {:.2} ms; 1 MiB + fdatasync: {megabytes_per_s:.0} MB/s",
        small.value_at_quantile(0.5) as f64 / 1000.0,
        small.value_at_quantile(0.99) as f64 / 1000.0,
    ));
    tell(&json!({
        "write_4k_ms": milliseconds(&small), "write_1m_ms": milliseconds(&large), "write_1m_mb_per_s": megabytes_per_s,
    }))?;
    Ok(Outcome::Done)
}

fn write_for(mut file: &File, size: usize, time: Duration) -> anyhow::Result<(hdrhistogram::Histogram<u64>, f64)> {
    let block: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
    let mut taken = histogram();
    let begun = Instant::now();
    let mut written = 0u64;
    while begun.elapsed() < time {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        taken.saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        written += size as u64;
        if written.is_multiple_of(FILE_BYTES_MAX) {
            file.set_len(0)?;
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    Ok((taken, rate))
}
