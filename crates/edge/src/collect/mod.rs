//! The collector: `POST /collect/{stream}` takes JSON or raw lines and answers once they are on disk.

pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod refusal;
mod split;
mod store;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base::limits::RECORD_BYTES_MAX;
use base::{Clock, Counter, Format, Histogram, Measured, Sample, SystemClock};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Map, Value};
use stream::{Log, Stream};

use crate::checks::{self, Work};
use crate::counts::{measure_histogram, micros};
use crate::request_log::field::Field;
use body::{BodyLimits, Packing};
use budget::{Budget, Share};
use refusal::Refusal;
use split::{Shape, Split};
use store::Kind;

pub use token::Token;

/// Bodies up to this size are checked where they arrive; larger ones on a thread of their own, so that they hold up
/// nobody (64 KiB take about 0.2 ms).
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Content types of one JSON object per line.
const NDJSON_TYPES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// What a request may cost.
#[derive(Clone, Debug)]
pub struct CollectLimits {
    /// Bytes of one body as sent: as much as the largest append.
    pub body_bytes_max: usize,
    /// Bytes of one body after inflating. Event JSON shrinks to about a tenth.
    pub inflated_bytes_max: usize,
    /// Bytes of all bodies that are being read or stored together: the collector's part of the process' memory.
    pub memory_bytes_max: usize,
    /// Time for a body to arrive.
    pub body_time: Duration,
}

impl Default for CollectLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: base::limits::BATCH_BYTES_MAX,
            inflated_bytes_max: 64 * RECORD_BYTES_MAX,
            memory_bytes_max: 192 * 1024 * 1024,
            body_time: Duration::from_secs(60),
        }
    }
}

/// What came in through a collector and what became of it.
#[derive(Debug, Default)]
pub struct CollectCounts {
    door: String,
    requests: Counter,
    refused: Counter,
    throttled: Counter,
    accepted: Counter,
    rejected: Counter,
    not_stored: Counter,
    body_bytes: Counter,
    record_bytes: Counter,
    request_us: Histogram,
    budget: Option<Arc<Budget>>,
}

impl CollectCounts {
    /// Records that are on disk.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Records that were no records.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.get()
    }

    /// Records that were well but could not be stored; their senders know.
    #[must_use]
    pub fn not_stored(&self) -> u64 {
        self.not_stored.get()
    }

    /// Requests that were told to come back later.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.throttled.get()
    }
}

impl Measured for CollectCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let door = [("door", self.door.as_str())];
        for (name, count) in [
            ("riverrun_edge_collect_requests_total", &self.requests),
            ("riverrun_edge_collect_refused_total", &self.refused),
            ("riverrun_edge_collect_throttled_total", &self.throttled),
            ("riverrun_edge_collect_accepted_records_total", &self.accepted),
            ("riverrun_edge_collect_rejected_records_total", &self.rejected),
            ("riverrun_edge_collect_not_stored_records_total", &self.not_stored),
            ("riverrun_edge_collect_body_bytes_total", &self.body_bytes),
            ("riverrun_edge_collect_record_bytes_total", &self.record_bytes),
        ] {
            samples.push(Sample::new(name, &door, count.get()));
        }
        let held = self.budget.as_ref().map_or(0, |budget| budget.used() as u64);
        samples.push(Sample::new("riverrun_edge_collect_memory_bytes", &door, held));
        measure_histogram(samples, "riverrun_edge_collect_time_us", &door, &self.request_us);
    }
}

/// The collector of one door.
#[derive(Clone, Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    /// The streams that may be posted to; `None`: all.
    streams: Option<Arc<[String]>>,
    token: Option<Arc<Token>>,
}

#[derive(Debug)]
struct Shared {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    limits: CollectLimits,
    budget: Arc<Budget>,
    counts: Arc<CollectCounts>,
}

impl Collector {
    /// A collector into every stream of `log`, for a door that only trusted clients reach.
    #[must_use]
    pub fn new(log: Arc<Log>, limits: CollectLimits) -> Self {
        Self::at("collect", log, limits, Arc::new(SystemClock))
    }

