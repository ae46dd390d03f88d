//! The HTTP endpoint: what a delivery stream elsewhere delivers to. Followed: "Understand HTTP endpoint delivery
//! request and response specifications" of the published developer guide (facts.md §2).
//!
//! The stream stands in the path (`/firehose/clicks`), or as `stream` in the query or among the common attributes. With
//! `format` (`json`, `cdn`, `combined`) and `fields` in either place, each line of a record is one log line and is
//! stored as the collector would.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base::{ErrorKind, Format, Header, Millis};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use stream::Stream;

use super::body::{Delivery, LINES_MAX, Records, parse, room_for};
use super::mark::{Key, Mark, Origin};
use super::recent::Unclaimed;
use super::store::store;
use super::{DeliveryAccess, Firehose};
use crate::checks::{self, Work};
use crate::collect::body::{self, BodyLimits, Packing};
use crate::collect::budget::Share;
use crate::collect::field_numbers;
use crate::collect::refusal::Refusal;

/// The path, and what all paths below it begin with.
const PATH: &str = "/firehose";

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const ACCESS_KEY: &str = "x-amz-firehose-access-key";
const SOURCE_ARN: &str = "x-amz-firehose-source-arn";
const COMMON_ATTRIBUTES: &str = "x-amz-firehose-common-attributes";
const VERSION: &str = "x-amz-firehose-protocol-version";

/// Bytes of a body as sent and inflated: 64 MiB of data, the most that can be buffered for an endpoint, in base64 and
/// the JSON around it.
const BODY_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Time for a body to arrive: a delivery may take three minutes in all.
const BODY_TIME: Duration = Duration::from_secs(120);

/// Characters of an error's text, as published.
const MESSAGE_CHARS_MAX: usize = 8192;

/// Characters of a request id that is told back.
const REQUEST_ID_CHARS_MAX: usize = 256;

/// Bytes of the common attributes, as published.
const ATTRIBUTES_BYTES_MAX: usize = 20 * 1024;

/// A delivery that was not, or not wholly, stored.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    text: String,
}

fn refused(status: StatusCode, text: impl Into<String>) -> Refused {
    Refused { status, text: text.into() }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::TooLarge { .. } | Refusal::InflatesTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Refusal::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::NoRoom => StatusCode::TOO_MANY_REQUESTS,
            other => StatusCode::from_u16(other.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Self { status, text: refusal.to_string() }
    }
}

/// The answer's body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    request_id: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommonAttributes {
    common_attributes: std::collections::BTreeMap<String, String>,
}

/// What a request says beside its records.
#[derive(Debug, Default)]
struct Wanted {
    stream: Option<String>,
    format: Option<String>,
    fields: Option<String>,
}

impl Wanted {
    fn of(head: &Parts) -> Result<Self, Refused> {
        let mut wanted = Self::default();
        if let Some(attributes) = head.headers.get(COMMON_ATTRIBUTES) {
            let bytes = attributes.as_bytes();
            let read = if bytes.len() <= ATTRIBUTES_BYTES_MAX { serde_json::from_slice(bytes).ok() } else { None };
            let read: CommonAttributes = read.ok_or_else(|| {
                let text =
                    "the common attributes are no JSON of the form {\"commonAttributes\": {\"name\": \"value\"}}";
                refused(StatusCode::BAD_REQUEST, text)
            })?;
            read.common_attributes.into_iter().for_each(|(name, value)| wanted.take(&name, value));
        }
        for (name, value) in url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
            wanted.take(&name, value.into_owned());
        }
        let below = head.uri.path().strip_prefix(PATH).unwrap_or_default().trim_matches('/');
        if !below.is_empty() {
            wanted.stream = Some(percent_encoding::percent_decode_str(below).decode_utf8_lossy().into_owned());
        }
        Ok(wanted)
    }

    fn take(&mut self, name: &str, value: String) {
        match name {
            "stream" => self.stream = Some(value),
            "format" => self.format = Some(value),
            "fields" => self.fields = Some(value),
            // Attributes are the sender's own; most mean nothing here.
            _ => {}
        }
    }

    /// What each record is, if it is said.
    fn kind(&self) -> Result<Option<(Format, Option<String>)>, Refused> {
        let wrong = |text: String| refused(StatusCode::BAD_REQUEST, text);
        let format = match self.format.as_deref() {
            None if self.fields.is_some() => return Err(wrong("fields go with format=cdn only".to_owned())),
            None => return Ok(None),
            Some(name) => Format::by_name(name)
                .ok_or_else(|| wrong(format!("{name:?} is no format. Known formats: json, cdn, combined")))?,
        };
        let fields = match self.fields.as_deref() {
            None => None,
            Some(_) if format != Format::Cdn => return Err(wrong("fields go with format=cdn only".to_owned())),
            Some(list) => Some(field_numbers(list).map_err(Refused::from)?),
        };
        Ok(Some((format, fields)))
    }
}

