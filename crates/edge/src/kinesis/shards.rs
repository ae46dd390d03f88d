//! Shards: listed, split, merged, counted anew.

use base::{ErrorKind, Millis, ShardId};
use serde::{Deserialize, Serialize};
use stream::{ReshardError, ShardInfo, Stream};
use tokio::time::Instant;

use super::constraint::{Constraints, Pattern};
use super::desk::{Desk, check_stream, shard_name, shard_number};
use super::fault::Fault;
use super::shapes::Shard;
use super::streams::TOKEN_CHARS_MAX;
use super::token::{List, Token};
use super::wire::Timestamp;

/// Shards of one answer, at most and by default.
const RESULTS_MAX: usize = 1000;

/// Calls of `UpdateShardCount` within a day, with the service's limits.
const SCALINGS_MAX: usize = 10;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Words of `ShardFilterType`.
const FILTERS: [&str; 6] =
    ["AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ShardFilter {
    r#type: Option<String>,
    shard_id: Option<String>,
    timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListShardsInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<i32>,
    stream_creation_timestamp: Option<Timestamp>,
    shard_filter: Option<ShardFilter>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListShardsOutput {
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Which shards are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    All,
    After(String),
    AtTrimHorizon,
    AtLatest,
    At(Millis),
    From(Millis),
}

impl Filter {
    fn read(filter: Option<ShardFilter>) -> Result<Self, Fault> {
        let Some(filter) = filter else { return Ok(Self::All) };
        let kind = filter.r#type.unwrap_or_default();
        let time = || {
            let missing = || Fault::invalid(format!("Timestamp must be provided in ShardFilter of Type {kind}."));
            filter.timestamp.map(|time| time.0).ok_or_else(missing)
        };
        let told = match kind.as_str() {
            "AFTER_SHARD_ID" => {
                let missing = || Fault::invalid("ShardId must be provided in ShardFilter of Type AFTER_SHARD_ID.");
                Self::After(filter.shard_id.clone().ok_or_else(missing)?)
            }
            "AT_TRIM_HORIZON" => Self::AtTrimHorizon,
            "AT_LATEST" => Self::AtLatest,
            "AT_TIMESTAMP" => Self::At(time()?),
            "FROM_TIMESTAMP" => Self::From(time()?),
            _ => Self::All,
        };
        if filter.shard_id.is_some() && !matches!(told, Self::After(_)) {
            return Err(Fault::invalid(format!("ShardId cannot be provided in ShardFilter of Type {kind}.")));
        }
        if filter.timestamp.is_some() && !matches!(told, Self::At(_) | Self::From(_)) {
            return Err(Fault::invalid(format!("Timestamp cannot be provided in ShardFilter of Type {kind}.")));
        }
        Ok(told)
    }

    /// As a token keeps it.
    fn keep(&self) -> Option<(String, Option<String>, Option<i64>)> {
        let kept = |kind: &str, id: Option<&String>, time: Option<Millis>| {
            Some((kind.to_owned(), id.cloned(), time.map(|time| time.0)))
        };
        match self {
            Self::All => None,
            Self::After(id) => kept(FILTERS[0], Some(id), None),
            Self::AtTrimHorizon => kept(FILTERS[1], None, None),
            Self::AtLatest => kept(FILTERS[3], None, None),
            Self::At(time) => kept(FILTERS[4], None, Some(*time)),
            Self::From(time) => kept(FILTERS[5], None, Some(*time)),
        }
    }

    fn restore(kept: Option<(String, Option<String>, Option<i64>)>) -> Result<Self, Fault> {
        let filter = kept.map(|(kind, shard_id, time)| ShardFilter {
            r#type: Some(kind),
            shard_id,
            timestamp: time.map(|time| Timestamp(Millis(time))),
        });
        Self::read(filter)
    }

    /// Whether a shard is meant; `all` are the shards that still exist.
    fn wants(&self, info: &ShardInfo, all: &[ShardInfo]) -> bool {
        let is_kept = |parent: Option<ShardId>| parent.is_some_and(|parent| all.iter().any(|info| info.id == parent));
        // Those whose parents are gone are where reading from the oldest record begins.
        let is_root = || !is_kept(info.parent) && !is_kept(info.adjacent_parent);
        let ends_after = |time: Millis| info.closed.as_ref().is_none_or(|closed| closed.at >= time);
        match self {
            Self::All => true,
            Self::After(id) => shard_name(info.id) > *id,
            Self::AtTrimHorizon => is_root(),
            Self::AtLatest => info.closed.is_none(),
            Self::At(time) => {
                let oldest = all.iter().map(|info| info.created).min().unwrap_or_default();
                if *time < oldest { is_root() } else { info.created <= *time && ends_after(*time) }
            }
            Self::From(time) => ends_after(*time),
        }
    }
}

pub(crate) fn list(desk: &Desk, input: ListShardsInput) -> Result<ListShardsOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.number("maxResults", input.max_results, 1, 10_000);
    constraints.name("exclusiveStartShardId", input.exclusive_start_shard_id.as_ref());
    constraints.name("streamName", input.stream_name.as_ref());
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.text("nextToken", input.next_token.as_ref(), None, 1, TOKEN_CHARS_MAX);
    if let Some(filter) = &input.shard_filter {
        constraints.required("shardFilter.type", filter.r#type.as_ref());
        constraints.one_of("shardFilter.type", filter.r#type.as_ref(), &FILTERS);
        constraints.name("shardFilter.shardId", filter.shard_id.as_ref());
    }
    constraints.kept()?;
    let now = desk.clock.now();
    let (stream, after, filter) = match &input.next_token {
        Some(token) => continue_list(desk, &input, token, now)?,
        None => {
            begin_list(desk, input.stream_name, input.stream_arn, input.exclusive_start_shard_id, input.shard_filter)?
        }
    };
    if let Some(created) = input.stream_creation_timestamp
        && created.0.0.div_euclid(1000) != stream.created().0.div_euclid(1000)
    {
        return Err(desk.no_stream(stream.name()));
    }
    if let Some(limits) = &desk.limits
        && !limits.list_shards(Instant::now(), stream.uuid())
    {
        let account = &desk.account.id;
        return Err(Fault::limit(format!("Rate exceeded for stream {} under account {account}.", stream.name())));
    }
    let limit = input.max_results.and_then(|most| usize::try_from(most).ok()).unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let infos = stream.shard_infos();
    let is_next = |info: &&ShardInfo| (after.is_empty() || shard_name(info.id) > after) && filter.wants(info, &infos);
    let mut left = infos.iter().filter(is_next);
    let told: Vec<&ShardInfo> = left.by_ref().take(limit).collect();
    let last = told.last().filter(|_| left.next().is_some()).map(|info| shard_name(info.id));
    let next_token = last.map(|last| {
        let (name, uuid) = (stream.name().to_owned(), stream.uuid());
        Token { list: List::Shards, made_ms: now.0, stream: name, uuid, last, filter: filter.keep() }.write()
    });
    Ok(ListShardsOutput { shards: told.into_iter().map(|info| Shard::new(&stream, info)).collect(), next_token })
}

type Asked = (std::sync::Arc<Stream>, String, Filter);

fn begin_list(
    desk: &Desk,
    name: Option<String>,
    arn: Option<String>,
    after: Option<String>,
    filter: Option<ShardFilter>,
) -> Result<Asked, Fault> {
    if name.is_none() && arn.is_none() {
        return Err(Fault::invalid("Either NextToken or StreamName should be provided."));
    }
    let stream = desk.stream(name.as_ref(), arn.as_ref())?;
    Ok((stream, after.unwrap_or_default(), Filter::read(filter)?))
}

fn continue_list(desk: &Desk, input: &ListShardsInput, token: &str, now: Millis) -> Result<Asked, Fault> {
    let beside = [
        ("StreamName", input.stream_name.is_some()),
        ("StreamARN", input.stream_arn.is_some()),
        ("StreamCreationTimestamp", input.stream_creation_timestamp.is_some()),
        ("ExclusiveStartShardId", input.exclusive_start_shard_id.is_some()),
        ("ShardFilter", input.shard_filter.is_some()),
    ];
    if let Some((member, _)) = beside.into_iter().find(|(_, given)| *given) {
        return Err(Fault::invalid(format!("NextToken and {member} cannot be provided together.")));
    }
    let token = Token::admit(token, List::Shards, now)?;
    let stream = desk.log.stream(&token.stream).filter(|stream| stream.uuid() == token.uuid);
    let stream = stream.ok_or_else(|| desk.no_stream(&token.stream))?;
    Ok((stream, token.last, Filter::restore(token.filter)?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SplitShardInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_split: Option<String>,
    new_starting_hash_key: Option<String>,
}

pub(crate) fn split(desk: &Desk, input: SplitShardInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    constraints.required("newStartingHashKey", input.new_starting_hash_key.as_ref());
    constraints.pattern("newStartingHashKey", input.new_starting_hash_key.as_ref(), Pattern::HashKey);
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.required("shardToSplit", input.shard_to_split.as_ref());
    constraints.name("shardToSplit", input.shard_to_split.as_ref());
    constraints.kept()?;
    let wanted = Desk::wanted(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let named = input.shard_to_split.unwrap_or_default();
    let shard = shard_number(&named).ok_or_else(|| desk.no_shard(&named, wanted))?;
    let stream = desk.log.stream(wanted).ok_or_else(|| desk.no_stream(wanted))?;
    desk.provisioned(&stream)?;
    let info = stream.shard_info(shard).ok_or_else(|| desk.no_shard(&shard_name(shard), stream.name()))?;
    desk.room_for(1)?;
    let hash = input.new_starting_hash_key.unwrap_or_default();
    let at = hash.parse::<u128>().ok();
    let range = info.range;
    let at = at.filter(|at| *at > range.start.saturating_add(1) && *at < range.end).ok_or_else(|| {
        Fault::invalid(format!(
            "NewStartingHashKey {hash} used in SplitShard() on shard {} in stream {} under account {} is not both greater \
             than one plus the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
            shard_name(shard),
            stream.name(),
            desk.account.id,
            range.start,
            range.end
        ))
    })?;
    open(desk, &stream, &info)?;
    stream.split(shard, at).map(drop).map_err(|error| refused(desk, &stream, &error))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MergeShardsInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_merge: Option<String>,
    adjacent_shard_to_merge: Option<String>,
}

pub(crate) fn merge(desk: &Desk, input: MergeShardsInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    constraints.required("shardToMerge", input.shard_to_merge.as_ref());
    constraints.name("shardToMerge", input.shard_to_merge.as_ref());
    constraints.required("adjacentShardToMerge", input.adjacent_shard_to_merge.as_ref());
    constraints.name("adjacentShardToMerge", input.adjacent_shard_to_merge.as_ref());
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let wanted = Desk::wanted(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let number = |named: Option<String>| {
        let named = named.unwrap_or_default();
        shard_number(&named).ok_or_else(|| desk.no_shard(&named, wanted))
    };
    let (lower, upper) = (number(input.shard_to_merge)?, number(input.adjacent_shard_to_merge)?);
    let stream = desk.log.stream(wanted).ok_or_else(|| desk.no_stream(wanted))?;
    desk.provisioned(&stream)?;
    let find = |shard| stream.shard_info(shard).ok_or_else(|| desk.no_shard(&shard_name(shard), stream.name()));
    let (lower_info, upper_info) = (find(lower)?, find(upper)?);
    if lower_info.range.end.checked_add(1) != Some(upper_info.range.start) {
        return Err(Fault::invalid(format!(
            "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
            shard_name(lower),
            shard_name(upper),
            stream.name(),
            desk.account.id
        )));
    }
    open(desk, &stream, &lower_info)?;
    open(desk, &stream, &upper_info)?;
    stream.merge(lower, upper).map(drop).map_err(|error| refused(desk, &stream, &error))
}

fn open(desk: &Desk, stream: &Stream, info: &ShardInfo) -> Result<(), Fault> {
    if info.closed.is_none() { Ok(()) } else { Err(not_eligible(desk, stream, info.id)) }
}

fn not_eligible(desk: &Desk, stream: &Stream, shard: ShardId) -> Fault {
    Fault::invalid(format!(
        "Shard {} in stream {} under account {} has already been merged or split, and thus is not eligible for merging or \
         splitting.",
        shard_name(shard),
        stream.name(),
        desk.account.id
    ))
}

/// What the stream said to a change of its shards.
fn refused(desk: &Desk, stream: &Stream, error: &ReshardError) -> Fault {
    match error {
        ReshardError::ShardClosed { shard } => not_eligible(desk, stream, *shard),
        ReshardError::NoShard { shard } => desk.no_shard(&shard_name(*shard), stream.name()),
        ReshardError::TooMany { .. } => Fault::limit(format!("Stream {}: {error}.", stream.name())),
        ReshardError::Gone => desk.no_stream(stream.name()),
        error if error.kind() == ErrorKind::Invalid => Fault::invalid(error.to_string()),
        error => {
            tracing::error!(stream = stream.name(), %error, "shards could not be changed");
            Fault::internal("The shards could not be changed; the server's log says why.")
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateShardCountInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    target_shard_count: Option<i32>,
    scaling_type: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateShardCountOutput {
    stream_name: String,
    current_shard_count: u32,
    target_shard_count: u32,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

pub(crate) fn update_count(desk: &Desk, input: UpdateShardCountInput) -> Result<UpdateShardCountOutput, Fault> {
    let mut constraints = Constraints::default();
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.required("targetShardCount", input.target_shard_count.as_ref());
    constraints.number("targetShardCount", input.target_shard_count, 1, i32::MAX);
    constraints.required("scalingType", input.scaling_type.as_ref());
    constraints.one_of("scalingType", input.scaling_type.as_ref(), &["UNIFORM_SCALING"]);
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    desk.provisioned(&stream)?;
    let target = input.target_shard_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    let current = stream.shards();
    if target > current.saturating_mul(2) {
        return Err(Fault::invalid(format!(
            "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: \
             {current} Target shard count: {target}"
        )));
    }
    if target.saturating_mul(2) < current {
        return Err(Fault::invalid(format!(
            "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: \
             {current} Target shard count: {target}"
        )));
    }
    desk.room_for(target.saturating_sub(current))?;
    if target != current {
        let now = desk.clock.now().0;
        desk.attributes.change(&stream, |attributes| {
            attributes.scaled_ms.retain(|at| now - at < DAY_MS);
            if attributes.scaled_ms.len() >= SCALINGS_MAX {
                if desk.limits.is_some() {
                    return Err(Fault::limit(format!(
                        "Stream {} under account {} was scaled {SCALINGS_MAX} times within 24 hours, the most it may be.",
                        stream.name(),
                        desk.account.id
                    )));
                }
                attributes.scaled_ms.remove(0);
            }
            attributes.scaled_ms.push(now);
            Ok(())
        })?;
        stream.reshape(target).map_err(|error| refused(desk, &stream, &error))?;
    }
    Ok(UpdateShardCountOutput {
        stream_name: stream.name().to_owned(),
        current_shard_count: current,
        target_shard_count: target,
        stream_arn: desk.stream_arn(stream.name()),
    })
}
