//! `stream.json`: what a stream is. Written as a whole at every change, so that a crash leaves the old or the new.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Millis, Offset, ShardId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::range::HashRange;
use crate::settings::StreamSettings;
use crate::store::{self, NotReplaced, Sealed};
use crate::topology::{Closing, ShardInfo, ShardMode, Topology};

const METADATA_FILE: &str = "stream.json";
/// The version written. Version 1, a fixed number of shards without ranges, is read.
const LAYOUT: u32 = 2;

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) uuid: Uuid,
    pub(crate) created: Millis,
    /// In force; the number of shards is that of the open ones.
    pub(crate) settings: StreamSettings,
    /// What the file last said, so that only what it newly says undoes what was done through a door.
    pub(crate) declared: Option<StreamSettings>,
    pub(crate) topology: Topology,
}

#[derive(Deserialize)]
struct Version {
    layout: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout1 {
    layout: u32,
    uuid: Uuid,
    shards: u32,
    created_ms: i64,
    retention_ms: u64,
    retention_bytes: Option<u64>,
    segment_bytes: u64,
    crc32c: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout2 {
    layout: u32,
    uuid: Uuid,
    created_ms: i64,
    settings: SettingsPart,
    declared: Option<SettingsPart>,
    next_shard: u32,
    shards: Vec<ShardPart>,
    crc32c: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsPart {
    shards: u32,
    on_demand: bool,
    encryption: bool,
    retention_ms: u64,
    retention_bytes: Option<u64>,
    segment_bytes: u64,
    record_bytes_max: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardPart {
    id: u32,
    /// Decimal, because JSON numbers are not that wide everywhere.
    first_hash: String,
    last_hash: String,
    parent: Option<u32>,
    adjacent_parent: Option<u32>,
    created_ms: i64,
    closed_ms: Option<i64>,
    end: Option<u64>,
}

impl Sealed for Layout1 {
    fn crc(&mut self) -> &mut String {
        &mut self.crc32c
    }
}

impl Sealed for Layout2 {
    fn crc(&mut self) -> &mut String {
        &mut self.crc32c
    }
}

impl SettingsPart {
    fn of(settings: &StreamSettings) -> Self {
        Self {
            shards: settings.shards,
            on_demand: settings.mode == ShardMode::OnDemand,
            encryption: settings.encryption,
            retention_ms: u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX),
            retention_bytes: settings.retention_bytes,
            segment_bytes: settings.segment_bytes,
            record_bytes_max: settings.record_bytes_max,
        }
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings {
            shards: self.shards,
            mode: if self.on_demand { ShardMode::OnDemand } else { ShardMode::Provisioned },
            encryption: self.encryption,
            retention: Duration::from_millis(self.retention_ms),
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            record_bytes_max: self.record_bytes_max,
        }
    }
}

impl ShardPart {
    fn of(info: &ShardInfo) -> Self {
        Self {
            id: info.id.0,
            first_hash: info.range.start.to_string(),
            last_hash: info.range.end.to_string(),
            parent: info.parent.map(|parent| parent.0),
            adjacent_parent: info.adjacent_parent.map(|parent| parent.0),
            created_ms: info.created.0,
            closed_ms: info.closed.map(|closed| closed.at.0),
            end: info.closed.map(|closed| closed.end.0),
        }
    }

    fn info(&self) -> Result<ShardInfo, String> {
        let hash = |text: &str| text.parse().map_err(|_| format!("expected a hash below 2^128, found {text:?}"));
        let closed = match (self.closed_ms, self.end) {
            (Some(at), Some(end)) => Some(Closing { at: Millis(at), end: Offset(end) }),
            (None, None) => None,
            _ => return Err(format!("shard {} is closed and is not", self.id)),
        };
        Ok(ShardInfo {
            id: ShardId(self.id),
            range: HashRange { start: hash(&self.first_hash)?, end: hash(&self.last_hash)? },
            parent: self.parent.map(ShardId),
            adjacent_parent: self.adjacent_parent.map(ShardId),
            created: Millis(self.created_ms),
            closed,
        })
    }
}

impl Metadata {
    /// Of a new stream.
    pub(crate) fn new(created: Millis, settings: &StreamSettings) -> Self {
        let topology = Topology::even(settings.shards, created);
        Self { uuid: Uuid::new_v4(), created, settings: settings.clone(), declared: None, topology }
    }

    /// Where it lies in the stream's folder.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join(METADATA_FILE)
    }

    /// What the folder holds; `None` if there is no stream in it.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = Self::path(dir);
        let Some(bytes) = store::read(disk, &path).map_err(OpenError::io("reading", &path))? else { return Ok(None) };
        Self::decode(&bytes).map(Some).map_err(|what| OpenError::Metadata { path, what })
    }

    /// Makes this what the folder holds. After [`NotReplaced::Unknown`] nobody knows whether it is.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), NotReplaced> {
        store::replace_known(disk, &Self::path(dir), &self.encode())
    }

