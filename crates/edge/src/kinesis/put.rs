//! Records in: one batch for each shard that gets any, appended side by side.

use std::sync::Arc;

use base::{ErrorKind, ShardId};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use stream::{AppendError, BatchBuilder, ByShard, RecordRef, ShardMode, Stream};
use tokio::time::Instant;

use super::constraint::{Constraints, Pattern};
use super::desk::{Desk, check_stream, shard_name};
use super::fault::Fault;
use super::sequence::Sequence;
use super::shapes::KMS;
use super::wire::Blob;

/// The header in which a record keeps the explicit hash key it came with, as decimal text.
pub const EXPLICIT_HASH_KEY_HEADER: &str = "explicit_hash_key";

/// Records of one request, as published.
const RECORDS_MAX: usize = 500;

/// Bytes of all records of a request, keys included, as published.
const REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Bytes of one record where there is no stream to say otherwise.
const RECORD_BYTES_DEFAULT: usize = 1024 * 1024;

/// How often records are mapped to shards again when theirs was closed meanwhile: each time the shards of the stream
/// were changed within a moment, so more than a few times is a mistake of ours.
const ROUNDS_MAX: usize = 16;

/// Entries shown in the message about too many of them.
const SHOWN_MAX: usize = 1000;

/// One record to store.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    data: Option<Blob>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PutRecordsInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    records: Option<Vec<Entry>>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordsOutput {
    failed_record_count: usize,
    records: Vec<PutRecordsResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PutRecordInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    data: Option<Blob>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    sequence_number_for_ordering: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordOutput {
    shard_id: String,
    sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// What became of one record.
#[derive(Clone, Debug)]
enum Outcome {
    Waiting,
    Stored { shard: ShardId, sequence: String },
    Throttled { shard: ShardId },
    Failed,
}

/// Where records go: the stream, if there is one, and what it asks of them.
struct Target {
    stream: Option<Arc<Stream>>,
    bytes_max: usize,
    spread: bool,
}

impl Target {
    /// Looks before anything is judged, for the limits are the stream's own.
    fn find(desk: &Desk, name: Option<&String>, arn: Option<&String>) -> Self {
        let stream = Desk::wanted(name, arn).ok().and_then(|name| desk.log.stream(name));
        let bytes_max = stream.as_ref().map(|stream| stream.settings().record_bytes_max as usize);
        // Of a provisioned stream keys decide; what was said before it became one holds when it is on-demand again.
        let on_demand = stream.as_ref().filter(|stream| stream.mode() == ShardMode::OnDemand);
        let spread = on_demand.is_some_and(|stream| desk.attributes(stream).spread);
        Self { stream, bytes_max: bytes_max.unwrap_or(RECORD_BYTES_DEFAULT), spread }
    }

    /// Whether nothing is wrong with a record.
    fn takes(&self, entry: &Entry) -> bool {
        let key = match &entry.partition_key {
            Some(key) => (1..=256).contains(&key.len()),
            None => self.spread,
        };
        let (key_bytes, data) = (entry.partition_key.as_ref().map_or(0, String::len), entry.data.as_ref());
        key && entry.explicit_hash_key.is_none() && data.is_some_and(|data| data.len() + key_bytes <= self.bytes_max)
    }

    /// Tells what is wrong with a record; `at` stands before the names of its members.
    fn check(&self, constraints: &mut Constraints, entry: &Entry, at: &str) {
        let key = entry.partition_key.as_ref();
        if !self.spread {
            constraints.required(&format!("{at}partitionKey"), key);
        }
        constraints.text(&format!("{at}partitionKey"), key, None, 1, 256);
        constraints.pattern(&format!("{at}explicitHashKey"), entry.explicit_hash_key.as_ref(), Pattern::HashKey);
        constraints.required(&format!("{at}data"), entry.data.as_ref());
        let data_at = format!("{at}data");
        constraints.blob(&data_at, entry.data.as_ref(), key.map_or(0, String::len), self.bytes_max);
    }
}

/// The hash that a record asks for, if it does.
fn hash_of(entry: &Entry) -> Result<Option<u128>, Fault> {
    let Some(text) = &entry.explicit_hash_key else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Fault::invalid(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
        ))
    })
}