    /// Likewise, with the name of its door for the counts, and a clock that gives arrival times.
    #[must_use]
    pub fn at(door: &str, log: Arc<Log>, limits: CollectLimits, clock: Arc<dyn Clock>) -> Self {
        let budget = Budget::new(limits.memory_bytes_max);
        let counts = CollectCounts { door: door.to_owned(), budget: Some(budget.clone()), ..CollectCounts::default() };
        let counts = Arc::new(counts);
        Self { shared: Arc::new(Shared { log, clock, limits, budget, counts }), streams: None, token: None }
    }

    /// Only these streams, and only for who knows the token if there is one.
    #[must_use]
    pub fn only(mut self, streams: &[String], token: Option<Token>) -> Self {
        self.streams = Some(streams.into());
        self.token = token.map(Arc::new);
        self
    }

    /// What came in and what became of it.
    #[must_use]
    pub fn counts(&self) -> Arc<CollectCounts> {
        self.shared.counts.clone()
    }

    /// `POST /collect/{stream}`.
    pub fn routes(&self) -> Router {
        Router::new().route("/collect/{stream}", any(collect)).with_state(self.clone())
    }

    fn stream(&self, name: &str) -> Result<Arc<Stream>, Refusal> {
        let allowed = self.streams.as_ref().is_none_or(|streams| streams.iter().any(|stream| stream == name));
        let found = if allowed { self.shared.log.stream(name) } else { None };
        found.ok_or_else(|| Refusal::UnknownStream { name: name.to_owned() })
    }

    /// Everything before the records: who asks, for what, in which form.
    fn admit(&self, method: &Method, name: &str, query: &str, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        if method != Method::POST {
            return Err(Refusal::Method);
        }
        if let Some(token) = &self.token
            && !token.matches(headers)
        {
            return Err(Refusal::Token);
        }
        let (shape, fields, key) = asked(query, headers)?;
        Ok(Admitted { stream: self.stream(name)?, kind: Kind { shape, fields }, key, packing: body::packing(headers)? })
    }

    async fn take(&self, admitted: Admitted, headers: &HeaderMap, body: &mut Body) -> Result<Taken, Refusal> {
        let Admitted { stream, kind, key, packing } = admitted;
        let limits = BodyLimits {
            bytes_max: self.shared.limits.body_bytes_max,
            inflated_bytes_max: self.shared.limits.inflated_bytes_max,
            time: self.shared.limits.body_time,
        };
        let mut share = self.shared.budget.share();
        let bytes = body::read(body, headers, &limits, &mut share).await?;
        self.shared.counts.body_bytes.add(bytes.len() as u64);
        let shape = kind.shape;
        let inline = packing == Packing::None && bytes.len() <= INLINE_BYTES_MAX;
        let check = move || -> Result<(Bytes, Split, Share), Refusal> {
            let plain = match packing {
                Packing::None => bytes,
                Packing::Gzip => body::inflate(&bytes, &limits, &mut share)?,
            };
            let split = split::split(&plain, shape, key.as_deref())?;
            let packed_and_plain = share.bytes().max(plain.len());
            if !share.grow_to(packed_and_plain + split.weight() + store::weight(&plain)) {
                return Err(Refusal::NoRoom);
            }
            Ok((plain, split, share))
        };
        let checked = if inline {
            check()
        } else {
            let failed = |error: tokio::task::JoinError| Refusal::NotStored {
                kind: base::ErrorKind::Internal,
                why: format!("checking the body failed: {error}"),
            };
            checks::run(Work::Check, check).await.map_err(failed)?
        };
        let (plain, split, _share) = checked?;
        let stored = store::store(&stream, &plain, &split, &kind, self.shared.clock.now()).await;
        let counts = &self.shared.counts;
        counts.accepted.add(stored.records);
        counts.rejected.add(split.rejected_count);
        counts.record_bytes.add(plain.len() as u64);
        let left = split.pieces.len() as u64 - stored.records;
        counts.not_stored.add(left);
        Ok(Taken { split, stored })
    }
}

/// A request that may be read.
struct Admitted {
    stream: Arc<Stream>,
    kind: Kind,
    key: Option<String>,
    packing: Packing,
}

/// A request that was read and stored, as far as it went.
struct Taken {
    split: Split,
    stored: store::Stored,
}

