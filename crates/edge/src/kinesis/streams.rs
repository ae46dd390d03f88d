//! Streams as a whole: made, deleted, described, listed.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Millis;
use serde::{Deserialize, Serialize};
use stream::{OpenError, ShardMode, Stream, StreamSettings};

use super::constraint::Constraints;
use super::desk::{Desk, check_stream, shard_name};
use super::fault::Fault;
use super::shapes::{EnhancedMetrics, KMS, MODES, Shard, StreamModeDetails};
use super::tags;
use super::token::{List, Token};
use super::wire::Timestamp;

/// Shards of a new on-demand stream, as the service makes them.
const ON_DEMAND_SHARDS: u32 = 4;

/// What a new stream keeps, as the service does.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Streams of one answer, at most and by default.
const STREAMS_MAX: usize = 100;

/// Shards of one `DescribeStream`, at most and by default.
const SHARDS_MAX: usize = 100;

/// Greatest number of shards that the model takes for one stream.
const SHARD_COUNT_MAX: i32 = 100_000;

/// The least and the most of `MaxRecordSizeInKiB`.
pub(crate) const RECORD_KIB: (i32, i32) = (1024, 10_240);

/// Words of `RecordDistributionStrategy`.
pub(crate) const STRATEGIES: [&str; 2] = ["AUTO", "USER_PARTITION_KEY"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateStreamInput {
    stream_name: Option<String>,
    shard_count: Option<i32>,
    stream_mode_details: Option<StreamModeDetails>,
    tags: Option<BTreeMap<String, Option<String>>>,
    warm_throughput_mi_bps: Option<i32>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size_in_kib: Option<i32>,
    record_distribution_strategy: Option<String>,
}

pub(crate) fn create(desk: &Desk, input: CreateStreamInput) -> Result<(), Fault> {
    let mode = input.stream_mode_details.as_ref().and_then(|details| details.stream_mode.clone());
    let mut constraints = Constraints::default();
    constraints.number("shardCount", input.shard_count, 1, SHARD_COUNT_MAX);
    if input.shard_count.is_none() && (input.stream_name.is_none() || mode.as_deref() == Some(MODES[0])) {
        constraints.missing("shardCount");
    }
    constraints.required("streamName", input.stream_name.as_ref());
    constraints.name("streamName", input.stream_name.as_ref());
    if input.stream_mode_details.is_some() {
        constraints.required("streamModeDetails.streamMode", mode.as_ref());
    }
    constraints.one_of("streamModeDetails.streamMode", mode.as_ref(), &MODES);
    constraints.number("maxRecordSizeInKiB", input.max_record_size_in_kib, RECORD_KIB.0, RECORD_KIB.1);
    constraints.number("warmThroughputMiBps", input.warm_throughput_mi_bps, 0, i32::MAX);
    constraints.one_of("recordDistributionStrategy", input.record_distribution_strategy.as_ref(), &STRATEGIES);
    let tags = input.tags.map(tags::plain);
    tags::check_map(&mut constraints, tags.as_ref());
    constraints.kept()?;
    let name = input.stream_name.unwrap_or_default();
    let on_demand = mode.as_deref().map_or(input.shard_count.is_none(), |mode| mode == MODES[1]);
    let spread = input.record_distribution_strategy.as_deref() == Some(STRATEGIES[0]);
    if spread && !on_demand {
        return Err(Fault::invalid("RecordDistributionStrategy AUTO is only supported for on-demand streams."));
    }
    if input.warm_throughput_mi_bps.is_some_and(|warm| warm > 0) {
        return Err(Fault::unsupported("There is nothing to warm on one machine. Leave out WarmThroughputMiBps."));
    }
    let tags = tags.unwrap_or_default();
    tags::check_words(&name, desk, "add tags to", tags.keys().chain(tags.values()))?;
    tags::check_number(&name, desk, tags.len())?;
    if desk.log.stream(&name).is_some() {
        return Err(exists(desk, &name));
    }
    let given = input.shard_count.and_then(|count| u32::try_from(count).ok());
    let shards = if on_demand { ON_DEMAND_SHARDS } else { given.unwrap_or(1) };
    desk.room_for(shards)?;
    let settings = StreamSettings {
        shards,
        retention: RETENTION,
        mode: if on_demand { ShardMode::OnDemand } else { ShardMode::Provisioned },
        ..StreamSettings::default()
    };
    let stream = desk.log.create(&name, &settings).map_err(|error| match error {
        OpenError::Exists { .. } => exists(desk, &name),
        OpenError::Settings { what, .. } => Fault::limit(what),
        error => Fault::of_open(&error),
    })?;
    if let Some(kib) = input.max_record_size_in_kib.and_then(|kib| u32::try_from(kib).ok()) {
        stream.set_record_bytes_max(kib * 1024).map_err(|error| Fault::of_open(&error))?;
    }
    desk.attributes.change(&stream, |attributes| {
        attributes.tags = tags;
        attributes.spread = spread;
        Ok(())
    })
}

fn exists(desk: &Desk, name: &str) -> Fault {
    Fault::in_use(format!("Stream {name} under account {} already exists.", desk.account.id))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeleteStreamInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    enforce_consumer_deletion: Option<bool>,
}

pub(crate) fn delete(desk: &Desk, input: DeleteStreamInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let (name, account) = (stream.name(), &desk.account.id);
    if desk.declared.read().contains(name) {
        return Err(Fault::in_use(format!(
            "Stream {name} under account {account} is declared in the server's file. Remove [stream.{name}] there to \
             delete it."
        )));
    }
    let consumers = desk.attributes(&stream).consumers.len();
    if consumers > 0 && input.enforce_consumer_deletion != Some(true) {
        return Err(Fault::in_use(format!(
            "Stream {name} under account {account} has {consumers} registered consumers. Deregister them, or set \
             EnforceConsumerDeletion."
        )));
    }
    let deleted = desk.log.delete(name).map_err(|error| Fault::of_open(&error))?;
    desk.attributes.forget(&stream);
    if deleted { Ok(()) } else { Err(desk.no_stream(name)) }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DescribeStreamInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    limit: Option<i32>,
    exclusive_start_shard_id: Option<String>,
}

/// What both descriptions say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeDetails,
    retention_period_hours: u64,
    stream_creation_timestamp: Timestamp,
    enhanced_monitoring: [EnhancedMetrics; 1],
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

/// What a stream is; it is always `ACTIVE`, for making and changing it takes no time that could be seen.
pub(crate) const ACTIVE: &str = "ACTIVE";

/// Whole hours that a stream keeps its records.
pub(crate) fn retention_hours(stream: &Stream) -> u64 {
    stream.settings().retention.as_secs() / 3600
}

impl Common {
    fn new(desk: &Desk, stream: &Stream) -> Self {
        let attributes = desk.attributes(stream);
        let encrypted = stream.settings().encryption;
        Self {
            stream_name: stream.name().to_owned(),
            stream_arn: desk.stream_arn(stream.name()),
            stream_status: ACTIVE,
            stream_mode_details: stream.mode().into(),
            retention_period_hours: retention_hours(stream),
            stream_creation_timestamp: Timestamp(stream.created()),
            enhanced_monitoring: [EnhancedMetrics { shard_level_metrics: attributes.metrics.clone() }],
            encryption_type: if encrypted { KMS } else { "NONE" },
            key_id: if encrypted { attributes.key_id.clone() } else { None },
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStreamOutput {
    stream_description: StreamDescription,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescription {
    #[serde(flatten)]
    common: Common,
    shards: Vec<Shard>,
    has_more_shards: bool,
}

pub(crate) fn describe(desk: &Desk, input: DescribeStreamInput) -> Result<DescribeStreamOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.number("limit", input.limit, 1, 10_000);
    constraints.name("exclusiveStartShardId", input.exclusive_start_shard_id.as_ref());
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(SHARDS_MAX).min(SHARDS_MAX);
    let after = input.exclusive_start_shard_id.unwrap_or_default();
    let infos = stream.shard_infos();
    let mut left = infos.iter().filter(|info| after.is_empty() || shard_name(info.id) > after);
    let shards = left.by_ref().take(limit).map(|info| Shard::new(&stream, info)).collect();
    let has_more_shards = left.next().is_some();
    let common = Common::new(desk, &stream);
    Ok(DescribeStreamOutput { stream_description: StreamDescription { common, shards, has_more_shards } })
}

/// An input that only names a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StreamInput {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStreamSummaryOutput {
    stream_description_summary: StreamDescriptionSummary,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescriptionSummary {
    #[serde(flatten)]
    common: Common,
    open_shard_count: u32,
    consumer_count: usize,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size_in_kib: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_distribution_strategy: Option<&'static str>,
}

pub(crate) fn summary(desk: &Desk, input: StreamInput) -> Result<DescribeStreamSummaryOutput, Fault> {
    let mut constraints = Constraints::default();
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let attributes = desk.attributes(&stream);
    let strategy = if attributes.spread { STRATEGIES[0] } else { STRATEGIES[1] };
    Ok(DescribeStreamSummaryOutput {
        stream_description_summary: StreamDescriptionSummary {
            common: Common::new(desk, &stream),
            open_shard_count: stream.shards(),
            consumer_count: attributes.consumers.len(),
            max_record_size_in_kib: stream.settings().record_bytes_max / 1024,
            record_distribution_strategy: (stream.mode() == ShardMode::OnDemand).then_some(strategy),
        },
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListStreamsInput {
    limit: Option<i32>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListStreamsOutput {
    stream_names: Vec<String>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    stream_summaries: Vec<StreamSummary>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSummary {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeDetails,
    stream_creation_timestamp: Timestamp,
}

/// Characters of a token: the model's limit.
pub(crate) const TOKEN_CHARS_MAX: usize = 1_048_576;

pub(crate) fn list(desk: &Desk, input: ListStreamsInput) -> Result<ListStreamsOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.number("limit", input.limit, 1, 10_000);
    constraints.name("exclusiveStartStreamName", input.exclusive_start_stream_name.as_ref());
    constraints.text("nextToken", input.next_token.as_ref(), None, 1, TOKEN_CHARS_MAX);
    constraints.kept()?;
    let now = desk.clock.now();
    let after = match (&input.next_token, &input.exclusive_start_stream_name) {
        (Some(_), Some(_)) => {
            return Err(Fault::invalid("NextToken and ExclusiveStartStreamName cannot be provided together."));
        }
        (Some(token), None) => Token::admit(token, List::Streams, now)?.last,
        (None, Some(name)) => name.clone(),
        (None, None) => String::new(),
    };
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(STREAMS_MAX).min(STREAMS_MAX);
    let streams = desk.log.streams();
    let mut left = streams.iter().filter(|stream| stream.name() > after.as_str());
    let stream_summaries: Vec<StreamSummary> = left
        .by_ref()
        .take(limit)
        .map(|stream| StreamSummary {
            stream_name: stream.name().to_owned(),
            stream_arn: desk.stream_arn(stream.name()),
            stream_status: ACTIVE,
            stream_mode_details: stream.mode().into(),
            stream_creation_timestamp: Timestamp(stream.created()),
        })
        .collect();
    let has_more_streams = left.next().is_some();
    let stream_names: Vec<String> = stream_summaries.iter().map(|summary| summary.stream_name.clone()).collect();
    let last = stream_names.last().filter(|_| has_more_streams).cloned();
    let next_token = last.map(|last| token(List::Streams, now, last).write());
    Ok(ListStreamsOutput { stream_names, has_more_streams, next_token, stream_summaries })
}

/// A token of a list without a stream.
fn token(list: List, now: Millis, last: String) -> Token {
    Token { list, made_ms: now.0, stream: String::new(), uuid: uuid::Uuid::nil(), last, filter: None }
}
