//! Looking at a log from outside, as its callers do.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base::{ErrorKind, Measured, Millis, Offset, ShardId};
use stream::{AppendError, Batch, Corrupt, FetchError, Fetched, Log, RecordRef, RecordView, Stamp, Stream};

use crate::hits::Hits;
use crate::model::{Check, ShardModel};
use crate::world::Put;

/// Bytes fetched at once: most reads take several fetches.
const FETCH_BYTES: usize = 300;

pub(crate) type Answer = Result<Range<Offset>, AppendError>;
pub(crate) type Appending = Pin<Box<dyn Future<Output = Answer>>>;
pub(crate) type Waiting = Pin<Box<dyn Future<Output = bool>>>;
/// Times and payloads.
pub(crate) type Records = Vec<(Millis, Vec<u8>)>;

pub(crate) fn append(
    stream: &Arc<Stream>,
    shard: ShardId,
    values: &[&[u8]],
    put: &Put,
    stamp: Option<Stamp>,
    now: Millis,
) -> Appending {
    let mut builder = Batch::builder().compression(put.compression);
    if let Some(stamp) = stamp {
        builder = builder.stamp(stamp);
    }
    for value in values {
        let timestamp = now.plus_ms(put.future_ms);
        builder.push(RecordRef { timestamp, value, ..RecordRef::default() }).expect("a small batch fits");
    }
    let (stream, batch) = (Arc::clone(stream), builder.finish());
    Box::pin(async move { stream.append(shard, batch).await })
}

pub(crate) fn wait(stream: &Arc<Stream>, shard: ShardId, offset: Offset) -> Waiting {
    let stream = Arc::clone(stream);
    Box::pin(async move { stream.wait_beyond(shard, offset).await })
}

/// What a future gives, if it is ready.
pub(crate) fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// The first offset kept, and all records from there on.
pub(crate) fn read_all(stream: &Stream, shard: ShardId) -> Result<(Offset, Records), String> {
    let start = stream.bounds(shard).start;
    let (mut from, mut last, mut all) = (start, Millis(i64::MIN), Vec::new());
    loop {
        let fetched = stream.fetch(shard, from, FETCH_BYTES).map_err(|error: FetchError| error.to_string())?;
        if fetched.is_empty() {
            return Ok((start, all));
        }
        same_at_once(stream, shard, from, &fetched)?;
        for record in fetched.records() {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset != from {
                return Err(format!("offset {} where {from} was expected", record.offset));
            }
            if record.timestamp < last {
                return Err(format!("the arrival time goes back at {from}"));
            }
            (last, from) = (record.timestamp, from.plus(1));
            all.push((record.timestamp, record.value.to_vec()));
        }
        if from != fetched.next() {
            return Err(format!("records end at {from}, and the next fetch should be from {}", fetched.next()));
        }
    }
}

/// What can be read without waiting for the disk is a beginning of what a fetch reads. Whether there was any.
fn same_at_once(stream: &Stream, shard: ShardId, from: Offset, fetched: &Fetched) -> Result<bool, String> {
    let at_once = stream.fetch_at_once(shard, from, FETCH_BYTES).map_err(|error| error.to_string())?;
    let Some(at_once) = at_once else { return Ok(false) };
    let known = |records: &Fetched| {
        let whole = |record: Result<RecordView<'_>, _>| record.map(|record| (record.offset, record.value.to_vec()));
        records.records().map(whole).collect::<Result<Vec<_>, Corrupt>>().map_err(|error| error.to_string())
    };
    let (some, all) = (known(&at_once)?, known(fetched)?);
    if some.is_empty() || !all.starts_with(&some) || at_once.next() != from.plus(some.len() as u64) {
        return Err(format!("read at once from {from}: {} records, and others than a fetch reads", some.len()));
    }
    Ok(true)
}

/// The slow reader takes one record: the next one, or, if retention was faster, it is told where to go on.
pub(crate) fn read_on(stream: &Stream, shard: ShardId, model: &mut ShardModel, hits: &Hits) -> Check {
    let at = Offset(model.slow);
    let start = Offset(model.start);
    match stream.fetch(shard, at, 1) {
        Ok(fetched) if fetched.is_empty() => {
            if model.slow == model.end() {
                Ok(())
            } else {
                Err(format!("nothing is at {at}, before the end"))
            }
        }
        Ok(fetched) => {
            let whole = stream.fetch(shard, at, FETCH_BYTES).map_err(|error| error.to_string())?;
            if same_at_once(stream, shard, at, &whole)? {
                hits.hit("a reader had no need to wait for the disk");
            }
            let found = fetched.records().next().ok_or("a fetch that is not empty holds no record")?;
            let found = found.map_err(|error| error.to_string())?;
            let expected = model.promised.get(model.slow as usize).map(|kept| kept.value.as_slice());
            if (found.offset, Some(found.value)) != (at, expected) {
                return Err(format!("a slow reader found another record at {at}"));
            }
            model.slow += 1;
            Ok(())
        }
        Err(FetchError::Removed { start: told, .. }) if at < start && told == start => {
            hits.hit("a slow reader was overtaken by retention");
            model.slow = start.0;
            Ok(())
        }
        Err(error) => Err(format!("a slow reader at {at} was told: {error}")),
    }
}

/// The offset of a time must be that of the first record as late.
pub(crate) fn look_up_times(stream: &Stream, shard: ShardId, model: &ShardModel) -> Check {
    let times = || model.promised.iter().enumerate().skip(model.start as usize);
    let Some((middle, kept)) = times().nth(times().count() / 2) else { return Ok(()) };
    let Some(time) = kept.time else { return Ok(()) };
    let first = times().find(|(_, kept)| kept.time >= Some(time)).map_or(middle, |(at, _)| at);
    let found = stream.offset_at(shard, time).map_err(|error| error.to_string())?;
    if found.0 == first as u64 { Ok(()) } else { Err(format!("{time} is at {found}, expected {first}")) }
}

pub(crate) fn kind_of(error: &std::io::Error) -> ErrorKind {
    if error.kind() == std::io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Unavailable }
}

/// The ways of recovery that an opened log has taken.
pub(crate) fn count_recoveries(log: &Log, hits: &Hits) {
    let mut samples = Vec::new();
    log.measure(&mut samples);
    for sample in samples.iter().filter(|sample| sample.name == "riverrun_stream_recovered_total") {
        let how = sample.labels.iter().find(|(label, _)| *label == "how").map_or("", |(_, how)| how.as_str());
        hits.add(&format!("recovery: {how}"), sample.value as u64);
    }
}
