//! A record as the pages show it.

use base::{ErrorKind, Header, ShardId};
use serde::Serialize;
use stream::RecordView;

use crate::error::ApiError;

/// Characters of a payload that are shown; the whole record is in the table or in `system.rejected`.
const PAYLOAD_CHARS_MAX: usize = 16 * 1024;
/// Characters of a filter.
const FILTER_CHARS_MAX: usize = 200;

/// A record as the tail and the pages of the past show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    shard: u32,
    offset: u64,
    arrival_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    id: Option<String>,
    format: String,
    /// Numbers of the fields of a CDN log line, so that the pages can name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<String>,
    simulated: bool,
    payload: String,
    bytes: usize,
}

/// What is shown of a record.
pub(crate) fn show(shard: ShardId, record: &RecordView<'_>) -> Shown {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut payload = text(record.value);
    if let Some((cut, _)) = payload.char_indices().nth(PAYLOAD_CHARS_MAX) {
        payload.truncate(cut);
        payload.push('…');
    }
    Shown {
        shard: shard.0,
        offset: record.offset.0,
        arrival_ms: record.timestamp.0,
        key: record.key.map(text),
        id: record.header(Header::ID).map(text),
        format: record.header(Header::FORMAT).map_or_else(|| "json".to_owned(), text),
        fields: record.header(Header::FIELDS).map(text),
        simulated: record.header(Header::SIMULATED).is_some(),
        payload,
        bytes: record.value.len(),
    }
}

impl Shown {
    /// About how much memory it holds.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }
}

/// Which records are wanted: those that contain a text, whatever its case; all, if it is empty.
#[derive(Clone, Debug)]
pub(crate) struct Filter(String);

impl Filter {
    pub(crate) fn new(text: Option<String>) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default().to_lowercase();
        if text.chars().count() > FILTER_CHARS_MAX {
            let what = format!("the filter has more than {FILTER_CHARS_MAX} characters");
            return Err(ApiError::new(ErrorKind::Invalid, what, "Filter by a word of it"));
        }
        Ok(Self(text))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn wants(&self, record: &RecordView<'_>) -> bool {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase().contains(&self.0);
        self.0.is_empty() || holds(record.value) || record.header(Header::ID).is_some_and(holds)
    }
}