pub(crate) async fn put_records(desk: &Desk, input: PutRecordsInput) -> Result<PutRecordsOutput, Fault> {
    let (name, arn) = (input.stream_name.as_ref(), input.stream_arn.as_ref());
    let target = Target::find(desk, name, arn);
    let mut constraints = Constraints::default();
    constraints.required("records", input.records.as_ref());
    let records = input.records.unwrap_or_default();
    if !(1..=RECORDS_MAX).contains(&records.len()) {
        let shown =
            vec!["com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry@c965e310"; records.len().min(SHOWN_MAX)];
        if constraints.is_kept() {
            constraints.length_of(&format!("[{}]", shown.join(", ")), records.len(), "records", 1, RECORDS_MAX);
        }
    }
    for (number, entry) in (1..).zip(&records) {
        if !target.takes(entry) {
            target.check(&mut constraints, entry, &format!("records.{number}.member."));
        }
    }
    check_stream(&mut constraints, name, arn);
    constraints.kept()?;
    let wanted = Desk::wanted(name, arn)?;
    let stream = target.stream.ok_or_else(|| desk.no_stream(wanted))?;
    let bytes = |entry: &Entry| {
        entry.data.as_ref().map_or(0, |data| data.len()) + entry.partition_key.as_ref().map_or(0, String::len)
    };
    if records.iter().map(bytes).sum::<usize>() > REQUEST_BYTES_MAX {
        return Err(Fault::invalid("Records size exceeds 10 MB limit"));
    }
    let hashes = records.iter().map(hash_of).collect::<Result<Vec<_>, _>>()?;
    Desk::dry(input.dry_run)?;
    let outcomes = store(desk, &stream, &records, &hashes, target.spread).await?;
    let mut failed_record_count = 0;
    let results = outcomes.into_iter().map(|outcome| {
        let (error_code, error_message) = match outcome {
            Outcome::Stored { shard, sequence } => {
                return PutRecordsResult {
                    sequence_number: Some(sequence),
                    shard_id: Some(shard_name(shard)),
                    error_code: None,
                    error_message: None,
                };
            }
            Outcome::Throttled { shard } => {
                ("ProvisionedThroughputExceededException", desk.rate_exceeded_text(shard, stream.name()))
            }
            Outcome::Waiting | Outcome::Failed => ("InternalFailure", "Internal service failure.".to_owned()),
        };
        failed_record_count += 1;
        PutRecordsResult {
            sequence_number: None,
            shard_id: None,
            error_code: Some(error_code),
            error_message: Some(error_message),
        }
    });
    let results = results.collect();
    let encryption_type = stream.settings().encryption.then_some(KMS);
    Ok(PutRecordsOutput { failed_record_count, records: results, encryption_type })
}

pub(crate) async fn put_record(desk: &Desk, input: PutRecordInput) -> Result<PutRecordOutput, Fault> {
    let (name, arn) = (input.stream_name.as_ref(), input.stream_arn.as_ref());
    let target = Target::find(desk, name, arn);
    let ordering = input.sequence_number_for_ordering.as_ref();
    let entry =
        Entry { data: input.data, partition_key: input.partition_key, explicit_hash_key: input.explicit_hash_key };
    let mut constraints = Constraints::default();
    constraints.pattern("sequenceNumberForOrdering", ordering, Pattern::Sequence);
    target.check(&mut constraints, &entry, "");
    check_stream(&mut constraints, name, arn);
    constraints.kept()?;
    let wanted = Desk::wanted(name, arn)?;
    let stream = target.stream.ok_or_else(|| desk.no_stream(wanted))?;
    let hash = hash_of(&entry)?;
    if let Some(text) = ordering {
        // Sequence numbers of a shard always grow, so there is nothing to wait for; only nonsense is refused.
        if !was_given(desk, &stream, text) {
            return Err(Fault::invalid(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {} under account {} is invalid.",
                stream.name(),
                desk.account.id
            )));
        }
    }
    Desk::dry(input.dry_run)?;
    let outcome = store(desk, &stream, &[entry], &[hash], target.spread).await?.pop();
    match outcome {
        Some(Outcome::Stored { shard, sequence }) => Ok(PutRecordOutput {
            shard_id: shard_name(shard),
            sequence_number: sequence,
            encryption_type: stream.settings().encryption.then_some(KMS),
        }),
        Some(Outcome::Throttled { shard }) => Err(desk.rate_exceeded(shard, stream.name())),
        Some(Outcome::Waiting | Outcome::Failed) | None => Err(Fault::internal("Internal service failure.")),
    }
}

/// Whether this may be the sequence number of a record that is stored: it carries no later time than now, or is one of this
/// stream's own, whose records are never earlier than those before them, also when the clock went back since.
fn was_given(desk: &Desk, stream: &Stream, text: &str) -> bool {
    let Some(sequence) = Sequence::parse(text) else { return false };
    let shard = u32::try_from(sequence.shard()).map(ShardId);
    sequence.time() <= desk.clock.now()
        || shard.is_ok_and(|shard| {
            sequence.is_of(Desk::origin(stream, shard)) && sequence.after() <= stream.bounds(shard).end
        })
}