/// Where records go, and what each is.
struct Target {
    stream: Arc<Stream>,
    kind: Option<(Format, Option<String>)>,
}

impl Firehose {
    /// Whether a request is for the HTTP endpoint, by its path.
    pub(crate) fn is_delivery(path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Takes a delivery. No signature is asked for: the access key is proof.
    pub(crate) async fn deliver(self: &Arc<Self>, head: &Parts, body: &mut Body) -> Response<Body> {
        self.counts.deliveries.inc();
        let mut request_id = text(&head.headers, REQUEST_ID).unwrap_or_default();
        let delivered = match self.admit(head) {
            Ok(target) => self.take(target, head, body, &mut request_id).await,
            // Nothing is read of who is not let in.
            Err(refused) => return self.answer(&request_id, Err(refused)),
        };
        if delivered.is_err() {
            body::discard(body).await;
        }
        self.answer(&request_id, delivered)
    }

    /// Everything before the body: who asks, and for what.
    fn admit(&self, head: &Parts) -> Result<Target, Refused> {
        match &self.settings.access {
            // Or it would be open to every page that is looked at on this machine.
            DeliveryAccess::Open if head.headers.contains_key(ORIGIN) => {
                let text = "pages may not deliver to an open endpoint: name a key for deliveries in the server's file";
                return Err(refused(StatusCode::FORBIDDEN, text));
            }
            DeliveryAccess::Open => {}
            DeliveryAccess::Closed => {
                let text = "this server takes no deliveries: name a key for them in its file";
                return Err(refused(StatusCode::FORBIDDEN, text));
            }
            DeliveryAccess::Key(key) => {
                let shown = head.headers.get(ACCESS_KEY).map_or(&b""[..], HeaderValue::as_bytes);
                if !key.is(shown) {
                    let text = "the access key is wrong: use the one that this server's file names";
                    return Err(refused(StatusCode::UNAUTHORIZED, text));
                }
            }
        }
        if head.method != Method::POST {
            return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "deliveries come with POST"));
        }
        if let Some(version) = text(&head.headers, VERSION).filter(|version| version != "1.0") {
            return Err(refused(StatusCode::BAD_REQUEST, format!("protocol version {version:?} is not known, 1.0 is")));
        }
        let wanted = Wanted::of(head)?;
        let kind = wanted.kind()?;
        let name = wanted.stream.ok_or_else(|| {
            let text = "no stream is named: deliver to /firehose/STREAM, or add the common attribute stream";
            refused(StatusCode::NOT_FOUND, text)
        })?;
        let stream = self.stream(&name).ok_or_else(|| {
            let text = format!("there is no delivery stream {name:?} here: name a stream that a table reads from");
            refused(StatusCode::NOT_FOUND, text)
        })?;
        Ok(Target { stream, kind })
    }

    async fn take(
        self: &Arc<Self>,
        target: Target,
        head: &Parts,
        body: &mut Body,
        request_id: &mut String,
    ) -> Result<(), Refused> {
        let packing = body::packing(&head.headers)?;
        let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, inflated_bytes_max: BODY_BYTES_MAX, time: BODY_TIME };
        let mut share = self.budget.share();
        let packed = body::read(body, &head.headers, &limits, &mut share).await?;
        let claimed = Claimed {
            stream: target.stream.uuid(),
            source: text(&head.headers, SOURCE_ARN).unwrap_or_default(),
            request_id: request_id.clone(),
            lines: target.kind.is_some(),
        };
        let check = move || check(packed, packing, &limits, share, &claimed);
        let checked = checks::run(Work::Check, check).await.map_err(|error| {
            tracing::error!(%error, "reading a delivery failed");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "reading the delivery failed")
        })??;
        request_id.clone_from(&checked.request_id);
        // In a task of its own: what was begun is finished and remembered, even if the sender does not wait for it.
        let firehose = self.clone();
        let stored = tokio::spawn(async move { firehose.put(&target, &checked).await }).await;
        stored.unwrap_or_else(|error| {
            tracing::error!(%error, "storing a delivery failed");
            Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "storing the delivery failed"))
        })
    }

    async fn put(&self, target: &Target, checked: &Checked) -> Result<(), Refused> {
        self.recall(&target.stream).await;
        let (claim, already) = self.recent.claim(checked.key).map_err(|why| {
            let text = match why {
                Unclaimed::Busy => "the same delivery is being stored at this moment: send it again later",
                Unclaimed::Doubtful => {
                    "the disk failed while this delivery was being stored, and only a restart of this server finds out \
                     what is on it: check the disk, restart the server, and send the delivery again"
                }
            };
            refused(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let records = &checked.records;
        let mut from = usize::try_from(already).unwrap_or(usize::MAX).min(records.len());
        if from > 0 {
            self.counts.repeated_deliveries.inc();
            self.counts.repeated_records.add(from as u64);
        }
        let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
        if let Some((format, fields)) = &target.kind {
            headers.push((Header::FORMAT.as_bytes(), format.name().as_bytes()));
            if let Some(fields) = fields {
                headers.push((Header::FIELDS.as_bytes(), fields.as_bytes()));
            }
        }
        while from < records.len() {
            let to = records.chunk_end(from, self.parts.records_max, self.parts.bytes_max);
            let reached = u32::try_from(to).unwrap_or(u32::MAX);
            let mark = Mark { delivery: checked.key, stored: reached }.to_string();
            let mut first = headers.clone();
            first.push((Header::DELIVERY.as_bytes(), mark.as_bytes()));
            let part = records.range(from..to);
            if let Err(error) = store(&target.stream, part.clone(), &first, &headers, self.clock.now()).await {
                if error.is_doubtful() {
                    claim.doubt();
                    self.counts.doubtful_deliveries.inc();
                }
                self.counts.failed_records.add((records.len() - from) as u64);
                tracing::warn!(%error, stream = target.stream.name(), "a delivery was not stored");
                let status = StatusCode::from_u16(error.kind().http_status());
                let status = match error.kind() {
                    // What is too large for the stream is so every time: this status ends the sender's attempts.
                    ErrorKind::Invalid => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                };
                let total = records.len();
                return Err(refused(status, format!("{from} of {total} records were stored: {error}")));
            }
            self.counts.records.add((to - from) as u64);
            self.counts.bytes.add(part.map(<[u8]>::len).sum::<usize>() as u64);
            from = to;
            claim.stored(reached);
        }
        Ok(())
    }

    fn answer(&self, request_id: &str, delivered: Result<(), Refused>) -> Response<Body> {
        let request_id: String = request_id.chars().take(REQUEST_ID_CHARS_MAX).collect();
        let Millis(timestamp) = self.clock.now();
        let (status, text) = match delivered {
            Ok(()) => (StatusCode::OK, None),
            Err(refused) => {
                self.counts.refused_deliveries.inc();
                (refused.status, Some(refused.text.chars().take(MESSAGE_CHARS_MAX).collect::<String>()))
            }
        };
        let told = Told { request_id: &request_id, timestamp, error_message: text.as_deref() };
        let body = serde_json::to_vec(&told).expect("texts and a number");
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// A delivery whose records can be stored.
struct Checked {
    request_id: String,
    key: Key,
    records: Records,
    /// Given back when the records are.
    _share: Share,
}

/// What is known of a delivery before its body.
struct Claimed {
    stream: uuid::Uuid,
    source: String,
    /// Empty if the head does not say.
    request_id: String,
    lines: bool,
}

fn check(
    packed: Bytes,
    packing: Packing,
    limits: &BodyLimits,
    mut share: Share,
    claimed: &Claimed,
) -> Result<Checked, Refused> {
    let plain = match packing {
        Packing::None => packed,
        Packing::Gzip => {
            let plain = body::inflate(&packed, limits, &mut share)?;
            drop(packed);
            plain
        }
    };
    if !share.grow_to(share.bytes().max(plain.len()) + room_for(plain.len())) {
        return Err(Refusal::NoRoom.into());
    }
    let wrong = |text: String| refused(StatusCode::BAD_REQUEST, text);
    let read = parse(&plain).map_err(|why| wrong(format!("the body is no delivery: {why}")))?;
    let Delivery { request_id, timestamp, records } = read;
    let request_id = request_id.ok_or_else(|| wrong("the body has no requestId".to_owned()))?;
    if timestamp.is_none() {
        return Err(wrong("the body has no timestamp".to_owned()));
    }
    let records = records.ok_or_else(|| wrong("the body has no records".to_owned()))?;
    let expected_id = &claimed.request_id;
    if !expected_id.is_empty() && request_id != *expected_id {
        let mut text = String::from("the request ids of header and body differ");
        let shown: String = request_id.chars().take(REQUEST_ID_CHARS_MAX).collect();
        let _never_fails = write!(text, ": {expected_id:?} and {shown:?}");
        return Err(wrong(text));
    }
    let Claimed { stream, source, lines, .. } = claimed;
    let key = Origin { stream: *stream, source, request_id: &request_id, lines: *lines }.key(&plain);
    drop(plain); // before there are lines
    let records = if *lines { cut(&records, &mut share)? } else { records };
    Ok(Checked { request_id, key, records, _share: share })
}

/// The lines of the records, within the limits of number and memory.
fn cut(records: &Records, share: &mut Share) -> Result<Records, Refused> {
    let most = records.lines_most();
    if most > LINES_MAX {
        let text = format!("the delivery has {most} lines, at most {LINES_MAX} are taken: deliver smaller ones");
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    if !share.grow_to(records.room() + records.room_for_lines(most)) {
        return Err(Refusal::NoRoom.into());
    }
    Ok(records.lines(most))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
