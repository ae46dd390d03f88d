//! Rows in a lake, without a stream: what the queries of `make bench` are asked over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use base::SystemClock;
use lake::{Lake, LakeSettings, TableSpec, TailBatch};
use serde_json::json;

use super::event::{FILE, batch, schema};
use super::tell;
use crate::{Outcome, say};

/// The first event's time, 2026-11-01T00:00:00Z: the same rows every time.
const BEGIN_MS: i64 = 1_793_491_200_000;
/// The rows are spread over three days, one file for each hour of them.
const HOURS: u64 = 72;
const HOUR_MS: i64 = 3_600_000;
/// Rows of one batch.
const BATCH_ROWS: u64 = 65_536;
/// Hours of one commit: what fits the tail at ten million rows.
const HOURS_PER_COMMIT: u64 = 2;

pub(crate) async fn generate(data: &Path, rows: u64) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let settings = LakeSettings { tail_bytes: 4 << 30, ..LakeSettings::default() };
    let file = file(data)?;
    let lake = Lake::open(&data.join("data/lake"), settings, Arc::new(SystemClock)).await?;
    let table = lake.ensure(TableSpec { name: "events".into(), schema: schema(), partitioned: true }).await?;
    anyhow::ensure!(table.snapshot().files.is_empty(), "{} has rows already: name another folder", data.display());
    let mut first = 0;
    for hour in 0..HOURS {
        let end = rows * (hour + 1) / HOURS;
        let count = end - first;
        for start in (first..end).step_by(usize::try_from(BATCH_ROWS)?) {
            let size = BATCH_ROWS.min(end - start);
            let times: Vec<i64> = (start..start + size).map(|row| time_of(row - first, count, hour)).collect();
            let rows = tokio::task::spawn_blocking(move || (batch(start, &times), times));
            let (rows, event_time) = rows.await?;
            table.push(TailBatch { rows, event_time, progress: Vec::new() })?;
        }
        first = end;
        if hour % HOURS_PER_COMMIT == HOURS_PER_COMMIT - 1 {
            table.flush().await?;
            say::note(&format!("{first} of {rows} rows"));
        }
    }
    table.flush().await?;
    let snapshot = table.snapshot();
    let bytes: u64 = snapshot.files.iter().map(|file| file.bytes).sum();
    tell(&json!({
        "rows": rows, "files": snapshot.files.len(), "bytes": bytes, "seconds": begun.elapsed().as_secs_f64(), "file": file,
    }))?;
    Ok(Outcome::Done)
}

/// Makes the folder and the file that serves it.
pub(crate) fn file(data: &Path) -> anyhow::Result<PathBuf> {
    let file = data.join("riverrun.toml");
    let written = std::fs::create_dir_all(data).and_then(|()| std::fs::write(&file, FILE));
    written.with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}

/// The time of the `row`th of `count` events of that hour.
fn time_of(row: u64, count: u64, hour: u64) -> i64 {
    let within = u128::from(row) * HOUR_MS.unsigned_abs() as u128 / u128::from(count.max(1));
    BEGIN_MS + i64::try_from(hour).unwrap_or(0) * HOUR_MS + i64::try_from(within).unwrap_or(0)
}
