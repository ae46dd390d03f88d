//! A stream at one instant: what `GET /api/v1/streams/{name}` answers.

use base::ShardId;
use serde::Serialize;
use stream::plan::{SHARD_BYTES_IN, SHARD_BYTES_OUT, SHARD_RECORDS_IN};
use stream::{Heat, ShardInfo, ShardMode, ShardStatus, Stream};

use crate::streams::readers::Reader;

/// What went through in one direction, on average over about a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Rates {
    records_per_second: f64,
    bytes_per_second: f64,
}

fn rates_in(heat: Heat) -> Rates {
    Rates { records_per_second: heat.records_per_second, bytes_per_second: heat.bytes_per_second }
}

fn rates_out(heat: Heat) -> Rates {
    Rates { records_per_second: heat.read_records_per_second, bytes_per_second: heat.read_bytes_per_second }
}

/// A stream without its shards.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    name: String,
    mode: &'static str,
    open_shards: usize,
    closed_shards: usize,
    created_ms: i64,
    retention_ms: u64,
    retention_bytes: Option<u64>,
    encrypted: bool,
    records: u64,
    bytes: u64,
    r#in: Rates,
    out: Rates,
    consumers: usize,
    lag_records: Option<u64>,
    lag_ms: Option<u64>,
    /// What is wrong with a shard, if anything is.
    trouble: Option<String>,
}

/// A stream with its shards and readers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Picture {
    at_ms: i64,
    #[serde(flatten)]
    summary: Summary,
    pub(crate) shards: Vec<Shard>,
    reading: Vec<Reader>,
    limits: Limits,
}

/// Both ends inclusive; decimal, since no JSON number holds them.
#[derive(Clone, Debug, Serialize)]
struct Range {
    start: String,
    end: String,
}

/// One shard.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shard {
    shard: u32,
    /// Its name in the Kinesis API.
    name: String,
    range: Range,
    parents: Vec<u32>,
    created_ms: i64,
    closed_ms: Option<i64>,
    /// The first offset kept.
    start: u64,
    /// The offset after the last.
    end: u64,
    status: &'static str,
    why: Option<String>,
    r#in: Rates,
    out: Rates,
}

/// What one shard carries in the cloud, per second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Limits {
    records_in: u64,
    bytes_in: u64,
    bytes_out: u64,
}

const LIMITS: Limits = Limits { records_in: SHARD_RECORDS_IN, bytes_in: SHARD_BYTES_IN, bytes_out: SHARD_BYTES_OUT };

/// The name of a mode in the API, which is that in the file.
pub(crate) const fn mode_name(mode: ShardMode) -> &'static str {
    match mode {
        ShardMode::Provisioned => "provisioned",
        ShardMode::OnDemand => "on-demand",
    }
}

/// The stream as it is now; `readers` are those of this stream.
pub(crate) fn draw(stream: &Stream, readers: Vec<Reader>, at_ms: i64) -> Picture {
    let heat = stream.total_heat();
    let shards: Vec<Shard> =
        stream.shard_infos().into_iter().map(|info| shard(stream, &info, stream.heat(info.id))).collect();
    let settings = stream.settings();
    let open_shards = shards.iter().filter(|shard| shard.closed_ms.is_none()).count();
    let ill = shards.iter().find(|shard| shard.why.is_some());
    let summary = Summary {
        name: stream.name().to_owned(),
        mode: mode_name(settings.mode),
        open_shards,
        closed_shards: shards.len() - open_shards,
        created_ms: stream.created().0,
        retention_ms: u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX),
        retention_bytes: settings.retention_bytes,
        encrypted: settings.encryption,
        records: shards.iter().map(|shard| shard.end - shard.start).sum(),
        bytes: stream.bytes(),
        r#in: rates_in(heat),
        out: rates_out(heat),
        consumers: readers.len(),
        lag_records: readers.iter().filter_map(|reader| reader.lag_records).max(),
        lag_ms: readers.iter().filter_map(|reader| reader.lag_ms).max(),
        trouble: ill.map(|shard| format!("Shard {}: {}", shard.shard, shard.why.as_deref().unwrap_or_default())),
    };
    Picture { at_ms, summary, shards, reading: readers, limits: LIMITS }
}

/// The stream without its shards, as it is now.
pub(crate) fn summarise(stream: &Stream, readers: Vec<Reader>, at_ms: i64) -> Summary {
    draw(stream, readers, at_ms).summary
}

fn shard(stream: &Stream, info: &ShardInfo, heat: Heat) -> Shard {
    let bounds = stream.bounds(info.id);
    let parents = [info.parent, info.adjacent_parent];
    let (status, why) = match stream.status(info.id) {
        Some(ShardStatus::Poisoned { why }) => ("poisoned", Some(why)),
        Some(ShardStatus::Corrupt(corrupt)) => ("corrupt", Some(corrupt.to_string())),
        _ if info.closed.is_some() => ("closed", None),
        _ => ("open", None),
    };
    Shard {
        shard: info.id.0,
        name: name_of(info.id),
        range: Range { start: info.range.start.to_string(), end: info.range.end.to_string() },
        parents: parents.into_iter().flatten().map(|parent| parent.0).collect(),
        created_ms: info.created.0,
        closed_ms: info.closed.map(|closing| closing.at.0),
        start: bounds.start.0,
        end: bounds.end.0.max(bounds.start.0),
        status,
        why,
        r#in: rates_in(heat),
        out: rates_out(heat),
    }
}

/// The name of a shard in the Kinesis API.
fn name_of(shard: ShardId) -> String {
    format!("shardId-{:012}", shard.0)
}
