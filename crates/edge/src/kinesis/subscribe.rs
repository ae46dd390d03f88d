//! Records out, pushed: `SubscribeToShard`. An event goes out as soon as there are records, and every few seconds when
//! there are none. Events are made when the connection can take them, so a slow subscriber holds one event and no more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base::{Offset, ShardId};
use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use stream::Stream;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::constraint::{Constraints, Pattern};
use super::consumers;
use super::desk::{Desk, shard_name, shard_number};
use super::fault::Fault;
use super::follower::Follower;
use super::get::{ITERATOR_TYPES, Most, Position, Read};
use super::held::hold;
use super::limits::{Bucket, OUT_BYTES};
use super::shapes::{ChildShard, Record};
use super::subscription::{Ending, Ticket};
use super::wire::{Protocol, Timestamp, answer, encode, encode_within, event_stream};
use crate::checks::{self, Work};
use crate::collect::budget::Share;

/// Payload bytes of one event: enough to amortise its cost, little enough to hold for each subscriber.
const EVENT_BYTES: usize = 1024 * 1024;

/// How long to wait for room in memory, or for the limits of the service, before looking again.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
const LIMIT_PAUSE: Duration = Duration::from_millis(500);

/// Records of one event.
const EVENT_RECORDS_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartingPosition {
    r#type: Option<String>,
    sequence_number: Option<String>,
    timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SubscribeToShardInput {
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
    shard_id: Option<String>,
    starting_position: Option<StartingPosition>,
    dry_run: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SubscribeToShardEvent<'a> {
    records: Vec<Record<'a>>,
    /// Absent when the shard has come to its end: that is how client libraries know.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<&'a str>,
    millis_behind_latest: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

/// A subscription under way.
struct Subscription {
    desk: Arc<Desk>,
    stream: Arc<Stream>,
    shard: ShardId,
    protocol: Protocol,
    /// The next record to push.
    next: Offset,
    /// The sequence number to go on with.
    continuation: String,
    deadline: Instant,
    /// When the last event went out.
    last: Instant,
    ended: oneshot::Receiver<Ending>,
    topology: watch::Receiver<u64>,
    bucket: Option<Bucket>,
    phase: Phase,
    /// Tells whoever looks at the stream how far this is.
    follower: Arc<Follower>,
    _ticket: Ticket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first frame is still to be sent.
    Greeting,
    Pushing,
    Done,
}

/// What is to be done next.
enum Next {
    Frame(Bytes),
    Again,
    End,
}

pub(crate) async fn subscribe(
    desk: &Arc<Desk>,
    protocol: Protocol,
    input: SubscribeToShardInput,
) -> Result<Response<Body>, Fault> {
    let checking = desk.clone();
    let begun = checks::run(Work::Read, move || begin(checking, protocol, input)).await;
    let subscription = begun.map_err(|_| Fault::internal("Internal service failure."))??;
    let frames = futures::stream::unfold(subscription, |mut subscription| async move {
        let frame = subscription.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), subscription))
    });
    let mut response = answer(protocol, None);
    *response.body_mut() = Body::from_stream(frames);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    Ok(response)
}

