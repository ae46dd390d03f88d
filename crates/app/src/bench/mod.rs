//! `riverrun bench`: the measuring side. Each prints one JSON object on stdout, and a line for people on stderr.

mod disk;
mod event;
mod generate;
mod latency;
mod load;
mod raw;
mod stream;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::Bench;
use crate::{Outcome, say};

pub(crate) async fn bench(asked: Bench) -> anyhow::Result<Outcome> {
    match asked {
        Bench::Load(asked) => load::load(asked).await,
        Bench::Latency(asked) => latency::latency(asked).await,
        Bench::Stream(asked) => stream::stream(asked).await,
        Bench::Fdatasync { dir, seconds } => disk::fdatasync(&dir, seconds),
        Bench::Generate { data, rows } => generate::generate(&data, rows).await,
        Bench::File { data } => generate::file(&data).map(|_| Outcome::Done),
    }
}

/// Durations in microseconds up to an hour, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are within what it can hold")
}

/// A distribution in milliseconds.
fn milliseconds(histogram: &Histogram<u64>) -> Value {
    #[allow(clippy::cast_precision_loss)]
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    #[allow(clippy::cast_precision_loss)]
    let max = histogram.max() as f64 / 1000.0;
    json!({ "count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": max })
}

fn tell(found: &Value) -> anyhow::Result<()> {
    say::out(&found.to_string())?;
    Ok(())
}