/// The records that go to one shard, in the order of the request.
#[derive(Default)]
struct Group {
    batch: BatchBuilder,
    records: Vec<usize>,
}

/// Stores what can be stored. An error stands for the whole request.
async fn store(
    desk: &Desk,
    stream: &Arc<Stream>,
    entries: &[Entry],
    hashes: &[Option<u128>],
    spread: bool,
) -> Result<Vec<Outcome>, Fault> {
    let mut outcomes = vec![Outcome::Waiting; entries.len()];
    let mut waiting: Vec<usize> = (0..entries.len()).collect();
    for round in 0..ROUNDS_MAX {
        let mut groups = ByShard::<Group>::default();
        let now = desk.clock.now();
        let mapping = stream.mapping();
        for index in waiting.drain(..) {
            let entry = &entries[index];
            let key = entry.partition_key.as_deref().map(str::as_bytes);
            let shard = match hashes[index] {
                _ if spread => mapping.shard_for(None),
                Some(hash) => mapping.shard_for_hash(hash),
                None => mapping.shard_for(key),
            };
            let value = entry.data.as_deref().unwrap_or_default();
            if let Some(limits) = desk.limits.as_ref().filter(|_| round == 0)
                && !limits.put(Instant::now(), stream.uuid(), shard, value.len() + key.map_or(0, <[u8]>::len))
            {
                outcomes[index] = Outcome::Throttled { shard };
                continue;
            }
            let header = entry.explicit_hash_key.as_deref().map(str::as_bytes);
            let header = header.map(|text| [(EXPLICIT_HASH_KEY_HEADER.as_bytes(), text)]);
            let headers = header.as_ref().map_or(&[][..], |header| &header[..]);
            let group = groups.of(shard);
            match group.batch.push(RecordRef { timestamp: now, key, value, headers }) {
                Ok(()) => group.records.push(index),
                Err(error) => {
                    // What was admitted fits a batch; if not, that is a mistake of ours.
                    tracing::error!(stream = stream.name(), %error, "a record that was admitted did not fit");
                    outcomes[index] = Outcome::Failed;
                }
            }
        }
        let appends = groups.into_iter().map(|(shard, group)| append(stream, shard, group));
        for (shard, records, appended) in join_all(appends).await {
            match appended {
                Ok((first, arrived)) => {
                    let origin = Desk::origin(stream, shard);
                    for (place, index) in (0..).zip(records) {
                        outcomes[index] =
                            Outcome::Stored { shard, sequence: origin.record(first.plus(place), arrived) };
                    }
                }
                Err(AppendError::ShardClosed { .. }) => waiting.extend(records),
                Err(error) => refuse(stream, shard, &error, &records, &mut outcomes),
            }
        }
        if waiting.is_empty() {
            break;
        }
        desk.counts.remapped.add(waiting.len() as u64);
        waiting.sort_unstable();
    }
    count(desk, entries, &outcomes);
    let all_stored = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored { .. }));
    if !all_stored && stream.is_deleted() {
        return Err(desk.no_stream(stream.name()));
    }
    Ok(outcomes)
}

type Appended = (ShardId, Vec<usize>, Result<(base::Offset, base::Millis), AppendError>);

async fn append(stream: &Stream, shard: ShardId, group: Group) -> Appended {
    let appended = stream.append_timed(shard, group.batch.finish()).await;
    (shard, group.records, appended.map(|(offsets, arrived)| (offsets.start, arrived)))
}

fn refuse(stream: &Stream, shard: ShardId, error: &AppendError, records: &[usize], outcomes: &mut [Outcome]) {
    let outcome = match error.kind() {
        ErrorKind::Throttled => Outcome::Throttled { shard },
        _ => {
            if !stream.is_deleted() {
                tracing::error!(stream = stream.name(), shard = shard.0, %error, "records could not be stored");
            }
            Outcome::Failed
        }
    };
    records.iter().for_each(|index| outcomes[*index] = outcome.clone());
}

fn count(desk: &Desk, entries: &[Entry], outcomes: &[Outcome]) {
    let (mut records, mut bytes, mut throttled, mut failed) = (0, 0, 0, 0);
    for (entry, outcome) in entries.iter().zip(outcomes) {
        match outcome {
            Outcome::Stored { .. } => {
                records += 1;
                bytes += entry.data.as_ref().map_or(0, |data| data.len()) as u64;
            }
            Outcome::Throttled { .. } => throttled += 1,
            Outcome::Waiting | Outcome::Failed => failed += 1,
        }
    }
    desk.counts.put_records.add(records);
    desk.counts.put_bytes.add(bytes);
    desk.counts.throttled_records.add(throttled);
    desk.counts.failed_records.add(failed);
}
