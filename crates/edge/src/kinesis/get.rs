//! Records out, asked for: iterators, and the records from one on.

use std::sync::Arc;

use base::{Millis, Offset, ShardId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stream::{FetchError, Fetched, ShardInfo, Stream};
use tokio::time::Instant;

use super::constraint::{Constraints, Pattern};
use super::desk::{Desk, check_stream, shard_name, shard_number, stream_of_arn};
use super::fault::Fault;
use super::held::hold;
use super::iterator::ShardIterator;
use super::sequence::{Origin, Sequence};
use super::shapes::{BlobRef, ChildShard, KMS, Record};
use super::wire::{Protocol, Timestamp, encode_within};
use crate::collect::budget::Share;

/// Records of one answer, at most and by default.
const RECORDS_MAX: usize = 10_000;

/// Payload bytes of one answer.
const ANSWER_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Bytes of the log read at once: an answer is put together from several reads, so that a small one costs little.
const FETCH_BYTES: usize = 1024 * 1024;

/// Likewise at first: most who ask are near the end, and are to hold little.
const FIRST_BYTES: usize = 64 * 1024;

/// Records from the end of a shard, and bytes of the log, that are read and written as an answer on the spot: some 50
/// microseconds of work. To have it done on another thread costs as much, and more where all cores are at work.
const NEAR_RECORDS: u64 = 32;
const NEAR_BYTES: usize = 32 * 1024;

/// Records are held as they lie in the log, or inflated, and once more as base64.
const WEIGHT: usize = 3;

/// Bytes around the payload of a record in an answer, and of an answer without records.
const AROUND_RECORD: usize = 208;
const AROUND_RECORDS: usize = 1024;

/// Bytes of a record between reading and writing: its sequence number has up to 56 digits.
const RECORD_BYTES: usize = size_of::<Record<'_>>() + 64;

/// Words of `ShardIteratorType`, in the order in which the service lists them.
pub(crate) const ITERATOR_TYPES: [&str; 5] =
    ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetShardIteratorInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_id: Option<String>,
    shard_iterator_type: Option<String>,
    starting_sequence_number: Option<String>,
    timestamp: Option<Timestamp>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetShardIteratorOutput {
    shard_iterator: String,
}

pub(crate) fn iterator(desk: &Desk, input: GetShardIteratorInput) -> Result<GetShardIteratorOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.required("shardId", input.shard_id.as_ref());
    constraints.name("shardId", input.shard_id.as_ref());
    constraints.required("shardIteratorType", input.shard_iterator_type.as_ref());
    constraints.one_of("shardIteratorType", input.shard_iterator_type.as_ref(), &ITERATOR_TYPES);
    constraints.pattern("startingSequenceNumber", input.starting_sequence_number.as_ref(), Pattern::Sequence);
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let wanted = Desk::wanted(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let named = input.shard_id.unwrap_or_default();
    let shard = shard_number(&named).ok_or_else(|| desk.no_shard(&named, wanted))?;
    let stream = desk.log.stream(wanted).ok_or_else(|| desk.shard_is_gone(shard, wanted))?;
    let info = stream.shard_info(shard).ok_or_else(|| desk.shard_is_gone(shard, wanted))?;
    let position = Position {
        kind: input.shard_iterator_type.unwrap_or_default(),
        sequence: input.starting_sequence_number,
        time: input.timestamp.map(|time| time.0),
        doing: "GetShardIterator",
    };
    let offset = position.find(desk, &stream, &info)?;
    if let Some(limits) = &desk.limits
        && !limits.iterator(Instant::now(), stream.uuid(), shard)
    {
        return Err(desk.rate_exceeded(shard, stream.name()));
    }
    Desk::dry(input.dry_run)?;
    Ok(GetShardIteratorOutput { shard_iterator: ShardIterator::at(&stream, shard, offset, &*desk.clock).write() })
}

/// Where reading is to begin, as a client says it.
#[derive(Debug)]
pub(crate) struct Position {
    /// One of [`ITERATOR_TYPES`].
    pub(crate) kind: String,
    pub(crate) sequence: Option<String>,
    pub(crate) time: Option<Millis>,
    /// The operation, for messages.
    pub(crate) doing: &'static str,
}

impl Position {
    /// The offset to begin with.
    pub(crate) fn find(&self, desk: &Desk, stream: &Stream, info: &ShardInfo) -> Result<Offset, Fault> {
        let kind = &self.kind;
        let by_number = matches!(kind.as_str(), "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
        let rule = "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) \
                    TRIM_HORIZON or LATEST and no StartingSequenceNumber.";
        match &self.sequence {
            Some(_) if !by_number => {
                Err(Fault::invalid(format!("{rule} Request specified {kind} and also a StartingSequenceNumber.")))
            }
            None if by_number => {
                Err(Fault::invalid(format!("{rule} Request specified {kind} and no StartingSequenceNumber.")))
            }
            Some(text) => {
                let sequence = self.judge(desk, stream, info, text)?;
                Ok(if kind == "AT_SEQUENCE_NUMBER" { sequence.at() } else { sequence.after() })
            }
            None => match kind.as_str() {
                "LATEST" => Ok(stream.bounds(info.id).end),
                "AT_TIMESTAMP" => self.at_time(desk, stream, info.id),
                _ => Ok(stream.bounds(info.id).start),
            },
        }
    }

    fn judge(&self, desk: &Desk, stream: &Stream, info: &ShardInfo, text: &str) -> Result<Sequence, Fault> {
        let (shard, doing, account) = (shard_name(info.id), self.doing, &desk.account.id);
        let used = format!(
            "StartingSequenceNumber {text} used in {doing} on shard {shard} in stream {} under account {account} is invalid",
            stream.name()
        );
        let sequence = Sequence::parse(text).ok_or_else(|| Fault::invalid(format!("{used}.")))?;
        if sequence.shard() != i64::from(info.id.0) {
            return Err(Fault::invalid(format!(
                "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {shard}",
                sequence.shard_name()
            )));
        }
        if !sequence.is_of(Desk::origin(stream, info.id)) {
            return Err(Fault::invalid(format!("{used} because it did not come from this stream.")));
        }
        Ok(sequence)
    }

    fn at_time(&self, desk: &Desk, stream: &Stream, shard: ShardId) -> Result<Offset, Fault> {
        let time = self.time.ok_or_else(|| {
            Fault::invalid(
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no \
                 timestamp parameter.",
            )
        })?;
        let now = desk.clock.now();
        if time > now {
            return Err(Fault::invalid(format!(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: \
                 {}, currentTimestampInMillis: {}",
                time.0, now.0
            )));
        }
        stream.offset_at(shard, time).map_err(|error| unreadable(desk, stream, shard, &error))
    }
}

/// What the log said to a reader.
pub(crate) fn unreadable(desk: &Desk, stream: &Stream, shard: ShardId, error: &FetchError) -> Fault {
    if stream.is_deleted() || matches!(error, FetchError::NoShard { .. }) {
        return desk.shard_is_gone(shard, stream.name());
    }
    tracing::error!(stream = stream.name(), shard = shard.0, %error, "records could not be read");
    Fault::internal("The records could not be read; the server's log says why.")
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetRecordsInput {
    shard_iterator: Option<String>,
    limit: Option<i32>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecordsOutput<'a> {
    records: Vec<Record<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

/// Reads and writes the answer where the records lie. Blocks for a few reads of files.
pub(crate) fn records(
    desk: &Desk,
    protocol: Protocol,
    input: GetRecordsInput,
    mut share: Share,
) -> Result<Bytes, Fault> {
    let mut constraints = Constraints::default();
    constraints.number("limit", input.limit, 1, 10_000);
    constraints.required("shardIterator", input.shard_iterator.as_ref());
    constraints.text("shardIterator", input.shard_iterator.as_ref(), None, 1, 512);
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.kept()?;
    let place = ShardIterator::admit(&input.shard_iterator.unwrap_or_default(), desk.clock.now())?;
    if input.stream_arn.is_some_and(|arn| stream_of_arn(&arn) != place.stream) {
        return Err(Fault::invalid("Invalid ShardIterator: it is not of the stream that StreamARN names."));
    }
    let gone = || desk.shard_is_gone(place.shard, &place.stream);
    let stream = desk.log.stream(&place.stream).filter(|stream| stream.uuid() == place.uuid).ok_or_else(gone)?;
    let info = stream.shard_info(place.shard).ok_or_else(gone)?;
    Desk::dry(input.dry_run)?;
    if let Some(limits) = &desk.limits
        && !limits.get(Instant::now(), stream.uuid(), place.shard)
    {
        return Err(desk.rate_exceeded(place.shard, stream.name()));
    }
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
    let most = Most { records: limit, bytes: ANSWER_BYTES_MAX };
    let read = Read::from(desk, &stream, &info, place.offset, most, &mut share)?;
    if !share.grow_to(read.weight().min(desk.budget.most())) {
        return Err(Fault::busy());
    }
    if let Some(limits) = &desk.limits {
        limits.got(Instant::now(), stream.uuid(), place.shard, read.bytes);
    }
    desk.counts.got_records.add(read.count as u64);
    desk.counts.got_bytes.add(read.bytes as u64);
    // Asked again, for the shard may have been closed while it was read.
    let closed = stream.shard_info(place.shard).and_then(|info| info.closed);
    let at_end = closed.as_ref().is_some_and(|closed| read.next >= closed.end);
    let next = ShardIterator { made: desk.clock.now(), offset: read.next, ..place };
    let output = GetRecordsOutput {
        millis_behind_latest: read.behind_ms(desk, &stream, next.shard),
        next_shard_iterator: (!at_end).then(|| next.write()),
        child_shards: at_end.then(|| ChildShard::of(&stream, next.shard)),
        records: read.records(&stream, next.shard)?,
    };
    let answer = encode_within(protocol, &output, read.room());
    drop(output);
    drop(read);
    Ok(hold(&desk.budget, answer, share))
}

/// How much is read at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) records: usize,
    /// Of keys and payloads.
    pub(crate) bytes: usize,
}

/// Records as they were fetched, and how many of them are given.
pub(crate) struct Read {
    fetched: Vec<Fetched>,
    count: usize,
    bytes: usize,
    next: Offset,
    last: Option<Millis>,
}

impl Read {
    /// At least one record, if there is any, from `from` on. What retention has removed is passed over; what cannot be read
    /// is told to who begins with it.
    pub(crate) fn from(
        desk: &Desk,
        stream: &Arc<Stream>,
        info: &ShardInfo,
        from: Offset,
        most: Most,
        share: &mut Share,
    ) -> Result<Self, Fault> {
        let mut read = Self { fetched: Vec::new(), count: 0, bytes: 0, next: from, last: None };
        let end = stream.bounds(info.id).end;
        while read.count < most.records && read.bytes < most.bytes && read.next < end {
            // Where there is no more room, what was read so far is the answer.
            let piece = if read.count == 0 { FIRST_BYTES } else { FETCH_BYTES };
            if !share.grow_to(read.held() + piece + (WEIGHT - 1) * (read.bytes + piece)) {
                if read.count == 0 {
                    return Err(Fault::busy());
                }
                break;
            }
            let fetched = match stream.fetch(info.id, read.next, piece) {
                Ok(fetched) => fetched,
                Err(FetchError::Removed { start, .. }) if start > read.next => {
                    read.next = start;
                    continue;
                }
                // A place that was promised but has no record yet.
                Err(FetchError::Beyond { .. }) => break,
                Err(_) if read.count > 0 => break,
                Err(error) => return Err(unreadable(desk, stream, info.id, &error)),
            };
            if fetched.is_empty() || !read.take(fetched, stream, info.id, most)? {
                break;
            }
        }
        // Where damage ends the shard, nothing seems to be there; a fetch tells.
        if read.count == 0
            && read.next == end
            && let Err(error @ FetchError::Corrupt(_)) = stream.fetch(info.id, end, 1)
        {
            return Err(unreadable(desk, stream, info.id, &error));
        }
        Ok(read)
    }

    /// What lies near the end of the shard, if it can be had without waiting for the disk and is so little that threads on
    /// which others are waiting may do it.
    pub(crate) fn at_once(
        stream: &Arc<Stream>,
        shard: ShardId,
        from: Offset,
        most: Most,
        share: &mut Share,
    ) -> Result<Option<Self>, Fault> {
        if stream.bounds(shard).end.since(from) > NEAR_RECORDS || !share.grow_to(WEIGHT * NEAR_BYTES) {
            return Ok(None);
        }
        // Whatever is wrong there is found again, and told, by who reads it in the usual way.
        let Ok(Some(fetched)) = stream.fetch_at_once(shard, from, NEAR_BYTES) else { return Ok(None) };
        let mut read = Self { fetched: Vec::new(), count: 0, bytes: 0, next: from, last: None };
        if !fetched.is_empty() {
            read.take(fetched, stream, shard, most)?;
        }
        Ok(Some(read))
    }

    /// Takes as many of the fetched records as may be given, up to one that cannot be read; whether all were.
    fn take(&mut self, fetched: Fetched, stream: &Stream, shard: ShardId, most: Most) -> Result<bool, Fault> {
        let mut all = true;
        for record in fetched.records() {
            let record = match record {
                Err(_) if self.count > 0 => {
                    all = false;
                    break;
                }
                record => record.map_err(|error| damaged(stream, shard, &error))?,
            };
            let bytes = record.value.len() + record.key.map_or(0, <[u8]>::len);
            if self.count == most.records || (self.count > 0 && self.bytes + bytes > most.bytes) {
                all = false;
                break;
            }
            self.count += 1;
            self.bytes += bytes;
            self.next = record.offset.plus(1);
            self.last = Some(record.timestamp);
        }
        self.fetched.push(fetched);
        Ok(all)
    }

    /// The records, in the shape of the API.
    pub(crate) fn records(&self, stream: &Stream, shard: ShardId) -> Result<Vec<Record<'_>>, Fault> {
        let origin: Origin = Desk::origin(stream, shard);
        let mut records = Vec::with_capacity(self.count);
        for record in self.fetched.iter().flat_map(Fetched::records).take(self.count) {
            let record = record.map_err(|error| damaged(stream, shard, &error))?;
            records.push(Record {
                sequence_number: origin.record(record.offset, record.timestamp),
                approximate_arrival_timestamp: Timestamp(record.timestamp),
                data: BlobRef(record.value),
                partition_key: record.key.map(String::from_utf8_lossy),
                encryption_type: record.encrypted.then_some(KMS),
            });
        }
        Ok(records)
    }

    /// Bytes of an answer with these records, in base64: about the most that it has.
    pub(crate) fn room(&self) -> usize {
        self.bytes.div_ceil(3) * 4 + self.count * AROUND_RECORD + AROUND_RECORDS
    }

    /// Bytes that the records lie in: whole batches, inflated.
    fn held(&self) -> usize {
        self.fetched.iter().map(Fetched::held).sum()
    }

    /// Bytes held while an answer with these records is written. One batch may inflate to more than all requests may hold
    /// together: it is given to who has all of that for itself.
    pub(crate) fn weight(&self) -> usize {
        self.held() + self.count * RECORD_BYTES + self.room()
    }

    /// How far behind the newest record the last one is; 0 if there is no newer one.
    pub(crate) fn behind_ms(&self, desk: &Desk, stream: &Stream, shard: ShardId) -> i64 {
        if self.next >= stream.bounds(shard).end {
            return 0;
        }
        // At least a millisecond, for 0 says that nothing is left.
        self.last.map_or(1, |last| desk.clock.now().since(last).max(1))
    }

    /// How many records.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of keys and payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where to read on.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }
}

fn damaged(stream: &Stream, shard: ShardId, error: &stream::Corrupt) -> Fault {
    tracing::error!(stream = stream.name(), shard = shard.0, %error, "records could not be read");
    Fault::internal("The records could not be read; the server's log says why.")
}