fn begin(desk: Arc<Desk>, protocol: Protocol, input: SubscribeToShardInput) -> Result<Subscription, Fault> {
    let position = input.starting_position.as_ref();
    let kind = position.and_then(|position| position.r#type.as_ref());
    let mut constraints = Constraints::default();
    constraints.required("consumerARN", input.consumer_arn.as_ref());
    constraints.arn("consumerARN", input.consumer_arn.as_ref(), Pattern::ConsumerArn);
    constraints.required("shardId", input.shard_id.as_ref());
    constraints.name("shardId", input.shard_id.as_ref());
    constraints.required("startingPosition", position);
    if let Some(position) = position {
        constraints.required("startingPosition.type", kind);
        constraints.one_of("startingPosition.type", kind, &ITERATOR_TYPES);
        constraints.pattern("startingPosition.sequenceNumber", position.sequence_number.as_ref(), Pattern::Sequence);
    }
    constraints.kept()?;
    let (stream, consumer) = consumers::by_arn(&desk, input.consumer_arn.as_deref().unwrap_or_default())?;
    let named = input.shard_id.unwrap_or_default();
    let shard = shard_number(&named).ok_or_else(|| desk.no_shard(&named, stream.name()))?;
    let info = stream.shard_info(shard).ok_or_else(|| desk.shard_is_gone(shard, stream.name()))?;
    let position = input.starting_position.unwrap_or_default();
    let position = Position {
        kind: position.r#type.unwrap_or_default(),
        sequence: position.sequence_number,
        time: position.timestamp.map(|time| time.0),
        doing: "SubscribeToShard",
    };
    let next = position.find(&desk, &stream, &info)?;
    let now = Instant::now();
    if let Some(limits) = &desk.limits
        && !limits.subscribe(now, stream.uuid(), shard, &consumer)
    {
        let (account, shard) = (&desk.account.id, shard_name(shard));
        let text = format!(
            "Rate exceeded for SubscribeToShard of consumer {consumer} to shard {shard} in stream {} under account {account}.",
            stream.name()
        );
        return Err(Fault::limit(text));
    }
    Desk::dry(input.dry_run)?;
    let topology = stream.topology();
    let begun = desk.subscriptions.begin(now, stream.uuid(), &consumer, shard, desk.pace.hold, &desk.counts);
    let (ticket, ended) = begun.ok_or_else(|| {
        Fault::in_use(format!(
            "Another active subscription exists for this consumer: {}:{}:{}:{consumer}",
            desk.account.id,
            stream.name(),
            shard_name(shard)
        ))
    })?;
    Ok(Subscription {
        follower: desk.counts.followers.follow(&stream, &consumer, shard, next),
        continuation: Desk::origin(&stream, shard).before(next, desk.clock.now()),
        deadline: now + desk.pace.life,
        last: now,
        bucket: desk.limits.as_ref().map(|_| Bucket::new(OUT_BYTES, now)),
        phase: Phase::Greeting,
        _ticket: ticket,
        desk,
        stream,
        shard,
        protocol,
        next,
        ended,
        topology,
    })
}

impl Subscription {
    /// The next frame, once there is one; `None` at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        if self.phase == Phase::Greeting {
            self.phase = Phase::Pushing;
            return Some(event_stream::initial_response(self.protocol));
        }
        while self.phase == Phase::Pushing {
            match self.step().await {
                Next::Frame(frame) => {
                    self.last = Instant::now();
                    return Some(frame);
                }
                Next::Again => {}
                Next::End => self.phase = Phase::Done,
            }
        }
        None
    }

    async fn step(&mut self) -> Next {
        if Instant::now() >= self.deadline || self.desk.stop.is_cancelled() {
            return Next::End;
        }
        if let Ok(ending) = self.ended.try_recv() {
            return self.told(&self.ending(ending));
        }
        if self.stream.is_deleted() {
            return self.told(&self.desk.no_stream(self.stream.name()));
        }
        self.topology.mark_unchanged();
        let end = self.stream.bounds(self.shard).end;
        if self.next < end {
            return match self.allowed().await {
                true => self.push().await,
                false => self.behind(),
            };
        }
        if is_over(&self.stream, self.shard, self.next) {
            self.phase = Phase::Done;
            let children = ChildShard::of(&self.stream, self.shard);
            return Next::Frame(self.event(Vec::new(), 0, Some(children)));
        }
        self.wait().await
    }

    /// Waits until something may have happened.
    async fn wait(&mut self) -> Next {
        let quiet = (self.last + self.desk.pace.quiet).min(self.deadline);
        let stream = self.stream.clone();
        tokio::select! {
            biased;
            () = self.desk.stop.cancelled() => Next::End,
            ending = &mut self.ended => match ending {
                Ok(ending) => self.told(&self.ending(ending)),
                Err(_) => Next::End,
            },
            reached = stream.wait_beyond(self.shard, self.next) => {
                if reached || stream.is_deleted() || is_over(&stream, self.shard, self.next) {
                    return Next::Again;
                }
                // None of these: the log is closing, or damage ends the shard and a read says so.
                match stream.fetch(self.shard, self.next, 1) {
                    Ok(_) => Next::End,
                    Err(_) => self.told(&internal()),
                }
            }
            changed = self.topology.changed() => if changed.is_ok() { Next::Again } else { Next::End },
            () = tokio::time::sleep_until(quiet) => {
                if quiet >= self.deadline {
                    return Next::End;
                }
                Next::Frame(self.event(Vec::new(), 0, None))
            }
        }
    }

    /// Waits for what the service's limits allow; whether that took no longer than a subscriber may wait for an event.
    async fn allowed(&mut self) -> bool {
        let Some(bucket) = &mut self.bucket else { return true };
        let debt = bucket.debt(Instant::now());
        if !debt.is_zero() {
            tokio::time::sleep(debt.min(LIMIT_PAUSE)).await;
        }
        debt.is_zero()
    }

    /// There are records that cannot be pushed yet: that they are there is told when it is time for an event.
    fn behind(&self) -> Next {
        if self.last.elapsed() < self.desk.pace.quiet {
            return Next::Again;
        }
        Next::Frame(self.event(Vec::new(), 1, None))
    }

    /// Reads and pushes one event.
    async fn push(&mut self) -> Next {
        let event = Event {
            desk: self.desk.clone(),
            stream: self.stream.clone(),
            shard: self.shard,
            protocol: self.protocol,
            follower: self.follower.clone(),
        };
        let next = self.next;
        let made = match event.at_once(next) {
            Ok(None) => checks::run(Work::Read, move || event.make(next)).await.unwrap_or_else(|_| Err(internal())),
            made => made,
        };
        match made {
            Err(fault) if fault == Fault::busy() => {
                tokio::time::sleep(ROOM_PAUSE).await;
                self.behind()
            }
            Err(fault) => {
                let fault = if fault.status.is_server_error() { internal() } else { fault };
                self.told(&fault)
            }
            Ok(None) => Next::Again,
            Ok(Some(made)) => {
                self.next = made.next;
                self.desk.counts.pushed_records.add(made.count as u64);
                if let Some(bucket) = &mut self.bucket {
                    #[expect(clippy::cast_precision_loss, reason = "an event has about a mebibyte")]
                    bucket.take(made.bytes as f64, Instant::now());
                }
                match made.frame {
                    Some((frame, last)) => {
                        self.continuation = last;
                        Next::Frame(frame)
                    }
                    None => Next::Again,
                }
            }
        }
    }

    fn event(
        &self,
        records: Vec<Record<'_>>,
        millis_behind_latest: i64,
        child_shards: Option<Vec<ChildShard>>,
    ) -> Bytes {
        let event = SubscribeToShardEvent {
            records,
            continuation_sequence_number: child_shards.is_none().then_some(&*self.continuation),
            millis_behind_latest,
            child_shards,
        };
        event_stream::event("SubscribeToShardEvent", self.protocol, &encode(self.protocol, &event))
    }

    /// The last frame, with an error.
    fn told(&mut self, fault: &Fault) -> Next {
        self.phase = Phase::Done;
        Next::Frame(event_stream::exception(fault, self.protocol))
    }

    fn ending(&self, ending: Ending) -> Fault {
        let shard = shard_name(self.shard);
        match ending {
            Ending::TakenOver => Fault::in_use(format!("Another subscription of this consumer to {shard} took over.")),
            Ending::Deregistered => Fault::not_found("The consumer of this subscription is registered no more."),
        }
    }
}