    /// The planted bug of [`crate::Faults::close_unsynced`].
    pub(crate) fn write_unsynced(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        store::replace(disk, &Self::path(dir), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let settings = StreamSettings { shards: self.topology.open().count() as u32, ..self.settings.clone() };
        let file = Layout2 {
            layout: LAYOUT,
            uuid: self.uuid,
            created_ms: self.created.0,
            settings: SettingsPart::of(&settings),
            declared: self.declared.as_ref().map(SettingsPart::of),
            next_shard: self.topology.next(),
            shards: self.topology.infos().map(ShardPart::of).collect(),
            crc32c: String::new(),
        };
        file.seal()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let version: Version = serde_json::from_slice(bytes).map_err(|error| format!("not as expected: {error}"))?;
        let read = match version.layout {
            1 => Self::of_layout_1(&Layout1::unseal(bytes)?),
            LAYOUT => Self::of_layout_2(&Layout2::unseal(bytes)?)?,
            other => return Err(format!("expected layout 1 or {LAYOUT}, found {other}")),
        };
        match read.settings.problem() {
            Some(problem) => Err(problem),
            None => Ok(read),
        }
    }

    /// An even cut, as such streams have always used; nothing is known to be declared, so the file's number of shards
    /// counts as the one they were made with.
    fn of_layout_1(file: &Layout1) -> Self {
        let settings = StreamSettings {
            shards: file.shards,
            retention: Duration::from_millis(file.retention_ms),
            retention_bytes: file.retention_bytes,
            segment_bytes: file.segment_bytes,
            ..StreamSettings::default()
        };
        let created = Millis(file.created_ms);
        let topology = Topology::even_of_layout_1(file.shards, created);
        Self { uuid: file.uuid, created, declared: Some(settings.clone()), settings, topology }
    }

    fn of_layout_2(file: &Layout2) -> Result<Self, String> {
        let infos = file.shards.iter().map(ShardPart::info).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            uuid: file.uuid,
            created: Millis(file.created_ms),
            settings: file.settings.settings(),
            declared: file.declared.as_ref().map(SettingsPart::settings),
            topology: Topology::restore(file.next_shard, infos)?,
        })
    }
}

impl NotReplaced {
    /// As an error of opening or changing a stream in `dir`.
    pub(crate) fn to_open_error(&self, dir: &Path) -> OpenError {
        let (Self::Unchanged(source) | Self::Unknown(source)) = self;
        let source = io::Error::new(source.kind(), source.to_string());
        OpenError::Io { doing: "writing", path: Metadata::path(dir), source }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata() -> Metadata {
        let mut metadata = Metadata::new(Millis(7), &StreamSettings { shards: 3, ..StreamSettings::default() });
        metadata.topology.split(ShardId(1), 1 << 127, Offset(9), Millis(8)).expect("splits");
        metadata.topology.merge([ShardId(0), ShardId(3)], [Offset(1), Offset(2)], Millis(9)).expect("merges");
        metadata.declared = Some(StreamSettings { retention_bytes: Some(5 << 20), ..StreamSettings::default() });
        metadata
    }

    #[test]
    fn what_is_written_is_read() {
        let metadata = metadata();
        let read = Metadata::decode(&metadata.encode()).expect("is read");
        // The number of shards is that of the open ones; it says nothing else.
        assert_eq!(read.settings.shards, 3);
        assert_eq!(read, Metadata { settings: read.settings.clone(), ..metadata });
    }

    #[test]
    fn a_later_layout_is_told_as_such() {
        let told = Metadata::decode(br#"{"layout": 3, "secrets": []}"#);
        assert_eq!(told, Err("expected layout 1 or 2, found 3".to_owned()));
        assert!(Metadata::decode(b"{}").is_err() && Metadata::decode(b"").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// A list that cannot be, sealed with a right CRC: told, and never taken up.
        #[test]
        fn shards_that_do_not_fit_together_are_refused(
            shard in 0usize..6, field in 0usize..6, number in any::<u32>(), wide in any::<u128>(),
        ) {
            let metadata = metadata();
            let mut file: Layout2 = serde_json::from_slice(&metadata.encode()).expect("JSON");
            let count = file.shards.len();
            let part = &mut file.shards[shard % count];
            match field {
                0 => part.id = number,
                1 => part.first_hash = wide.to_string(),
                2 => part.last_hash = wide.to_string(),
                3 => part.parent = Some(number),
                4 => (part.closed_ms, part.end) = if part.end.is_some() { (None, None) } else { (Some(1), Some(2)) },
                _ => file.next_shard = number,
            }
            if let Ok(read) = Metadata::decode(&file.seal()) {
                prop_assert_eq!(read.topology.check(), Ok(()));
            }
        }
    }
}
