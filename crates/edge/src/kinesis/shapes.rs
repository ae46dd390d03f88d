//! Shapes of the published API that several operations answer with.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use stream::{HashRange, ShardInfo, ShardMode, Stream};

use super::desk::{Desk, shard_name};
use super::wire::Timestamp;

/// The word for an encrypted stream.
pub(crate) const KMS: &str = "KMS";

/// The words for capacity modes.
pub(crate) const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];

/// `HashKeyRange`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HashKeyRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

impl From<HashRange> for HashKeyRange {
    fn from(range: HashRange) -> Self {
        Self { starting_hash_key: range.start.to_string(), ending_hash_key: range.end.to_string() }
    }
}

/// `SequenceNumberRange`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

/// `Shard`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shard {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

impl Shard {
    /// Of a stream.
    pub(crate) fn new(stream: &Stream, info: &ShardInfo) -> Self {
        let origin = Desk::origin(stream, info.id);
        Self {
            shard_id: shard_name(info.id),
            parent_shard_id: info.parent.map(shard_name),
            adjacent_parent_shard_id: info.adjacent_parent.map(shard_name),
            hash_key_range: info.range.into(),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: origin.start(info.created),
                ending_sequence_number: info.closed.as_ref().map(|closed| origin.end(closed.at)),
            },
        }
    }
}

/// `ChildShard`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ChildShard {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRange,
}

impl ChildShard {
    /// The children of a shard.
    pub(crate) fn of(stream: &Stream, parent: base::ShardId) -> Vec<Self> {
        let infos = stream.shard_infos();
        let children = infos.iter().filter(|info| info.parent == Some(parent) || info.adjacent_parent == Some(parent));
        children
            .map(|info| Self {
                shard_id: shard_name(info.id),
                parent_shards: info.parent.iter().chain(&info.adjacent_parent).map(|id| shard_name(*id)).collect(),
                hash_key_range: info.range.into(),
            })
            .collect()
    }
}

/// `StreamModeDetails`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StreamModeDetails {
    pub(crate) stream_mode: Option<String>,
}

impl From<ShardMode> for StreamModeDetails {
    fn from(mode: ShardMode) -> Self {
        let word = match mode {
            ShardMode::Provisioned => MODES[0],
            ShardMode::OnDemand => MODES[1],
        };
        Self { stream_mode: Some(word.to_owned()) }
    }
}

/// `EnhancedMetrics`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EnhancedMetrics {
    pub(crate) shard_level_metrics: Vec<String>,
}

/// `Tag`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Bytes that are written where they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobRef<'a>(pub(crate) &'a [u8]);

impl Serialize for BlobRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// `Record`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record<'a> {
    pub(crate) sequence_number: String,
    pub(crate) approximate_arrival_timestamp: Timestamp,
    pub(crate) data: BlobRef<'a>,
    /// Absent if the record came without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition_key: Option<Cow<'a, str>>,
    /// Of this record, whatever the stream's setting is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encryption_type: Option<&'static str>,
}