impl Taken {
    fn answer(self) -> Response {
        let Self { split, stored } = self;
        let mut fields = Map::new();
        fields.insert("accepted".to_owned(), stored.records.into());
        let rejected = split.rejected.iter().map(|rejected| {
            Value::from_iter([
                ("index", Value::from(rejected.index)),
                ("reason", Value::from(rejected.reason.as_str())),
            ])
        });
        fields.insert("rejected".to_owned(), rejected.collect());
        fields.insert("rejected_count".to_owned(), split.rejected_count.into());
        if let Some((failure, next)) = stored.failed {
            fields.insert("next".to_owned(), next.into());
            let why = format!("the records from index {next} on were not stored: {failure}");
            return Refusal::NotStored { kind: failure.kind(), why }.answer(fields);
        }
        if split.pieces.is_empty() && split.rejected_count > 0 {
            return Refusal::AllRejected { seen: split.seen }.answer(fields);
        }
        let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (StatusCode::OK, no_store, axum::Json(Value::Object(fields))).into_response()
    }
}

async fn collect(
    State(collector): State<Collector>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let started = Instant::now();
    let counts = collector.shared.counts.clone();
    counts.requests.inc();
    let taken = match collector.admit(&method, &name, query.as_deref().unwrap_or_default(), &headers) {
        Ok(admitted) => collector.take(admitted, &headers, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    if matches!(&taken, Err(refusal) if !matches!(refusal, Refusal::Token)) {
        body::discard(&mut body).await;
    }
    let answer = match taken {
        Ok(taken) => taken.answer(),
        Err(refusal) => refusal.answer(Map::new()),
    };
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => counts.throttled.inc(),
        status if !status.is_success() => counts.refused.inc(),
        _ => {}
    }
    counts.request_us.record_us(micros(started, Instant::now()));
    answer
}

/// What the query and the content type ask for: the form of the body, the fields of CDN lines, the key.
fn asked(query: &str, headers: &HeaderMap) -> Result<(Shape, Option<String>, Option<String>), Refusal> {
    let (mut shape, mut fields, mut key) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "format" => shape = Some(shape_named(&value)?),
            "fields" => fields = Some(field_numbers(&value)?),
            "key" if !value.is_empty() => key = Some(value.into_owned()),
            other => {
                return Err(Refusal::Parameter {
                    what: format!("{other:?} is no parameter here"),
                    remedy: "Known parameters: format, fields, key",
                });
            }
        }
    }
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let by_type = if NDJSON_TYPES.contains(&essence) { Shape::Ndjson } else { Shape::Json };
    let shape = shape.unwrap_or(by_type);
    if fields.is_some() && shape != Shape::Lines(Format::Cdn) {
        return Err(Refusal::Parameter {
            what: "fields go with format=cdn only".to_owned(),
            remedy: "Add format=cdn, or leave out fields",
        });
    }
    if key.is_some() && matches!(shape, Shape::Lines(_)) {
        return Err(Refusal::Parameter {
            what: "a key can be taken from JSON only".to_owned(),
            remedy: "Leave out key: lines are spread over all shards",
        });
    }
    Ok((shape, fields, key))
}

fn shape_named(name: &str) -> Result<Shape, Refusal> {
    match name {
        "json" => Ok(Shape::Json),
        "ndjson" => Ok(Shape::Ndjson),
        "cdn" => Ok(Shape::Lines(Format::Cdn)),
        "combined" => Ok(Shape::Lines(Format::Combined)),
        other => Err(Refusal::Parameter {
            what: format!("{other:?} is no format"),
            remedy: "Known formats: json, ndjson, cdn, combined",
        }),
    }
}

/// Checks `1,2,5`: published numbers in growing order, as fields stand on a line.
pub(crate) fn field_numbers(list: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::Parameter {
        what: format!("fields={list} is no list of field numbers"),
        remedy: "Write the published numbers in growing order, for example fields=1,2,5",
    };
    let mut fields: Vec<Field> = Vec::new();
    for number in list.split(',') {
        let field = number.trim().parse().ok().and_then(Field::by_number).ok_or_else(wrong)?;
        if fields.last().is_some_and(|last| *last >= field) {
            return Err(wrong());
        }
        fields.push(field);
    }
    Ok(Field::header(&fields))
}