/// What an event is made from.
struct Event {
    desk: Arc<Desk>,
    stream: Arc<Stream>,
    shard: ShardId,
    protocol: Protocol,
    follower: Arc<Follower>,
}

/// An event that was made, or how far reading came without one.
struct Made {
    /// With the sequence number of its last record.
    frame: Option<(Bytes, String)>,
    next: Offset,
    count: usize,
    /// Of keys and payloads.
    bytes: usize,
}

impl Event {
    const MOST: Most = Most { records: EVENT_RECORDS_MAX, bytes: EVENT_BYTES };

    /// The event from `next` on, if there is little to read and all of it in memory; `None` otherwise.
    fn at_once(&self, next: Offset) -> Result<Option<Made>, Fault> {
        let mut share = self.desk.budget.share();
        match Read::at_once(&self.stream, self.shard, next, Self::MOST, &mut share)? {
            Some(read) => self.write(&read, share).map(Some),
            None => Ok(None),
        }
    }

    /// The event from `next` on; `None` if the shard is there no more. Blocks for a few reads of files.
    fn make(&self, next: Offset) -> Result<Option<Made>, Fault> {
        let mut share = self.desk.budget.share();
        let Some(info) = self.stream.shard_info(self.shard) else { return Ok(None) };
        let read = Read::from(&self.desk, &self.stream, &info, next, Self::MOST, &mut share)?;
        self.write(&read, share).map(Some)
    }

    fn write(&self, read: &Read, mut share: Share) -> Result<Made, Fault> {
        let Self { desk, stream, shard, protocol, follower } = self;
        // The event is written once more as a frame.
        if !share.grow_to((read.weight() + read.room()).min(desk.budget.most())) {
            return Err(Fault::busy());
        }
        let millis_behind_latest = read.behind_ms(desk, stream, *shard);
        follower.reached(read.next(), millis_behind_latest);
        let records = read.records(stream, *shard)?;
        let (next, count, bytes) = (read.next(), read.count(), read.bytes());
        let Some(last) = records.last().map(|record| record.sequence_number.clone()) else {
            return Ok(Made { frame: None, next, count, bytes });
        };
        let event = SubscribeToShardEvent {
            continuation_sequence_number: Some(&last),
            millis_behind_latest,
            child_shards: None,
            records,
        };
        let event = encode_within(*protocol, &event, read.room());
        let frame = event_stream::event("SubscribeToShardEvent", *protocol, &event);
        let frame = hold(&desk.budget, frame, share);
        Ok(Made { frame: Some((frame, last)), next, count, bytes })
    }
}

/// Whether the shard was closed and has nothing from `next` on; what retention has removed wholly has ended, too.
fn is_over(stream: &Stream, shard: ShardId, next: Offset) -> bool {
    stream.shard_info(shard).is_none_or(|info| info.closed.is_some_and(|closing| next >= closing.end))
}

/// In an event stream, failures of ours have another name than elsewhere.
fn internal() -> Fault {
    Fault::new("InternalFailureException", "The records could not be read; the server's log says why.")
}
