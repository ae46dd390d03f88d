//! The ten shop queries over a lake made with `riverrun bench generate`, without a server around them: medians, and
//! with `--explain` where the time goes.
//!
//! `ten FOLDER [QUERY-PREFIX …] [--explain] [--repeats N]`; FOLDER holds `data/lake/events`. Queries are read from
//! `bench/queries` below the working folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use base::SystemClock;
use futures::TryStreamExt;
use lake::{Lake, LakeSettings, TableSpec};
use query::{Engine, QueryOptions, QuerySettings};

struct Wanted {
    folder: PathBuf,
    prefixes: Vec<String>,
    explain: bool,
    repeats: usize,
}

fn wanted() -> Wanted {
    let mut wanted = Wanted { folder: PathBuf::new(), prefixes: Vec::new(), explain: false, repeats: 7 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--explain" => wanted.explain = true,
            "--repeats" => wanted.repeats = words.next().and_then(|n| n.parse().ok()).unwrap_or(wanted.repeats),
            _ if wanted.folder.as_os_str().is_empty() => wanted.folder = word.into(),
            _ => wanted.prefixes.push(word),
        }
    }
    wanted
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = wanted();
    let lake = Lake::open(&wanted.folder.join("data/lake"), LakeSettings::default(), Arc::new(SystemClock)).await?;
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![Field::new("event_time", time, true)]));
    let table = lake.ensure(TableSpec { name: "events".to_owned(), schema, partitioned: true }).await?;
    let engine = Engine::new(QuerySettings::default(), lake)?;
    engine.add_table(table);
    let mut sum = Duration::ZERO;
    for (name, sql) in queries(Path::new("bench/queries"))? {
        if !wanted.prefixes.is_empty() && !wanted.prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let mut taken = Vec::new();
        let mut rows = 0;
        let mut worked = 0;
        for _ in 0..=wanted.repeats {
            let (begun, before) = (Instant::now(), processor_ms());
            rows = run(&engine, &sql).await?;
            worked = if taken.is_empty() { 0 } else { worked + processor_ms() - before };
            taken.push(begun.elapsed());
        }
        let worked = worked / wanted.repeats as u64;
        let first = taken.remove(0);
        taken.sort_unstable();
        let median = taken[taken.len() / 2];
        sum += median;
        let planning = engine.counts().planning.quantile_us(0.5).unwrap_or(0);
        say(&format!(
            "{name:<36} {median:>9.1?}  best {:>9.1?}  first {first:>9.1?}  processor {worked:>5} ms  {rows} rows",
            taken[0]
        ));
        if wanted.explain {
            say(&format!("planning p50 {planning} us"));
            let answer = engine.query(&format!("explain analyze {sql}"), QueryOptions::default()).await?;
            let batches: Vec<_> = answer.try_collect().await?;
            say(&pretty_format_batches(&batches)?.to_string());
        }
    }
    say(&format!("sum {sum:.1?}"));
    Ok(())
}

async fn run(engine: &Engine, sql: &str) -> Result<usize, query::QueryError> {
    let answer = engine.query(sql, QueryOptions::default()).await?;
    let batches: Vec<_> = answer.try_collect().await?;
    Ok(batches.iter().map(arrow::array::RecordBatch::num_rows).sum())
}

/// Processor time of this process so far: what is left of a figure when the machine is busy with other work.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    ticks.sum::<u64>() * 10
}

/// The queries that are ours or everybody's, by name.
fn queries(folder: &Path) -> Result<Vec<(String, String)>, std::io::Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.contains('.') {
            found.push((name, std::fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}
